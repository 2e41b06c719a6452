"""Batches of images from tfrecords, in an order that follows from (seed, epoch) alone.

    records = Records(ranges, views=10, unpack=unpack, num_features=1, decode=decode, cure="...")
    for batch in Batches(records, batch_size=32, seed=0, epochs=None, shuffle=True): ...

Encoded records are shuffled and taken in groups; a group is unpacked at once into its encoded
images, which are permuted, so that the views of one scene do not sit together. Only then are they
cut into batches, and only what a shard keeps is decoded. So any batch can be reached by passing
over encoded records, and there is no iterator state to save.
"""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from data_pipelines import records as tfrecords
from data_pipelines.common import DataError, check_choice

GROUP_VIEWS = 1280  # encoded images that are permuted together ...
MIN_GROUP, MAX_GROUP = 32, 128  # ... in so many records
MAX_BUFFERED_VIEWS = 150_000  # bounds the shuffle buffer of records with hundreds of images
CYCLE_LENGTH = 16  # files that are read side by side
NUM_WARNINGS = 5  # damaged records that are reported one by one
FOREVER = 2**62


class Range(NamedTuple):
  """The records of a file from index `first` on, at most `count` (None: all)."""

  path: Path
  first: int = 0
  count: int | None = None

  def num_records(self, most: int | None = None) -> int:
    """How many records the headers promise; stops counting at `most`."""
    limits = [n for n in (self.count, most) if n is not None]
    most = self.first + min(limits) if limits else None
    return max(tfrecords.num_records(self.path, most) - self.first, 0)


