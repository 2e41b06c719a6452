"""Masks by convention, and which of several counts.

layer = Layer("SegmentationObject/", INSTANCES, "map", {"JPEGImages/a.jpg": (mask,)})
best_layers(root, [layer, other], left_out)["JPEGImages/a.jpg"]
"""

from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from data_pipelines.datasets.image_folder.names import CLASS_WORDS, INSTANCE_WORDS, Name, words
from data_pipelines.sources import DataError

NONE = "none"  # as data.masks: all are images
SIGNS = (".", "_", "-", " ")  # with which ends of names begin
INSTANCES, MASKS, CLASSES, UNNAMED, DRAWN, LABELME = range(6)  # ranks, the best first


class Choices(NamedTuple):
  """What a user says of a folder; None: it is recognised.

  Attributes:
    images: which files are images: a folder, an ending of names, or a pattern (see `fits`).
    masks: the same of the masks, JSON files included; `NONE`: there are none.
  """

  images: str | None = None
  masks: str | None = None


class Example(NamedTuple):
  """An image and what its mask is made from.

  Attributes:
    kind: map (one file of ids), objects (one file an object), coco, labelme.
  """

  image: str
  masks: tuple[str, ...] = ()
  kind: str = "map"


class Layer(NamedTuple):
  """Masks of one convention.

  Attributes:
    title: which files these are, as data.masks takes it, and perhaps more in brackets.
    rank: of several masks of an image the one of the lowest counts.
    kind: as of an `Example`.
    masks: per image, paths.
  """

  title: str
  rank: int
  kind: str
  masks: dict[str, tuple[str, ...]]


def fits(choice: str, name: Name) -> bool:
  """Whether a file is what a user chose.

  By folders (`labels`, `gtFine/train`), by the end of its name (`_seg`), or by a pattern of it,
  perhaps after folders (`*_seg`, `label_*`, `gtFine/*_instanceIds`, `*.json`); by one of several,
  with commas between them.
  """
  return any(_fits(part.strip(), name) for part in choice.split(","))


def _fits(choice: str, name: Name) -> bool:
  folders, _, pattern = choice.rpartition("/")
  if choice.startswith(SIGNS):
    return name.stem.endswith(choice) and name.stem != choice
  if "*" not in pattern:
    return name.path == choice or _lies_in(choice, name)
  file_name = name.path.rpartition("/")[2]
  matches = fnmatchcase(name.stem, pattern) or fnmatchcase(file_name, pattern)
  return matches and (not folders or _lies_in(folders, name))


def _lies_in(folders: str, name: Name) -> bool:
  return all(folder in name.folders for folder in folders.strip("/").split("/"))


def choice_parts(choice: str) -> set[str]:
  """The names in a choice: folders, beginnings, and ends of names, these with * before them."""
  parts = set()
  for part in map(str.strip, choice.split(",")):
    folders, _, pattern = part.rpartition("/")
    beginning, star, end = pattern.partition("*")
    if part.startswith(SIGNS):
      parts.add(f"*{part}")
    elif star:
      parts |= {*folders.split("/"), beginning.rstrip("".join(SIGNS)), f"*{end.partition('.')[0]}"}
    else:
      parts |= set(part.split("/"))
  return parts - {"", "*"}


def rank_of(title: str, role: str | None) -> int:
  """The rank of masks, from what their names say and the role that these have."""
  found = set(words(title))
  if role == "drawn":
    return DRAWN
  if found & INSTANCE_WORDS:
    return INSTANCES
  return CLASSES if found & CLASS_WORDS or {"label", "ids"} <= found else MASKS


def best_layers(root: Path, layers: list[Layer], left_out: Counter[str]) -> dict[str, Layer]:
  """Per image, the layer of the best rank; counts what is left out.

  Raises:
    DataError: two have the same rank.
  """
  best: dict[str, Layer] = {}
  for layer in sorted(layers, key=lambda layer: layer.rank):
    unused = set()
    for image, masks in layer.masks.items():
      other = best.setdefault(image, layer)
      if other is layer:
        continue
      unused.update(masks)
      if other.rank == layer.rank:
        raise DataError(
          f"{root / other.masks[image][0]} and {root / masks[0]} are masks of the same image; "
          f"choose: --config.data.masks='{_choice(other)}' or '{_choice(layer)}'"
        )
    if unused:
      left_out[f"masks in {layer.title}, since there are better ones"] += len(unused)
  return best


def _choice(layer: Layer) -> str:
  return layer.title.partition(" (")[0]
