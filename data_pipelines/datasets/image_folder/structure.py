"""Masks that no name gives away: what lies beside images under the same names and looks like ids.

    layers = unnamed(tree, images)       # a.png beside a.jpg, a_foo.png beside a.png, foo/a.png

Of two such groups of files the one that looks like a map of ids (see `looks`) is the
other one's masks; where both look so, the grey one.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from data_pipelines.datasets.image_folder.looks import Look
from data_pipelines.datasets.image_folder.names import SPLIT_WORDS, Name, words
from data_pipelines.reading.file_trees import Folder
from data_pipelines.sources import DataError

MOST_PARALLEL = 8  # folders side by side: of more, each is a class or a film
SHARED = 0.5  # of the names of the smaller folder, for two to be parallel
_JPEG = (".jpg", ".jpeg")
_ENDING = re.compile(r"(.+)([ ._-][^ ._-]*[^\W\d][^ ._-]*)")  # "a_001", "_foo"


class Beside(NamedTuple):
  """Files that lie beside images.

  Attributes:
    title: what they have in common, for people.
    images: their paths -> those of their images.
    are_masks: or else something else that is no image, such as depth.
  """

  title: str
  images: dict[str, str]
  are_masks: bool


def unnamed(tree: Folder, images: Sequence[Name]) -> list[Beside]:
  """Groups of files that are masks of others.

  Raises:
    DataError: two folders look like masks of each other.
  """
  found = []
  for title, pairs in (*_twins(images), *_endings(images)):
    if _are_masks(Look.at(tree, list(pairs)), Look.at(tree, list(pairs.values()))):
      found.append(Beside(title, pairs, True))
  for (left, right), pairs in _parallel(images):
    for beside in _compared(tree, left, right, pairs):
      found.append(beside)
  return found


def _are_masks(these: Look, others: Look) -> bool:
  return these.maps and (not others.maps or (these.grey and not others.grey))


def _compared(tree: Folder, left: str, right: str, pairs: dict[str, str]) -> list[Beside]:
  """Which of two parallel folders has what beside the other's images."""
  look, other = Look.at(tree, list(pairs)), Look.at(tree, list(pairs.values()))
  swapped = {b: a for a, b in pairs.items()}
  if _are_masks(look, other):
    return [Beside(f"{left}/", pairs, True)]
  if _are_masks(other, look):
    return [Beside(f"{right}/", swapped, True)]
  if look.grey != other.grey and not (look.maps or other.maps):  # depth, or the like
    return [Beside(f"{left}/", pairs, False) if look.grey else Beside(f"{right}/", swapped, False)]
  if look.maps and other.maps and look.grey and other.grey:
    raise DataError(
      f"the folders {left or '.'} and {right or '.'} of {tree.root} have files of equal names, and "
      f"either could be the masks of the other; say --config.data.masks={right or left}, or "
      "--config.data.masks=none if all are images"
    )
  return []


def _twins(images: Sequence[Name]) -> Iterator[tuple[str, dict[str, str]]]:
  """x.png beside x.jpg."""
  jpegs = {(i.folders, i.stem): i.path for i in images if i.path.lower().endswith(_JPEG)}
  pairs: dict[str, dict[str, str]] = defaultdict(dict)
  for image in images:
    ending = image.path[image.path.rindex(".") :].lower()
    if ending not in _JPEG and (image.folders, image.stem) in jpegs:
      pairs[f"*{ending}"][image.path] = jpegs[image.folders, image.stem]
  yield from pairs.items()


def _endings(images: Sequence[Name]) -> Iterator[tuple[str, dict[str, str]]]:
  """x_foo.png beside x.png."""
  known = {(image.folders, image.stem): image.path for image in images}
  pairs: dict[str, dict[str, str]] = defaultdict(dict)
  for image in images:
    parts = _ENDING.fullmatch(image.stem)
    if parts and (image.folders, parts[1]) in known:
      pairs[f"*{parts[2]}"][image.path] = known[image.folders, parts[1]]
  yield from pairs.items()


def _parallel(images: Sequence[Name]) -> Iterator[tuple[tuple[str, str], dict[str, str]]]:
  """Two folders, "" for what lies above the other, and the files with equal names in them."""
  depth = max((len(image.folders) for image in images), default=0)
  for level in range(depth):
    names = {image.folders[level] for image in images if len(image.folders) > level}
    if len(names) > MOST_PARALLEL or all(map(_is_split, names)):
      continue
    # All but one folder of a path and its name -> the path by that folder.
    places: dict[tuple, dict[str, str]] = defaultdict(dict)
    for image in images:
      if len(image.folders) > level:
        rest = image.folders[:level], image.folders[level + 1 :], image.stem
        places[rest][image.folders[level]] = image.path
    for image in images:
      if (rest := (image.folders[:level], image.folders[level:], image.stem)) in places:
        places[rest][""] = image.path
    yield from _pairs_of_folders(places)


def _pairs_of_folders(
  places: dict[tuple, dict[str, str]],
) -> Iterator[tuple[tuple[str, str], dict[str, str]]]:
  sizes: dict[str, int] = defaultdict(int)
  for place in places.values():
    for folder in place:
      sizes[folder] += 1
  pairs: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
  for place in places.values():
    folders = sorted(folder for folder in place if not _is_split(folder))
    for i, left in enumerate(folders):
      for right in folders[i + 1 :]:
        pairs[left, right][place[left]] = place[right]
  for (left, right), found in pairs.items():
    if len(found) >= SHARED * min(sizes[left], sizes[right]):
      yield (left, right), found


def _is_split(folder: str) -> bool:
  return bool(folder) and all(word in SPLIT_WORDS or word.isdigit() for word in words(folder))
