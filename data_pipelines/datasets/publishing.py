"""Folders that appear only once they are complete, and progress while they are being made.

    with published(Path("data/mine/train"), notes) as folder:
      for scene in with_progress(scenes, 2000, "rendering", "scene"):
        write(folder / "...", scene)

A killed program leaves a hidden folder behind at most, never half a data set under its name.
"""

import contextlib
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import tqdm
from absl import logging

from data_pipelines.durable import NameTaken, partial_folder
from data_pipelines.sources import STAND_IN_FILE

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


@contextlib.contextmanager
def published(final: Path, notes: dict) -> Iterator[Path]:
  """A folder to fill; it gets the name `final`, with the notes in it, when the body is done.

  If another process was faster, its folder stays and this one is dropped.

  Raises:
    FileExistsError: `final` is in use for something that is no stand-in.
  """
  if final.exists() and any(final.iterdir()) and not (final / STAND_IN_FILE).exists():
    raise FileExistsError(f"{final} exists and is not a stand-in; remove it")
  try:
    with partial_folder(final) as partial:
      yield partial
      (partial / STAND_IN_FILE).write_text(json.dumps(notes, indent=2) + "\n")
  except NameTaken:
    if not (final / STAND_IN_FILE).exists():
      raise FileExistsError(f"{final} exists and is not a stand-in; remove it") from None
