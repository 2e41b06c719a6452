"""Which images are for training, validation and testing.

    splits = divide(root, paths, images, split_by=None)
    splits.images["train"], splits.how

By folders named train, val and test (or validation, train2017, ...), by lists of names (train.txt),
or else by a hash of each path: about 80% are "train", 10% "val", 10% "test", and an image stays in
its split when others are added. Where there is no "val", or no "test", it is held out of "train".
"""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from data_pipelines.common import SPLITS, DataError
from data_pipelines.file_trees import Folder
from data_pipelines.image_folder_names import ENDINGS, split_of

PART = 10  # one in so many images is for validation, another for testing
HELD_OUT = {"val": 0, "test": 1}  # which of the parts
IMAGE, FOLDER = "image", "folder"  # as data.split_by: what the hash is of
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
    split_by: `IMAGE`, `FOLDER`, a folder with lists, or None: what is there decides.

  Raises:
    DataError: folders or lists make no sense.
  """
  chosen = split_by not in (None, IMAGE, FOLDER)
  left_out, files = Counter(), []
  by_folder = _by_folders(tree, images) if split_by is None else None
  if by_folder:
    divided, how = by_folder, "split by folders"
  elif chosen or (split_by is None and _lists(paths)):
    lists = _lists(paths, split_by.strip("/") if chosen else None)
    if not lists:
      raise DataError(
        f"data.split_by is {split_by!r}, but {tree.root} has no train.txt there; allowed: {IMAGE}, "
        f"{FOLDER}, or a folder with lists train.txt, val.txt, test.txt"
      )
    files = list(lists.values())
    divided = {split: _listed(tree, path, images) for split, path in lists.items()}
    listed = set().union(*divided.values())
    left_out["images in no list"] += len(images) - len(listed)
    how = f"split by lists {', '.join(files)}"
  else:
    divided, how = {"train": list(images)}, f"split by a hash of each {split_by or IMAGE}"
  held_out = [split for split in HELD_OUT if not divided.get(split)]
  if held_out and (by_folder or files):
    how += f", {' and '.join(held_out)} held out of train"
  _hold_out(divided, held_out, FOLDER if split_by == FOLDER else IMAGE)
  return Splits({split: sorted(divided.get(split, ())) for split in SPLITS}, how, left_out, files)


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


def _lists(paths: Sequence[str], folder: str | None = None) -> dict[str, str]:
  """Path of the list of each split, all of one folder; empty if there is no training list."""
  by_folder: dict[str, dict[str, str]] = defaultdict(dict)
  for path in paths:
    place, _, name = path.rpartition("/")
    for split, names in LISTS.items():
      if name in names:
        there = by_folder[place].get(split)
        if there is None or names.index(name) < names.index(there.rpartition("/")[2]):
          by_folder[place][split] = path
  usable = {place: lists for place, lists in by_folder.items() if "train" in lists}
  if folder is not None:
    return usable.get("" if folder == "." else folder, {})

  def rank(place: str) -> tuple:
    last = place.rpartition("/")[2]
    return PLACES.index(last) if last in PLACES else len(PLACES), place.count("/"), place

  return usable[min(usable, key=rank)] if usable else {}


def _listed(tree: Folder, path: str, images: Sequence[str]) -> list[str]:
  """The images that a list names, by path, by file name, or by folder.

  Raises:
    DataError: it names files out of the folder, several by one name, or nothing that is there.
  """
  try:
    lines = tree.read(path).decode().splitlines()
  except ValueError as error:
    raise DataError(f"{tree.root / path} cannot be read: {error}") from None
  by_end, by_folder = _ends(images), _folders(images)
  found, missing = [], 0
  for number, line in enumerate(lines, start=1):
    if not (line := line.strip()) or line.startswith("#"):
      continue
    where = f"{tree.root / path} line {number}"
    entries = line.split()[0], line.split(",")[0], line  # some have columns, some names spaces
    there = next(filter(None, (_named(entry, by_end, by_folder, where) for entry in entries)), [])
    if not there and os.path.isabs(line):
      raise DataError(
        f"{where} names a file out of the folder: {line!r}; name files in {tree.root}"
      )
    found += there
    missing += not there
  if not found and missing:
    raise DataError(
      f"{tree.root / path} lists {missing} names, none of an image that is there; mend it, or say "
      f"--config.data.split_by={IMAGE}"
    )
  return list(dict.fromkeys(found))


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


def _named(entry: str, by_end: dict, by_folder: dict, where: str) -> list[str]:
  """The images that an entry names: those whose paths end so, or that lie in such a folder.

  What the entry begins with may be missing here, as of a list that was made elsewhere.
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
    if there := there or by_folder.get(end, []):
      return there
  return []
