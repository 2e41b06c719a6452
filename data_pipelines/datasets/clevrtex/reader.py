"""ClevrTex (Karazija et al. 2021): three to ten textured objects on textured ground, 240x320.

    source = describe(config, root, None)  # which images there are
    images = split_records(config, source, "train")

    clevrtex_<variant>/.../CLEVRTEX_<variant>_<6 digits>.png
    clevrtex_<variant>/.../CLEVRTEX_<variant>_<6 digits>_flat.png      palette of ids, 0 the ground
    clevrtex_<variant>/.../CLEVRTEX_<variant>_<6 digits>.json          what the objects are

Variants are full; pbg, plain ground; vbg, plain objects; grassbg, always the same ground; camo,
objects of what the ground is of; outd, with shapes and materials that occur in no other.

As in the published evaluation, the central square of 0.8 times the shorter side is resized, images
with antialiasing, ids to the nearest pixel. Ordered by number, the first tenth is "test", the next
"val", the rest "train"; outd is not divided, and all of it is each of them. Batches have factors of
the objects, [B, 10] in the order of their ids from 1: material, shape, size and (of vbg) color as
codes from 1, 0 where there is none, see names.py; rotation in degrees; and `ground_material` [B].
"""

import functools
import json
import os
import re
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from data_pipelines.datasets.clevrtex.names import COLORS, MATERIALS, SHAPES, SIZES, code
from data_pipelines.reading.file_trees import Folder, stamps
from data_pipelines.reading.images import (
  decode_batch,
  encode,
  read_map,
  read_rgb,
  resize_ids,
  resize_rgb,
)
from data_pipelines.reading.indexed import Indexed
from data_pipelines.sources import DataError, Source
from data_pipelines.stores.published import command

VARIANTS = ("full", "pbg", "vbg", "grassbg", "camo", "outd")
PLACES = ("data/clevrtex", "data")  # searched when no data_dir is given
UNDIVIDED = "outd"
CROP = 0.8  # of the shorter side
PART = 0.1  # of the images each for test and val
MAX_OBJECTS = 10
CODES = {"material": MATERIALS, "shape": SHAPES, "size": SIZES}
_HELP = (
  "expected {folder}/0/CLEVRTEX_{variant}_000000.png, ..._flat.png and ....json; fetch them: "
  "{command}"
)


def folder_name(variant: str) -> str:
  """The published folder of a variant."""
  return f"clevrtex_{variant}"


def _pattern(variant: str) -> re.Pattern:
  return re.compile(rf"(?:.*/)?CLEVRTEX_{variant}_(\d{{6}})\.png")


def find(folder: Path, config) -> Path | None:
  """The folder of the variant."""
  name = f"CLEVRTEX_{config.variant}_??????.png"
  for root in (folder / folder_name(config.variant), folder):
    if any(next(root.glob(pattern), None) for pattern in (f"*/{name}", name)):
      return root
  return None


def missing(folder: Path, config) -> tuple[str, str]:
  """What is wrong with a folder without images of the variant, and the cure."""
  where = folder / folder_name(config.variant)
  line = command("clevrtex", config.variant, folder)
  help_ = _HELP.format(folder=where, variant=config.variant, command=line)
  return f"has no images of ClevrTex {config.variant}", help_


def _names_of(path: str) -> tuple[str, str]:
  """The pictures of an example: the image, and its ids."""
  return path, f"{path.removesuffix('.png')}_flat.png"


def _paths(root: Path, variant: str) -> list[str]:
  """All images of a variant, by number."""
  folders = (root, *(entry.path for entry in os.scandir(root) if entry.is_dir()))
  return _listed(root, variant, tuple(sorted(stamps(folders).items())))


@functools.lru_cache(maxsize=8)  # of some 400,000 files, and each validation asks again
def _listed(root: Path, variant: str, changed: tuple) -> list[str]:
  del changed  # tells when an earlier answer is outdated
  pattern = _pattern(variant)
  found = [(pattern.fullmatch(path), path) for path in Folder(root).paths()]
  return [path for match, path in sorted((int(m[1]), p) for m, p in found if m)]


def _span(total: int, variant: str, split: str) -> slice:
  """Which of the images make a split."""
  if variant == UNDIVIDED:
    return slice(0, total)
  ends = [int(part * PART * total) for part in (0, 1, 2)]
  return {"test": slice(*ends[:2]), "val": slice(*ends[1:]), "train": slice(ends[2], total)}[split]


