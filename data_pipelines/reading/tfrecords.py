"""Tfrecord files from the outside: counting, finding damage, rescuing what is whole.

    num_records(path)          # reads headers only
    find_damage(path)          # None, or Damage(index=17, cause="checksum of the data is wrong")

A record is: length (8 bytes), checksum of the length (4), data, checksum of the data (4).
TensorFlow reads whole files faster than anything here, but stops at the first damaged record
without saying which file and record it was, and gives up the rest of the file; and it takes a file
that ends inside the first 12 bytes of a record, or before the end of its GZIP stream, for whole.
"""

import contextlib
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from data_pipelines.reading import gzipped
from data_pipelines.reading.gzipped import (
  BAD_LENGTH,
  ENDS_INSIDE,
  FEW,
  FOOTER,
  HEADER,
  compression,
  masked_crc,
)
from data_pipelines.sources import DataError
from data_pipelines.stores.cache import here, is_away, read
from data_pipelines.stores.files import StoreError

MARGIN = 1.25  # so much more than is asked for the start of a file must promise to be believed
HELD_BYTES = 2**31  # a larger file is not held in memory to look for whole records past damage
# For functions of a stream, none of which branches on tensors in Python: rewriting them so that it
# could, as TensorFlow does by default, takes a program that begins to read some seconds.
as_written = tf.autograph.experimental.do_not_convert
BAD_DATA = "checksum of the data is wrong"
CUT_SUFFIX = ".cut"


class Damage(NamedTuple):
  """A record (index from 0) that cannot be read, and why."""

  index: int
  cause: str


class Framing(NamedTuple):
  """Where the data of each record lies, as far as the lengths can be trusted."""

  offsets: list[int]
  lengths: list[int]
  damage: Damage | None  # what ended the list before the end of the file


def dataset(path: Path) -> tf.data.TFRecordDataset:
  """The records of a file, compressed or not."""
  return tf.data.TFRecordDataset(str(here(path)), compression(path))


def example_features(record: bytes):
  """The features of a tf.Example by name; ValueError if it is damaged."""
  try:
    return tf.train.Example.FromString(record).features.feature
  except Exception as error:  # the class differs between protobuf implementations
    raise ValueError("is not a tf.Example") from error


def bytes_feature(features, name: str, count: int) -> list[bytes]:
  """The entries of a feature of a tf.Example; ValueError unless they are so many."""
  if name not in features:
    raise ValueError(f"has no feature `{name}`")
  values = features[name].bytes_list.value
  if len(values) != count:
    raise ValueError(f"`{name}` has {len(values)} entries instead of {count}")
  return list(values)


def framing(path: Path, most: int | None = None, sparing: bool = False) -> Framing:
  """The records of a file (at most `most`), from their headers alone.

  A GZIP file has to be unpacked up to there, see `gzipped`.

  Args:
    path: of the file.
    most: records; None: all.
    sparing: whether a store is asked for headers, however many, in place of the file.
  """
  if compression(path):
    offsets, lengths, cause = gzipped.walk(path, most)
    return Framing(offsets, lengths, cause and Damage(len(offsets), cause))
  offsets, lengths, size = [], [], Path(path).stat().st_size
  if size == 0:
    return Framing(offsets, lengths, None)
  is_short = most is not None and most <= FEW
  with _headers(path, asked=sparing or is_short) as header_at:
    at = 0
    while at < size and (most is None or len(offsets) < most):
      header = header_at(at)
      if len(header) < HEADER:
        return Framing(offsets, lengths, Damage(len(offsets), ENDS_INSIDE))
      if not gzipped.has_valid_length(header):
        return Framing(offsets, lengths, Damage(len(offsets), BAD_LENGTH))
      (length,) = struct.unpack_from("<Q", header)
      if at + HEADER + length + FOOTER > size:
        return Framing(offsets, lengths, Damage(len(offsets), ENDS_INSIDE))
      offsets.append(at + HEADER)
      lengths.append(length)
      at += HEADER + length + FOOTER
  return Framing(offsets, lengths, None)


@contextlib.contextmanager
def _headers(path: Path, asked: bool) -> Iterator[Callable[[int], bytes]]:
  """A function that reads 12 bytes; `asked`: of a store, where the file has not come."""
  if asked and is_away(path):
    yield lambda at: read(path, at, HEADER)
    return
  with open(here(path), "rb", buffering=0) as file:
    # Nothing but headers is read: neither by this program, nor ahead of it by the system.
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
    yield lambda at: os.pread(file.fileno(), HEADER, at)


