"""Files below a folder, or in a zip archive as if it were unpacked.

    tree = open_tree(Path("training.zip"))
    tree.paths()                              # ["training/a/frame-000000.color.png", ...], sorted
    tree.read("training/a/frame-000000.color.png")

Both kinds can be read by several threads at once.
"""

import os
import struct
import zipfile
import zlib
from pathlib import Path

from data_pipelines.common import DataError

MAX_FILE_BYTES = 2**30  # of a file, unpacked; more are a mistake or an attack
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of name and extra field


class Folder:
  """The files below a folder."""

  def __init__(self, root: Path):
    self.root = root
    self._top = os.path.realpath(root)

  def paths(self, start: str = "") -> list[str]:
    """All files below `start`, relative to the root, with "/", sorted as strings.

    Raises:
      DataError: a folder is a link: it may lead out of the root, or round in circles.
    """
    found = []
    for folder, subfolders, names in os.walk(os.path.join(self._top, start)):
      for name in subfolders:
        if os.path.islink(os.path.join(folder, name)):
          raise DataError(
            f"{os.path.join(folder, name)} is a link to a folder, which may lead out of "
            f"{self.root}; put the folder itself there"
          )
      prefix = os.path.relpath(folder, self._top).replace(os.sep, "/")
      found += [name if prefix == "." else f"{prefix}/{name}" for name in names]
    return sorted(found)

  def read(self, path: str) -> bytes:
    """The bytes of a file.

    Raises:
      ValueError: it is not there, is huge, or it or a folder on the way is a link out of the root.
      OSError: it cannot be read.
    """
    target = os.path.realpath(os.path.join(self._top, path))
    if os.path.commonpath([self._top, target]) != self._top:
      raise ValueError(f"it is a link out of {self.root}, to {target}")
    if not os.path.isfile(target):
      raise ValueError("there is no such file")
    size = os.path.getsize(target)
    if size > MAX_FILE_BYTES:
      raise ValueError(f"it has {size} bytes, more than the {MAX_FILE_BYTES} allowed")
    with open(target, "rb") as file:
      return file.read()

  def describe(self, path: str) -> str:
    """Where a file is, for people."""
    return str(self.root / path)


class Archive:
  """The files in a zip archive; nothing is unpacked to disk.

  `zipfile` only reads the directory: its readers share one position in the file.
  """

  def __init__(self, root: Path):
    self.root = root
    try:
      with zipfile.ZipFile(root) as archive:
        self._infos = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    except (zipfile.BadZipFile, OSError) as error:
      raise DataError(f"{root} is no readable zip archive: {error}; fetch it again") from None
    self._file = os.open(root, os.O_RDONLY)

  def __del__(self):
    if hasattr(self, "_file"):
      os.close(self._file)

  def paths(self, start: str = "") -> list[str]:
    """Names of all files that begin with `start`, sorted as strings."""
    return sorted(path for path in self._infos if path.startswith(start))

  def read(self, path: str) -> bytes:
    """The bytes of a file.

    Raises:
      ValueError: there is no such file, or it is damaged, encrypted or huge.
    """
    info = self._infos.get(path)
    if info is None:
      raise ValueError(f"there is no {path} in {self.root}")
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
      raise ValueError(f"{path} is encrypted or packed in a way that is not supported")
    if max(info.file_size, info.compress_size) > MAX_FILE_BYTES:
      raise ValueError(f"{path} has {info.file_size} bytes, more than the {MAX_FILE_BYTES} allowed")
    data = self._unpacked(info)
    if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
      raise ValueError(f"{path} does not match its checksum")
    return data

  def _unpacked(self, info: zipfile.ZipInfo) -> bytes:
    header = os.pread(self._file, _LOCAL_HEADER.size, info.header_offset)
    if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
      raise ValueError(f"{info.filename} is not where the archive says")
    _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    start = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    packed = os.pread(self._file, info.compress_size, start)
    if info.compress_type == zipfile.ZIP_STORED:
      return packed
    try:
      return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, info.file_size + 1)
    except zlib.error as error:
      raise ValueError(f"{info.filename} cannot be unpacked: {error}") from None

  def describe(self, path: str) -> str:
    """Where a file is, for people."""
    return f"{self.root}: {path}"


def open_tree(root: Path) -> Folder | Archive:
  """A folder, or an archive if `root` is a file.

  Raises:
    DataError: the file is no readable archive.
  """
  return Archive(root) if root.is_file() else Folder(root)
