"""Multi-Object Datasets (Kabra et al. 2019): one GZIP tfrecord file per variant, with masks.

    source = resolve(config)               # where the file is; renders a stand-in if nowhere
    records = split_records(config, source, "train")

Records are tf.Examples: `image` [H, W, 3] and `mask` [E, H, W, 1], 0 or 255, as lists of strings of
one byte each. On the wire that is a stride of three bytes (tag, length 1, value), which numpy reads
at once; 40,000 strings would take far longer.

Splits follow the order of the file: the first `num_test` images are "test", the next `num_val`
"val" and the rest "train". A variant with fewer images has no training split.
"""

import dataclasses
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from data_pipelines.common import (
  STAND_IN_FILE,
  DataError,
  Source,
  check_config,
  resize_ids,
  resize_images,
  stand_in_notes,
)
from data_pipelines.records import Range, Records


class Layout(NamedTuple):
  """Published form of a data set.

  Attributes:
    folder: of the published bucket, and prefix of the file names.
    side: of the square images, pixels.
    num_background: leading entities that are background.
    num_entities: per variant, masks of a record.
  """

  folder: str
  side: int
  num_background: int
  num_entities: dict[str, int]


LAYOUTS = {
  "objects_room": Layout(
    "objects_room", 64, 4, dict(train=7, six_objects=10, empty_room=4, identical_color=10)
  ),
}
PLACES = ("data/multi-object-datasets", "data/multi_object_datasets", "data")
STAND_INS = Path("data/stand_ins")
STAND_IN_PART = 10  # test and val are at most one in so many images of a stand-in
COUNTABLE_BYTES = 2**27  # larger files are not counted: that would unpack all of them
COMPACT = b"\0"  # no tf.Example starts with this byte


def file_name(layout: Layout, variant: str) -> str:
  """Name of a variant's file."""
  return f"{layout.folder}_{variant}.tfrecords"


def _find(config, layout: Layout) -> Path | None:
  """The folder with the file; None if there is no data_dir and nothing is found."""
  name = file_name(layout, config.variant)
  given = None if config.data_dir is None else Path(config.data_dir).expanduser()
  for place in PLACES if given is None else (given,):
    for root in (Path(place) / layout.folder, Path(place)):
      if (root / name).is_file():
        return root
  if given is None:
    return None
  what = f"has no {name}" if given.is_dir() else "does not exist"
  raise DataError(f"data.data_dir {given} {what}; {_help(layout, config.variant, given)}")


def _help(layout: Layout, variant: str, folder: Path) -> str:
  return (
    f"expected {folder / layout.folder / file_name(layout, variant)}; "
    f"download: gsutil -m cp -r gs://multi-object-datasets/{layout.folder} {folder}"
  )


def _render_stand_in(config, layout: Layout) -> Path:
  """Folder of the stand-in for a variant, rendered now unless it was before."""
  from data_pipelines import multi_object_standins as standins  # imports jax

  num_objects = layout.num_entities[config.variant] - layout.num_background
  download = _help(layout, config.variant, Path(PLACES[0]))
  if num_objects < standins.MAX_OBJECTS:
    raise DataError(
      f"no {config.name} {config.variant} data under {', '.join(PLACES)}, and rendered scenes have "
      f"up to {standins.MAX_OBJECTS} objects, too many to stand in for it; {download}"
    )
  scenes = max(standins.MIN_SCENES, config.standin_scenes)
  name = f"{config.name}_{layout.side}px_{scenes}_scenes_v{standins.VERSION}"
  root = STAND_INS / name / layout.folder / config.variant
  logging.log_first_n(
    logging.WARNING,
    "NO %s DATA FOUND under %s: rendered stand-in scenes in %s are used instead. For the real "
    "ones, %s",
    1,
    config.name.upper(),
    ", ".join(PLACES),
    root,
    download,
  )
  if not (root / STAND_IN_FILE).exists():
    standins.write(root, dataset=config.name, variant=config.variant, num_scenes=scenes)
  return root


def resolve(config) -> Source:
  """Finds the file (or renders a stand-in when no data_dir is given and none is found).

  Raises:
    DataError: data_dir does not exist or does not have the file.
    ValueError: a field of `config` has an impossible value.
  """
  layout = LAYOUTS[config.name]
  check_config(config, layout.num_entities)
  for field in ("num_val", "num_test"):
    if getattr(config, field) < 0:
      raise ValueError(f"data.{field} is {getattr(config, field)}; it must be at least 0")
  root = _find(config, layout) or _render_stand_in(config, layout)
  notes = stand_in_notes(root)
  what = f"{config.name} {config.variant}"
  if notes:
    description = (
      f"{what}: RENDERED STAND-IN, not the published images ({notes['num_images']} images, "
      f"{notes['image_size']} pixels) in {root}"
    )
  else:
    description = f"{what}: {root / file_name(layout, config.variant)}"
  logging.info("%s", description)
  return Source(config.name, config.variant, root, bool(notes), description, {"train": 1})


def _range(config, source: Source, split: str) -> Range:
  """The part of the file that is a split."""
  path = source.root / file_name(LAYOUTS[config.name], config.variant)
  num_test, num_val = config.num_test, config.num_val
  notes = stand_in_notes(source.root)
  if notes:
    most = notes["num_images"] // STAND_IN_PART
    num_test, num_val = min(num_test, most), min(num_val, most)
  first, count = {
    "test": (0, num_test),
    "val": (num_test, num_val),
    "train": (num_test + num_val, None),
  }[split]
  return Range(path, first, count, "GZIP")


