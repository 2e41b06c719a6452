"""Which images are for training, validation and testing.

    splits = divide(root, paths, images, split_by=None)
    splits.images["train"], splits.how

By folders named train, val and test (or validation, train2017, ...), by lists of names (train.txt),
or else by a hash of each path: about 80% are "train", 10% "val", 10% "test", and an image stays in
its split when others are added. Where there is no "val", or no "test", it is held out of "train".
"""

import hashlib
import itertools
import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from absl import logging

from data_pipelines.common import SPLITS, DataError
from data_pipelines.file_trees import Folder
from data_pipelines.image_folder_names import ENDINGS, split_of

PART = 10  # one in so many images is for validation, another for testing
HELD_OUT = {"val": 0, "test": 1}  # which of the parts
IMAGE, FOLDER = "image", "folder"  # as data.split_by: what the hash is of
FRAMES, FILMS = 3, 5  # fewer numbered images are no film; in fewer folders it may be chance
# File names of lists; the first of a split that is there counts.
LISTS = {
  "train": ("train.txt", "training.txt", "trainval.txt"),
  "val": ("val.txt", "valid.txt", "validation.txt"),
  "test": ("test.txt", "testing.txt"),
}
PLACES = ("", "Segmentation", "Main")  # folders of lists, the first that there is; then any


class Splits(NamedTuple):
  """Images by split.

  Attributes:
    images: paths, sorted.
    how: for people.
    left_out: images, by reason.
    files: lists that were read.
  """

  images: dict[str, list[str]]
  how: str
  left_out: Counter[str]
  files: list[str]


def divide(tree: Folder, paths: Sequence[str], images: Sequence[str], split_by=None) -> Splits:
  """Divides images.

  Args:
    paths: all files of the tree.
    split_by: None: what is there decides, and the hash is of each image; `FOLDER`: the same, but of
      each folder; `IMAGE`: the hash alone; or a folder with lists.

  Raises:
    DataError: folders or lists make no sense.
  """
  lists = _chosen_lists(tree, paths, split_by)
  by_folder = _by_folders(tree, images) if split_by in (None, FOLDER) else None
  by, left_out = FOLDER if split_by == FOLDER else IMAGE, Counter()
  if by_folder:
    divided, how = by_folder, "split by folders"
  elif lists:
    divided, names_folders = _by_lists(tree, lists, images)
    by = FOLDER if names_folders else by
    left_out["images in no list"] += len(images) - sum(map(len, divided.values()))
    how = f"split by lists {', '.join(lists.values())}"
  else:
    divided, how = {"train": list(images)}, f"split by a hash of each {by}"
  held_out = [split for split in HELD_OUT if not divided.get(split)]
  if held_out and (by_folder or lists):
    how += f", {' and '.join(held_out)} held out of train by a hash of each {by}"
  _hold_out(divided, held_out, by)
  divided = {split: sorted(divided.get(split, ())) for split in SPLITS}
  return Splits(divided, how, left_out, [] if by_folder else list(lists.values()))


def doubtful_films(splits: Splits) -> list[str]:
  """Folders of numbered frames that are divided between splits."""
  if "hash of each image" not in splits.how:
    return []
  folders = defaultdict(list)
  for image in itertools.chain.from_iterable(splits.images.values()):
    folder, _, name = image.rpartition("/")
    folders[folder].append(name.rpartition(".")[0])
  films = [folder for folder, stems in folders.items() if folder and _are_frames(stems)]
  if len(films) < FILMS or 2 * len(films) < len(folders):
    return []
  return [
    f"{len(films)} folders, such as {films[0]}, have numbered images; if these are frames of "
    f"films, say --config.data.split_by={FOLDER}, so that a film lies in one split"
  ]


def _are_frames(stems: Sequence[str]) -> bool:
  """Whether names end in numbers without gaps."""
  numbers = {int(found[0]) for stem in stems if (found := re.search(r"\d+$", stem))}
  return len(numbers) == len(stems) >= FRAMES and max(numbers) - min(numbers) < len(numbers)


def _by_folders(tree: Folder, images: Sequence[str]) -> dict[str, list[str]] | None:
  """Images by the folders that are named like splits; None if not all lie in some.

  Raises:
    DataError: there are train, val or test right in the root, and images beside them.
  """
  divided, outside = defaultdict(list), []
  for image in images:
    split = split_of(image)
    (divided[split] if split else outside).append(image)
  if not outside and "train" in divided:
    return dict(divided)
  if any((tree.root / split).is_dir() for split in SPLITS):
    if not outside:
      return dict(divided)
    raise DataError(
      f"{tree.root / outside[0]} and {len(outside) - 1} more are in none of the folders train, val "
      f"and test of {tree.root}; move them there, or say --config.data.split_by={IMAGE}"
    )
  return None


def _part(text: str) -> int:
  return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % PART


def _hold_out(divided: dict[str, list[str]], splits: list[str], by: str) -> None:
  """Moves a tenth of "train" into each of some splits: at least one image, or folder, if it can."""
  train = divided.get("train", [])
  for split in splits:
    groups = defaultdict(list)
    for image in train:
      groups[image if by == IMAGE else image.rpartition("/")[0]].append(image)
    chosen = {group for group in groups if _part(group) == HELD_OUT[split]}
    if not chosen and len(groups) > 1:
      chosen = {min(groups, key=lambda group: hashlib.sha256(group.encode()).digest())}
    divided[split] = [image for group in chosen for image in groups[group]]
    train = [image for group, members in groups.items() if group not in chosen for image in members]
  divided["train"] = train


def _chosen_lists(tree: Folder, paths: Sequence[str], split_by: str | None) -> dict[str, str]:
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


def _by_lists(
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
