"""Splits by lists of names, train.txt and so on: which lists there are, and what they name.

    lists = find_lists(tree, paths, split_by=None)       # {"train": "ImageSets/Main/train.txt"}
    images_by_split, names_folders = by_lists(tree, lists, images)

A list only chooses among the images that were found: what it names elsewhere is never read.
"""

import os
from collections import defaultdict
from collections.abc import Sequence

from absl import logging

from data_pipelines.datasets.image_folder.names import ENDINGS
from data_pipelines.reading.file_trees import Folder
from data_pipelines.sources import SPLITS, DataError

IMAGE, FOLDER = "image", "folder"  # as data.split_by: what the hash is of
# File names of lists; the first of a split that is there counts.
LISTS = {
  "train": ("train.txt", "training.txt", "trainval.txt"),
  "val": ("val.txt", "valid.txt", "validation.txt"),
  "test": ("test.txt", "testing.txt"),
}
PLACES = ("", "Segmentation", "Main")  # folders of lists, the first that there is; then any


def find_lists(tree: Folder, paths: Sequence[str], split_by: str | None) -> dict[str, str]:
  """Path of the list of each split, all of one folder; empty if there are none, or none are wanted.

  Raises:
    DataError: a folder was chosen that has no training list.
  """
  if split_by == IMAGE:
    return {}
  folders: dict[str, dict[str, str]] = defaultdict(dict)
  for split, names in LISTS.items():
    for path in sorted(paths, key=lambda path: path.rpartition("/")[2]):
      folder, _, name = path.rpartition("/")
      if name in names:
        folders[folder].setdefault(split, path)
  usable = {folder: lists for folder, lists in folders.items() if "train" in lists}
  if split_by not in (None, FOLDER):
    if lists := usable.get("" if split_by == "." else split_by.strip("/")):
      return lists
    raise DataError(
      f"data.split_by is {split_by!r}, but {tree.root} has no train.txt there; allowed: {IMAGE}, "
      f"{FOLDER}, or a folder with lists train.txt, val.txt, test.txt"
    )

  def rank(folder: str) -> tuple:
    last = folder.rpartition("/")[2]
    return PLACES.index(last) if last in PLACES else len(PLACES), folder.count("/"), folder

  return usable[min(usable, key=rank)] if usable else {}


def by_lists(
  tree: Folder, lists: dict[str, str], images: Sequence[str]
) -> tuple[dict[str, list[str]], bool]:
  """Images by the lists that name them, and whether these name folders.

  What is listed for testing is not for validation, nor for training.
  """
  by_end, by_folder = _ends(images), _folders(images)
  divided, taken, by_folder_names = {}, set(), False
  for split in reversed(SPLITS):
    if split in lists:
      listed, names_folders = _listed(tree, lists[split], by_end, by_folder)
      by_folder_names |= names_folders
      divided[split] = [image for image in dict.fromkeys(listed) if image not in taken]
      taken.update(listed)
  return divided, by_folder_names


def _listed(tree: Folder, path: str, by_end: dict, by_folder: dict) -> tuple[list[str], bool]:
  """The images that a list names, by path, by file name, or by folder; whether by folder.

  Raises:
    DataError: it names files out of the folder, several by one name, or nothing that is there.
  """
  try:
    lines = tree.read(path).decode().splitlines()
  except ValueError as error:
    raise DataError(f"{tree.root / path} cannot be read: {error}") from None
  found, missing, names_folders = [], 0, False
  for number, line in enumerate(map(str.strip, lines), start=1):
    if not line or line.startswith("#"):
      continue
    where = f"{tree.root / path} line {number}"
    entries = line.split()[0], line.split(",")[0], line  # some have columns, some names spaces
    named = (_named(entry, by_end, by_folder, where) for entry in entries)
    there, is_folder = next(filter(None, named), ([], False))
    if not there and os.path.isabs(line):
      raise DataError(
        f"{where} names a file out of the folder: {line!r}; name files in {tree.root}"
      )
    found += there
    names_folders |= is_folder
    missing += not there
  if not found and missing:
    raise DataError(
      f"{tree.root / path} lists {missing} names, none of an image that is there; mend it, or say "
      f"--config.data.split_by={IMAGE}"
    )
  if missing:
    logging.warning("%s lists %d names of no image that is there", tree.root / path, missing)
  return found, names_folders


def _ends(images: Sequence[str]) -> dict[str, list[str]]:
  """Images by all ends of their paths, with and without the ending."""
  found: dict[str, list[str]] = defaultdict(list)
  for image in images:
    parts = image.split("/")
    for first in range(len(parts)):
      end = "/".join(parts[first:])
      for name in (end, end.rpartition(".")[0]):
        found[name].append(image)
  return found


def _folders(images: Sequence[str]) -> dict[str, list[str]]:
  """Images by the folders that they lie in, and by these folders' paths."""
  found: dict[str, list[str]] = defaultdict(list)
  for image in images:
    parts = image.split("/")[:-1]
    names = {*parts, *("/".join(parts[: i + 1]) for i in range(len(parts)))}
    for name in names:
      found[name].append(image)
  return found


def _named(entry: str, by_end: dict, by_folder: dict, where: str) -> tuple[list[str], bool] | None:
  """The images that an entry names, and whether by their folder; None if none.

  Their paths end so, but for what the entry begins with, as in a list that was made elsewhere.
  """
  parts = [part for part in entry.replace("\\", "/").split("/") if part not in ("", ".")]
  if ".." in parts:
    raise DataError(f"{where} leads out of the folder: {entry!r}; name files that are in it")
  for first in range(max(1, len(parts) - 1)):
    end = "/".join(parts[first:])
    plain = end.rpartition(".")[0] if end.lower().endswith(ENDINGS) else end
    there = by_end.get(end) or by_end.get(plain, [])
    if len(there) > 1:
      raise DataError(
        f"{where} names {len(there)} images: {entry!r} is {there[0]} or {there[1]}; write their "
        "folders too"
      )
    if there:
      return there, False
    if end in by_folder:
      return by_folder[end], True
  return None
