"""Reads the images of a draw from files: those alone are decoded.

A file of records is asked for the records that were drawn, once the headers of all have told where
they lie. A compressed file is read from its start to the last one that was drawn. Images in files
of their own, or rows of arrays, are found by number anyway.

With on_corrupt="skip" the next images of the draw take the places of damaged ones.
"""

import collections
import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from data_pipelines.reading import tfrecords
from data_pipelines.reading.indexed import Indexed
from data_pipelines.reading.lanes import index
from data_pipelines.reading.pipeline import BUFFERS
from data_pipelines.reading.progress import in_order, with_progress
from data_pipelines.reading.records import PLACES, DamageLog, Range, Records
from data_pipelines.sampling import Sample
from data_pipelines.sources import check_choice, shard_rows
from data_pipelines.stores.cache import here

THREADS = min(16, 2 * (os.cpu_count() or 1))
BATCHES_AHEAD = 2
LOUD_BYTES = 2**31  # of files, from which on looking for their records is told

Features = tuple[bytes, ...]


class _ByNumber:
  """Loads images that are found by number."""

  def __init__(self, images: Indexed, damage: DamageLog):
    self._images, self._damage, self.total = images, damage, images.num
    self.place = int

  def load(self, number: int) -> Features | None:
    """The features of an image; None if it is damaged and damage is no error."""
    try:
      return self._images.load(number)
    except (ValueError, OSError) as error:
      self._damage.note(number, error)
      return None

  def load_all(self, numbers: np.ndarray, pool, ahead: int) -> Iterator[Features | None]:
    """The features of images, in the order of these numbers; negative numbers are passed over."""
    return in_order(
      pool, lambda number: self.load(number) if number >= 0 else None, numbers.tolist(), ahead
    )


class _FromRecords(_ByNumber):
  """Loads images from files of records, which may hold several images each."""

  def __init__(self, records: Records, damage: DamageLog, skip: bool):
    self._records, self._damage, self._skip = records, damage, skip
    with ThreadPoolExecutor(THREADS) as pool:
      found = pool.map(index.frames_of, records.ranges)
      if records.num_bytes() > LOUD_BYTES:
        found = with_progress(found, len(records.ranges), "looking for records", "file")
      self._frames = list(found)
    counts = [self._count(file, frames) for file, frames in enumerate(self._frames)]
    self._ends = np.cumsum(counts)
    self._starts = self._ends - counts
    unused = records.views - records.last_views if records.last_views else 0
    self.total = int(self._ends[-1]) * records.views - unused

  def _count(self, file: int, frames: index.Frames) -> int:
    """Records of a file that can be read; damage that hides the rest is an error, or noted."""
    part = self._records.ranges[file]
    if frames.damage and not tfrecords.is_cut(part.path):
      self._damage.note(file * PLACES + frames.damage.index, frames.damage.cause)
    count = len(frames.offsets)
    if self._skip and frames.are_packed:  # nothing after the first damage can be read
      count = min(count, _num_leading(part, part.first + count) - part.first)
    return max(count, 0)

  def _find(self, number: int) -> tuple[int, int, int]:
    """File, record within its range, and view of an image."""
    record, view = divmod(number, self._records.views)
    file = int(np.searchsorted(self._ends, record, "right"))
    return file, int(record - self._starts[file]), view

  def place(self, number: int) -> int:
    """Where an image is, for error messages."""
    file, record, _ = self._find(number)
    return file * PLACES + self._records.ranges[file].first + record

  def load(self, number: int) -> Features | None:
    """See `_ByNumber`."""
    file, record, view = self._find(number)
    offset, length = (int(x[record]) for x in self._frames[file][:2])
    try:
      data = tfrecords.read_record(self._records.ranges[file].path, offset, length)
      return self._records.unpack(data)[view]
    except (ValueError, OSError) as error:
      self._damage.note(self.place(number), error)
      return None

  def load_all(self, numbers: np.ndarray, pool, ahead: int) -> Iterator[Features | None]:
    """See `_ByNumber`; of compressed files the numbers must rise."""
    if not any(frames.are_packed for frames in self._frames):
      yield from super().load_all(numbers, pool, ahead)
      return
    stream = self._stream(numbers[numbers >= 0])
    for number in numbers.tolist():
      yield next(stream) if number >= 0 else None

  def _stream(self, numbers: np.ndarray) -> Iterator[Features | None]:
    """Features of images of compressed files, in the order of rising numbers."""
    by_file = itertools.groupby(numbers.tolist(), lambda number: self._find(number)[0])
    for file, in_file in by_file:
      images = collections.defaultdict(list)  # record -> its images
      for number in in_file:
        images[self._find(number)[1]].append(number)
      for of_record, data in zip(images.values(), self._zipped(file, images), strict=True):
        yield from (self._unpacked(number, data) for number in of_record)

  def _unpacked(self, number: int, data: bytes) -> Features | None:
    try:
      return self._records.unpack(data)[self._find(number)[2]]
    except ValueError as error:
      self._damage.note(self.place(number), str(error))
      return None

  def _zipped(self, file: int, records: Iterable[int]) -> Iterator[bytes]:
    """Some records of a compressed file."""
    part, records = self._records.ranges[file], np.fromiter(records, np.int64)
    wanted = np.zeros(records[-1] + 1, bool)
    wanted[records] = True
    flags = tf.constant(wanted)
    data = _opened(part).skip(part.first).take(len(wanted)).enumerate()
    data = data.filter(lambda record, _: flags[record]).map(lambda _, bytes_: bytes_).prefetch(16)
    try:
      yield from data.as_numpy_iterator()
    except tf.errors.OpError:
      if damage := tfrecords.find_damage(part.path):
        self._damage.note(file * PLACES + damage.index, damage.cause)
      raise


