"""HDF5 files of the Object-Centric Library (Dittadi et al. 2022): arrays of all images of a set.

    source = describe(config, root, None)  # which arrays there are
    images = split_records(config, source, "train")

    clevr_10-full.hdf5, multidsprites_colored_on_grayscale-full.hdf5, shapestacks-full.hdf5, ...
      image [N, H, W, 3] uint8
      mask [N, H, W, 1], the entity of each pixel, background first; may be left out
      anything else [N], [N, 1] or [N, E, ...], numbers: labels of images or of entities

The short side is resized to S, then the middle is cropped. An instance's id is that of its entity
plus 1, and 0 for the first `num_background` entities, so that row `id - 1` of a label is its own.
As in that library, the first 100,000 images are used (or fewer): the last `num_test` of them are
"test", the `num_val` before these "val", the rest "train"; of a small file a tenth each. Metadata
(`...-metadata.npy`, a pickle) is not needed and not read.
"""

import functools
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import tensorflow as tf
from PIL import Image

from data_pipelines.reading.images import decode_batch, encode, fitted_ids, fitted_rgb
from data_pipelines.reading.indexed import Indexed
from data_pipelines.sources import SPLITS, DataError, Source, check_config
from data_pipelines.stores.cache import here

PLACES = ("data/object_centric_library",)
ENDINGS = (".hdf5", ".h5")
USED = 100_000  # images of a file, in the published experiments
PART = 10  # at most one in so many images each for val and test
MOST_AXES = 3  # of a label, with that of the images
_HELP = (
  "expected a file such as clevr_10-full.hdf5 with the arrays image and mask; download one from "
  "https://data-download.compute.dtu.dk/multi_object_datasets/"
)


def check(config) -> None:
  """Raises a ValueError for a field with an impossible value."""
  check_config(config, ("default",), num_val=0, num_test=0, num_background=0)


def find(folder: Path, config) -> Path | None:
  """The file.

  Raises:
    DataError: there are several, and none is named.
  """
  if folder.is_file():
    return folder if folder.suffix in ENDINGS else None
  if config.file is not None:
    return folder / config.file if (folder / config.file).is_file() else None
  found = sorted(path for ending in ENDINGS for path in folder.glob(f"*{ending}"))
  if len(found) > 1:
    names = ", ".join(path.name for path in found)
    raise DataError(f"{folder} has several files; name one with --config.data.file: {names}")
  return found[0] if found else None


def missing(folder: Path, config) -> tuple[str, str]:
  """What is wrong with a folder without the file, and the cure."""
  del folder
  return f"has no {config.file or 'HDF5 file'}", _HELP


def _opened(path: Path) -> h5py.File:
  stat = path.stat()
  return _open(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _open(path: Path, size: int, changed: int) -> h5py.File:
  del size, changed  # tell when it is another one
  try:
    file = h5py.File(here(path), "r")
  except OSError as error:
    raise DataError(f"{path} is no HDF5 file that can be read ({error}); fetch it again") from None
  image, mask = file.get("image"), file.get("mask")
  if image is None or image.ndim != 4 or image.shape[-1] != 3 or image.dtype != np.uint8:
    has = "it has none" if image is None else f"it is {image.dtype}{list(image.shape)}"
    raise DataError(f"{path} must have an array image, uint8[N, H, W, 3]; {has}: {_HELP}")
  if mask is not None and mask.shape[:3] != image.shape[:3]:
    shapes = f"{list(mask.shape)} and {list(image.shape)}"
    raise DataError(f"mask and image of {path} have the shapes {shapes}: {_HELP}")
  return file


def _labels(file: h5py.File) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
  """Arrays that are labels: type and shape of those of one image, without axes of length 1."""
  found = {}
  for name, array in sorted(file.items()):
    is_numbers = isinstance(array, h5py.Dataset) and array.dtype.kind in "biuf"
    if name in ("image", "mask") or not is_numbers or not 1 <= array.ndim <= MOST_AXES:
      continue
    if len(array) == len(file["image"]):
      shape = array.shape[1:-1] if array.shape[1:][-1:] == (1,) else array.shape[1:]
      found[name] = np.dtype(np.float32 if array.dtype.kind == "f" else np.int32), shape
  return found


def _span(file: h5py.File, config, split: str) -> range:
  """The numbers of a split's images."""
  total = min(len(file["image"]), USED)
  test, val = (min(count, total // PART) for count in (config.num_test, config.num_val))
  ends = {"train": (0, total - val - test), "val": (total - val - test, total - test)}
  return range(*ends.get(split, (total - test, total)))


def describe(config, root: Path, notes: dict | None) -> Source:
  """What is in the file."""
  file = _opened(root)
  found = {split: len(_span(file, config, split)) for split in SPLITS}
  counts = ", ".join(f"{count} {split}" for split, count in found.items())
  masks = "with masks" if "mask" in file else "without masks"
  total = len(file["image"])
  description = f"hdf5: {counts} images of {total}, {masks}, in {root}"
  return Source(config.name, config.variant, root, bool(notes), description, found)


def _load(number: int, *, path: Path, first: int, labels: dict, config) -> tuple[bytes, ...]:
  file, number = _opened(path), first + number
  size, resize = config.image_size, config.resize
  image = fitted_rgb(Image.fromarray(file["image"][number]), size, resize)
  ids = None
  if "mask" in file:
    entity = file["mask"][number].reshape(file["mask"].shape[1:3]).astype(np.int32)
    ids = fitted_ids(np.where(entity < config.num_background, 0, entity + 1), size, resize)
  values = (np.asarray(file[name][number], dtype) for name, (dtype, _) in labels.items())
  return (*encode(image, ids), *(value.tobytes() for value in values))


def _decode(*features: tf.Tensor, size: int, has_ids: bool, labels: dict) -> dict[str, tf.Tensor]:
  """Features of `_load` [B] as a batch."""
  pixels = features[: 1 + has_ids]
  batch = decode_batch(*pixels, size=size, has_ids=has_ids, labels=())
  for (name, (dtype, shape)), feature in zip(labels.items(), features[1 + has_ids :], strict=True):
    batch[name] = tf.reshape(tf.io.decode_raw(feature, dtype), [-1, *shape])
  return batch


def split_records(config, source: Source, split: str) -> Indexed:
  """The images of a split, at most `config.limit` of them.

  Raises:
    DataError: there are none.
  """
  file = _opened(source.root)
  span, labels, has_ids = _span(file, config, split), _labels(file), "mask" in file
  if not span:
    total = len(file["image"])
    raise DataError(
      f"the {split} split is empty: {source.root} has {total} images; {PART} make all splits"
    )
  images = Indexed(
    num=len(span),
    load=partial(_load, path=source.root, first=span.start, labels=labels, config=config),
    num_features=1 + has_ids + len(labels),
    decode=partial(_decode, size=config.image_size, has_ids=has_ids, labels=labels),
    describe=lambda number: f"{source.root}: image {span.start + number} (from 0)",
    cure="fetch the file again, or leave such images out with --config.data.on_corrupt=skip",
  )
  return images.limited(config.limit) if config.limit else images
