"""GZIP files of records: told from plain ones, walked from header to header, judged by their start.

    compression(path)          # "GZIP" or "", by content: a file may have been unpacked or packed
    estimate(path)             # about how many records there are, from the first two megabytes

Such a file is unpacked from its start only, about 3 s per GB unpacked, so nothing here reads far
unless it must, and what was walked over once is not walked over again.
"""

import functools
import gzip
import os
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import google_crc32c

from data_pipelines.stores.cache import here, is_away, read

HEADER, FOOTER = 12, 4  # bytes around the data of a record
ENDS_INSIDE = "the file ends inside the record"
BAD_LENGTH = "checksum of the length is wrong"
SPEED = 3e8  # bytes unpacked per second, about
SAMPLE = 2**21  # bytes at the start of a file that tell of the rest ...
FEW = 16  # records that tell of the rest of a file in a store
MOST_UNPACKED = 2**28  # ... as far as they unpack to no more than this
_MAGIC = b"\x1f\x8b\x08"
_MAX_OFFSET = 2**62  # in a file; a damaged length may lead anywhere
_TRAILER = 8  # bytes that end a GZIP member: checksum, and length modulo 2**32
_MASK_DELTA = 0xA282EAD8


def masked_crc(data: bytes) -> int:
  """The checksum of some bytes as records have it: CRC-32C, rotated by 15 bits and shifted."""
  crc = google_crc32c.value(data)
  return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def has_valid_length(header: bytes) -> bool:
  """Whether these are the 12 bytes that begin a record."""
  return masked_crc(header[:8]) == struct.unpack_from("<I", header, 8)[0]


def compression(path: Path) -> str:
  """TensorFlow's name of how a file is compressed: "GZIP" or "".

  Raises:
    OSError: it cannot be read.
  """
  stat = os.stat(path)
  return _compression(os.fspath(path), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _compression(path: str, size: int, changed: int) -> str:
  del size, changed  # tell when an earlier answer is outdated
  head = read(path, 0, HEADER)
  if not head.startswith(_MAGIC):
    return ""
  # The length of a plain record may be these bytes by chance, but then its checksum is right.
  return "" if len(head) == HEADER and has_valid_length(head) else "GZIP"


class _Walk:
  """Where records lie in an unpacked GZIP file, as far as was asked for until now."""

  def __init__(self, path: Path):
    self._data, self._lock = gzip.open(here(path)), threading.Lock()
    self.offsets: list[int] = []
    self.lengths: list[int] = []
    self.cause: str | None = None  # of the damage that ends the walk
    self._at, self._ended = 0, False

  def go_to(self, most: int | None) -> None:
    """Passes over records until there are `most`, the file ends, or damage stops it."""
    with self._lock:
      while not self._ended and (most is None or len(self.offsets) < most):
        try:
          self._ended = not self._pass_over_one()
        except (EOFError, struct.error):
          self.cause = ENDS_INSIDE
        except (OSError, zlib.error):
          self.cause = "the GZIP stream is damaged"
        self._ended = self._ended or self.cause is not None

  def _pass_over_one(self) -> bool:
    """Whether there was one."""
    header = self._data.read(HEADER)
    if not header:
      return False
    (length,) = struct.unpack_from("<Q", header)
    if not has_valid_length(header):
      self.cause = BAD_LENGTH
      return True
    # Passes over the data in small pieces: it may be anything up to the whole memory.
    end = min(self._at + HEADER + length, _MAX_OFFSET)
    if self._data.seek(end) < end or len(self._data.read(FOOTER)) < FOOTER:
      raise EOFError
    self.offsets.append(self._at + HEADER)
    self.lengths.append(length)
    self._at = end + FOOTER
    return True


@functools.lru_cache(maxsize=8)
def _walk(path: Path, size: int, mtime: int) -> _Walk:
  """Size and time of change tell when an earlier walk is outdated."""
  del size, mtime
  return _Walk(path)


def walk(path: Path, most: int | None) -> tuple[list[int], list[int], str | None]:
  """Offsets and lengths of the data of at most `most` records, and what damage ended the list."""
  stat = Path(path).stat()
  walked = _walk(Path(path), stat.st_size, stat.st_mtime_ns)
  walked.go_to(most)
  enough = most is not None and len(walked.offsets) >= most
  return walked.offsets[:most], walked.lengths[:most], None if enough else walked.cause


def unpacks_to(path: Path, size: int) -> bool:
  """Whether a GZIP file of one member is whole and has `size` bytes, by what its end says.

  Zeros after the end are ignored, as gzip itself does.
  """
  with open(here(path), "rb") as file:
    end = stop = file.seek(0, 2)
    last = b""
    while stop and not last.rstrip(b"\0"):
      start = max(0, stop - SAMPLE)
      file.seek(start)
      last, stop = file.read(stop - start), start
    content = stop + len(last.rstrip(b"\0"))
    file.seek(max(0, content - 4))
    tail = file.read(min(4, content)).rjust(4, b"\0") + bytes(min(_TRAILER, end - content))
  # How many of the zeros belong to the length is not known.
  wanted = struct.pack("<I", size % 2**32)
  return any(tail[i : i + 4] == wanted for i in range(len(tail) - 3))


class Estimate(NamedTuple):
  """What the start of a file tells: about how many records there are, of so many bytes in all."""

  num_records: float
  unpacked: float


def estimate(path: Path) -> Estimate:
  """Judges a file, packed or not, by its start; 0 records where that holds not even one."""
  stat = Path(path).stat()
  return _estimate(Path(path), stat.st_size, stat.st_mtime_ns)


def _walked(header_at: Callable[[int], bytes], size: int, most: int = 2**62) -> tuple[int, int]:
  """How many whole records lie within `size` bytes, or `most`, and where they end."""
  count = at = 0
  while count < most and at + HEADER <= size and has_valid_length(header := header_at(at)):
    end = at + HEADER + struct.unpack_from("<Q", header)[0] + FOOTER
    if end > size:
      break
    count, at = count + 1, end
  return count, at


@functools.lru_cache
def _estimate(path: Path, size: int, mtime: int) -> Estimate:
  del mtime
  is_packed = compression(path)
  if not is_packed and is_away(path):
    count, at = _walked(lambda at: read(path, at, HEADER), size, FEW)
    return Estimate(size * count / at if at else 0.0, size)
  start, used = read(path, 0, SAMPLE), min(size, SAMPLE)
  if is_packed:
    unpacker = zlib.decompressobj(31)
    try:
      unpacked = unpacker.decompress(start, MOST_UNPACKED)
    except zlib.error:
      return Estimate(0, size)
    used -= len(unpacker.unconsumed_tail) + len(unpacker.unused_data)
    start = unpacked
  count, at = _walked(lambda at: start[at : at + HEADER], len(start))
  total = len(start) * size / used if used else 0.0
  return Estimate(total * count / at if at else 0.0, total)
