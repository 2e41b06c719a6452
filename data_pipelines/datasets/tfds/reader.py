"""Any set of TensorFlow Datasets that was built: its images or videos, perhaps with segmentations.

    source = describe(config, root, None)  # which splits, and which features are used
    images = split_records(config, source, "train")

    <data_dir>/<name>[/<config>]/<version>/dataset_info.json, features.json, and files of records,
    <name>-<split>.tfrecord-00000-of-00010 or <name>-<split>.array_record-00000-of-00010

`builder` names the set as tfds does, "movi_a/128x128:1.0.0"; without a version the newest one is
read. Every frame of a video is an image. The short side is resized to S, then the middle is
cropped. Ids are those of the segmentation; where it is of colours, or `background_ids` or
`ignore_ids` say which of its values are no instances, they are numbered in the order of its values.

Splits are written as tfds writes them ("train[:90%]", of records); what has none is held out of
train. Nothing is ever downloaded.
"""

import dataclasses
import functools
import json
import re
import shlex
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from data_pipelines.datasets.mask_values import Ids, numbered, packed, parse_ids
from data_pipelines.datasets.tfds.features import Pictures, choose, pictures
from data_pipelines.datasets.tfds.shards import Shards, encoded_pictures
from data_pipelines.datasets.tfds.splits import ranges, shared, split_texts
from data_pipelines.reading.images import (
  decode_batch,
  decoded,
  encode,
  fitted_ids,
  fitted_rgb,
  read_rgb,
)
from data_pipelines.reading.indexed import Indexed
from data_pipelines.reading.records import Records
from data_pipelines.sources import DataError, Source, check_config, warn_once
from data_pipelines.stores.cache import given, here

PLACES = ("data/tensorflow_datasets", str(tfds.core.constants.DATA_DIR))
INFO = "dataset_info.json"
FORMATS = ("tfrecord", "array_record")
USUAL_IDS = {"oxford_iiit_pet": Ids(((2, 2),), ((3, 3),))}  # 1 the animal, 3 its border
MOVI = "gsutil -m cp -r gs://kubric-public/tfds/{name} {folder}"
_BUILDER = re.compile(r"(?P<name>\w+)(/(?P<config>[^/:.][^/:]*))?(:(?P<version>[\w.*]+))?")


def check(config) -> None:
  """Raises a ValueError for a field with an impossible value."""
  check_config(config, ("default",))
  if config.builder is not None and not _BUILDER.fullmatch(config.builder):
    raise ValueError(
      f"data.builder is {config.builder!r}; it must be a name as in tfds.builder, such as clevr or "
      "movi_a/128x128:1.0.0"
    )
  _ids(config, "")


def _ids(config, name: str) -> Ids | None:
  """Which values are no instances; None: as everywhere, 0."""
  usual = USUAL_IDS.get(name)
  given = {
    field: parse_ids(f"data.{field}_ids", config[f"{field}_ids"])
    for field in Ids._fields
    if config[f"{field}_ids"] is not None
  }
  return (usual or Ids())._replace(**given) if given else usual


def _version(root: Path) -> tuple:
  """Sorts versions by their numbers."""
  return tuple(int(part) if part.isdecimal() else -1 for part in root.name.split("."))


def find(folder: Path, config) -> Path | None:
  """The folder of the newest version of the set.

  Raises:
    DataError: `builder` does not tell which of several sets, or of their configurations.
  """
  name, variant, version = "*", None, None
  if config.builder is not None:
    name, variant, version = _BUILDER.fullmatch(config.builder).group("name", "config", "version")
  if (folder / INFO).is_file() and _is_called(folder, name, variant):
    return folder
  version = version or "*"
  patterns = (
    [f"{name}/{variant}/{version}"] if variant else [f"{name}/{version}", f"{name}/*/{version}"]
  )
  roots = [path.parent for pattern in patterns for path in folder.glob(f"{pattern}/{INFO}")]
  newest = {root.parent: root for root in sorted(roots, key=_version)}
  if len(newest) > 1:
    names = ", ".join(str(parent.relative_to(folder)) for parent in sorted(newest))
    raise DataError(f"{folder} has several sets; name one with --config.data.builder: {names}")
  return next(iter(newest.values()), None)


