"""Tells how a sweep goes: on a terminal a table that stays in place, else lines."""

import dataclasses
import shutil
import sys
import time
from collections import Counter

from data_pipelines.command_line import text_table
from experiments.console.durations import duration
from experiments.scheduling.standing import Progress
from experiments.scoring.scores import LINE, label, named

TABLE_SECONDS, LINE_SECONDS = 1, 60  # between two of them
# States of a run, those that are shown first at the top.
TRAINS, ELSEWHERE, QUEUED, FAILED, STOPPED, WAITS, DONE = ORDER = (
  "trains", "trains elsewhere", "queued", "failed", "stopped", "waits", "done",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Row:
  """A run.

  Attributes:
    name: of it.
    state: one of `ORDER`, perhaps followed by words in brackets.
    progress: what it has logged.
    num_steps: that it will have done.
    host: where it trains; "" for nowhere.
  """

  name: str
  state: str
  progress: Progress
  num_steps: int
  host: str = ""

  @property
  def kind(self) -> str:
    """The state without more words."""
    return self.state.partition(" (")[0]


def table(rows: list[Row], height: int = 10**6) -> str:
  """A line a run, those that train first; a last line counts what is left out."""
  rows = sorted(rows, key=lambda row: ORDER.index(row.kind))
  shown = rows if len(rows) <= height else rows[: max(1, height - 1)]
  scores = named({name for row in shown for name in row.progress.scores}, LINE)
  head = ["run", "state", "step", "steps/s", "ETA", *map(label, scores), "host"]
  text = text_table([head, *(_cells(row, scores) for row in shown)])
  if hidden := rows[len(shown) :]:
    text += f"\nand {_counts(hidden)}"
  return text


def _cells(row: Row, scores: list[str]) -> list[str]:
  progress, trains = row.progress, row.kind in (TRAINS, ELSEWHERE)
  speed, left = (progress.steps_per_second, progress.seconds_left) if trains else (None, None)
  return [
    row.name,
    row.state,
    f"{progress.step}/{row.num_steps}",
    "" if speed is None else f"{speed:.3g}",
    "" if left is None else duration(left),
    *(f"{progress.scores[name]:.4g}" if name in progress.scores else "" for name in scores),
    row.host,
  ]


def scores_in_words(progress: Progress) -> str:
  """The scores of a validation, in a line."""
  names = named(progress.scores, LINE)
  return ", ".join(f"{name} {progress.scores[name]:.4g}" for name in names)


def _counts(rows: list[Row]) -> str:
  counts = Counter(row.kind for row in rows)
  return ", ".join(f"{counts[kind]} {kind}" for kind in ORDER if counts[kind])


class Board:
  """Where a sweep is shown."""

  def __init__(self):
    self._is_terminal = sys.stdout.isatty()
    self._lines = 0  # of the table that is shown
    self._next = time.monotonic() + (0 if self._is_terminal else LINE_SECONDS)

  def _clear(self) -> None:
    if self._lines:
      print(f"\x1b[{self._lines}A\x1b[J", end="")
      self._lines = 0

  def say(self, text: str) -> None:
    """A line of text, above the table."""
    self._clear()
    print(text, flush=True)
    if self._is_terminal:
      self._next = 0

  @property
  def is_due(self) -> bool:
    """Whether it is time to `show`."""
    return time.monotonic() >= self._next

  def show(self, rows: list[Row]) -> None:
    """Shows the runs as they are now."""
    if not self._is_terminal:
      self._next = time.monotonic() + LINE_SECONDS
      active = [row for row in rows if row.kind == TRAINS]
      print("; ".join([_counts(rows), *map(_sentence, active)]), flush=True)
      return
    self._next = time.monotonic() + TABLE_SECONDS
    width, height = shutil.get_terminal_size()
    lines = [line[: width - 1] for line in table(rows, height - 4).splitlines()]
    lines.append(_counts(rows)[: width - 1])
    self._clear()
    print("\n".join(lines), flush=True)
    self._lines = len(lines)


def _sentence(row: Row) -> str:
  words = f"{row.name}: step {row.progress.step}/{row.num_steps}"
  if row.progress.steps_per_second:
    words += f", {row.progress.steps_per_second:.3g} steps/s"
    words += f", ETA {duration(row.progress.seconds_left)}"
  return words
