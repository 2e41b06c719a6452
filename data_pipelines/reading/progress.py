"""What takes long: progress of it, for people who wait, and work that is begun ahead.

with telling():
  for scene in with_progress(scenes, 2000, "rendering", "scene"): ...
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import tqdm
from absl import logging

from data_pipelines.stores.threads import made_ahead

REPORT_SECONDS = 10  # between lines of progress where there is no terminal ...
ASIDE_SECONDS = 30  # ... and of progress within something longer


def with_progress(
  items: Iterable, total: int, what: str, unit: str, *, aside: bool = False
) -> Iterator:
  """Passes items on under a progress bar; without a terminal, with a line now and then.

  Args:
    items: whatever takes time.
    total: how many there are, at most.
    what: what is being done.
    unit: of items, in the singular.
    aside: whether this is a part of something longer: its bar disappears at the end, its lines are
      printed, and only while it lasts.
  """
  if sys.stderr.isatty():
    yield from tqdm.tqdm(items, what, total, unit=unit, leave=not aside)
    return
  every = ASIDE_SECONDS if aside else REPORT_SECONDS
  start = said = 0.0
  for n, item in enumerate(items, start=1):
    yield item
    now = time.monotonic()
    if n == 1:
      start = said = now  # the first one may wait for a compiler
    elif now - said > every or (n == total and not aside):
      said, left = now, (now - start) / (n - 1) * (total - n)
      line = f"{what}: {n} of {total} {unit}s, {left:.0f} s left"
      print(line, flush=True) if aside else logging.info("%s", line)


@contextlib.contextmanager
def telling() -> Iterator[None]:
  """Shows progress messages of the body; elsewhere Orbax and the readers would log too much."""
  before = logging.get_verbosity()
  logging.set_verbosity(logging.INFO)
  try:
    yield
  finally:
    logging.set_verbosity(before)


def in_order(pool: ThreadPoolExecutor, function: Callable, items: Iterable, ahead: int) -> Iterator:
  """`map` in threads, with so many calls ahead of what is asked for."""
  for call in made_ahead((pool.submit(function, item) for item in items), ahead):
    yield call.result()