def _is_called(root: Path, name: str, variant: str | None) -> bool:
  info = _info(root)
  return name in ("*", info.get("name")) and variant in (None, info.get("configName"))


def _info(root: Path) -> dict:
  try:
    return json.loads(Path(here(root / INFO)).read_text())
  except ValueError as error:
    raise DataError(f"{root / INFO} is damaged ({error}); build or copy the set again") from None


def missing(folder: Path, config) -> tuple[str, str]:
  """What is wrong with a folder without the set, and the command that brings it there."""
  if config.builder is None:
    return "has no set of TensorFlow Datasets", "name one, for example --config.data.builder=clevr"
  name = config.builder.partition(":")[0]
  command = f"tfds build {name} --data_dir {shlex.quote(str(folder))}"
  if name.startswith("movi_"):  # which only Kubric's own code builds
    command = MOVI.format(name=name, folder=folder / name.partition("/")[0])
  return f"has no {config.builder} of TensorFlow Datasets", f"bring it there: {command}"


def _opened(root: Path) -> tfds.core.DatasetBuilder:
  stat = (root / INFO).stat()
  return _built(root, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _built(root: Path, size: int, changed: int) -> tfds.core.DatasetBuilder:
  del size, changed  # tell when it is another one
  _info(root)  # for its checks
  for path in root.glob("*.json"):  # what its features are
    here(path)
  try:
    return tfds.builder_from_directory(root)
  except Exception as error:  # of tfds, of its formats, and of code that describes its features
    what = " ".join(str(error).split())
    raise DataError(f"TensorFlow Datasets cannot read {root}: {what:.200}") from None


def _chosen(config, builder) -> tuple[Pictures, Pictures | None]:
  found = pictures(builder.info.features)
  try:
    return choose(found, config.image_feature, config.segmentation_feature)
  except ValueError as error:
    raise ValueError(f"{builder.name}: {error}") from None


def describe(config, root: Path, notes: dict | None) -> Source:
  """Which splits and features of the set are used.

  Raises:
    DataError: the set cannot be read.
    ValueError: a split or a feature that does not exist is named, or one must be.
  """
  builder = _opened(root)
  if (kind := builder.info.file_format.value) not in FORMATS:
    raise DataError(
      f"the files of {root} are {kind}; allowed: {', '.join(FORMATS)}; build the set again: "
      f"tfds build {builder.name} --file_format=tfrecord"
    )
  image, ids = _chosen(config, builder)
  texts, counts = split_texts(builder.info.splits, config), {}
  parts, words = {}, []
  for split, text in texts.items():
    parts[split], num_files = ranges(root, builder.info.splits, split, text)
    counts[split] = len(parts[split])
    records = sum(part.count for part in parts[split])
    lost = f", {counts[split]} of {num_files} files" if counts[split] < num_files else ""
    words.append(f"{split} {text} ({records} records{lost})")
  for split in ("val", "test"):
    if num := shared(parts.get("train", ()), parts.get(split, ())):
      warn_once(f"{num} records of {builder.info.full_name} are in both train and {split}")
  used = f"feature {image.name}" + (f", segmentation {ids.name}" if ids else ", no segmentation")
  description = f"tfds {builder.info.full_name}: {', '.join(words)}; {used}; in {root}"
  return Source(config.name, config.variant, root, bool(notes), description, counts)


@dataclasses.dataclass(frozen=True)
class _Codec:
  """From encoded files to images of `size` pixels; `ids` as of `_ids`."""

  size: int
  resize: str
  ids: Ids | None

  def pixels(self, image: bytes, ids: bytes | None = None) -> tuple[np.ndarray, ...]:
    """An image uint8 [S, S, 3], perhaps instances int32 [S, S]; ValueError if a file is damaged."""
    opened = read_rgb(image, upright=False)  # as TensorFlow decodes it, and so as it is segmented
    small = fitted_rgb(opened, self.size, self.resize)
    return (small,) if ids is None else (small, self._instances(ids, opened.size))

  def _instances(self, data: bytes, size: tuple[int, int]) -> np.ndarray:
    values, are_colours = packed(decoded(data, upright=False))
    height, width = values.shape
    if (width, height) != size:
      raise ValueError(
        f"its segmentation has {width}x{height} pixels instead of {size[0]}x{size[1]}"
      )
    values = fitted_ids(values, self.size, self.resize)
    if are_colours or self.ids:
      values = numbered(values, self.ids or Ids())
    return values.astype(np.int32)

  def _batch(self, *columns: np.ndarray) -> tuple[np.ndarray, ...]:
    try:
      rows = [self.pixels(*files) for files in zip(*columns, strict=True)]
    except ValueError as error:
      raise tf.errors.DataLossError(None, None, str(error)) from None
    return tuple(np.stack(column) for column in zip(*rows, strict=True))

  def decode(self, *features: tf.Tensor) -> dict[str, tf.Tensor]:
    """Strings [B] as image uint8 [B, S, S, 3] and perhaps instances int32 [B, S, S]."""
    types = (tf.uint8, tf.int32)[: len(features)]
    arrays = tf.numpy_function(self._batch, features, types, stateful=False)
    shapes = (None, self.size, self.size, 3), (None, self.size, self.size)
    named = zip(("image", "instances"), arrays, shapes, strict=False)
    return {name: tf.ensure_shape(array, shape) for name, array, shape in named}


def split_records(config, source: Source, split: str) -> Records | Indexed:
  """The images of a split, at most `config.limit` of them.

  Raises:
    DataError: there are none.
  """
  builder = _opened(source.root)
  chosen = _chosen(config, builder)
  names, length = tuple(one.name for one in chosen if one), chosen[0].length
  text = split_texts(builder.info.splits, config).get(split)
  parts, num_files = ranges(source.root, builder.info.splits, split, text)
  if not parts:
    what = f"none of the {num_files} files of {text} are there" if num_files else "it has no images"
    raise DataError(f"the {split} split is empty: {what} in {source.root}; build or copy the set")
  codec = _Codec(config.image_size, config.resize, _ids(config, builder.name))
  cure = "build or copy the set again, or leave such images out with --config.data.on_corrupt=skip"
  kind, count = builder.info.file_format.value, len(names)
  if kind == "tfrecord" and length:
    unpack = partial(encoded_pictures, names=names, length=length)
    images = Records(parts, length, unpack, count, codec.decode, cure)
  else:
    shards = Shards(parts, kind, names, length)
    images = Indexed(
      num=len(shards),
      load=lambda number: encode(*codec.pixels(*shards.load(number))),
      num_features=count,
      decode=partial(decode_batch, size=config.image_size, has_ids=count > 1, labels=()),
      describe=shards.describe,
      cure=cure,
      files=shards.load,
    )
  return images.limited(config.limit) if config.limit else images


def num_examples(config, source: Source, split: str) -> int:
  """Images of a split, as the set itself counts its records."""
  images = split_records(config, source, split)
  if isinstance(images, Indexed) or config.limit:
    return images.num_images()
  return images.views * sum(part.count for part in images.ranges)


def images_per_scene(config) -> int:
  """How many images in a row are of one video; 1 where that varies, or the set was prepared."""
  places = PLACES if config.data_dir is None else (given(config),)
  try:
    found = (find(Path(place).expanduser(), config) for place in places)
    root = next(filter(None, found), None)
    return root and _chosen(config, _opened(root))[0].length or 1
  except DataError:  # of several sets, none of which is this one
    return 1
