"""Your own images: the PNG and JPEG files below a folder, perhaps with masks of instances.

    source = resolve(config)               # data_dir names the folder; else renders a stand-in
    images = split_records(config, source, "train")

The short side is resized to S, then the middle is cropped; masks always take the nearest pixel.

Splits: if there are folders train/, val/ and test/, they are the splits. Otherwise a hash of each
image's path decides: about 80% are "train", 10% "val", 10% "test". An image stays in its split
when others are added.

Masks are PNGs beside their images: `a/x.mask.png` belongs with `a/x.jpg`, and folders called
`masks` and `images` do not count, so `masks/a/x.png` and `a/masks/x.png` do as well. Values of grey
and palette masks are instances, 0 is background; in masks of colours each colour is one, black
is background. Ids are numbered from 1 in each image, in the order of the values (R, G, B). In a
split where some images have masks all must have one.

Files that begin with a dot do not count. Of 16 bits the upper 8 count; transparent parts lie on
black; of an animated PNG the first picture counts; a noted orientation of the camera is heeded.
"""

import hashlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from data_pipelines.common import (
  SPLITS,
  STAND_IN_FILE,
  DataError,
  Source,
  check_config,
  nothing_found,
  stand_in_notes,
)
from data_pipelines.file_trees import Folder
from data_pipelines.image_files import (
  decode_batch,
  encode,
  fitted_ids,
  fitted_rgb,
  read_map,
  read_rgb,
)
from data_pipelines.indexed import Indexed

VARIANTS = ("default",)
ENDINGS = (".png", ".jpg", ".jpeg")
MASK_ENDING = ".mask"
UNCOUNTED = ("images", "masks")  # folders that say what is in them
STAND_INS = Path("data/stand_ins")
PART = 10  # one in so many images is for validation, another for testing
_HELP = "put PNG or JPEG files there, masks beside them as NAME.mask.png or in a folder masks/"


class Pair(NamedTuple):
  """Paths of an image and of its mask, if it has one."""

  image: str
  mask: str | None


def _render_stand_in(config) -> Path:
  """Folder of the stand-in, rendered now unless it was before."""
  from data_pipelines import image_folder_standins as standins  # imports jax

  num = max(standins.MIN_IMAGES, config.standin_scenes)
  root = STAND_INS / f"image_folder_{num}_images_v{standins.VERSION}"
  logging.log_first_n(
    logging.WARNING,
    "NO FOLDER OF IMAGES GIVEN: rendered stand-in scenes in %s are used instead. For your own, "
    "set --config.data.data_dir",
    1,
    root,
  )
  if not (root / STAND_IN_FILE).exists():
    standins.write(root, variant=config.variant, num_scenes=num)
  return root


def _key(path: str) -> str:
  """What an image and its mask have in common."""
  *folders, name = path.split("/")
  stem = name.rpartition(".")[0].removesuffix(MASK_ENDING)
  return "/".join([folder for folder in folders if folder not in UNCOUNTED] + [stem])


def _is_mask(path: str) -> bool:
  *folders, name = path.split("/")
  return "masks" in folders or name.rpartition(".")[0].endswith(MASK_ENDING)


def _pairs(root: Path) -> list[Pair]:
  """All images below a folder with their masks, sorted by path."""
  paths = [p for p in Folder(root).paths() if p.lower().endswith(ENDINGS)]
  paths = [p for p in paths if not any(part.startswith(".") for part in p.split("/"))]
  images, masks = [], {}
  for path in paths:
    if not _is_mask(path):
      images.append(path)
    elif masks.setdefault(_key(path), path) != path:
      raise DataError(f"{root / path} and {root / masks[_key(path)]} are masks of the same image")
  keys: dict[str, str] = {}
  for path in images:
    other = keys.setdefault(_key(path), path)
    if other != path and _key(path) in masks:
      raise DataError(
        f"{root / masks[_key(path)]} is a mask of {root / other} or of {root / path}; rename one"
      )
  for key, mask in masks.items():
    if key not in keys:
      raise DataError(
        f"{root / mask} is a mask without an image; add {key}.png or .jpg, or remove it"
      )
  if not images:
    raise DataError(f"{root} has no images; {_HELP}")
  return [Pair(path, masks.get(_key(path))) for path in images]


def _split_of(path: str) -> str:
  """The split of an image by a hash of its path."""
  part = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8]) % PART
  return {0: "val", 1: "test"}.get(part, "train")


