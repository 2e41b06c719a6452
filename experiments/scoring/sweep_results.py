"""The final numbers of a sweep: mean and spread over seeds, as text, CSV, JSON and Markdown."""

import csv
import dataclasses
import io
import pathlib
import statistics
from typing import Any

from data_pipelines.durable import write_atomically
from experiments.runs.folder import write_json

# Of metrics.json, in this order; each is left out where no run has it.
COLUMNS = ("err_element", "kl", "elbo", "mse", "ari_fg", "msc_fg", "ari", "msc")
COLUMNS += tuple(f"{name}_r" for name in ("ari_fg", "msc_fg", "ari", "msc"))
STAND_IN = "STAND-IN DATA: these numbers compare with nothing published"


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

  def values(self, column: str) -> list[float]:
    """Of all seeds that have the number."""
    return [run["val"][column] for run in self.runs.values() if column in run["val"]]

  def mean(self, column: str) -> float | None:
    """Over the seeds; None where no run has the number."""
    values = self.values(column)
    return statistics.fmean(values) if values else None

  def std(self, column: str) -> float | None:
    """Sample standard deviation over the seeds (n - 1); None with fewer than two."""
    values = self.values(column)
    return statistics.stdev(values) if len(values) > 1 else None

  def cell(self, column: str) -> str:
    """Mean and spread for people."""
    mean, std = self.mean(column), self.std(column)
    if mean is None:
      return ""
    return f"{mean:.4g}" if std is None else f"{mean:.4g} ± {std:.2g}"


def _columns(rows: list[Row]) -> list[str]:
  return [column for column in COLUMNS if any(row.values(column) for row in rows)]


def _cells(rows: list[Row]) -> list[list[str]]:
  columns = _columns(rows)
  head = ["point", "seeds", *columns]
  return [head] + [[r.name, str(len(r.runs)), *(r.cell(c) for c in columns)] for r in rows]


def as_text(rows: list[Row]) -> str:
  """A table in columns of equal width."""
  cells = _cells(rows)
  widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
  lines = [
    "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells
  ]
  return "\n".join(lines)


def as_markdown(rows: list[Row], title: str) -> str:
  """The table with a heading, and a warning if any run saw stand-in data."""
  head, *body = _cells(rows)
  lines = [
    f"# {title}",
    "",
    "Mean ± sample standard deviation over seeds, on validation images.",
    "",
  ]
  if has_stand_ins(rows):
    lines += [f"**{STAND_IN}.**", ""]
  lines += [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body)]
  return "\n".join(lines) + "\n"


def as_csv(rows: list[Row]) -> str:
  """One line per point; columns <number>_mean and <number>_std, empty where absent."""
  columns = _columns(rows)
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(["point", "seeds"] + [f"{c}_{kind}" for c in columns for kind in ("mean", "std")])
  for row in rows:
    numbers = [x for c in columns for x in (row.mean(c), row.std(c))]
    writer.writerow([row.name, len(row.runs), *numbers])
  return text.getvalue()


def has_stand_ins(rows: list[Row]) -> bool:
  """Whether any finished run was trained on rendered stand-ins."""
  return any(run.get("stand_in") for row in rows for run in row.runs.values())


def write(workdir: pathlib.Path, rows: list[Row], title: str) -> None:
  """Writes sweep.csv, sweep.json (with all that the runs report) and sweep.md."""
  write_atomically(workdir / "sweep.csv", as_csv(rows))
  write_atomically(workdir / "sweep.md", as_markdown(rows, title))
  write_json(workdir / "sweep.json", {"points": [dataclasses.asdict(row) for row in rows]})