def _fields(data: memoryview):
  """Number and content of the fields of a protocol buffer that has nothing but messages in it."""
  at = 0
  while at < len(data):
    tag, length, shift = data[at], 0, 0
    if tag & 7 != 2 or tag > 127:
      raise ValueError("is laid out in an unusual way")
    while True:  # a length takes seven bits a byte, the lowest first
      at += 1
      length |= (data[at] & 127) << shift
      shift += 7
      if data[at] < 128:
        break
    at += 1
    if at + length > len(data):
      raise ValueError("is laid out in an unusual way")
    yield tag >> 3, data[at : at + length]
    at += length


def _stride(record: bytes, sizes: dict[str, int]) -> dict[str, np.ndarray]:
  """Features, uint8 [size] each, of a record in the usual layout.

  Raises:
    ValueError, IndexError: it is laid out in another way (and perhaps fine all the same).
  """
  arrays = {}
  for _, features in _fields(memoryview(record)):
    for _, entry in _fields(features):
      parts = dict(_fields(entry))
      name = bytes(parts[1]).decode() if 1 in parts else ""
      if name not in sizes or 2 not in parts:
        continue
      ((kind, values),) = _fields(parts[2])
      if kind != 1 or len(values) != 3 * sizes[name] or name in arrays:
        raise ValueError("is laid out in an unusual way")
      triples = np.frombuffer(values, np.uint8).reshape(-1, 3)
      # Field 1 of bytes, and a length of one.
      if not ((triples[:, 0] == 0x0A).all() and (triples[:, 1] == 1).all()):
        raise ValueError("is laid out in an unusual way")
      arrays[name] = triples[:, 2]
  if len(arrays) < len(sizes):
    raise ValueError("lacks a feature")
  return arrays


def _parse(record: bytes, sizes: dict[str, int]) -> dict[str, np.ndarray]:
  """As `_stride`, slowly, for any layout; ValueErrors say what is wrong with a damaged record."""
  try:
    features = tf.train.Example.FromString(record).features.feature
  except Exception as error:  # the class differs between protobuf implementations
    raise ValueError("is not a tf.Example") from error
  arrays = {}
  for name, size in sizes.items():
    if name not in features:
      raise ValueError(f"has no feature `{name}`")
    values = features[name].bytes_list.value
    if len(values) != size:
      raise ValueError(f"`{name}` has {len(values)} entries instead of {size}")
    if any(len(value) != 1 for value in values):
      raise ValueError(f"`{name}` has entries that are not one byte long")
    arrays[name] = np.frombuffer(b"".join(values), np.uint8)
  return arrays


@dataclasses.dataclass(frozen=True)
class _Codec:
  """Reads the records of one variant; the fields are as in `Layout`."""

  side: int
  num_background: int
  num_entities: int

  def arrays(self, record: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, uint8 [S * S * 3], and ids of instances, uint8 [S * S]; ValueError if damaged."""
    area = self.side**2
    sizes = {"image": area * 3, "mask": area * self.num_entities}
    try:
      features = _stride(record, sizes)
    except (ValueError, IndexError):
      features = _parse(record, sizes)
    masks = features["mask"].reshape(self.num_entities, area)
    ids = np.zeros(area, np.uint8)
    for entity in range(self.num_background, self.num_entities):
      ids[masks[entity] > 127] = entity + 1
    return features["image"], ids

  def compact(self, record: bytes) -> bytes:
    """Pixels and ids in a seventh of the bytes; a damaged record as it is."""
    try:
      image, ids = self.arrays(record)
    except ValueError:  # `unpack` meets it again, where damage is counted
      return record
    return COMPACT + image.tobytes() + ids.tobytes()

  def unpack(self, record: bytes) -> list[tuple[bytes, bytes]]:
    """[(pixels, ids)] of a record, compact or not; ValueError if it is damaged."""
    if record[:1] != COMPACT:
      image, ids = self.arrays(record)
      return [(image.tobytes(), ids.tobytes())]
    end = 1 + self.side**2 * 3
    return [(record[1:end], record[end:])]

  def decode(self, images, ids, *, size: int, resize: str) -> dict[str, tf.Tensor]:
    """Strings [B] as image uint8 [B, size, size, 3] and instances int32 [B, size, size]."""
    shape = [-1, self.side, self.side]
    images = tf.reshape(tf.io.decode_raw(images, tf.uint8), [*shape, 3])
    ids = tf.reshape(tf.io.decode_raw(ids, tf.uint8), shape)
    return {
      "image": resize_images(images, size, resize),
      "instances": tf.cast(resize_ids(ids, size, resize), tf.int32),
    }


def split_records(config, source: Source, split: str) -> Records:
  """The records of a split, at most `config.limit` images of it.

  Raises:
    DataError: the file has no records for the split.
  """
  layout, part = LAYOUTS[config.name], _range(config, source, split)
  codec = _Codec(layout.side, layout.num_background, layout.num_entities[config.variant])
  records = Records(
    ranges=(part,),
    views=1,
    unpack=codec.unpack,
    num_features=2,
    decode=partial(codec.decode, size=config.image_size, resize=config.resize),
    cure="fetch the file again, or leave such records out with --config.data.on_corrupt=skip",
    compact=codec.compact,
  )
  if not part.num_records(1):
    raise DataError(
      f"{part.path} has no records for the {split} split, which starts at record {part.first}; "
      "lower --config.data.num_test and --config.data.num_val, or "
      f"{_help(layout, config.variant, source.root.parent)}"
    )
  return records.limited(config.limit) if config.limit else records


def num_examples(config, source: Source, split: str) -> int | None:
  """Images of a split by the headers of its records; None where counting would take long."""
  records = split_records(config, source, split)
  small = records.ranges[0].path.stat().st_size <= COUNTABLE_BYTES
  return records.num_images() if small or config.limit or split != "train" else None
