"""Fetches a published data set, or a part of it, and checks what arrives.

    python -m data_pipelines.fetch gqn --num_files 20
    python -m data_pipelines.fetch clevr --max_gb 5
    python -m data_pipelines.fetch inception          # the weights of FID

What it will cost is said first. A fetch that was stopped goes on where it was when the same command
is given again; a file has its name only once it is whole and has the store's checksum. Archives
are unpacked as far as they are needed, and removed.
"""

import argparse
import contextlib
import shutil
import threading
import time
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
from data_pipelines.durable import Taken, locked
from data_pipelines.sources import DataError, check_choice
from data_pipelines.stores.jobs import STATE, Job, planned
from data_pipelines.stores.published import PUBLISHED, published
from data_pipelines.stores.threads import in_order

FILES_AT_ONCE = 4
REPORT_SECONDS = 10
USUAL_SPEED = 10e6  # bytes a second, to tell how long it will take


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
  room = left + sum(job.size for job in jobs if job.unpacked and not job.is_done)
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


def carry_out(jobs: list[Job], total: int) -> None:
  """Carries out jobs, some side by side."""
  bar = _Bar(total)

  def one(job: Job) -> None:
    job.carry_out(lambda position: bar.told(job, position))

  with contextlib.closing(bar):
    for _ in in_order(one, [job for job in jobs if not job.is_done], FILES_AT_ONCE):
      pass


def _report(name: str, variant: str, out: Path, jobs: list[Job]) -> None:
  """What there is now, and what to do with it."""
  if jobs[0].zipped:
    count = len(jobs[0].zipped.members) + jobs[0].zipped.there
    print(f"{count} members of {jobs[0].file.url} in {out}")
  for job in jobs:
    if job.is_cut and not job.unpacked:
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
  sources = tuple(arguments.source or row.urls)
  out = arguments.out or Path(row.out)
  show_progress()
  most = None if arguments.max_gb is None else int(arguments.max_gb * 1e9)
  with checked_arguments():
    todo = planned(row, sources, out, arguments.num_files, most)
  total = _say_cost(todo, f"{name} {variant} from {' '.join(sources)}", out)
  (out / STATE).mkdir(parents=True, exist_ok=True)
  try:
    with locked(out / STATE / "lock"):
      carry_out(todo, total)
  except Taken as error:
    raise DataError(f"{out} is being fetched into by another program ({error}); wait") from None
  _report(name, variant, out, todo)


if __name__ == "__main__":
  run(main)
