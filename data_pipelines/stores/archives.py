"""Members of archives: of a tar file on this disk, or of a zip file in a store.

    unpack(Path("demos.tar.bz2"), needed, out)
    Zipped(found("https://host/training.zip"), needed, out).fetch(told)

A member gets its name when it is whole; one that is there with its size is not written again.
"""

import itertools
import os
import re
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from data_pipelines.stores.files import AGAIN, StoreError
from data_pipelines.stores.remote import PIECE, Remote
from data_pipelines.stores.threads import in_order

GAP = 2**20  # bytes between two members that are rather passed over than asked for anew
SIDE_BY_SIDE = 8  # requests
MAX_MEMBER_BYTES = 2**30  # of a zip file, unpacked; more are a mistake or an attack
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of name and extra field
DAMAGED = (tarfile.TarError, EOFError, zlib.error, OSError)


def place(needed: re.Pattern, name: str, out: Path) -> Path | None:
  """Where a member belongs; None: it is not needed, or its name leads elsewhere."""
  found = needed.fullmatch(name.removeprefix("./"))
  return out / found["path"] if found and ".." not in name.split("/") else None


def _write(final: Path, pieces: Iterator[bytes]) -> None:
  """Writes a file that has its name only once it is whole."""
  final.parent.mkdir(parents=True, exist_ok=True)
  partial = final.with_name(f".{final.name[:100]}.{threading.get_ident()}.partial")
  try:
    with open(partial, "wb") as file:
      file.writelines(pieces)
    os.replace(partial, final)
  finally:
    partial.unlink(missing_ok=True)


def _is_there(final: Path, size: int) -> bool:
  return final.is_file() and final.stat().st_size == size


def unpack(archive: Path, needed: re.Pattern, out: Path, *, is_cut: bool = False) -> int:
  """Unpacks what is needed; returns how many files that is.

  Args:
    archive: tar, packed or not.
    needed: see `Published`.
    out: folder.
    is_cut: whether it is the beginning of an archive, whose last member may be cut.

  Raises:
    StoreError: it is damaged, or there is no room.
  """
  count = 0
  try:
    with tarfile.open(archive, "r|*") as members:
      for member in members:
        final = place(needed, member.name, out) if member.isfile() else None
        if final and not _is_there(final, member.size):
          content = members.extractfile(member)
          _write(final, iter(lambda file=content: file.read(PIECE), b""))
        count += final is not None
  except DAMAGED as error:
    if isinstance(error, OSError) and error.errno:  # of the disk
      raise
    if not is_cut:
      raise StoreError(f"{archive} is damaged ({error}); remove it, {AGAIN}") from None
  return count


def zip_member(info: zipfile.ZipInfo, read: Callable[[int, int], bytes]) -> bytes:
  """The content of a member of a zip archive.

  Args:
    info: from the archive's directory.
    read: start and end -> bytes of the archive.

  Raises:
    ValueError: it is damaged, encrypted or huge.
  """
  name = info.filename
  if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
    raise ValueError(f"{name} is encrypted or packed in a way that is not supported")
  if max(info.file_size, info.compress_size) > MAX_MEMBER_BYTES:
    raise ValueError(f"{name} has {info.file_size} bytes, more than the {MAX_MEMBER_BYTES} allowed")
  start = info.header_offset + _LOCAL_HEADER.size
  header = read(info.header_offset, start)
  if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
    raise ValueError(f"{name} is not where the archive says")
  start += sum(_LOCAL_HEADER.unpack(header)[1:])
  data = read(start, start + info.compress_size)
  if info.compress_type == zipfile.ZIP_DEFLATED:
    try:
      data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, info.file_size + 1)
    except zlib.error as error:
      raise ValueError(f"{name} cannot be unpacked: {error}") from None
  if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
    raise ValueError(f"{name} does not match its checksum")
  return data


class _Member(NamedTuple):
  """A needed member, and where the archive's next one begins."""

  final: Path
  info: zipfile.ZipInfo
  end: int

  @property
  def size(self) -> int:
    """Bytes of the archive."""
    return self.end - self.info.header_offset


def _beginning(members: list[_Member], needed: re.Pattern, limit: int) -> list[_Member]:
  """As many as have `limit` bytes; those of one group "whole" all or none."""
  kept, left = [], limit
  groups = itertools.groupby(members, lambda m: needed.fullmatch(m.info.filename)["whole"])
  for _, together in groups:
    together = list(together)
    left -= sum(member.size for member in together)
    if left < 0:
      break
    kept += together
  return kept


class Zipped:
  """What is needed of a zip file in a store, in the order of paths.

  Attributes:
    members: those that are not there yet.
    there: how many are there already.
    size: bytes to ask for.
  """

  def __init__(
    self,
    file: Remote,
    needed: re.Pattern,
    out: Path,
    limit: int | None = None,
  ):
    if not file.has_ranges or file.size is None:
      raise StoreError(
        f"the server of {file.url} gives no parts of files: copy all of it by hand, and name the "
        "copy with --source"
      )
    self._file = file
    try:
      with file.opened() as raw, zipfile.ZipFile(raw) as archive:
        infos, end = archive.infolist(), archive.start_dir
    except zipfile.BadZipFile as error:
      raise StoreError(f"{file.url} is no zip archive ({error})") from None
    infos.sort(key=lambda info: info.header_offset)
    ends = [info.header_offset for info in infos[1:]] + [end]
    found = sorted(
      _Member(final, info, end)
      for info, end in zip(infos, ends, strict=True)
      if (final := place(needed, info.filename, out))
    )
    if limit is not None:
      found = _beginning(found, needed, limit)
    self.members = [m for m in found if not _is_there(m.final, m.info.file_size)]
    self.there, self.size = len(found) - len(self.members), sum(m.size for m in self.members)

  def fetch(self, told: Callable[[int], None]) -> None:
    """Brings and writes all of them, some side by side; `told` is given the bytes so far."""
    position = 0
    for size in in_order(self._fetch_some, self._groups(), SIDE_BY_SIDE):
      told(position := position + size)

  def _groups(self) -> Iterator[list[_Member]]:
    """Members that are asked for at once, as they lie side by side."""
    group: list[_Member] = []
    for member in sorted(self.members, key=lambda m: m.info.header_offset):
      start = member.info.header_offset
      if group and (
        start - group[-1].end > GAP or member.end - group[0].info.header_offset > PIECE
      ):
        yield group
        group = []
      group.append(member)
    if group:
      yield group

  def _fetch_some(self, group: list[_Member]) -> int:
    first = group[0].info.header_offset
    data = self._file.read(first, group[-1].end)
    for member in group:
      try:
        content = zip_member(member.info, lambda start, end: data[start - first : end - first])
      except ValueError as error:
        raise StoreError(f"in {self._file.url}, {error}; {AGAIN}") from None
      _write(member.final, iter([content]))
    return sum(member.size for member in group)
