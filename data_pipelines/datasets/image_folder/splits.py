"""Which images are for training, validation and testing.

    splits = divide(root, paths, images, split_by=None)
    splits.images["train"], splits.how

By folders named train, val and test (or validation, train2017, ...), by lists of names (train.txt),
or else by a hash of each path: about 80% are "train", 10% "val", 10% "test", and an image stays in
its split when others are added. Where there is no "val", or no "test", it is held out of "train".
"""

import hashlib
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from data_pipelines.datasets.image_folder.lists import FOLDER, IMAGE, by_lists, find_lists
from data_pipelines.datasets.image_folder.names import split_of
from data_pipelines.reading.file_trees import Folder
from data_pipelines.sources import SPLITS, DataError

PART = 10  # one in so many images is for validation, another for testing
HELD_OUT = {"val": 0, "test": 1}  # which of the parts
FRAMES, FILMS = 3, 5  # fewer numbered images are no film; in fewer folders it may be chance


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
  lists = find_lists(tree, paths, split_by)
  by_folder = _by_folders(tree, images) if split_by in (None, FOLDER) else None
  by, left_out = FOLDER if split_by == FOLDER else IMAGE, Counter()
  if by_folder:
    divided, how = by_folder, "split by folders"
  elif lists:
    divided, names_folders = by_lists(tree, lists, images)
    by = FOLDER if names_folders else by
    left_out["images in no list"] += len(images) - sum(map(len, divided.values()))
    how = f"split by lists {', '.join(lists.values())}"
  else:
    divided, how = {"train": list(images)}, f"split by a hash of each {by}"
  held_out = [split for split in HELD_OUT if not divided.get(split)]
  if by_folder and len(held_out) == len(HELD_OUT) and len(images) < PART:
    held_out = []  # few images in a folder train, without others, are all meant to be trained on
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
  """Images by the folders that are named like splits; None if not all lie in some, or all in one.

  Raises:
    DataError: there are train, val or test right in the root, and images beside them.
  """
  divided, outside = defaultdict(list), []
  for image in images:
    split = split_of(image)
    (divided[split] if split else outside).append(image)
  if any((tree.root / split).is_dir() for split in SPLITS):
    if not outside:
      return {"train": [], **divided}
    raise DataError(
      f"{tree.root / outside[0]} and {len(outside) - 1} more are in none of the folders train, val "
      f"and test of {tree.root}; move them there, or say --config.data.split_by={IMAGE}"
    )
  return dict(divided) if not outside and "train" in divided and len(divided) > 1 else None


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
