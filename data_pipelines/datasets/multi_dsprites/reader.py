"""Multi-dSprites of the GENESIS paper (Engelcke et al. 2020), with ids of the sprites.

    source = describe(config, root, None)  # which files there are
    images = split_records(config, source, "train")

Reads what the original's generator wrote, `training_images_rand4.npy` (float32 [N, 64, 64, 3], 0 to
1), `training_masks_rand4.npy` (float64 [N, 64, 64, 1], ids) and so on; or makes the same images
from the dSprites archive. The splits are 50,000, 10,000 and 10,000 images.
"""

import functools
import itertools
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from data_pipelines.datasets.multi_dsprites import draws as dsprites
from data_pipelines.datasets.multi_dsprites.draws import ARCHIVE, SIDE, SIZES
from data_pipelines.reading.indexed import Indexed
from data_pipelines.sources import (
  SPLITS,
  DataError,
  Source,
  resize_ids,
  resize_images,
)
from data_pipelines.stores.cache import here
from data_pipelines.stores.published import command

PLACES = ("data/multi_dsprites", "data")  # searched when no data_dir is given
VARIANTS = dsprites.VARIANTS
PREFIXES = {"train": "training", "val": "validation", "test": "test"}  # of the .npy files
SUFFIXES = {"default": "", "unique": "_unique"}


def array_path(folder: Path, variant: str, split: str, content: str) -> Path:
  """The .npy file of a split's `content`, "images" or "masks"."""
  return folder / f"{PREFIXES[split]}_{content}_rand4{SUFFIXES[variant]}.npy"


def _array_splits(folder: Path, variant: str) -> list[str]:
  """The splits that have a file of images in a folder."""
  return [split for split in SPLITS if array_path(folder, variant, split, "images").is_file()]


def find(folder: Path, config) -> Path | None:
  """Where the original's .npy files are or, where there are none, the dSprites archive."""
  roots = [folder, folder / "multi_dsprites"]
  for root, below in itertools.product(roots, ("", "processed", config.variant)):
    if _array_splits(root / below, config.variant):
      return root / below
  for root, below in itertools.product(roots, ("", "dsprites-dataset")):
    if (root / below / ARCHIVE).is_file():
      return root / below
  return None


def missing(folder: Path, config) -> tuple[str, str]:
  """What is wrong with a folder without such files, and the cure."""
  arrays = array_path(folder, config.variant, "train", "images")
  return f"has no multi_dsprites {config.variant}", (
    f"expected {arrays} and so on, as the original's generator writes them, or {folder / ARCHIVE} "
    f"(26 MB), fetch it: {command('multi_dsprites', 'default', folder)}"
  )


def describe(config, root: Path, notes: dict | None) -> Source:
  """What lies in a folder."""
  arrays, what = _array_splits(root, config.variant), f"multi_dsprites {config.variant}"
  if notes:
    description = (
      f"{what}: RENDERED STAND-IN, not the published images ({notes['num_images']} images, "
      f"{notes['image_size']} pixels) in {root}"
    )
  elif arrays:
    description = f"{what}: arrays of {', '.join(arrays)} in {root}"
  else:
    description = f"{what}: composed from {root / ARCHIVE}"
  num_files = dict.fromkeys(arrays or SPLITS, 1)
  paths = [array_path(root, config.variant, s, of) for s in arrays for of in ("images", "masks")]
  parts = tuple(path.name for path in paths) or (ARCHIVE,)
  return Source(config.name, config.variant, root, bool(notes), description, num_files, parts=parts)


def _open_array(path: Path, channels: int) -> np.ndarray:
  """Maps a .npy file [N, 64, 64, channels] of uint8 or floats into memory.

  Raises:
    DataError: the file is not there, damaged or something else.
  """
  try:
    array = np.load(here(path), mmap_mode="r", allow_pickle=False)
  except FileNotFoundError:
    raise DataError(f"{path} is not there; {_cure(path)}") from None
  except (OSError, ValueError, EOFError) as error:
    cause = str(error).partition("\n")[0]
    raise DataError(f"{path} is not a .npy file, or damaged: {cause}; {_cure(path)}") from None
  is_array = isinstance(array, np.ndarray)  # np.load opens other kinds of files too
  if is_array and array.shape[1:] == (SIDE, SIDE, channels) and len(array):
    if array.dtype == np.uint8 or np.issubdtype(array.dtype, np.floating):
      return array
  found = f"{array.dtype}{list(array.shape)}" if is_array else "something else than an array"
  expected = f"floats [N, {SIDE}, {SIDE}, {channels}]"
  raise DataError(f"{path} has {found} instead of {expected}; {_cure(path)}")


