"""Fetches a published data set, or a part of it, and checks what arrives.

    python -m data_pipelines.fetch gqn --num_files 20
    python -m data_pipelines.fetch clevr --max_gb 5
    python -m data_pipelines.fetch inception          # the weights of FID

What it will cost is said first. A fetch that was stopped goes on where it was when the same command
is given again; a file has its name only once it is whole and has the store's checksum. Archives
are unpacked as far as they are needed, and removed.
"""

import argparse
import bisect
import contextlib
import dataclasses
import math
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import tqdm

from configs.datasets import DATASETS
from configs.settings import settings, training_command
from data_pipelines.command_line import (
  Misuse,
  Parser,
  checked_arguments,
  entry,
  path_name,
  run,
  show_progress,
)
from data_pipelines.datasets.published import PUBLISHED, Published, published
from data_pipelines.durable import Taken, locked, write_atomically
from data_pipelines.sources import DataError, check_choice
from data_pipelines.stores import remote
from data_pipelines.stores.archives import Zipped, unpack
from data_pipelines.stores.copies import copy, under_way
from data_pipelines.stores.remote import Remote
from data_pipelines.stores.threads import in_order

FILES_AT_ONCE = 4
CUT = ".cut"  # ending of the file that says that one is a beginning; readers know it
STATE = ".fetched"  # folder of archives, and of notes on those that are unpacked
REPORT_SECONDS = 10
USUAL_SPEED = 10e6  # bytes a second, to tell how long it will take
ARCHIVE = re.compile(r"\.(tar(\.\w+)?|tgz|zip)$")


def _parse_arguments(argv: list[str]) -> argparse.Namespace:
  parser = Parser("data_pipelines.fetch", __doc__)
  parser.add_argument("name", help=", ".join(PUBLISHED))
  parser.add_argument("--variant", help="default: that of the published experiments")
  part = parser.add_mutually_exclusive_group()
  part.add_argument("--num_files", type=int, metavar="N", help="of sets of many files, the first N")
  part.add_argument("--max_gb", type=float, metavar="G", help="at most so much; default: all")
  parser.add_argument("--out", type=path_name, help="folder; default: where training looks for it")
  parser.add_argument(
    "--source", action="append", metavar="URL", help="in place of the published one(s); repeatable"
  )
  arguments = parser.parse_args(argv)
  for name in ("num_files", "max_gb"):
    if (value := getattr(arguments, name)) is not None and not value > 0:
      raise Misuse(f"--{name} is {value}; it must be more than 0")
  return arguments


@dataclasses.dataclass(frozen=True)
class Job:
  """A file to fetch.

  Attributes:
    file: in a store.
    final: of the file, or of the archive until it is unpacked.
    limit: bytes of it; None: all.
    is_tar: whether it is to be unpacked.
    zipped: what is needed of it, where it is an archive that is not fetched as such.
  """

  file: Remote
  final: Path
  limit: int | None = None
  is_tar: bool = False
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
    return self.final.with_name(f"{self.final.name}{f'.{self.size}' if self.is_tar else CUT}")

  @property
  def is_done(self) -> bool:
    """Whether it is there already, or more of it than is wanted."""
    if self.zipped:
      return not self.zipped.members
    if self.is_tar:
      return self.note.exists() and self.note.read_text() == str(self.file.stamp)
    there = self.final.stat().st_size if self.final.is_file() else -1
    return there == self.file.size or (self.is_cut and there == self.size and self.note.exists())

  @property
  def left(self) -> int:
    """Bytes that are still to come."""
    partial = under_way(self.file, self.final)
    there = partial.stat().st_size if partial.exists() and self.file.has_ranges else 0
    return 0 if self.is_done else max(self.size - there, 0)

  def carry_out(self, needed: re.Pattern | None, out: Path, told: Callable[[int], None]) -> None:
    """Fetches it, and unpacks it if need be."""
    if self.zipped:
      return self.zipped.fetch(told)
    partial = under_way(self.file, self.final)
    if not self.is_tar and self.note.exists() and self.final.exists() and not partial.exists():
      if self.note.read_text() == str(self.file.stamp):
        self.final.rename(partial)  # a shorter beginning of the same: the rest is added
    if self.is_cut and not self.is_tar:
      write_atomically(self.note, str(self.file.stamp))
    copy(self.file, self.final, limit=self.limit if self.is_cut else None, told=told)
    if not self.is_tar:
      if not self.is_cut:
        self.note.unlink(missing_ok=True)
    elif unpack(self.final, needed, out, is_cut=self.is_cut):
      write_atomically(self.note, str(self.file.stamp))
      self.final.unlink()
    else:
      raise DataError(f"{self.file.url} has nothing of what is needed; name more, or another place")


