"""The final numbers of a sweep: mean and spread over seeds, as text, CSV, JSON and Markdown."""

import dataclasses
import pathlib
from typing import Any

from data_pipelines.durable import write_atomically
from experiments.runs.folder import write_json
from experiments.scoring.files import STAND_IN
from experiments.scoring.scores import SWEEP, named
from experiments.scoring.summaries import (
  csv_text,
  markdown_table,
  mean_and_spread,
  plus_minus,
  text_table,
)


@dataclasses.dataclass(frozen=True)
class Row:
  """One point of the grid.

  Attributes:
    name: of the point.
    overrides: that make it.
    runs: seed -> contents of metrics.json; of the finished runs only.
  """

  name: str
  overrides: dict[str, Any]
  runs: dict[int, dict]

  def mean_and_std(self, column: str) -> tuple[float | None, float | None]:
    """Over the seeds that have the number (n - 1 for the std); None with too few of them."""
    return mean_and_spread([r["val"][column] for r in self.runs.values() if column in r["val"]])

  def cell(self, column: str) -> str:
    """Mean and spread for people."""
    return plus_minus(*self.mean_and_std(column))


def _columns(rows: list[Row]) -> list[str]:
  return named({name for row in rows for run in row.runs.values() for name in run["val"]}, SWEEP)


def _cells(rows: list[Row]) -> list[list[str]]:
  columns = _columns(rows)
  head = ["point", "seeds", *columns]
  return [head] + [[r.name, str(len(r.runs)), *(r.cell(c) for c in columns)] for r in rows]


def as_text(rows: list[Row]) -> str:
  """A table in columns of equal width."""
  return text_table(_cells(rows))


def as_markdown(rows: list[Row], title: str) -> str:
  """The table with a heading, and a warning if any run saw stand-in data."""
  lines = [
    f"# {title}",
    "",
    "Mean ± sample standard deviation over seeds, on validation images.",
    "",
  ]
  if has_stand_ins(rows):
    lines += [f"**{STAND_IN}.**", ""]
  return "\n".join([*lines, markdown_table(_cells(rows))]) + "\n"


def as_csv(rows: list[Row]) -> str:
  """One line per point; columns <number>_mean and <number>_std, empty where absent."""
  columns = _columns(rows)
  head = ["point", "seeds"] + [f"{c}_{kind}" for c in columns for kind in ("mean", "std")]
  numbers = ([x for c in columns for x in row.mean_and_std(c)] for row in rows)
  return csv_text(head, [[r.name, len(r.runs), *x] for r, x in zip(rows, numbers, strict=True)])


def has_stand_ins(rows: list[Row]) -> bool:
  """Whether any finished run was trained on rendered stand-ins."""
  return any(run.get("stand_in") for row in rows for run in row.runs.values())


def write(workdir: pathlib.Path, rows: list[Row], title: str) -> None:
  """Writes sweep.csv, sweep.json (with all that the runs report) and sweep.md."""
  write_atomically(workdir / "sweep.csv", as_csv(rows))
  write_atomically(workdir / "sweep.md", as_markdown(rows, title))
  write_json(workdir / "sweep.json", {"points": [dataclasses.asdict(row) for row in rows]})
