"""Tfrecord files from the outside: counting, finding damage, rescuing what is whole.

    num_records(path)          # reads headers only
    find_damage(path)          # None, or Damage(index=17, cause="checksum of the data is wrong")

A record is: length (8 bytes), checksum of the length (4), data, checksum of the data (4).
TensorFlow reads whole files faster than anything here, but stops at the first damaged record
without saying which file and record it was, and gives up the rest of the file.
"""

import functools
import gzip
import mmap
import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import numpy as np
import tensorflow as tf

from data_pipelines.common import DataError

HEADER, FOOTER = 12, 4  # bytes around the data of a record
MAX_OFFSET = 2**62  # in a file; a damaged length may lead anywhere
_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), bits reversed
_MASK_DELTA = 0xA282EAD8  # tfrecords store checksums rotated by 15 bits and shifted by this


class Damage(NamedTuple):
  """A record (index from 0) that cannot be read, and why."""

  index: int
  cause: str


class Framing(NamedTuple):
  """Where the data of each record lies, as far as the lengths can be trusted."""

  offsets: list[int]
  lengths: list[int]
  damage: Damage | None  # what ended the list before the end of the file


def _crc_table() -> np.ndarray:
  table = np.arange(256, dtype=np.uint32)
  for _ in range(8):
    table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
  return table


_TABLE = _crc_table()
_TABLE_LIST = _TABLE.tolist()  # plain integers: four times faster one byte at a time


def _mask(crc: int) -> int:
  return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def _masked_crc(data: bytes) -> int:
  crc = 0xFFFFFFFF
  for byte in data:
    crc = _TABLE_LIST[(crc ^ byte) & 255] ^ (crc >> 8)
  return _mask(crc ^ 0xFFFFFFFF)


def _masked_crcs(blocks: list[bytes]) -> list[int]:
  """Checksums of many blocks, in groups of about equal length."""
  groups, crcs = {}, [0] * len(blocks)
  for i, block in enumerate(blocks):
    groups.setdefault(len(block).bit_length(), []).append(i)
  for group in groups.values():
    for i, crc in zip(group, _crcs_side_by_side([blocks[i] for i in group]), strict=True):
      crcs[i] = crc
  return crcs


def _crcs_side_by_side(blocks: list[bytes]) -> list[int]:
  """Masked checksums, one byte of all blocks at a time; padded in memory to the longest."""
  if len(blocks) == 1:
    return [_masked_crc(blocks[0])]
  lengths = np.array([len(block) for block in blocks])
  width = lengths.max()
  padded = np.frombuffer(b"".join(b.ljust(width, b"\0") for b in blocks), np.uint8)
  columns = padded.reshape(len(blocks), width).T
  crcs = np.full(len(blocks), 0xFFFFFFFF, np.uint32)
  for i, column in enumerate(columns):
    crcs = np.where(i < lengths, _TABLE[(crcs ^ column) & 255] ^ (crcs >> 8), crcs)
  return [_mask(int(crc) ^ 0xFFFFFFFF) for crc in crcs]


def framing(path: Path, most: int | None = None, compression: str = "") -> Framing:
  """The records of a file (at most `most`), from their headers alone.

  Args:
    path: the file.
    most: stop after so many records.
    compression: "" or "GZIP", which has to be unpacked up to there (about 3 s per GB unpacked).
  """
  if compression:
    stat = Path(path).stat()
    return _gzip_framing(Path(path), most, stat.st_size, stat.st_mtime_ns)
  offsets, lengths, size = [], [], Path(path).stat().st_size
  if size == 0:
    return Framing(offsets, lengths, None)
  with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
    at = 0
    while at < size and (most is None or len(offsets) < most):
      if at + HEADER > size:
        return Framing(offsets, lengths, Damage(len(offsets), "the file ends inside the record"))
      length, checksum = struct.unpack_from("<QI", data, at)
      if _masked_crc(data[at : at + 8]) != checksum:
        return Framing(offsets, lengths, Damage(len(offsets), "checksum of the length is wrong"))
      if at + HEADER + length + FOOTER > size:
        return Framing(offsets, lengths, Damage(len(offsets), "the file ends inside the record"))
      offsets.append(at + HEADER)
      lengths.append(length)
      at += HEADER + length + FOOTER
  return Framing(offsets, lengths, None)