def _found(row: Published) -> list[Remote]:
  """The files that are needed at a row's addresses, archives included."""
  found, names = [], [url.rpartition("/")[2] for url in row.urls]
  for url in row.urls:
    files = remote.listed(url)
    if len(files) > 1 and row.needed:
      files = [f for f in files if re.fullmatch(row.needed, f.name) or ARCHIVE.search(f.name)]
    elif len(files) > 1:
      files = [f for f in files if f.name.rpartition("/")[2] in names]
    if not files:
      raise DataError(f"{url} has none of the files that are needed; name another --source")
    found += files
  return found


def _chosen(files: list[Remote], row: Published, num: int | None, most: int | None) -> list[Remote]:
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
      raise Misuse(f"--max_gb is {most / 1e9:g}, but the least that is of use is {least / 1e9:.3g}")
  return first(min(num or largest, largest))


def _jobs(row: Published, name: str, out: Path, num: int | None, most: int | None) -> list[Job]:
  """What to do, in this order."""
  files, needed = _found(row), row.needed and re.compile(row.needed)
  if needed and all(needed.fullmatch(file.name) for file in files):
    chosen = _chosen(files, row, num, most)
    return [Job(file, out / needed.fullmatch(file.name)["path"]) for file in chosen]
  if num is not None and len(files) == 1:
    raise Misuse(f"--num_files is {num}, but {name} is one file; --max_gb takes a part of it")
  files = files[:num]
  if most is not None:  # of all but the largest ones all, as they are of use only together
    files = sorted(files, key=lambda file: file.size or 0)
  jobs, left = [], most
  for file in files:
    limit = None if left is None else min(left, file.size or left)
    if limit == 0:
      break
    left = None if left is None else left - limit
    base = re.sub(r"[^\w.-]", "_", file.name.rpartition("/")[2])[-100:]
    if needed and base.endswith(".zip"):
      jobs.append(Job(file, out, zipped=Zipped(file, needed, out, limit)))
    elif needed:
      jobs.append(Job(file, out / STATE / base, limit, is_tar=True))
    elif limit == file.size or limit is None or ".tfrecord" in base:
      if row.sha256 and not most:
        file = dataclasses.replace(file, checksum=("sha256", bytes.fromhex(row.sha256)))
      jobs.append(Job(file, out / base, limit))
    else:
      raise Misuse(f"--max_gb is {most / 1e9:g}, but {file.url} is of no use in part")
  return jobs


class _Bar:
  """Bytes, speed and time left: a bar on a terminal, a line now and then elsewhere."""

  def __init__(self, total: int):
    self._total, self._lock, self._at = total, threading.Lock(), {}
    self._bar = tqdm.tqdm(total=total, unit="B", unit_scale=True, disable=None, smoothing=0.05)
    self._start = self._said = time.monotonic()
    self._done = 0
    self.close = self._bar.close

  def told(self, job: Job, position: int) -> None:
    """Notes how much of a job there is now."""
    with self._lock:
      more = position - self._at.get(job.file.url, job.size - job.left)
      self._at[job.file.url] = position
      self._done += more
      self._bar.update(more)
      now = time.monotonic()
      if self._bar.disable and now - self._said > REPORT_SECONDS:
        self._said, speed = now, max(self._done, 1) / (now - self._start)
        print(
          f"{self._done / 1e9:.3g} of {self._total / 1e9:.3g} GB, {speed / 1e6:.3g} MB/s, "
          f"{max(self._total - self._done, 0) / speed:.0f} s left",
          flush=True,
        )


