"""Folders that appear only once they are complete, and progress while they are being made.

    with published(Path("data/mine/train"), notes) as folder:
      for scene in with_progress(scenes, 2000, "rendering", "scene"):
        write(folder / "...", scene)

A killed program leaves a hidden folder behind at most, never half a data set under its name.
"""

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import tqdm
from absl import logging

from data_pipelines.common import STAND_IN_FILE

REPORT_SECONDS = 10  # between lines of progress where there is no terminal


def with_progress(items: Iterable, total: int, what: str, unit: str) -> Iterator:
  """Passes items on under a progress bar; without a terminal, with a line now and then."""
  if sys.stderr.isatty():
    yield from tqdm.tqdm(items, what, total, unit=unit)
    return
  start = said = 0.0
  for n, item in enumerate(items, start=1):
    yield item
    now = time.monotonic()
    if n == 1:
      start = said = now  # the first one may wait for a compiler
    elif now - said > REPORT_SECONDS or n == total:
      said, left = now, (now - start) / (n - 1) * (total - n)
      logging.info("%s: %d of %d %ss, %.0f s left", what, n, total, unit, left)


def write_synced(path: Path, text: str) -> None:
  """Writes a file that is whole on the disk, also after a power cut, before it gets its name."""
  with open(path, "w") as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())


@contextlib.contextmanager
def published(final: Path, notes: dict) -> Iterator[Path]:
  """A folder to fill; it gets the name `final`, with the notes in it, when the body is done.

  If another process was faster, its folder stays and this one is dropped.

  Raises:
    FileExistsError: `final` is in use for something that is no stand-in.
  """
  if final.exists() and any(final.iterdir()) and not (final / STAND_IN_FILE).exists():
    raise FileExistsError(f"{final} exists and is not a stand-in; remove it")
  final.parent.mkdir(parents=True, exist_ok=True)
  partial_dir = Path(tempfile.mkdtemp(prefix=f".{final.name}.partial-", dir=final.parent))
  try:
    yield partial_dir
    write_synced(partial_dir / STAND_IN_FILE, json.dumps(notes, indent=2) + "\n")
    partial_dir.chmod(0o755)  # mkdtemp makes folders that only their owner can read
    try:
      os.rename(partial_dir, final)
    except OSError:
      if not (final / STAND_IN_FILE).exists():
        raise FileExistsError(f"{final} exists and is not a stand-in; remove it") from None
  finally:
    shutil.rmtree(partial_dir, ignore_errors=True)
