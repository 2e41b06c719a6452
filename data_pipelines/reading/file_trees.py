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
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from data_pipelines.sources import DataError
from data_pipelines.stores.cache import here

MAX_FILE_BYTES = 2**30  # of a file, unpacked; more are a mistake or an attack
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of name and extra field


class Listing(NamedTuple):
  """What is below a folder.

  Attributes:
    paths: files, relative to the folder, with "/", sorted as strings.
    left_out: links that are not followed, by reason.
    stamps: what would change if a folder did, by the folders' absolute paths (see `stamps`).
  """

  paths: list[str]
  left_out: Counter[str]
  stamps: dict[str, tuple]


def stamps(paths: Iterable[str | Path]) -> dict[str, tuple]:
  """Per file or folder, what changes when it does: its time, number and size; None: it is gone."""
  found = {}
  for path in map(str, paths):
    try:
      stat = os.stat(path)
    except OSError:
      found[path] = None
    else:
      found[path] = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
  return found


class Folder:
  """The files below a folder; links to files and folders are followed, wherever they lead."""

  def __init__(self, root: Path):
    self.root = root

  def listing(self, start: str = "") -> Listing:
    """All files below `start`; a link to a folder that it lies in is left out."""
    found, left_out, folders = [], Counter(), {}
    waiting = [(os.path.join(self.root, start), start.strip("/"), ())]
    while waiting:
      folder, prefix, above = waiting.pop()
      if (stamp := stamps([folder])[folder]) is None:
        continue
      folders[folder] = stamp
      above = (*above, os.path.realpath(folder))
      for entry in os.scandir(folder):
        path = f"{prefix}/{entry.name}" if prefix else entry.name
        if entry.is_dir():
          if entry.is_symlink() and os.path.realpath(entry.path) in above:
            left_out["links that lead round in circles"] += 1
          else:
            waiting.append((entry.path, path, above))
        elif entry.is_symlink() and not os.path.exists(entry.path):
          left_out["links to nothing"] += 1
        else:
          found.append(path)
    return Listing(sorted(found), left_out, folders)

  def paths(self, start: str = "") -> list[str]:
    """All files below `start`, relative to the root, with "/", sorted as strings."""
    return self.listing(start).paths

  def read(self, path: str) -> bytes:
    """The bytes of a file.

    Raises:
      ValueError: it is not there, is huge, or its name leads out of the root.
      OSError: it cannot be read.
    """
    if os.path.isabs(path) or ".." in path.split("/"):
      raise ValueError(f"its name leads out of {self.root}")
    target = os.path.join(self.root, path)
    if not os.path.isfile(target):
      raise ValueError("there is no such file")
    size = os.path.getsize(target)
    if size > MAX_FILE_BYTES:
      raise ValueError(f"it has {size} bytes, more than the {MAX_FILE_BYTES} allowed")
    with open(here(target), "rb") as file:
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
    here(root)
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
