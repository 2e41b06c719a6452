"""Files below a folder, or in a zip archive as if it were unpacked.

    tree = open_tree(Path("training.zip"))
    tree.paths()                              # ["training/a/frame-000000.color.png", ...], sorted
    tree.read("training/a/frame-000000.color.png")

Both kinds can be read by several threads at once.
"""

import os
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from data_pipelines.sources import DataError
from data_pipelines.stores.archives import MAX_MEMBER_BYTES, zip_member
from data_pipelines.stores.cache import here


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
    if size > MAX_MEMBER_BYTES:
      raise ValueError(f"it has {size} bytes, more than the {MAX_MEMBER_BYTES} allowed")
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
    return zip_member(info, lambda start, end: os.pread(self._file, end - start, start))

  def describe(self, path: str) -> str:
    """Where a file is, for people."""
    return f"{self.root}: {path}"


def open_tree(root: Path) -> Folder | Archive:
  """A folder, or an archive if `root` is a file.

  Raises:
    DataError: the file is no readable archive.
  """
  return Archive(root) if root.is_file() else Folder(root)