def describe(config, root: Path, notes: dict | None) -> Source:
  """How many images there are."""
  total = len(_paths(root, config.variant))
  found = {}
  for split in ("train", "val", "test"):
    found[split] = len(range(total)[_span(total, config.variant, split)])
  kind = "RENDERED STAND-IN, not the published images, " if notes else ""
  counts = ", ".join(f"{count} {split}" for split, count in found.items())
  undivided = " (not divided: each is all of it)" if config.variant == UNDIVIDED else ""
  description = f"clevrtex {config.variant}: {kind}{counts} images{undivided} in {root}"
  return Source(config.name, config.variant, root, bool(notes), description, found)


def _cropped(image) -> tuple[int, int, int, int]:
  """Left, top, right and bottom of the central square."""
  side = int(CROP * min(image.size))
  left, top = ((length - side) // 2 for length in image.size)
  return left, top, left + side, top + side


def _ids(data: bytes, size: tuple[int, int]) -> np.ndarray:
  ids = read_map(data)
  if ids.shape != size[::-1]:
    raise ValueError(f"it has the shape {ids.shape}, and the image {size[0]}x{size[1]} pixels")
  return ids


def _factors(data: bytes, variant: str) -> list[bytes]:
  """Codes and rotation of the objects, and the code of the ground."""
  kinds = CODES | ({"color": COLORS} if variant == "vbg" else {})
  try:
    scene = json.loads(data)
    objects = sorted(scene["objects"], key=lambda one: one.get("index", 0))[:MAX_OBJECTS]
    codes = np.zeros((len(kinds), MAX_OBJECTS), np.int32)
    rotation = np.zeros(MAX_OBJECTS, np.float32)
    for number, one in enumerate(objects):
      codes[:, number] = [code(one[kind], names) for kind, names in kinds.items()]
      rotation[number] = one["rotation"]
    ground = np.int32(code(scene["ground_material"], MATERIALS))
  except (KeyError, TypeError, AttributeError) as error:
    raise ValueError(f"it has no {error}") from None
  return [*(row.tobytes() for row in codes), rotation.tobytes(), ground.tobytes()]


def _names(variant: str) -> list[str]:
  """Of the factors, in the order of `_factors`."""
  return [*CODES, *(["color"] if variant == "vbg" else []), "rotation", "ground_material"]


def _load(number: int, *, tree: Folder, paths: list[str], config, factors: bool) -> tuple:
  stem = paths[number].removesuffix(".png")
  image = read_rgb(tree.read(paths[number]))
  box = _cropped(image)
  small = resize_rgb(image.crop(box), config.image_size, config.resize)
  left, top, right, bottom = box
  try:
    name = f"{stem}_flat.png"
    ids = _ids(tree.read(name), image.size)[top:bottom, left:right]
    name = f"{stem}.json"
    more = _factors(tree.read(name), config.variant) if factors else []
  except ValueError as error:
    raise ValueError(f"its file {name}: {error}") from None
  ids = resize_ids(ids, config.image_size, centred=config.resize != "nearest")
  return (*encode(small, ids), *more)


def _decode(*features: tf.Tensor, size: int, names: list[str]) -> dict[str, tf.Tensor]:
  """Features of `_load` [B] as a batch."""
  batch = decode_batch(*features[:2], size=size, has_ids=True, labels=())
  for name, feature in zip(names, features[2:], strict=True):
    values = tf.io.decode_raw(feature, tf.float32 if name == "rotation" else tf.int32)
    shape = [-1] if name == "ground_material" else [-1, MAX_OBJECTS]
    batch[name] = tf.reshape(values, shape)
  return batch


def split_records(config, source: Source, split: str) -> Indexed:
  """The images of a split, at most `config.limit` of them, by number.

  Raises:
    DataError: there are none.
  """
  every = _paths(source.root, config.variant)
  paths = every[_span(len(every), config.variant, split)]
  if not paths:
    raise DataError(
      f"the {split} split is empty: {source.root} has {len(every)} images, of which it gets none; "
      f"{missing(source.root.parent, config)[1]}"
    )
  tree = Folder(source.root)
  factors = (source.root / paths[0]).with_suffix(".json").is_file()
  names = _names(config.variant) if factors else []
  images = Indexed(
    num=len(paths),
    load=partial(_load, tree=tree, paths=paths, config=config, factors=factors),
    num_features=2 + len(names),
    decode=partial(_decode, size=config.image_size, names=names),
    describe=lambda number: tree.describe(paths[number]),
    paths=lambda number: tuple(map(tree.describe, _names_of(paths[number]))),
    cure="fetch it again, or leave such images out with --config.data.on_corrupt=skip",
    files=lambda number: tuple(map(tree.read, _names_of(paths[number]))),
  )
  return images.limited(config.limit) if config.limit else images
