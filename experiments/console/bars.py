"""Progress: a bar on a terminal, an occasional line elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator

import tqdm

REPORT_SECONDS = 30  # between lines


def duration(seconds: float) -> str:
  """Seconds in the two largest units that fit: "1d 3h", "4m 10s"."""
  rest, parts = int(seconds), []
  for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
    count, rest = divmod(rest, size)
    if count or parts or unit == "s":
      parts.append(f"{count}{unit}")
  return " ".join(parts[:2])


def shown(items: Iterable, what: str, unit: str, total: int) -> Iterator:
  """Passes items on and shows how many are done; the bar disappears at the end.

  Args:
    items: whatever takes time.
    what: what is being done, in one word.
    unit: of items, in the plural.
    total: how many items there are, at most.
  """
  start = said = time.monotonic()
  bar = tqdm.tqdm(items, what, total, unit=f" {unit}", leave=False, disable=None)
  for done, item in enumerate(bar):
    now = time.monotonic()
    if done and not sys.stderr.isatty() and now - said > REPORT_SECONDS:
      said, left = now, (now - start) / done * (total - done)
      print(f"{what:<10} {done} of {total} {unit}, {duration(left)} left", flush=True)
    yield item
