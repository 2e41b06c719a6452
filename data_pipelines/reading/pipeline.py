"""From files to encoded images, in an order that follows from (seed, epoch) alone.

    pipeline = Pipeline(records, seed=0, epochs=None, shuffle=True, shuffle_buffer=10_000,
                        skip_corrupt=False)
    for *features, places in pipeline.batches(32, first_batch=1000): ...

Encoded records are shuffled and taken in groups; a group is unpacked at once into its encoded
images, which are permuted, so that the views of one scene do not sit together. So any batch can be
reached by passing over encoded records, and there is no iterator state to save.
"""

import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from data_pipelines.reading import tfrecords
from data_pipelines.reading.records import PLACES, DamageLog, Range, Records
from data_pipelines.sources import DataError
from data_pipelines.stores.cache import ahead, here

GROUP_VIEWS = 1280  # encoded images that are permuted together ...
MIN_GROUP, MAX_GROUP = 32, 128  # ... in so many records
MAX_BUFFERED_VIEWS = 150_000  # bounds the shuffle buffer of records with hundreds of images
CYCLE_LENGTH = 16  # files that are read side by side
FOREVER = 2**62
BLOCK, ZIPPED_BLOCK = 16, 4  # records that are numbered at once, of plain and of GZIP files
# Bytes; GZIP files are unpacked 1.6 times as fast as with the size that is TensorFlow's own.
BUFFERS = {"": 2**18, "GZIP": 2**23}