@functools.lru_cache
def _gzip_framing(path: Path, most: int | None, size: int, mtime: int) -> Framing:
  """`framing` of a GZIP file; size and time of change tell when an earlier answer is outdated."""
  del size, mtime
  offsets, lengths, at = [], [], 0
  with gzip.open(path) as data:
    while most is None or len(offsets) < most:
      try:
        header = data.read(HEADER)
        if not header:
          break
        length, checksum = struct.unpack("<QI", header)
        if _masked_crc(header[:8]) != checksum:
          return Framing(offsets, lengths, Damage(len(offsets), "checksum of the length is wrong"))
        # Passes over the data in small pieces: it may be anything up to the whole memory.
        end = min(at + HEADER + length, MAX_OFFSET)
        if data.seek(end) < end or len(data.read(FOOTER)) < FOOTER:
          raise EOFError
      except (EOFError, struct.error):
        return Framing(offsets, lengths, Damage(len(offsets), "the file ends inside the record"))
      except (OSError, zlib.error):
        return Framing(offsets, lengths, Damage(len(offsets), "the GZIP stream is damaged"))
      offsets.append(at + HEADER)
      lengths.append(length)
      at += HEADER + length + FOOTER
  return Framing(offsets, lengths, None)


def num_records(path: Path, most: int | None = None, compression: str = "") -> int:
  """Number of records of a file, read from headers; stops counting at `most`."""
  return len(framing(path, most, compression).offsets)


def num_leading(path: Path, compression: str = "") -> int:
  """How many records TensorFlow can read from the start of the file before damage stops it."""
  readable = tf.data.TFRecordDataset(str(path), compression).ignore_errors()
  return int(readable.reduce(np.int64(0), lambda count, _: count + 1))


def find_damage(path: Path, compression: str = "") -> Damage | None:
  """The first record that cannot be read, or None for a file that is whole.

  Raises:
    DataError: the file is gone, or its disk.
  """
  try:
    frames = framing(path, None, compression)
  except OSError as error:
    raise DataError(
      f"{path} cannot be read ({error.strerror}); see that the data is still there, then give the "
      "same command again"
    ) from error
  leading = num_leading(path, compression)
  if leading < len(frames.offsets):
    return Damage(leading, "checksum of the data is wrong")
  return frames.damage


def rescue(
  path: Path, leading: int, compression: str = ""
) -> tuple[dict[int, bytes], list[Damage]]:
  """The readable records from index `leading` on, by index, and the damaged ones.

  Nothing can be found after a damaged length; that counts as one damaged record. So does the rest
  of a GZIP file, which is too large to be held and rarely has whole records past the damage.
  """
  frames = framing(path, None, compression)
  if compression:
    if leading < len(frames.offsets):
      return {}, [Damage(leading, "checksum of the data is wrong")]
    return {}, [frames.damage] if frames.damage else []
  good, bad = {}, [frames.damage] if frames.damage else []
  if leading >= len(frames.offsets):
    return good, bad
  with open(path, "rb") as file:
    whole = file.read()
  spans = list(zip(frames.offsets, frames.lengths, strict=True))[leading:]
  blocks = [whole[at : at + length] for at, length in spans]
  for i, (block, crc) in enumerate(zip(blocks, _masked_crcs(blocks), strict=True)):
    at, length = spans[i]
    if struct.unpack_from("<I", whole, at + length)[0] == crc:
      good[leading + i] = block
    else:
      bad.append(Damage(leading + i, "checksum of the data is wrong"))
  return good, sorted(bad)


def read_record(path: Path, offset: int, length: int) -> bytes:
  """The data of one record of a file that is not compressed; see `Framing` for where it lies.

  Raises:
    ValueError: its checksum is wrong.
    OSError: the file is gone, or its disk.
  """
  file = os.open(path, os.O_RDONLY)
  try:
    block = os.pread(file, length + FOOTER, offset)
  finally:
    os.close(file)
  data, footer = block[:length], block[length:]
  if len(footer) < FOOTER or _mask(google_crc32c.value(data)) != int.from_bytes(footer, "little"):
    raise ValueError("checksum of the data is wrong")
  return data