def _opened(part: Range) -> tf.data.TFRecordDataset:
  """All records of a file."""
  compression = tfrecords.compression(part.path)
  return tf.data.TFRecordDataset(str(here(part.path)), compression, BUFFERS[compression])


def _num_leading(part: Range, most: int) -> int:
  """How many records, up to `most`, can be read from the start of a file before damage."""
  readable = _opened(part).take(most).ignore_errors()
  return int(readable.reduce(np.int64(0), lambda count, _: count + 1))


class FileSample(Sample):
  """A draw from files; see `Sample`.

  Args:
    images: of the split.
    split, num_images, seed, scene: see `Sample`.
    batch_size: images over all shards.
    shard_index, shard_count: see `data_pipelines.batches`.
    on_corrupt: "error" or "skip".

  Raises:
    DataError: a file is damaged, and that is an error.
  """

  def __init__(
    self,
    images: Records | Indexed,
    split: str,
    num_images: int | None,
    seed: int,
    scene: int,
    *,
    batch_size: int,
    shard_index: int = 0,
    shard_count: int = 1,
    on_corrupt: str = "error",
  ):
    check_choice("on_corrupt", on_corrupt, ("error", "skip"))
    self._batch_size, self._shard = batch_size, shard_rows(batch_size, shard_index, shard_count)
    self._images, self._skip = images, on_corrupt == "skip"
    self._damage = DamageLog(images, skip=self._skip)
    if isinstance(images, Indexed):
      self._source = _ByNumber(images, self._damage)
    else:
      self._source = _FromRecords(images, self._damage, self._skip)
    super().__init__(split, self._source.total, num_images, seed, scene)
    texts = [tf.TensorSpec([None], tf.string)] * images.num_features
    self._decode = tf.function(images.decode, input_signature=texts)
    self._rows = self._batches()

  @property
  def num_corrupt(self) -> int:
    """Damaged records or images met so far, each counted once."""
    return len(self._damage)

  def _batches(self) -> Iterator[dict[str, np.ndarray]]:
    with ThreadPoolExecutor(THREADS) as pool:
      images = self._loaded(pool)
      groups = iter(lambda: list(itertools.islice(images, self._batch_size)), [])
      yield from in_order(pool, self._decoded, groups, BATCHES_AHEAD)
    self._damage.raise_if_all(any_good=self._any_good)

  def _loaded(self, pool) -> Iterator[tuple[int, int, Features | None]]:
    """Number, rank and features of whole images; of other shards' rows no features."""
    self._any_good, left, rank = False, self.num_images, 0
    while left and rank < self.total:
      chosen = self._order[rank : rank + left]
      by_place = np.argsort(chosen)
      numbers, ranks = chosen[by_place], rank + by_place
      rank += len(chosen)
      wanted = numbers if self._skip else np.where(self._is_mine(len(numbers)), numbers, -1)
      features = self._source.load_all(wanted, pool, BATCHES_AHEAD * self._batch_size)
      rows = zip(numbers.tolist(), ranks.tolist(), wanted.tolist(), features, strict=True)
      for number, its_rank, asked, found in rows:
        if found is not None or asked < 0:
          left, self._any_good = left - 1, True
          yield number, its_rank, found

  def _is_mine(self, count: int) -> np.ndarray:
    """Which of `count` images are rows of this shard, bool `[count]`.

    Decoders need an image, also where an incomplete batch has none for this shard: the first one.
    """
    position = np.arange(count)
    row, size = position % self._batch_size, self._batch_size
    rows_there = np.minimum(size, count - position // size * size)
    mine = (row >= self._shard.start) & (row < self._shard.stop)
    return mine | ((row == 0) & (rows_there <= self._shard.start))

  def _decoded(self, group: list[tuple[int, int, Features | None]]) -> dict[str, np.ndarray]:
    rows = group[self._shard]
    source = rows or group[:1]
    columns = [tf.constant(column) for column in zip(*(row[2] for row in source), strict=True)]
    try:
      with tf.device("/CPU:0"):
        batch = self._decode(*columns)
    except tf.errors.OpError as error:
      raise self._undecodable(source) or error from None
    arrays = {name: value.numpy()[: len(rows)] for name, value in batch.items()}
    index, rank = (np.array([row[i] for row in rows], np.int64) for i in (0, 1))
    return arrays | {"index": index, "rank": rank}

  def _undecodable(self, rows) -> Exception | None:
    for number, _, features in rows:
      try:
        self._decode(*(tf.constant([feature]) for feature in features))
      except tf.errors.OpError:
        return self._damage.undecodable(self._source.place(number))
    return None
