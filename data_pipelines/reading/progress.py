"""Progress of what takes long, for people who wait for it.

with telling():
  for scene in with_progress(scenes, 2000, "rendering", "scene"): ...
"""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator

import tqdm
from absl import logging

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
def telling() -> Iterator[None]:
  """Shows progress messages of the body; elsewhere Orbax and the readers would log too much."""
  before = logging.get_verbosity()
  logging.set_verbosity(logging.INFO)
  try:
    yield
  finally:
    logging.set_verbosity(before)