def num_records(path: Path, most: int | None = None) -> int:
  """Number of records of a file, read from headers; stops counting at `most`."""
  return len(framing(path, most).offsets)


def surely_has(path: Path, count: int) -> bool:
  """Whether the start of a GZIP file promises so many records and more, without counting them."""
  if not compression(path) or Path(path).stat().st_size <= gzipped.SAMPLE:
    return False
  return gzipped.estimate(path).num_records >= MARGIN * count


def num_leading(path: Path) -> int:
  """How many records TensorFlow can read from the start of the file before damage stops it."""
  readable = dataset(path).ignore_errors()
  return int(readable.reduce(np.int64(0), lambda count, _: count + 1))


def find_damage(path: Path) -> Damage | None:
  """The first record that cannot be read, or None for a file that is whole.

  Raises:
    DataError: the file is gone, or its disk.
  """
  try:
    frames = framing(path)
    leading = num_leading(path)
  except OSError as error:
    raise unreadable(path, error) from error
  if leading < len(frames.offsets):
    return Damage(leading, BAD_DATA)
  return frames.damage


def unreadable(path: Path, error: OSError) -> DataError:
  """The error for a file that is gone, or whose disk or store is."""
  if isinstance(error, StoreError):
    return DataError(str(error))
  return DataError(
    f"{path} cannot be read ({error.strerror}); see that the data is still there, then give the "
    "same command again"
  )


def is_cut(path: Path) -> bool:
  """Whether only the beginning of a file was fetched on purpose: a file `<name>.cut` says so."""
  return Path(f"{path}{CUT_SUFFIX}").exists()


def ends_at(path: Path, size: int) -> bool:
  """Whether a file has `size` bytes (unpacked) and no more, as far as is seen at once."""
  if compression(path):
    return gzipped.unpacks_to(path, size)
  return Path(path).stat().st_size == size


def rest(path: Path, leading: int) -> tuple[dict[int, bytes], list[Damage]]:
  """As `rescue`, of a file that does not end where it should, which may be on purpose."""
  if is_cut(path):
    logging.info("%s was cut on purpose: its first %d records are read", path, leading)
    return {}, []
  return rescue(path, leading)


def rescue(path: Path, leading: int) -> tuple[dict[int, bytes], list[Damage]]:
  """The readable records from index `leading` on, by index, and the damaged ones.

  Nothing can be found after a damaged length; that counts as one damaged record. So does the rest
  of a GZIP file, which is too large to be held and rarely has whole records past the damage.
  """
  if compression(path) or Path(path).stat().st_size > HELD_BYTES:
    frames = framing(path, leading + 1)
    if leading < len(frames.offsets):
      return {}, [Damage(leading, BAD_DATA)]
    return {}, [frames.damage] if frames.damage else []
  frames = framing(path)
  good, bad = {}, [frames.damage] if frames.damage else []
  if leading >= len(frames.offsets):
    return good, bad
  with open(here(path), "rb") as file:
    whole = file.read()
  spans = list(zip(frames.offsets, frames.lengths, strict=True))[leading:]
  blocks = [whole[at : at + length] for at, length in spans]
  for i, (block, crc) in enumerate(zip(blocks, map(masked_crc, blocks), strict=True)):
    at, length = spans[i]
    if struct.unpack_from("<I", whole, at + length)[0] == crc:
      good[leading + i] = block
    else:
      bad.append(Damage(leading + i, BAD_DATA))
  return good, sorted(bad)


def read_record(path: Path, offset: int, length: int) -> bytes:
  """The data of one record of a file that is not compressed; see `Framing` for where it lies.

  Raises:
    ValueError: its checksum is wrong.
    OSError: the file is gone, or its disk.
  """
  file = os.open(here(path), os.O_RDONLY)
  try:
    block = os.pread(file, length + FOOTER, offset)
  finally:
    os.close(file)
  data, footer = block[:length], block[length:]
  if len(footer) < FOOTER or masked_crc(data) != int.from_bytes(footer, "little"):
    raise ValueError("checksum of the data is wrong")
  return data
