"""Reads plain and packed files of records from any byte on, a little at a time.

for record in records(path, begin, end): record.begin, record.data
"""

import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data_pipelines.reading import tfrecords
from data_pipelines.reading.gzipped import BAD_LENGTH, ENDS_INSIDE, has_valid_length, masked_crc
from data_pipelines.reading.tfrecords import BAD_DATA, FOOTER, HEADER
from data_pipelines.stores.cache import here, is_away, read

FIRST, BLOCK = 2**14, 2**18  # bytes that are read at once: more each time, up to a block ...
PIECE = 2**22  # ... or a piece of a file in a store


class Found(NamedTuple):
  """A record, or damage.

  Attributes:
    begin: byte of the (unpacked) file at which its header begins.
    data: of the record; None if it is damaged.
    cause: of the damage, if any.
    is_last: whether nothing can be found after this damage.
  """

  begin: int
  data: bytes | None
  cause: str | None = None
  is_last: bool = False


class _Bytes:
  """The bytes of a file from one on; past `end` no more than what is asked for.

  A plain file is opened for each block: there may be a thousand lanes, each with a file of its own,
  and it may come from a store meanwhile.
  """

  def __init__(self, path: Path, begin: int, end: int):
    self._path, self._end, self._held, self._used = path, end, b"", 0
    self.at = begin  # of the byte that comes next
    self._block = FIRST
    self._packed = gzip.open(here(path)) if tfrecords.compression(path) else None
    if self._packed:
      self._packed.seek(begin)

  def read(self, size: int) -> bytes:
    """So many bytes; fewer where the file ends."""
    missing = self._used + size - len(self._held)
    if missing > 0:
      self._held = self._held[self._used :] + self._more(missing)
      self._used = 0
    found = self._held[self._used : self._used + size]
    self._used += len(found)
    self.at += len(found)
    return found

  def _more(self, least: int) -> bytes:
    """At least so many bytes after those that are held, if there are."""
    if self._packed:
      return self._packed.read(max(least, BLOCK))
    begin = self.at + len(self._held) - self._used
    size = max(least, min(self._block, self._end - begin))
    soon = min(BLOCK, self._end - begin - size) if self._block >= BLOCK else 0
    self._block = min(2 * self._block, PIECE if is_away(self._path) else BLOCK)
    return read(self._path, begin, size, soon)


def records(path: Path, begin: int, end: int) -> Iterator[Found]:
  """The records whose headers begin at byte `begin`, where one does, or later but before `end`.

  Raises:
    OSError: the file is gone, or its disk.
  """
  source = _Bytes(path, begin, end)
  while source.at < end:
    at = source.at
    try:
      header = source.read(HEADER)
      if not header:
        return
      cause = ENDS_INSIDE if len(header) < HEADER else None
      if cause is None and not has_valid_length(header):
        cause = BAD_LENGTH
      if cause is None:
        (length,) = struct.unpack_from("<Q", header)
        data = source.read(length)
        footer = source.read(FOOTER)
        cause = ENDS_INSIDE if len(footer) < FOOTER else None
    except EOFError:
      cause = ENDS_INSIDE
    except (gzip.BadGzipFile, zlib.error):
      cause = "the GZIP stream is damaged"
    if cause:
      yield Found(at, None, cause, is_last=True)
      return
    if masked_crc(data) == int.from_bytes(footer, "little"):
      yield Found(at, data)
    else:
      yield Found(at, None, BAD_DATA)
