"""What is to be done to fetch a published data set: one job for each file that is needed.

for job in planned(row, row.urls, Path("data/gqn/jaco"), num_files=20):
  job.carry_out(told)
"""

import bisect
import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from data_pipelines.durable import write_atomically
from data_pipelines.sources import DataError
from data_pipelines.stores import remote
from data_pipelines.stores.archives import Zipped, unpack
from data_pipelines.stores.copies import copy, under_way
from data_pipelines.stores.remote import Remote

CUT = ".cut"  # ending of the file that says that one is a beginning; readers know it
STATE = ".fetched"  # folder of archives, and of notes on those that are unpacked
ARCHIVE = re.compile(r"\.(tar(\.\w+)?|tgz|zip)$")


class Published(NamedTuple):
  """A data set as its authors put it on the network; `{variant}` stands for that.

  Attributes:
    urls: of folders or files.
    out: where it belongs on this machine.
    gb: about how much it is.
    variants: its published versions, the usual one first.
    needed: which files of a folder or members of an archive are read, as a regular expression
      with the path below `out` as its group "path", and perhaps a group "whole": members with
      the same are of no use without each other. None: the files as they are.
    sha256: of the file.
  """

  urls: tuple[str, ...]
  out: str
  gb: float
  variants: tuple[str, ...] = ("default",)
  needed: str | None = None
  sha256: str | None = None


@dataclasses.dataclass(frozen=True)
class Job:
  """A file to fetch.

  Attributes:
    file: in a store.
    final: of the file, or of the archive until it is unpacked.
    limit: bytes of it; None: all.
    unpacked: of an archive, what is needed of it, and where to; None: it is none.
    zipped: what is needed of it, where it is an archive that is not fetched as such.
  """

  file: Remote
  final: Path
  limit: int | None = None
  unpacked: tuple[re.Pattern, Path] | None = None
  zipped: Zipped | None = None

  @property
  def is_cut(self) -> bool:
    """Whether this is but a beginning."""
    return self.limit is not None and self.limit != self.file.size

  @property
  def size(self) -> int:
    """Bytes that come, if there are none yet; 0 where the server does not tell."""
    if self.zipped:
      return self.zipped.size
    return self.limit if self.is_cut else self.file.size or 0

  @property
  def note(self) -> Path:
    """Beside a file: what says that it is a beginning, or that much of an archive is unpacked."""
    return self.final.with_name(f"{self.final.name}{f'.{self.size}' if self.unpacked else CUT}")

  @property
  def is_done(self) -> bool:
    """Whether it is there already, or more of it than is wanted."""
    if self.zipped:
      return not self.zipped.members
    if self.unpacked:
      return self.note.exists() and self.note.read_text() == str(self.file.stamp)
    there = self.final.stat().st_size if self.final.is_file() else -1
    return there == self.file.size or (self.is_cut and there >= self.size and self.note.exists())

  @property
  def left(self) -> int:
    """Bytes that are still to come."""
    partial = under_way(self.file, self.final)
    there = partial.stat().st_size if partial.exists() and self.file.has_ranges else 0
    return 0 if self.is_done else max(self.size - there, 0)

  def carry_out(self, told: Callable[[int], None]) -> None:
    """Fetches it, and unpacks it if need be."""
    if self.zipped:
      return self.zipped.fetch(told)
    partial = under_way(self.file, self.final)
    if not self.unpacked and self.note.exists() and self.final.exists() and not partial.exists():
      if self.note.read_text() == str(self.file.stamp):
        self.final.rename(partial)  # a shorter beginning of the same: the rest is added
    if self.is_cut and not self.unpacked:
      write_atomically(self.note, str(self.file.stamp))
    copy(self.file, self.final, limit=self.limit if self.is_cut else None, told=told)
    if not self.unpacked:
      if not self.is_cut:
        self.note.unlink(missing_ok=True)
    elif unpack(self.final, *self.unpacked, is_cut=self.is_cut):
      write_atomically(self.note, str(self.file.stamp))
      self.final.unlink()
    else:
      raise DataError(f"{self.file.url} has nothing of what is needed; name more, or another place")


def _found(row: Published, sources: tuple[str, ...]) -> list[Remote]:
  """The files of a row that are at these addresses, archives included."""
  found, names = [], [url.rpartition("/")[2] for url in row.urls]
  for url in sources:
    files = remote.listed(url)
    if len(files) > 1 and row.needed:
      files = [f for f in files if re.fullmatch(row.needed, f.name) or ARCHIVE.search(f.name)]
    elif len(files) > 1:
      files = [f for f in files if f.name.rpartition("/")[2] in names]
    if not files:
      raise DataError(f"{url} has none of the files that are needed; name another --source")
    found += files
  return found


def _chosen(files: list[Remote], num: int | None, most: int | None) -> list[Remote]:
  """Of files that are as good one by one: the first ones of each folder, as many in proportion."""
  folders = {}
  for file in files:
    folders.setdefault(file.name.rpartition("/")[0], []).append(file)
  largest = max(map(len, folders.values()))

  def first(num: int) -> list[Remote]:
    return [f for some in folders.values() for f in some[: math.ceil(len(some) * num / largest)]]

  if num is None and most is not None:
    sizes = range(1, largest + 1)
    num = bisect.bisect_right(sizes, most, key=lambda n: sum(f.size for f in first(n)))
    if not num:
      least = sum(file.size for file in first(1))
      raise ValueError(
        f"--max_gb is {most / 1e9:g}, but the least that is of use is {least / 1e9:.3g}"
      )
  return first(min(num or largest, largest))


def planned(
  row: Published,
  sources: tuple[str, ...],
  out: Path,
  num_files: int | None = None,
  most: int | None = None,
) -> list[Job]:
  """What to do, in this order.

  Args:
    row: of a variant.
    sources: addresses, those of the row or others.
    out: folder.
    num_files: of sets of many files, the first so many.
    most: bytes.

  Raises:
    DataError: what is needed is not at its addresses.
    StoreError: a store cannot be asked.
    ValueError: the set cannot be had in such a part.
  """
  files, needed = _found(row, sources), row.needed and re.compile(row.needed)
  if needed and all(needed.fullmatch(file.name) for file in files):
    chosen = _chosen(files, num_files, most)
    return [Job(file, out / needed.fullmatch(file.name)["path"]) for file in chosen]
  if num_files is not None and len(files) == 1:
    raise ValueError(f"--num_files is {num_files}, but {files[0].url} is one file; see --max_gb")
  files = files[:num_files]
  if most is not None:  # of all but the largest ones all, as they are of use only together
    files = sorted(files, key=lambda file: file.size or 0)
  jobs, left = [], most
  for file in files:
    limit = None if left is None else min(left, file.size or left)
    if limit == 0:
      break
    left = None if left is None else left - limit
    base = re.sub(r"[^\w.-]", "_", file.name.rpartition("/")[2])[-100:]
    base = base if needed else row.urls[0].rpartition("/")[2]  # by which readers know it
    if needed and base.endswith(".zip"):
      jobs.append(Job(file, out, zipped=Zipped(file, needed, out, limit)))
    elif needed:
      jobs.append(Job(file, out / STATE / base, limit, (needed, out)))
    elif limit == file.size or limit is None or ".tfrecord" in base:
      if row.sha256 and not most:
        file = dataclasses.replace(file, checksum=("sha256", bytes.fromhex(row.sha256)))
      jobs.append(Job(file, out / base, limit))
    else:
      raise ValueError(f"--max_gb is {most / 1e9:g}, but {file.url} is of no use in part")
  return jobs