def _say_cost(jobs: list[Job], what: str, out: Path) -> int:
  """Says what is to come and what that takes; returns the number of bytes.

  Raises:
    DataError: the disk has no room for it.
  """
  place = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
  left, free = sum(job.left for job in jobs), shutil.disk_usage(place).free
  # An archive is there as well until all of it is unpacked, to about its own size.
  room = left + sum(job.size for job in jobs if job.is_tar and not job.is_done)
  cuts = "".join(f", of {job.file.url} the beginning" for job in jobs if job.is_cut)
  unknown = ", and what has no known size" if any(job.file.size is None for job in jobs) else ""
  done = sum(job.is_done for job in jobs)
  print(
    f"{what}: {len(jobs)} files{cuts}, {sum(job.size for job in jobs) / 1e9:.3g} GB"
    f"{unknown}, {done} of them there already; {left / 1e9:.3g} GB to fetch into {out}, "
    f"{left / USUAL_SPEED:.0f} s at {USUAL_SPEED / 1e6:.0f} MB/s; it takes {room / 1e9:.3g} of the "
    f"{free / 1e9:.3g} GB that are free",
    flush=True,
  )
  if room > free:
    raise DataError(
      f"{out} has room for {free / 1e9:.3g} GB, but {room / 1e9:.3g} are needed: fetch less with "
      "--max_gb, or name another disk with --out"
    )
  return left


def fetch(jobs: list[Job], needed: str | None, out: Path, total: int) -> None:
  """Carries out jobs, some side by side."""
  bar, pattern = _Bar(total), needed and re.compile(needed)

  def carry_out(job: Job) -> None:
    job.carry_out(pattern, out, lambda position: bar.told(job, position))

  with contextlib.closing(bar):
    for _ in in_order(carry_out, [job for job in jobs if not job.is_done], FILES_AT_ONCE):
      pass


def _report(name: str, variant: str, out: Path, jobs: list[Job]) -> None:
  """What there is now, and what to do with it."""
  if jobs[0].zipped:
    count = len(jobs[0].zipped.members) + jobs[0].zipped.there
    print(f"{count} members of {jobs[0].file.url} in {out}")
  for job in jobs:
    if job.is_cut and not job.is_tar:
      print(f"{job.final} is a beginning, and read up to the cut")
  print(f"all of it is in {out}")
  if name in DATASETS:
    config = settings(name, variant=variant)
    print(f"train on it: {training_command(name, config, str(out))}")


@entry()
def main(argv: list[str]) -> None:
  """Fetches what the command line says."""
  arguments = _parse_arguments(argv)
  name = arguments.name
  with checked_arguments():
    check_choice("name", name, PUBLISHED)
    variant = arguments.variant or PUBLISHED[name].variants[0]
    check_choice("--variant", variant, PUBLISHED[name].variants)
  row = published(name, variant)
  row = row._replace(urls=tuple(arguments.source or row.urls))
  out = arguments.out or Path(row.out)
  show_progress()
  most = None if arguments.max_gb is None else int(arguments.max_gb * 1e9)
  jobs = _jobs(row, name, out, arguments.num_files, most)
  total = _say_cost(jobs, f"{name} {variant} from {' '.join(row.urls)}", out)
  (out / STATE).mkdir(parents=True, exist_ok=True)
  try:
    with locked(out / STATE / "lock"):
      fetch(jobs, row.needed, out, total)
  except Taken as error:
    raise DataError(f"{out} is being fetched into by another program ({error}); wait") from None
  _report(name, variant, out, jobs)


if __name__ == "__main__":
  run(main)