@dataclasses.dataclass(frozen=True)
class Records:
  """One split of a data set.

  Attributes:
    ranges: which records of which files, in the order that counts as fixed.
    views: images per record.
    unpack: encoded record -> one tuple of encoded features per image; ValueError if damaged.
    num_features: length of these tuples.
    decode: the same features as string tensors [B] -> dict of image tensors [B, ...].
    cure: what a user can do about a damaged file.
    last_views: of the very last record use only so many images; 0: all.
  """

  ranges: tuple[Range, ...]
  views: int
  unpack: Callable[[bytes], list[tuple[bytes, ...]]]
  num_features: int
  decode: Callable[..., dict[str, tf.Tensor]]
  cure: str
  last_views: int = 0

  def num_images(self, most: int | None = None) -> int:
    """Images promised by the headers of the records; stops counting at `most` or a bit later."""
    most = None if self.last_views else most  # a limited set is small: its end matters
    total = 0
    for part in self.ranges:
      if most is not None and total * self.views >= most:
        break
      left = None if most is None else -(-(most - total * self.views) // self.views)
      total += part.num_records(left)
    unused = self.views - self.last_views if self.last_views else 0
    return total * self.views - unused

  def limited(self, limit: int) -> "Records":
    """The first `limit` images in file order (all of them where there are fewer)."""
    needed, kept = -(-limit // self.views), []
    for part in self.ranges:
      count = part.num_records(needed)
      kept.append(part._replace(count=count))
      needed -= count
      if not needed:
        break
    last_views = limit % self.views if not needed else 0
    return dataclasses.replace(self, ranges=tuple(kept), last_views=last_views)


class Batches:
  """Iterator over dicts of numpy arrays; see `data_pipelines.batches` for the arguments.

  A shard gets rows [n * i // count, n * (i + 1) // count) of every batch of n images: shards always
  have equally many batches, and where the last batch has fewer images than there are shards, some
  get zero rows of it.
  """

  def __init__(
    self,
    records: Records,
    *,
    batch_size: int,
    seed: int = 0,
    epochs: int | None = None,
    first_batch: int = 0,
    shard_index: int = 0,
    shard_count: int = 1,
    shuffle: bool,
    shuffle_buffer: int = 10_000,
    on_corrupt: str = "error",
  ):
    check_choice("on_corrupt", on_corrupt, ("error", "skip"))
    if not 0 <= shard_index < shard_count:
      raise ValueError(f"shard_index is {shard_index}; it must be from 0 to {shard_count - 1}")
    if batch_size < 1 or batch_size % shard_count:
      raise ValueError(f"batch_size {batch_size} is not a multiple of {shard_count} shards")
    self._records, self._batch_size, self._seed, self._shuffle = records, batch_size, seed, shuffle
    self._epochs = FOREVER if epochs is None else epochs
    self._shard_index, self._shard_count = shard_index, shard_count
    self._skip_corrupt = on_corrupt == "skip"
    self._group = int(np.clip(GROUP_VIEWS // records.views, MIN_GROUP, MAX_GROUP))
    self._buffer = max(1, min(shuffle_buffer, MAX_BUFFERED_VIEWS // records.views))
    self._corrupt: dict[tuple[int, int], str] = {}  # (file, record) -> cause
    self._failure: DataError | None = None
    self._opened: list[int] = []  # files, in the order in which they were opened
    self._any_good = False
    self._next_batch = first_batch
    self._iterator = self._decoded(first_batch).as_numpy_iterator()

  def __iter__(self) -> "Batches":
    return self

  def __next__(self) -> dict[str, np.ndarray]:
    try:
      batch = next(self._iterator)
    except StopIteration:
      if self._skip_corrupt and self._corrupt and not self._any_good:
        raise self._all_corrupt() from None
      raise
    except tf.errors.OpError as error:
      raise self._diagnose(error) from None
    self._next_batch += 1
    return batch

  @property
  def num_corrupt(self) -> int:
    """Damaged records met so far, each counted once; reading runs a few batches ahead."""
    return len(self._corrupt)

  # The pipeline, from batches back to files.

  def _decoded(self, first_batch: int) -> tf.data.Dataset:
    """Batches of this shard from `first_batch` on, decoded."""

    def decode(*features_and_origin):
      features = features_and_origin[:-1]
      total = tf.shape(features[0])[0]
      begin = total * self._shard_index // self._shard_count
      end = total * (self._shard_index + 1) // self._shard_count
      return self._records.decode(*(feature[begin:end] for feature in features))

    options = tf.data.Options()
    options.deterministic = True
    decoded = self._encoded(first_batch).map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    return decoded.prefetch(tf.data.AUTOTUNE).with_options(options)

  def _encoded(self, first_batch: int) -> tf.data.Dataset:
    """Global batches: encoded features [B] each, and origin [B, 2] (file, record)."""
    first_epoch, first_group, surplus = self._seek(first_batch * self._batch_size)
    epochs = tf.data.Dataset.range(first_epoch, max(self._epochs, first_epoch))
    groups = epochs.flat_map(
      lambda epoch: self._epoch(epoch, tf.where(epoch == first_epoch, first_group, np.int64(0)))
    )

    def drop(surplus, group):
      dropped = tf.minimum(surplus, tf.shape(group[-1], tf.int64)[0])
      return surplus - dropped, tuple(feature[dropped:] for feature in group)

    if surplus:
      groups = groups.scan(np.int64(surplus), drop)
    return groups.rebatch(self._batch_size)

  def _seek(self, images: int) -> tuple[int, np.int64, int]:
    """Where a number of images leads: epoch, group within it, and images to drop after that.

    With on_corrupt="skip" only unpacking tells how many images a record yields, so everything up to
    there is unpacked (not decoded): a minute or two per million records.
    """
    if not images or self._skip_corrupt:
      return 0, np.int64(0), images
    per_epoch = self._records.num_images(most=images + 1)
    if per_epoch > images:
      epoch, images = 0, images
    elif per_epoch == 0:
      return 0, np.int64(0), images
    else:
      epoch, images = divmod(images, per_epoch)
    if self._records.last_views:  # the group that has the incomplete record is not known here
      return epoch, np.int64(0), images
    group, surplus = divmod(images, self._group * self._records.views)
    return epoch, np.int64(group), surplus

  def _epoch(self, epoch: tf.Tensor, first_group: tf.Tensor) -> tf.data.Dataset:
    """Groups of one epoch: features [n] and origins [n, 2] of the images of some 100 records."""
    order, seed = tf.numpy_function(self._plan, [epoch], [tf.int64, tf.int64], stateful=True)
    files = tf.data.Dataset.from_tensor_slices(tf.ensure_shape(order, [None]))
    # One file after the other where the order is fixed.
    cycle_length = min(CYCLE_LENGTH, len(self._records.ranges)) if self._shuffle else 1
    encoded = files.interleave(
      self._read, cycle_length, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    if self._shuffle:
      encoded = encoded.shuffle(self._buffer, seed=seed, reshuffle_each_iteration=False)
    types = [tf.string] * self._records.num_features + [tf.int64]

    def unpack(group, record):
      *features, origin = tf.numpy_function(self._unpack, [epoch, group, *record], types)
      return *(tf.ensure_shape(f, [None]) for f in features), tf.ensure_shape(origin, [None, 2])

    groups = encoded.batch(self._group).enumerate().skip(first_group)
    return groups.map(unpack, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

  def _read(self, file: tf.Tensor) -> tf.data.Dataset:
    """(file, record index, encoded record) of one file."""
    ranges = self._records.ranges
    path = tf.numpy_function(self._open, [file], tf.string)
    first = tf.constant([part.first for part in ranges], tf.int64)[file]
    count = tf.constant([-1 if p.count is None else p.count for p in ranges], tf.int64)[file]
    encoded = tf.data.TFRecordDataset(tf.ensure_shape(path, [])).enumerate()
    if self._skip_corrupt:
      types = [tf.int64, tf.int64, tf.string]
      leading, indices, rescued = tf.numpy_function(self._rescue, [file], types)
      rest = (tf.ensure_shape(indices, [None]), tf.ensure_shape(rescued, [None]))
      encoded = encoded.take(leading).concatenate(tf.data.Dataset.from_tensor_slices(rest))
      # Indices are no longer consecutive: choose by index, not by position.
      last = tf.where(count < 0, np.int64(FOREVER), first + count)
      encoded = encoded.filter(lambda i, _: (i >= first) & (i < last))
    else:
      encoded = encoded.take(tf.where(count < 0, count, first + count)).skip(first)
    return encoded.map(lambda index, record: (file, index, record))

  # What runs in Python, called by the pipeline.

  def _plan(self, epoch: np.int64) -> tuple[np.ndarray, np.int64]:
    """Order of the files in an epoch, and the seed of its shuffle buffer."""
    if self._skip_corrupt and self._corrupt and not self._any_good:
      self._failure = self._all_corrupt()
      raise self._failure
    num_files = len(self._records.ranges)
    if not self._shuffle:
      return np.arange(num_files), np.int64(0)
    rng = np.random.default_rng([self._seed, epoch])
    return rng.permutation(num_files), rng.integers(1, 2**31 - 1)

  def _open(self, file: np.int64) -> bytes:
    """The path of a file; notes that it is read, as errors of TensorFlow do not say where."""
    self._opened.append(int(file))
    return str(self._records.ranges[file].path).encode()

  def _rescue(self, file: np.int64) -> tuple[np.int64, np.ndarray, np.ndarray]:
    """How many records lead up to the first damage; indices and bytes of the whole ones after."""
    path = self._records.ranges[file].path
    leading = tfrecords.num_leading(path)
    good, bad = tfrecords.rescue(path, leading)
    for damage in bad:
      self._note_corrupt(int(file), *damage)
    return np.int64(leading), np.array(list(good), np.int64), np.array(list(good.values()), object)

  def _unpack(self, epoch, group, files, indices, encoded) -> list[np.ndarray]:
    """Permuted encoded images of a group of records; what is damaged is left out or raised."""
    images, origins = [], []
    for file, index, record in zip(files.tolist(), indices.tolist(), encoded, strict=True):
      try:
        views = self._records.unpack(record)
      except ValueError as error:
        self._note_corrupt(file, index, str(error))
        continue
      part = self._records.ranges[file]
      is_last = file == len(self._records.ranges) - 1 and index + 1 == part.first + (
        part.count or 0
      )
      if self._records.last_views and is_last:
        views = views[: self._records.last_views]
      images += views
      origins += itertools.repeat((file, index), len(views))
    self._any_good |= bool(images)
    order = np.arange(len(images))
    if self._shuffle:
      order = np.random.default_rng([self._seed, epoch, group]).permutation(len(images))
    features = np.empty((self._records.num_features, len(images)), object)
    for i, image in enumerate(order):
      features[:, i] = images[image]
    return [*features, np.array(origins, np.int64).reshape(-1, 2)[order]]

  # What is said about damage.

  def _where(self, file: int, index: int, cause: str) -> str:
    return f"{self._records.ranges[file].path}: record {index} (from 0) is damaged: {cause}"

  def _note_corrupt(self, file: int, index: int, cause: str) -> None:
    """Counts a damaged record; raises a DataError where damage is an error."""
    if not self._skip_corrupt:
      self._failure = DataError(f"{self._where(file, index, cause)}; {self._records.cure}")
      raise self._failure
    if (file, index) not in self._corrupt and len(self._corrupt) < NUM_WARNINGS:
      logging.warning("%s; skipped", self._where(file, index, cause))
    self._corrupt[file, index] = cause

  def _all_corrupt(self) -> DataError:
    (file, index), cause = next(iter(self._corrupt.items()))
    return DataError(f"every record is damaged, first {self._where(file, index, cause)}")

  def _diagnose(self, error: tf.errors.OpError) -> DataError | tf.errors.OpError:
    """The damage behind an error of the pipeline; the error itself where none is found."""
    if self._failure:
      return self._failure
    for file in reversed(dict.fromkeys(self._opened)):
      damage = tfrecords.find_damage(self._records.ranges[file].path)
      if damage:
        return DataError(f"{self._where(file, *damage)}; {self._records.cure}")
    batch = next(iter(self._encoded(self._next_batch)), None)
    *features, origin = batch if batch is not None else [()]
    for i, (file, index) in enumerate(np.asarray(origin)):
      try:
        self._records.decode(*(feature[i : i + 1] for feature in features))
      except tf.errors.OpError:
        cause = "an image cannot be decoded, though its header is right (skip does not help)"
        return DataError(f"{self._where(file, index, cause)}; fetch the file again or remove it")
    return error
