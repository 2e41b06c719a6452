"""Which records make up a split, and what is known of the damaged ones among them.

records = Records((Range(path),), views=10, unpack=unpack, num_features=1, decode=decode, cure="")
records.limited(100).num_images()     # 100, or fewer where there are fewer
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from absl import logging

from data_pipelines.reading import gzipped, tfrecords
from data_pipelines.sources import DataError
from data_pipelines.stores.files import StoreError

NUM_WARNINGS = 5  # damaged records that are reported one by one
PLACES = 2**40  # more records than any file has; a place is file * PLACES + record


class Range(NamedTuple):
  """The records of a file from index `first` on, at most `count` (None: all).

  `is_whole` says that the file is known to have no others.
  """

  path: Path
  first: int = 0
  count: int | None = None
  is_whole: bool = False

  def num_records(self, most: int | None = None) -> int:
    """How many records the headers promise; stops counting at `most`.

    With `most`, a long GZIP file is not counted whose start promises far more than are needed.
    """
    limits = [n for n in (self.count, most) if n is not None]
    end = self.first + min(limits) if limits else None
    if most is not None and tfrecords.surely_has(self.path, end):
      return end - self.first
    return max(tfrecords.num_records(self.path, end) - self.first, 0)


def check_not_empty(ranges: Sequence[Range], message: str) -> None:
  """Raises a DataError if there are no records: with the damage that hides them, or `message`."""
  if any(part.num_records(1) for part in ranges):
    return
  for part in ranges:
    damage = tfrecords.framing(part.path, part.first + 1).damage
    if damage:
      place = f"{part.path}: record {damage.index} (from 0)"
      raise DataError(f"{place} is damaged: {damage.cause}; fetch the file again")
  raise DataError(message)


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
    last_views: use only this many images of the very last record; 0: all.
    compact: makes encoded records smaller before they wait in the shuffle buffer, for `unpack` to
      take; must return a damaged one as it is. None: they are small.
  """

  ranges: tuple[Range, ...]
  views: int
  unpack: Callable[[bytes], list[tuple[bytes, ...]]]
  num_features: int
  decode: Callable[..., dict[str, tf.Tensor]]
  cure: str
  last_views: int = 0
  compact: Callable[[bytes], bytes] | None = None

  def num_images(self, most: int | None = None) -> int:
    """Images promised by the headers of the records; stops counting at `most` or a bit later.

    See `Range.num_records`.
    """
    most = None if self.last_views else most  # a limited set is small: its end matters
    total = 0
    for part in self.ranges:
      if most is not None and total * self.views >= most:
        break
      left = None if most is None else -(-(most - total * self.views) // self.views)
      total += part.num_records(left)
    unused = self.views - self.last_views if self.last_views else 0
    return total * self.views - unused

  def num_bytes(self) -> int:
    """The size of the files."""
    return sum(part.path.stat().st_size for part in self.ranges)

  def about(self) -> int:
    """About how many images there are, from the start of the first file and the sizes of all."""
    first = self.ranges[0].path
    per_byte = gzipped.estimate(first).num_records / max(first.stat().st_size, 1)
    total = 0.0
    for part in self.ranges:
      there = max(part.path.stat().st_size * per_byte - part.first, 0)
      total += there if part.count is None else min(there, part.count)
    return round(total * self.views)

  def seconds_to_first(self) -> float:
    """About how long it takes to unpack what lies before the first record."""
    part = self.ranges[0]
    if not part.first or not tfrecords.compression(part.path):
      return 0.0
    whole = gzipped.estimate(part.path)
    return part.first / max(whole.num_records, 1) * whole.unpacked / gzipped.SPEED

  def describe(self, place: int) -> str:
    """Where a record is, for error messages."""
    file, index = divmod(place, PLACES)
    return f"{self.ranges[file].path}: record {index} (from 0)"

  def limited(self, limit: int) -> "Records":
    """The first `limit` images in file order (all of them where there are fewer)."""
    needed, kept = -(-limit // self.views), []
    for part in self.ranges:
      count = part.num_records(needed)
      kept.append(part._replace(count=count, is_whole=False))
      needed -= count
      if not needed:
        break
    last_views = limit % self.views if not needed else 0
    return dataclasses.replace(self, ranges=tuple(kept), last_views=last_views)


class DamageLog:
  """Damaged records of a split, by place: the first one raises, or all are counted.

  `records` may be anything with `describe(place)` and `cure`, such as `indexed.Indexed`.
  """

  def __init__(self, records, *, skip: bool):
    self._records, self._skip = records, skip
    self._causes: dict[int, str] = {}
    self.failure: DataError | None = None  # what was raised inside the pipeline

  def __len__(self) -> int:
    return len(self._causes)

  def note(self, place: int, cause: str | Exception) -> None:
    """Counts a damaged record once; raises a DataError where damage is an error.

    A file that its store does not give is no damage: that is always an error.
    """
    if isinstance(cause, StoreError):
      self.failure = DataError(str(cause))
      raise self.failure
    cause = str(cause)
    if not self._skip:
      self.failure = DataError(f"{self._describe(place, cause)}; {self._records.cure}")
      raise self.failure
    if place not in self._causes and len(self._causes) < NUM_WARNINGS:
      logging.warning("%s; skipped", self._describe(place, cause))
    self._causes[place] = cause

  def raise_if_all(self, any_good: bool) -> None:
    """Raises a DataError if records were damaged and none was good."""
    if self._causes and not any_good:
      first = self._describe(*next(iter(self._causes.items())))
      self.failure = DataError(f"every record is damaged; first, {first}")
      raise self.failure

  def undecodable(self, place: int) -> DataError:
    """The error for an image with a valid header."""
    what = self._describe(place, "an image with a proper header cannot be decoded")
    return DataError(
      f"{what}; fetch the file again or remove it (on_corrupt=skip cannot detect this)"
    )

  def _describe(self, place: int, cause: str) -> str:
    return f"{self._records.describe(int(place))} is damaged: {cause}"
