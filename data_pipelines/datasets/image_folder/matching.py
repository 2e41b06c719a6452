"""Which image a mask belongs with, by names that differ as little as possible.

    match(masks, images, vocabulary)      # of lists of Name: path of a mask -> path of its image

Keys are tried from those that say most (all folders, all of the file's name) to those that say
least (the split, the words of the name); the first under which nearly every mask has an image is
taken, or the one under which most have. Last come keys that several masks may share, each of an
object in one image.
"""

import functools
from collections import Counter
from collections.abc import Callable, Sequence

from data_pipelines.datasets.image_folder.names import Name, Vocabulary, split_of

ENOUGH = 0.5  # of the masks must have an image for a way to count ...
SURE = 0.95  # ... and so many for no other to be tried
Key = Callable[[Name], tuple]


def match(masks: Sequence[Name], images: Sequence[Name], vocabulary: Vocabulary) -> dict[str, str]:
  """The image of each mask, by path; empty if fewer than half of the masks have one."""
  best, tables = {}, {}
  for of_mask, of_image, many in _ways(vocabulary):
    if of_image not in tables:
      tables[of_image] = _by_key(images, of_image)
    found = _matched(masks, of_mask, tables[of_image], many)
    best = max(best, found, key=len)
    if len(best) >= SURE * len(masks):
      break
  return best if len(best) >= ENOUGH * len(masks) else {}


def conflict(
  masks: Sequence[Name], images: Sequence[Name], vocabulary: Vocabulary
) -> tuple[str, str, str] | None:
  """A mask and two images that it may belong with by all that their names say, if there is one."""

  def key(name):
    return vocabulary.plain_folders(name.folders), vocabulary.trimmed(name.stem)

  table = _by_key(images, key)
  for mask in masks:
    if len(found := table.get(key(mask), ())) > 1:
      return mask.path, found[0], found[1]
  return None


def _by_key(images: Sequence[Name], key: Key) -> dict[tuple, list[str]]:
  table: dict[tuple, list[str]] = {}
  for image in images:
    table.setdefault(key(image), []).append(image.path)
  return table


def _matched(
  masks: Sequence[Name], key: Key, table: dict[tuple, list[str]], many: bool
) -> dict[str, str]:
  """Masks whose key one image has, and, unless there may be many, no other mask."""
  keys = {mask.path: key(mask) for mask in masks}
  used = Counter(keys.values())
  return {
    path: table[key][0]
    for path, key in keys.items()
    if len(table.get(key, ())) == 1 and (many or used[key] == 1) and key[-1] is not None
  }


def _ways(vocabulary: Vocabulary) -> list[tuple[Key, Key, bool]]:
  """(key of a mask, key of an image, whether an image may have many masks), the strictest first."""
  v = vocabulary
  folders = (v.plain_folders, v.other_folders, lambda names: _unsplit(v.other_folders(names)))
  places = (*folders, _split, _anywhere)

  @functools.cache  # one function for one pair, since tables of images are kept by it
  def key(place, stem):
    return lambda name: (place(name.folders), stem(name.stem))

  one = [(v.exact, v.exact), (v.trimmed, v.exact), (v.trimmed, v.trimmed), (v.core, v.core)]
  looser = [(v.shorter, v.core), (v.core, v.shorter), (v.shorter, v.shorter)]
  ways = [(key(p, m), key(p, i), False) for p in places for m, i in one]
  ways += [(key(p, m), key(p, i), False) for p in places for m, i in looser]
  ways += [(key(p, v.number), key(p, v.number), False) for p in folders]
  ways += [(_by_last_folder(v, p), key(p, v.core), True) for p in places]
  ways += [(key(p, m), key(p, v.core), True) for p in places for m in (v.unnumbered, v.shorter)]
  return ways + [(_by_place(p), _by_place(p), True) for p in folders]


def _unsplit(folders: tuple[str, ...]) -> tuple[str, ...]:
  return tuple(folder for folder in folders if not split_of(f"{folder}/"))


def _split(folders: tuple[str, ...]) -> str | None:
  return split_of("/".join((*folders, "")))


def _anywhere(folders: tuple[str, ...]) -> None:
  return None


def _by_place(place: Callable) -> Key:
  """The folder of an image has no other one."""
  return lambda name: (place(name.folders), place(name.folders) or None)


def _by_last_folder(vocabulary: Vocabulary, place: Callable) -> Key:
  """The folder that a mask lies in is named like its image, perhaps with `_json` (labelme)."""

  def key(name: Name) -> tuple:
    *above, folder = name.folders or ("",)
    return place(tuple(above)), vocabulary.core(folder.removesuffix("_json")) or None

  return key