def _splits(root: Path) -> dict[str, list[Pair]]:
  """Images by split (see the module's docstring)."""
  pairs, splits = _pairs(root), {split: [] for split in SPLITS}
  by_folder = any((root / split).is_dir() for split in SPLITS)
  outside = []
  for pair in pairs:
    split = pair.image.split("/")[0] if by_folder else _split_of(pair.image)
    splits.get(split, outside).append(pair)
  if outside:
    raise DataError(
      f"{root / outside[0].image} and {len(outside) - 1} more are in none of the folders train, "
      f"val and test of {root}; move them there, or do without these folders"
    )
  return splits


def resolve(config) -> Source:
  """Looks through the folder (or renders a stand-in when no data_dir is given).

  Raises:
    DataError: data_dir does not exist, has no images, or has masks that belong to none.
    ValueError: a field of `config` has an impossible value.
  """
  check_config(config, VARIANTS)
  if config.data_dir is None:
    root = _render_stand_in(config)
  else:
    root = Path(config.data_dir).expanduser()
    if not root.is_dir():
      raise nothing_found(root, "is no folder", _HELP)
  splits, notes = _splits(root), stand_in_notes(root)
  found = {split: len(pairs) for split, pairs in splits.items()}
  counts = ", ".join(f"{count} {split}" for split, count in found.items())
  what = "image_folder: " + ("RENDERED STAND-IN, nobody's images, " if notes else "")
  masks = sum(pair.mask is not None for pairs in splits.values() for pair in pairs)
  description = f"{what}{counts} images, {masks} with masks, in {root}"
  logging.info("%s", description)
  return Source("image_folder", config.variant, root, bool(notes), description, found)


def _packed(mask: np.ndarray) -> np.ndarray:
  """One number per pixel [H, W] of a map [H, W] or [H, W, C]; what is transparent is 0."""
  mask = mask.astype(np.int32)
  if mask.ndim == 2:
    return mask
  red, green, blue, *alpha = np.moveaxis(mask, -1, 0)
  packed = (red << 16) + (green << 8) + blue
  return np.where(alpha[0] == 0, 0, packed) if alpha else packed


def _numbered(values: np.ndarray) -> np.ndarray:
  """The same map with the values other than 0 numbered from 1."""
  return np.searchsorted(np.union1d(values, [0]), values)


def _load(
  number: int, *, tree: Folder, pairs: list[Pair], size: int, resize: str, has_ids: bool
) -> tuple[bytes, ...]:
  pair = pairs[number]
  image = read_rgb(tree.read(pair.image))
  small = fitted_rgb(image, size, resize)
  if not has_ids:
    return encode(small)
  if pair.mask is None:
    raise ValueError("it has no mask, though other images of the split have")
  try:
    mask = read_map(tree.read(pair.mask))
  except ValueError as error:
    raise ValueError(f"its mask {pair.mask}: {error}") from None
  if mask.shape[:2] != (image.height, image.width):
    raise ValueError(
      f"its mask {pair.mask} is {mask.shape[1]}x{mask.shape[0]} pixels instead of "
      f"{image.width}x{image.height}"
    )
  return encode(small, _numbered(_packed(fitted_ids(mask, size, resize))))


def split_records(config, source: Source, split: str) -> Indexed:
  """The images of a split, at most `config.limit` of them, in the order of their paths.

  Raises:
    DataError: there are none.
  """
  splits = _splits(source.root)
  pairs = splits[split]
  if not pairs:
    total = sum(map(len, splits.values()))
    raise DataError(
      f"the {split} split is empty: none of the {total} images in {source.root} falls in it; "
      "divide them yourself into folders train, val and test, or add more"
    )
  tree, has_ids = Folder(source.root), any(pair.mask for pair in pairs)
  load = dict(tree=tree, pairs=pairs, size=config.image_size, resize=config.resize)
  images = Indexed(
    num=len(pairs),
    load=partial(_load, **load, has_ids=has_ids),
    num_features=1 + has_ids,
    decode=partial(decode_batch, size=config.image_size, has_ids=has_ids, labels=()),
    describe=lambda number: tree.describe(pairs[number].image),
    cure="mend or remove it, or leave such images out with --config.data.on_corrupt=skip",
    files=lambda number: tuple(tree.read(path) for path in pairs[number] if path),
  )
  return images.limited(config.limit) if config.limit else images


def num_examples(config, source: Source, split: str) -> int:
  """Images of a split."""
  return split_records(config, source, split).num_images()
