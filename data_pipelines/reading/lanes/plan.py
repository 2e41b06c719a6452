"""Which records the images of a batch come from: each row of the batch has a lane of files.

    plan = Plan(records, seed=0, num_lanes=batch_size)
    plan.parts(lane, epoch)            # parts of files, in the order in which the lane reads them
    plan.shares(epoch).taken[lane]     # images of its own that it gives to its row

The files of a split are put in a row, in an order that follows from the seed, and cut into as many
lanes of equal bytes as a batch has rows. Row r of every batch is an image of lane r, and a host
reads the lanes of its rows, whatever the number of hosts: the bytes are shared as the images are.
It reads the same files in all epochs, so that a disk that holds its share is enough; only their
order changes.

Other ways would not do. An order of single images or records, found through an index, makes each
host read everywhere in all files: scenes of GQN have ten views, which land in batches of all hosts,
and what is fetched from a store is whole files. Lanes of equal numbers of records need to know
these numbers before the first step, and so the headers of all records, which is minutes on a slow
disk. Bytes are known at once, and the numbers are needed only towards the end of an epoch: a lane
that has more images than its row takes then gives its last ones to lanes that have fewer, so that
every image comes once.

Files in a store come whole, as a rule, and only those in lanes of this host; their headers would be
a request for each record. So each host counts its own files, and tells the others (`told`): it has
them all at the end of the first epoch anyway. Where hosts cannot tell each other, each asks the
store for the headers of the others' files. What was counted is kept with a run, so that a machine
without any file finds its place at once.

Files packed with GZIP are not cut. A set whose first file is packed is not read in lanes at all:
these sets are single files, which every host has to unpack from the start.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from data_pipelines.reading import tfrecords
from data_pipelines.reading.lanes import index
from data_pipelines.reading.lanes.counts import NO_END, Counts, Part
from data_pipelines.reading.lanes.told import Told
from data_pipelines.reading.records import Range, Records, check_not_empty
from data_pipelines.reading.tfrecords import FOOTER, HEADER
from data_pipelines.sources import DataError
from data_pipelines.stores.cache import is_of_store

STREAM = 0x1A9E5  # tells these draws from others with the same seed
PARTS = 16  # of a lane, at least, which change places from epoch to epoch
SMALL_BYTES = 2**31  # the records of a smaller split are counted at once ...
SURE = 0.75  # ... and of a larger one before a lane has read so much of its bytes
LATE = 0.9  # of files in a store, which are being counted from SURE on
SPARSE = 100  # records of a lane of a split in a store that is small
SAMPLE = 8  # records of a file in a store, of which the length is taken for that of others


class Gift(NamedTuple):
  """So many images of a lane, from `first` on in its order, that another lane gives to its row."""

  lane: int
  first: int
  count: int


class Shares(NamedTuple):
  """How the images of an epoch come to the rows.

  Attributes:
    taken: of each lane, how many of its images are for its own row, the first ones.
    gifts: lane -> images of others that follow them.
  """

  taken: np.ndarray
  gifts: dict[int, list[Gift]]


def _span(part: Range) -> tuple[int, int, int]:
  """First byte of a range, the byte after it, and about how many there are."""
  if part.is_whole or (not part.first and part.count is None):
    return 0, NO_END, part.path.stat().st_size
  frames = index.frames(part.path)
  last = NO_END if part.count is None else part.first + part.count
  offsets, lengths = frames.offsets[part.first : last], frames.lengths[part.first : last]
  if not len(offsets):
    return 0, 0, 0
  is_whole = len(offsets) == part.count  # what follows has no influence then
  end = int(offsets[-1] + lengths[-1]) + FOOTER if is_whole else NO_END
  return int(offsets[0]) - HEADER, end, int(lengths.sum()) + (HEADER + FOOTER) * len(lengths)


class Plan:
  """The lanes of a split; safe to use from several threads.

  Args:
    records: of the split.
    seed: of the order.
    num_lanes: rows of a batch.
    own: lanes that this host reads; None: all.
    told: what hosts tell one another of files; None: nothing.

  Attributes:
    sizes: bytes of each lane.
    is_small: whether all records are counted at once ...
    sure: ... and if not, how much of a lane's bytes is read before they are counted, as a part of 1
    is_stored: whether files come from a store.
    counts: of the records of its parts.

  Raises:
    DataError: there are no records.
    OSError: a file is gone.
  """

  def __init__(
    self,
    records: Records,
    seed: int,
    num_lanes: int,
    own: range | None = None,
    told: Told | None = None,
  ):
    self._records, self._seed, self.num_lanes = records, seed, num_lanes
    self.is_stored = is_of_store(records.ranges[0].path)
    check_not_empty(records.ranges, "the split has no records")
    self._lanes = [[] for _ in range(num_lanes)]
    for lane, part in self._cut():
      self._lanes[lane].append(part)
    self.sizes = [sum(part.size for part in parts) for parts in self._lanes]
    self.is_small = sum(self.sizes) <= (self._sparse_bytes() if self.is_stored else SMALL_BYTES)
    self.sure = LATE if self.is_stored else SURE
    own = range(num_lanes) if own is None else own
    mine = [part for lane in own for part in self._lanes[lane]]
    others = [self._lanes[lane] for lane in range(num_lanes) if lane not in own]
    others = list(itertools.chain.from_iterable(others))
    self.counts = Counts(records.ranges, mine, others, told if self.is_stored else None)

  def _sparse_bytes(self) -> float:
    """The bytes of a split of which lanes have so few records that one more or less matters."""
    lengths = tfrecords.framing(self._records.ranges[0].path, SAMPLE).lengths
    return SPARSE * self.num_lanes * sum(lengths) / max(len(lengths), 1)

  def _cut(self) -> Iterator[tuple[int, Part]]:
    """(lane, part) along the row of files."""
    ranges = self._records.ranges
    order = np.random.default_rng([self._seed, STREAM]).permutation(len(ranges))
    spans = [_span(ranges[file]) for file in order]
    ends = np.cumsum([size for _, _, size in spans])
    starts = ends - [size for _, _, size in spans]
    step = ends[-1] / (PARTS * self.num_lanes)
    is_packed = functools.cache(lambda i: bool(tfrecords.compression(ranges[order[i]].path)))

    def cut(at: float) -> int:
      """The end of a file where one is near, so that many files are not cut at all."""
      i = int(np.searchsorted(ends[:-1], at, "right"))
      near = min(int(starts[i]), int(ends[i]), key=lambda end: abs(end - at))
      return near if abs(near - at) <= step / 2 or is_packed(i) else int(at)

    cuts = [cut(number * step) for number in range(PARTS * self.num_lanes)]
    lanes = cuts[::PARTS]
    places = sorted({*cuts, *map(int, ends)})
    for place, after in zip(places, places[1:], strict=False):
      i = int(np.searchsorted(ends, place, "right"))
      first, last, _ = spans[i]
      begin = first + place - int(starts[i])
      end = last if after == ends[i] else first + after - int(starts[i])
      lane = int(np.searchsorted(lanes, place, "right")) - 1
      yield lane, Part(int(order[i]), begin, end, after - place)

  def parts(self, lane: int, epoch: int) -> list[Part]:
    """The parts of a lane in the order of an epoch."""
    parts = self._lanes[lane]
    order = np.random.default_rng([self._seed, STREAM, epoch, lane]).permutation(len(parts))
    return [parts[i] for i in order]

  def reached(self, lane: int, epoch: int, record: int) -> float:
    """How much of a lane's bytes lies before a record, as a part of 1."""
    before = 0
    for part in self.parts(lane, epoch):
      if (record := record - self.counts.of(part)) < 0:
        return before / self.sizes[lane]
      before += part.size
    return 1.0

  @functools.cached_property
  def images(self) -> np.ndarray:
    """Images of each lane, int64 `[lanes]`; waits until they are counted."""
    self.counts.wait()
    records = [sum(map(self.counts.of, parts)) for parts in self._lanes]
    images = np.array(records, np.int64) * self._records.views
    if self._records.last_views:
      last = max(
        (part.begin, lane)
        for lane, parts in enumerate(self._lanes)
        for part in parts
        if part.file == len(self._records.ranges) - 1 and self.counts.of(part)
      )
      images[last[1]] -= self._records.views - self._records.last_views
    return images

  @functools.cached_property
  def total(self) -> int:
    """Images of an epoch."""
    return int(self.images.sum())

  def shares(self, epoch: int) -> Shares:
    """How the images of an epoch come to the rows; waits until they are counted.

    Epochs follow one another without a gap, so that one may begin in any row.
    """
    row = (np.arange(self.num_lanes) - epoch * self.total) % self.num_lanes
    wanted = self.total // self.num_lanes + (row < self.total % self.num_lanes)
    taken = np.minimum(self.images, wanted)
    left = [
      Gift(int(lane), int(taken[lane]), int(self.images[lane] - taken[lane]))
      for lane in np.flatnonzero(self.images > taken)[::-1]
    ]
    gifts = {}
    # In the order of the lanes, so that most come from a lane of the same host.
    for lane in np.flatnonzero(wanted > taken):
      gifts[int(lane)], needed = [], int(wanted[lane] - taken[lane])
      while needed:
        gift = left.pop()
        count = min(needed, gift.count)
        gifts[int(lane)].append(gift._replace(count=count))
        needed -= count
        if count < gift.count:
          left.append(gift._replace(first=gift.first + count, count=gift.count - count))
    return Shares(taken, gifts)

  def check_even(self, lane: int, images: int, taken: int) -> None:
    """Raises a DataError if a lane has given more images than are its row's.

    That is seen too late where records of a file are several times as large as those of others.
    """
    if images > taken:
      path = self._records.ranges[self._lanes[lane][0].file].path
      raise DataError(
        f"records in and beside {path} are far smaller than others of the split, so that it cannot "
        "be shared out by bytes; read it with --config.data.order=buffer"
      )