def _cure(path: Path) -> str:
  return f"make the arrays again with the original's generator, or put {ARCHIVE} into {path.parent}"


def _pixels(values: np.ndarray) -> bytes:
  """An image as uint8; ValueError if it is no image."""
  if values.dtype == np.uint8:
    return values.tobytes()
  if not (values.min() >= 0 and values.max() <= 1):  # also where one is not a number
    raise ValueError(f"its values are from {values.min()} to {values.max()}, not 0 to 1")
  return np.round(values * 255).astype(np.uint8).tobytes()


def _ids(values: np.ndarray) -> bytes:
  """Ids of instances as uint8; ValueError if they are none."""
  with np.errstate(invalid="ignore"):
    ids = values.astype(np.uint8)
  if not (ids == values).all():
    raise ValueError("its mask has values that are not whole numbers from 0 to 255")
  return ids.tobytes()


def _decode(images, ids, *, size: int, resize: str) -> dict[str, tf.Tensor]:
  """Strings [B] as image uint8 [B, size, size, 3] and instances int32 [B, size, size]."""
  images = tf.reshape(tf.io.decode_raw(images, tf.uint8), [-1, SIDE, SIDE, 3])
  ids = tf.reshape(tf.io.decode_raw(ids, tf.uint8), [-1, SIDE, SIDE])
  return {
    "image": resize_images(images, size, resize),
    "instances": tf.cast(resize_ids(ids, size, resize), tf.int32),
  }


def _open_arrays(folder: Path, variant: str, split: str) -> tuple[np.ndarray, np.ndarray]:
  """Images and masks of a split; a DataError if they do not belong together."""
  images_path, masks_path = (
    array_path(folder, variant, split, content) for content in ("images", "masks")
  )
  images, masks = _open_array(images_path, 3), _open_array(masks_path, 1)
  if len(images) != len(masks):
    raise DataError(
      f"{masks_path} has {len(masks)} masks for {len(images)} images; {_cure(masks_path)}"
    )
  return images, masks


@functools.lru_cache(maxsize=len(SPLITS))  # unpacking takes seconds; a run opens val many times
def _from_archive(path: Path, variant: str, split: str, num: int):
  """The draws of the first `num` images, and the sprites that are in them."""
  draws = list(itertools.islice(dsprites.draws(variant, split), num))
  numbers = {sprite.index for draw in draws for sprite in draw.sprites}
  return draws, dsprites.load_sprites(path, numbers)


def split_records(config, source: Source, split: str) -> Indexed:
  """The images of a split.

  Raises:
    DataError: its files are missing, damaged or do not belong together.
  """
  if _array_splits(source.root, config.variant):
    path = array_path(source.root, config.variant, split, "images")
    images, masks = _open_arrays(source.root, config.variant, split)
    num = len(images)

    def load(number):
      return _pixels(images[number]), _ids(masks[number])

  else:
    path = source.root / ARCHIVE
    num = min(config.limit or SIZES[split], SIZES[split])
    draws, sprites = _from_archive(path, config.variant, split, num)

    def load(number):
      image, ids = dsprites.compose(draws[number], sprites)
      return image.tobytes(), ids.tobytes()

  return Indexed(
    num=num,
    load=load,
    num_features=2,
    decode=partial(_decode, size=config.image_size, resize=config.resize),
    describe=lambda number: f"{path}: image {number} (from 0)",
    cure="make it again, or leave such images out with --config.data.on_corrupt=skip",
  )


def num_examples(config, source: Source, split: str) -> int:
  """Images of a split."""
  num = SIZES[split]
  if _array_splits(source.root, config.variant):
    num = len(_open_arrays(source.root, config.variant, split)[0])
  return min(num, config.limit) if config.limit else num
