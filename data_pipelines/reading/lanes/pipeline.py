"""Encoded batches of a split that is read in lanes; see `plan`.

    pipeline = LanePipeline(records, seed=0, epochs=None, shuffle_buffer=10_000, skip_corrupt=False)
    for *features, places in pipeline.batches(32, first_batch=1000): ...

A lane takes so many records at a time that all lanes of a batch together hold as many as a shuffle
buffer would, and permutes their images. While these are given out, the next ones are read. So the
order follows from the seed, the epoch and the number of rows in a batch, any batch is reached by
reading what a shuffle buffer holds, and there is no iterator state to save.

Which images make up a batch depends on damaged ones before it that are left out
(on_corrupt="skip"), wherever they are. Then every host reads all lanes, and from the start.
"""

import functools
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from data_pipelines.reading import tfrecords
from data_pipelines.reading.lanes import files, index
from data_pipelines.reading.lanes.coming import Coming
from data_pipelines.reading.lanes.counts import ASKING, Part
from data_pipelines.reading.lanes.plan import STREAM, SURE, Plan, Shares
from data_pipelines.reading.lanes.told import Board, Told
from data_pipelines.reading.pipeline import FOREVER, GROUP_VIEWS, MAX_BUFFERED_VIEWS
from data_pipelines.reading.records import PLACES, DamageLog, Records
from data_pipelines.reading.tfrecords import HEADER
from data_pipelines.sources import DataError, shard_rows
from data_pipelines.stores.cache import here
from data_pipelines.stores.threads import in_order

GROUPS_AHEAD = 2
WHOLE_BYTES = 2**24  # a larger file of a store is read in pieces until all of it has come
_END = object()

Image = tuple  # its features, bytes, and its place