class Pipeline:
  """Encoded batches of a split; no iterator, since TensorFlow keeps this object alive until exit.

  (It keeps the Python functions of a pipeline, here bound methods.)
  """

  def __init__(
    self,
    records: Records,
    *,
    seed: int,
    epochs: int | None,
    shuffle: bool,
    shuffle_buffer: int,
    skip_corrupt: bool,
  ):
    self._records, self._seed, self._shuffle = records, seed, shuffle
    self._epochs = FOREVER if epochs is None else epochs
    self._skip_corrupt = skip_corrupt
    self._group = int(np.clip(GROUP_VIEWS // records.views, MIN_GROUP, MAX_GROUP))
    self._buffer = max(1, min(shuffle_buffer, MAX_BUFFERED_VIEWS // records.views))
    self.damage = DamageLog(records, skip=skip_corrupt)
    self.any_good = False  # whether any record was whole
    self._files_to_come: list[int] = []  # of this epoch and the next
    # After damage in a GZIP file nothing is read, so that places follow one another.
    self._in_one_go = len(records.ranges) == 1 and bool(
      tfrecords.compression(records.ranges[0].path)
    )
    self._incomplete_place = -1  # of the record that a limit on images cuts
    if records.last_views:
      last, final = len(records.ranges) - 1, records.ranges[-1]
      self._incomplete_place = last * PLACES + final.first + final.count - 1

  def batches(self, batch_size: int, first_batch: int) -> tf.data.Dataset:
    """Batches from `first_batch` on: encoded features [B] each, and places [B] of their records."""
    first_epoch, first_group, surplus = self._seek(first_batch * batch_size)
    epochs = tf.data.Dataset.range(first_epoch, max(self._epochs, first_epoch))

    @tfrecords.as_written
    def of_epoch(epoch):
      return self._epoch(epoch, tf.where(epoch == first_epoch, first_group, np.int64(0)))

    @tfrecords.as_written
    def drop(surplus, group):
      dropped = tf.minimum(surplus, tf.shape(group[-1], tf.int64)[0])
      return surplus - dropped, tuple(feature[dropped:] for feature in group)

    groups = epochs.flat_map(of_epoch)
    if surplus:
      groups = groups.scan(np.int64(surplus), drop)
    return groups.rebatch(batch_size)

  def files(self, batch_size: int, first_batch: int) -> Iterator[Path]:
    """The files in the order in which they are opened, from the start of a batch's epoch on."""
    for epoch in range(self._seek(first_batch * batch_size)[0], self._epochs):
      for file in self._plan(epoch)[0]:
        yield self._records.ranges[file].path

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
    """Groups of one epoch: features [n] and places [n] of the images of some 100 records."""
    order, seed = tf.numpy_function(self._plan, [epoch], [tf.int64, tf.int64], stateful=True)
    files = tf.data.Dataset.from_tensor_slices(tf.ensure_shape(order, [None]))
    # One file after the other where the order is fixed.
    cycle_length = min(CYCLE_LENGTH, len(self._records.ranges)) if self._shuffle else 1
    options = dict(num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    encoded = files.interleave(tfrecords.as_written(self._read), cycle_length, **options)
    if self._records.compact:
      encoded = encoded.map(tfrecords.as_written(self._compact), **options)
    if self._shuffle:
      encoded = encoded.shuffle(self._buffer, seed=seed, reshuffle_each_iteration=False)
    types = [tf.string] * self._records.num_features + [tf.int64]

    @tfrecords.as_written
    def unpack(group, places_and_records):
      arrays = tf.numpy_function(self._unpack, [epoch, group, *places_and_records], types)
      return tuple(tf.ensure_shape(array, [None]) for array in arrays)

    groups = encoded.batch(self._group).enumerate().skip(first_group)
    return groups.map(unpack, **options)

  def _read(self, file: tf.Tensor) -> tf.data.Dataset:
    """(place, encoded record) of one file; a place is file * PLACES + index of the record.

    Records pass in blocks, as wrappers around every single one take longer than reading it; an
    empty block tells `_rest` where TensorFlow stopped.
    """
    start, numpy_function = file * PLACES, partial(tf.numpy_function, stateful=True)
    opened = numpy_function(self._open, [file], [tf.string, tf.string, tf.int64])
    readable = tf.data.TFRecordDataset(*(tf.ensure_shape(each, []) for each in opened))
    end = tf.data.Dataset.from_tensors(tf.zeros([0], tf.string))
    blocks = readable.ignore_errors().batch(ZIPPED_BLOCK if self._in_one_go else BLOCK)
    if self._in_one_go:  # one core does nothing but unpack
      blocks = blocks.prefetch(1)

    @tfrecords.as_written
    def number(state, block):
      place, position = state
      count = tf.size(block, tf.int64)
      numbered = tf.cond(
        count > 0,
        lambda: [place + tf.range(count), block],
        lambda: numpy_function(self._rest, [file, place, position], [tf.int64, tf.string]),
      )
      size = tf.reduce_sum(tf.cast(tf.strings.length(block), tf.int64))
      state = place + count, position + size + count * (tfrecords.HEADER + tfrecords.FOOTER)
      return state, tuple(tf.ensure_shape(each, [None]) for each in numbered)

    encoded = blocks.concatenate(end).scan((start, np.int64(0)), number)
    if self._in_one_go:
      first, last = _bounds(self._records.ranges[0])
      return encoded.unbatch().skip(first).take(last - first)
    bounds = np.array([_bounds(part) for part in self._records.ranges], np.int64)
    if (bounds != _bounds(Range(None))).any():
      first, last = tf.unstack(start + tf.constant(bounds)[file])
      within = tfrecords.as_written(lambda places, _: tf.reduce_all(places[:1] < last))
      encoded = encoded.take_while(within)

      @tfrecords.as_written
      def cut(places, records):
        begin, end = (tf.math.count_nonzero(places < bound) for bound in (first, last))
        return places[begin:end], records[begin:end]

      encoded = encoded.map(cut)
    return encoded.unbatch()

  def _compact(self, place: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The same record in fewer bytes."""
    small = tf.numpy_function(self._records.compact, [record], tf.string, stateful=False)
    return place, tf.ensure_shape(small, [])

  # What runs in Python, called by the pipeline.

  def _plan(self, epoch: np.int64) -> tuple[np.ndarray, np.int64]:
    """Order of the files in an epoch, and the seed of its shuffle buffer."""
    self.damage.raise_if_all(self.any_good)  # else a stream without end would search for ever
    order, seed = self._order(epoch)
    follows = self._order(epoch + 1)[0] if epoch + 1 < self._epochs else []
    self._files_to_come = [*order, *follows]
    return order, seed

  def _order(self, epoch: np.int64) -> tuple[np.ndarray, np.int64]:
    """See `_plan`."""
    num_files = len(self._records.ranges)
    if not self._shuffle:
      return np.arange(num_files), np.int64(0)
    rng = np.random.default_rng([self._seed, epoch])
    return rng.permutation(num_files), rng.integers(1, 2**31 - 1)

  def _open(self, file: np.int64) -> tuple[bytes, bytes, np.int64]:
    """Path of a file, its compression, and the size of a buffer for reading it."""
    path = self._records.ranges[file].path
    now = self._files_to_come.index(file)
    ahead(self._records.ranges[following].path for following in self._files_to_come[now + 1 :])
    try:
      here(path)
      compression = tfrecords.compression(path)
    except OSError as error:
      self._fail(tfrecords.unreadable(path, error))
    return str(path).encode(), compression.encode(), np.int64(BUFFERS[compression])

  def _rest(self, file, place, position) -> tuple[np.ndarray, np.ndarray]:
    """Places and bytes of whole records after the first that TensorFlow could not read.

    Args:
      file: which one it came to the end of, or to damage.
      place: after the last record that it read ...
      position: ... and how many bytes, unpacked, there are before this place.
    """
    part, start = self._records.ranges[file], file * PLACES
    first, last = _bounds(part)
    good, bad = {}, []
    try:
      if place - start < last and not tfrecords.ends_at(part.path, position):
        good, bad = tfrecords.rest(part.path, int(place - start))
    except OSError as error:
      self._fail(tfrecords.unreadable(part.path, error))
    for damage in bad:
      hides_all = damage.index > max(good, default=-1)
      if damage.index < last and (damage.index >= first or hides_all):
        self.damage.note(start + damage.index, damage.cause)
    places = np.array([start + index for index in good], np.int64)
    return places, np.array(list(good.values()), object)

  def _fail(self, error: DataError):
    self.damage.failure = error
    raise error from None

  def _unpack(self, epoch, group, places, encoded) -> list[np.ndarray]:
    """Permuted encoded images of a group of records; what is damaged is left out or raised."""
    images, origins = [], []
    for place, record in zip(places.tolist(), encoded, strict=True):
      try:
        views = self._records.unpack(record)
      except ValueError as error:
        self.damage.note(place, str(error))
        continue
      if place == self._incomplete_place:
        views = views[: self._records.last_views]
      images += views
      origins += itertools.repeat(place, len(views))
    self.any_good |= bool(images)
    order = np.arange(len(images))
    if self._shuffle:
      order = np.random.default_rng([self._seed, epoch, group]).permutation(len(images))
    # Objects, since numpy's own bytes would lose zeros at the end.
    numbers = range(self._records.num_features)
    features = [np.array([images[i][number] for i in order], object) for number in numbers]
    return [*features, np.array(origins, np.int64)[order]]


def _bounds(part: Range) -> tuple[int, int]:
  """Index of the first record of a range, and after its last."""
  return part.first, PLACES if part.count is None else min(part.first + part.count, PLACES)
