"""Pictures in records that are found by number: of array_record files, and of videos of any length.

shards = Shards(parts, "array_record", ("image", "segmentations"), length=1)
shards.load(17)                       # (PNG of the image, PNG of its segmentation)
"""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_pipelines.reading import tfrecords
from data_pipelines.reading.progress import with_progress
from data_pipelines.reading.records import Range
from data_pipelines.stores.cache import here

OPEN_FILES = 64  # array_record files
_ONE_BY_ONE = "readahead_buffer_size:0"  # records are asked for in any order


def encoded_pictures(record: bytes, names: tuple[str, ...], length: int | None) -> list[tuple]:
  """The encoded files of each picture of a record, one of every feature.

  Args:
    record: a tf.Example.
    names: of the features.
    length: how many pictures there are; None: as many as the first feature has.

  Raises:
    ValueError: the record is damaged.
  """
  features = tfrecords.example_features(record)
  if length is None:
    length = len(features[names[0]].bytes_list.value) if names[0] in features else 0
  lists = [tfrecords.bytes_feature(features, name, length) for name in names]
  return list(zip(*lists, strict=True))


@functools.lru_cache(maxsize=OPEN_FILES)
def _array_record(path: Path, size: int, changed: int) -> Callable[[int], bytes]:
  # TensorFlow Datasets brings it along, but not on every platform.
  from array_record.python import array_record_module

  del size, changed  # tell when the file is another one
  reader = array_record_module.ArrayRecordReader(str(here(path)), options=_ONE_BY_ONE)

  def read(number: int) -> bytes:
    try:
      return reader.read([number])[0]
    except (RuntimeError, IndexError) as error:
      raise ValueError(str(error)) from None

  return read


@functools.lru_cache(maxsize=4096)
def _tfrecord(path: Path, size: int, changed: int) -> Callable[[int], bytes]:
  del size, changed
  offsets, lengths, damage = tfrecords.framing(path)

  def read(number: int) -> bytes:
    if number >= len(offsets):
      raise ValueError(damage.cause if damage else f"the file ends after {len(offsets)} records")
    return tfrecords.read_record(path, offsets[number], lengths[number])

  return read


_OPENERS = {"array_record": _array_record, "tfrecord": _tfrecord}


@functools.lru_cache(maxsize=4096)
def _num_pictures(part: Range, name: str, kind: str, size: int, changed: int) -> tuple[int, ...]:
  """How many pictures each record of a file has; one where that cannot be read."""
  read, counts = _OPENERS[kind](part.path, size, changed), []
  for number in range(part.first, part.first + part.count):
    try:
      counts.append(max(len(encoded_pictures(read(number), (name,), None)), 1))
    except ValueError:  # loading says so
      counts.append(1)
  return tuple(counts)


class Shards:
  """The pictures of some records, numbered file by file, record by record; safe for threads.

  Args:
    parts: which records of which files; how many is given for each.
    kind: of file, "array_record" or "tfrecord".
    names: features of a picture.
    length: pictures in a record; None: it varies, and all records are read once to count them.
  """

  def __init__(
    self, parts: tuple[Range, ...], kind: str, names: tuple[str, ...], length: int | None
  ):
    self._parts, self._kind, self._names, self._length = parts, kind, names, length
    self._record_ends = np.cumsum([part.count for part in parts])
    if length is None:
      read = with_progress(map(self._counts, parts), len(parts), "counting pictures", "file")
      counts = np.concatenate([np.array(one) for one in read])
    else:
      counts = np.full(self._record_ends[-1], length)
    self._ends = np.cumsum(counts)

  def __len__(self) -> int:
    return int(self._ends[-1])

  def _stamp(self, part: Range) -> tuple[int, int]:
    stat = part.path.stat()
    return stat.st_size, stat.st_mtime_ns

  def _counts(self, part: Range) -> tuple[int, ...]:
    return _num_pictures(part, self._names[0], self._kind, *self._stamp(part))

  def _find(self, number: int) -> tuple[Range, int, int]:
    """File, record in it, and picture of that record."""
    record = int(np.searchsorted(self._ends, number, "right"))
    picture = number - (int(self._ends[record - 1]) if record else 0)
    file = int(np.searchsorted(self._record_ends, record, "right"))
    part = self._parts[file]
    return part, part.first + record - (int(self._record_ends[file - 1]) if file else 0), picture

  def load(self, number: int) -> tuple[bytes, ...]:
    """The encoded files of a picture; ValueError or OSError if it is damaged."""
    part, record, picture = self._find(number)
    read = _OPENERS[self._kind](part.path, *self._stamp(part))
    return encoded_pictures(read(record), self._names, self._length)[picture]

  def describe(self, number: int) -> str:
    """Where a picture is, for error messages."""
    part, record, picture = self._find(number)
    return f"{part.path}: record {record} (from 0), picture {picture}"