class LanePipeline:
  """Batches of a shard; stands beside `pipeline.Pipeline` and is used in the same way.

  A place is file * PLACES + byte at which the record begins. An image that is damaged is None until
  batches are made.
  """

  def __init__(
    self,
    records: Records,
    *,
    seed: int,
    epochs: int | None,
    shuffle_buffer: int,
    skip_corrupt: bool,
    shard_index: int,
    shard_count: int,
    board: Board | None = None,
  ):
    self._records, self._seed, self._skip_corrupt = records, seed, skip_corrupt
    self._epochs = FOREVER if epochs is None else epochs
    self._buffer = max(1, min(shuffle_buffer, MAX_BUFFERED_VIEWS // records.views))
    self._shard = (shard_index, shard_count)
    self.cure = records.cure
    self.damage = DamageLog(self, skip=skip_corrupt)
    self.any_good = False  # whether any record was whole
    self._told = None if board is None else Told(board)
    self._coming: Coming | None = None
    self._passed: set[int] = set()  # lanes that were read to their end
    self._running: list[Iterator] = []
    self._closed = False
    self._incomplete = None  # the record that a limit on images cuts: file and first byte
    if records.last_views:
      last = len(records.ranges) - 1
      self._incomplete = last, int(index.frames_of(records.ranges[last]).offsets[-1]) - HEADER

  def describe(self, place: int) -> str:
    """Where a record is, for error messages."""
    file, begin = divmod(place, PLACES)
    offsets = index.frames(self._records.ranges[file].path).offsets
    return self._records.describe(file * PLACES + int(np.searchsorted(offsets, begin)))

  def batches(self, batch_size: int, first_batch: int) -> tf.data.Dataset:
    """The shard's rows from `first_batch` on: features [b] each, and places [b].

    Where a shard has no row of an incomplete batch, it gets another's image, at a place below 0,
    since decoders need one. With on_corrupt="skip" these are all rows, of all shards.
    """
    self._passed.clear()
    running = self._running = [self._groups(batch_size, first_batch)]
    types = [tf.string] * self._records.num_features + [tf.int64]

    def step() -> list[np.ndarray]:
      streams = running[:1]  # none: the stream was closed
      images = next(streams[0], []) if streams else []
      # Objects, since numpy's own bytes would lose zeros at the end.
      features = [np.array([image[i] for image in images], object) for i in range(len(types) - 1)]
      return [*features, np.array([image[-1] for image in images], np.int64)]

    @tfrecords.as_written
    def load(_):
      arrays = tf.numpy_function(step, [], types, stateful=True)
      return tuple(tf.ensure_shape(array, [None]) for array in arrays)

    groups = tf.data.Dataset.range(FOREVER).map(load)  # one after the other
    is_there = tfrecords.as_written(lambda *arrays: tf.size(arrays[-1]) > 0)
    groups = groups.take_while(is_there).prefetch(GROUPS_AHEAD)
    return groups.rebatch(len(self._lanes(batch_size)))

  def close(self) -> None:
    """Ends reading, at the next record, and forgets what was read ahead.

    (TensorFlow keeps functions, and what they hold, until exit.)
    """
    self._closed = True
    self._running.clear()
    if self._told:
      self._told.close()

  def files(self, batch_size: int, first_batch: int) -> Iterator[Path]:
    """The files that this shard reads from a batch on, in the order in which it first needs them.

    They come again in every epoch, without end where the stream has none.
    """
    lanes = self._lanes(batch_size)
    plan = Plan(self._records, self._seed, batch_size, lanes, self._told)
    epoch, starts = self._seek(plan, lanes, first_batch)
    for epoch in range(epoch, self._epochs):  # noqa: B020
      wanted = []
      for lane, start in zip(lanes, starts, strict=True):
        passed, before = start // self._records.views, 0
        for part in plan.parts(lane, epoch):
          count = plan.counts.of(part) if passed else 0
          if passed and passed >= count:
            passed -= count
          else:
            passed = 0
            wanted.append((before / plan.sizes[lane], lane, part.file))
          before += part.size
      for _, _, file in sorted(wanted):
        yield self._records.ranges[file].path
      starts = [0] * len(lanes)

  def _lanes(self, batch_size: int) -> range:
    if self._skip_corrupt:
      return range(batch_size)
    return range(batch_size)[shard_rows(batch_size, *self._shard)]

  def _groups(self, batch_size: int, first_batch: int) -> Iterator[list[Image]]:
    """The images of some batches at a time."""
    try:
      plan = Plan(self._records, self._seed, batch_size, self._lanes(batch_size), self._told)
      if not self._skip_corrupt:
        yield from self._rounds(plan, first_batch)
        return
      images = itertools.chain.from_iterable(self._rounds(plan, 0))
      whole = (image for image in images if image is not None)
      whole = itertools.islice(whole, first_batch * batch_size, None)
      while group := list(itertools.islice(whole, GROUP_VIEWS)):
        yield group
    except OSError as error:
      path = Path(error.filename or self._records.ranges[0].path.parent)
      self.damage.failure = tfrecords.unreadable(path, error)
      raise
    except DataError as error:
      self.damage.failure = error
      raise

  def _rounds(self, plan: Plan, batch: int) -> Iterator[list[Image | None]]:
    """An image of each of the shard's lanes by turns, many times."""
    lanes = self._lanes(plan.num_lanes)
    if plan.counts.others and self._told:
      self._told.when_asked(lambda: plan.counts.tell(self._told))
    if plan.counts.others and not (plan.is_stored and self._told):
      plan.counts.start(
        plan.counts.others if plan.is_stored else plan.counts.mine + plan.counts.others
      )
    epoch, starts = self._seek(plan, lanes, batch)
    pull = map
    if plan.is_stored:
      self._coming = Coming(plan, self._records.ranges, lanes, epoch, self._epochs)
      pull = functools.partial(in_order, ahead=ASKING)  # answers of a store take their time
    streams = [
      self._stream(plan, lane, epoch, start) for lane, start in zip(lanes, starts, strict=True)
    ]
    count, is_end = max(1, GROUP_VIEWS // len(lanes)), False
    while not is_end:
      columns = list(pull(lambda stream: list(itertools.islice(stream, count)), streams))
      rows = itertools.zip_longest(*columns, fillvalue=_END)
      images = [image for row in rows for image in row if image is not _END]
      batch += max(map(len, columns))
      is_end = len(images) < count * len(lanes)
      if is_end and batch * plan.num_lanes < self._epochs * plan.total:  # without a row of these
        epoch, starts = self._seek(plan, range(1), batch)
        images.append((*next(self._stream(plan, 0, epoch, starts[0]))[:-1], -1))
      if self._coming:
        self._coming.call()  # not before: the first images shall come first
      yield images

  def _seek(self, plan: Plan, lanes: range, batch: int) -> tuple[int, list[int]]:
    """The epoch of a batch, and how many images each lane has given before in this epoch."""
    epoch = begin = 0
    record = batch // self._records.views
    if batch and (plan.is_small or plan.reached(lanes[0], 0, record) >= plan.sure):
      epoch = batch * plan.num_lanes // max(plan.total, 1)
      begin = epoch * plan.total
    return epoch, [batch + (begin - lane) // -plan.num_lanes for lane in lanes]

  def _stream(self, plan: Plan, lane: int, epoch: int, first: int) -> Iterator[Image | None]:
    """The images of a row, from one of an epoch on."""
    for epoch in range(epoch, self._epochs):  # noqa: B020
      if len(self._passed) == plan.num_lanes:
        self.damage.raise_if_all(self.any_good)  # else a stream without end would search for ever
      yield from self._shuffled(plan, lane, epoch, first)
      self._passed.add(lane)
      first = 0

  def _shuffled(self, plan: Plan, lane: int, epoch: int, first: int) -> Iterator[Image | None]:
    """The images of a row in an epoch, from one on."""
    views, most = self._records.views, max(1, self._buffer // plan.num_lanes)
    window = self._first_window(plan, lane, epoch, first, most * views)
    dropped = first - window * most * views
    groups = self._of_row(plan, lane, epoch, window * most * views)
    waiting = list(itertools.islice(groups, most))
    while waiting:
      images, waiting = [image for group in waiting for image in group], []
      rng = np.random.default_rng([self._seed, STREAM, epoch, lane, window])
      for turn, i in enumerate(rng.permutation(len(images)).tolist()):
        if turn % views == 0 and len(waiting) < most:
          waiting.extend(itertools.islice(groups, 1))
        image, images[i] = images[i], None
        if dropped:
          dropped -= 1
        else:
          yield image
      waiting.extend(itertools.islice(groups, most - len(waiting)))
      window += 1

  def _first_window(self, plan: Plan, lane: int, epoch: int, first: int, size: int) -> int:
    """The window that has image `first`, or one before it: all that come before are full."""
    if not first or self._records.last_views:
      return 0
    if plan.is_small or plan.reached(lane, epoch, first // self._records.views) >= plan.sure:
      first = min(first, int(self._shares(plan, epoch).taken[lane]))
    return first // size

  def _shares(self, plan: Plan, epoch: int) -> Shares:
    """See `Plan.shares`; damage that hides records is met here, as lanes may end before it."""
    shares = plan.shares(epoch)
    for file, begin in list(plan.counts.damaged.items()):
      path = self._records.ranges[file].path
      if not tfrecords.is_cut(path):
        self.damage.note(file * PLACES + begin, index.frames(path).damage.cause)
    return shares

  def _of_row(self, plan: Plan, lane: int, epoch: int, first: int) -> Iterator[list[Image | None]]:
    """The images of a row in an epoch in the order of files, from one on, record by record."""
    taken, is_late = None, not plan.is_stored
    for read, images in self._of_lane(plan, lane, epoch, first):
      if not is_late and read >= SURE * plan.sizes[lane]:
        is_late = True
        plan.counts.start()
      if taken is None and (plan.is_small or read >= plan.sure * plan.sizes[lane]):
        taken = int(self._shares(plan, epoch).taken[lane])
        plan.check_even(lane, first, taken)
      if taken is not None:
        images = images[: taken - first]
      if images:
        yield images
      first += len(images)
      if first == taken:
        break
    for gift in self._shares(plan, epoch).gifts.get(lane, ()):
      left = gift.count
      for _, images in self._of_lane(plan, gift.lane, epoch, gift.first):
        yield images[:left]
        left -= len(images[:left])
        if not left:
          break

  def _of_lane(
    self, plan: Plan, lane: int, epoch: int, first: int
  ) -> Iterator[tuple[int, list[Image | None]]]:
    """Bytes of a lane up to the end of a record, about, and the record's images, from one on."""
    passed = 0 if self._records.last_views else first // self._records.views
    first -= passed * self._records.views
    before = 0
    for number, part in enumerate(plan.parts(lane, epoch)):
      count = plan.counts.of(part) if passed else 0
      if passed and passed >= count:
        passed -= count
      else:
        if self._coming:
          self._coming.begins(lane, epoch, number)
        for begin, data in self._of_part(plan, part, passed):
          if self._closed:  # or a shuffle buffer would be filled to the end, for nobody
            raise OSError("reading was ended")
          images = self._unpacked(part.file, begin, data)
          read = before + begin - part.begin + len(data or b"")
          if images[first:]:
            yield read, images[first:]
          first = max(0, first - len(images))
        passed = 0
      before += part.size

  def _of_part(self, plan: Plan, part: Part, passed: int) -> Iterator[tuple[int, bytes | None]]:
    """Where records of a part begin, and their data (None: damaged), after so many of them."""
    path, begin, count, lengths = self._records.ranges[part.file].path, 0, 0, []
    if plan.counts.is_mine(part) and path.stat().st_size < WHOLE_BYTES:
      here(path)
    if part.begin or passed:
      begins, _ = plan.counts.starts(part)
      if passed >= len(begins):
        return
      begin = int(begins[passed])
    end = min(part.end, path.stat().st_size) if not tfrecords.compression(path) else part.end
    for found in files.records(path, begin, end):
      if found.cause and not (found.is_last and tfrecords.is_cut(path)):
        self.damage.note(part.file * PLACES + found.begin, found.cause)
      if found.is_last:
        return
      count += 1
      lengths.append(len(found.data or b""))
      yield found.begin, found.data
    if not passed:
      plan.counts.learn(part, count)
      index.keep(path, lengths)

  def _unpacked(self, file: int, begin: int, data: bytes | None) -> list[Image | None]:
    """The images of a record; None each if it is damaged."""
    place, views = file * PLACES + begin, None
    if data is not None:
      try:
        views = self._records.unpack(data)
        self.any_good = True
      except ValueError as error:
        self.damage.note(place, str(error))
    if views is None:
      images = [None] * self._records.views
    else:
      images = [(*features, place) for features in views]
    if (file, begin) == self._incomplete:
      images = images[: self._records.last_views]
    return images
