"""Reads prepared sets, which `python -m data_pipelines.prepare` writes.

    source = resolve(config)               # the set that fits the configuration
    records = split_records(config, source, "train")

Records are tf.Examples: `image`, PNG [S, S, 3]; maybe `instances`, PNG of 16 bits [S, S], 65535 for
what is to be ignored (-1); labels, numbers; `id`, position in the split of the source. Splits are
those of the source when it was prepared: `num_val` and `num_test` have no influence any more,
`limit` makes a split shorter still.
"""

import dataclasses
import math
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from data_pipelines.prepared import card as prepared_format
from data_pipelines.prepared.card import IGNORED, Card, read_card, shard_name
from data_pipelines.reading import tfrecords
from data_pipelines.reading.headers import png_header
from data_pipelines.reading.record_files import left_out
from data_pipelines.reading.records import Range, Records
from data_pipelines.sources import DataError, Source, check_reading

_RGB, _GREY = 2, 0  # colour types of PNG


def resolve(config) -> Source:
  """The prepared set that a configuration asks for.

  Raises:
    DataError: there is none, or its card cannot be read.
    ValueError: a field of `config` has an impossible value.
  """
  check_reading(config)
  root, misfits, _ = prepared_format.find(config)
  if root is None:
    raise DataError("; ".join(misfits) or f"no prepared set of {config.name} {config.variant}")
  card = read_card(root)
  counts = ", ".join(f"{split.num_images} {name}" for name, split in card.splits.items())
  stand_in = "RENDERED STAND-IN, not the published images, " if card.stand_in else ""
  protocol = f", protocol {card.protocol}" if card.protocol else ""
  limited = f", limited to {card.limit} images a split" if card.limit else ""
  damaged = sum(split.damaged for split in card.splits.values())
  damage = f", {damaged} damaged records left out" if damaged else ""
  description = (
    f"{card.dataset} {card.variant}{protocol}: {stand_in}prepared set of {counts} images"
    f"{limited}{damage} in {root}{left_out([root])}"
  )
  logging.info("%s", description)
  num_files = {name: len(split.shard_images) for name, split in card.splits.items()}
  parts = tuple(
    shard_name(card.dataset, name, i, count)
    for name, count in num_files.items()
    for i in range(count)
  )
  return Source(
    card.dataset,
    card.variant,
    root,
    bool(card.stand_in),
    description,
    num_files,
    card.protocol,
    parts,
  )


@dataclasses.dataclass(frozen=True)
class _Codec:
  """Reads the records of one set; the fields are as in `Card`."""

  side: int
  instances: bool
  labels: dict[str, tuple[str, list[int]]]

  def unpack(self, record: bytes) -> list[tuple[bytes, ...]]:
    """Image, maybe ids, and labels of a record as bytes; ValueError if it is damaged."""
    features = tfrecords.example_features(record)
    values = [self._png(features, "image", 8, _RGB)]
    if self.instances:
      values.append(self._png(features, "instances", 16, _GREY))
    values += [self._label(features, name, *layout) for name, layout in self.labels.items()]
    return [tuple(values)]

  def _png(self, features, name: str, bits: int, colour: int) -> bytes:
    if name not in features or len(features[name].bytes_list.value) != 1:
      raise ValueError(f"has no feature `{name}`")
    data = features[name].bytes_list.value[0]
    header = png_header(data)
    if header is None:
      raise ValueError(f"`{name}` is not a PNG")
    if header != (self.side, self.side, bits, colour):
      raise ValueError(f"`{name}` is not a PNG of {self.side}x{self.side} pixels, {bits} bits")
    return data

  def _label(self, features, name: str, dtype: str, shape: list[int]) -> bytes:
    if name not in features:
      raise ValueError(f"has no feature `{name}`")
    feature = features[name]
    kind = feature.float_list if np.issubdtype(dtype, np.floating) else feature.int64_list
    if len(kind.value) != math.prod(shape):
      raise ValueError(f"`{name}` has {len(kind.value)} entries instead of {math.prod(shape)}")
    return np.array(kind.value, dtype).tobytes()

  def decode(self, *features: tf.Tensor) -> dict[str, tf.Tensor]:
    """Strings [B] of all features as tensors [B, ...]."""
    num_pngs = 2 if self.instances else 1
    types = [tf.uint8, tf.uint16][:num_pngs]

    def pngs(encoded):
      decoded = [tf.io.decode_png(encoded[0], channels=3)]
      if self.instances:
        decoded.append(tf.io.decode_png(encoded[1], channels=1, dtype=tf.uint16))
      return decoded

    # A loop over the batch is faster than an element of tf.data for every image.
    images, *ids = tf.map_fn(
      pngs, list(features[:num_pngs]), fn_output_signature=types, parallel_iterations=1
    )
    batch = {"image": tf.ensure_shape(images, [None, self.side, self.side, 3])}
    if ids:
      ids = tf.ensure_shape(ids[0], [None, self.side, self.side, 1])[..., 0]
      ids = tf.cast(ids, tf.int32)
      batch["instances"] = tf.where(ids == IGNORED, -1, ids)
    named = zip(self.labels.items(), features[num_pngs:], strict=True)
    for (name, (dtype, shape)), encoded in named:
      batch[name] = tf.reshape(tf.io.decode_raw(encoded, _raw_type(dtype)), [-1, *shape])
      batch[name] = tf.cast(batch[name], dtype)
    return batch


def _raw_type(dtype: str) -> str:
  """The type that TensorFlow reads bytes as: it knows no raw truth values."""
  return "uint8" if dtype == "bool" else dtype


def _ranges(card: Card, root: Path, split: str, skip: bool) -> list[Range]:
  """The shards of a split, all there; what is wrong inside one is found when it is read."""
  counts, sizes = card.splits[split].shard_images, card.splits[split].shard_bytes
  ranges = []
  for i, (count, size) in enumerate(zip(counts, sizes, strict=True)):
    path = root / shard_name(card.dataset, split, i, len(counts))
    if not path.is_file():
      raise DataError(f"{path} is missing, {len(counts)} shards were prepared; prepare again")
    # Nothing else tells that a file was cut between two records.
    if path.stat().st_size != size and not (frames := tfrecords.framing(path)).damage:
      what = f"{path} has {len(frames.offsets)} records, {count} were prepared"
      if not skip and len(frames.offsets) != count:
        raise DataError(f"{what}; prepare again, or --config.data.on_corrupt=skip")
      logging.warning("%s", what)
    ranges.append(Range(path))
  return ranges


def split_records(config, source: Source, split: str) -> Records:
  """The records of a split, at most `config.limit` images of it.

  Raises:
    DataError: the split was not prepared, or shards are missing.
  """
  card = read_card(source.root)
  if split not in card.splits:
    raise DataError(f"{source.root} has no {split} split, only {', '.join(card.splits)}")
  codec = _Codec(card.image_size, card.instances, card.labels)
  records = Records(
    ranges=tuple(_ranges(card, source.root, split, config.on_corrupt == "skip")),
    views=1,
    unpack=codec.unpack,
    num_features=1 + card.instances + len(card.labels),
    decode=codec.decode,
    cure="prepare the set again, or leave such records out with --config.data.on_corrupt=skip",
  )
  return records.limited(config.limit) if config.limit else records


def num_examples(config, source: Source, split: str) -> int:
  """Images of a split, as counted when it was prepared."""
  card = read_card(source.root)
  if split not in card.splits:
    raise DataError(f"{source.root} has no {split} split, only {', '.join(card.splits)}")
  count = card.splits[split].num_images
  return min(count, config.limit) if config.limit else count
