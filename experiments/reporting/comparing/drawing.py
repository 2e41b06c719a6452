"""Figures of several runs for papers, by matplotlib.

figure = curves([[record], [record]], ["one", "two"], ["ari_fg"], "steps")
path.write_bytes(encoded(figure, "pdf"))
"""

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from experiments.console.errors import UserError
from experiments.reporting.comparing.bands import band, look, split_of
from experiments.reporting.comparing.swept import Axis, Line
from experiments.reporting.curves import label_of
from experiments.runs.records import Record
from experiments.scoring.scores import score

WIDTH, HEIGHT = 4.0, 2.8  # of a panel, inches
KEY_WIDTH, LETTER, LINE = 0.5, 0.066, 0.18  # of a legend: beside a label, in it, and its height
FEW = 60  # points of a line that get marks
STYLES = {
  "solid": "-",
  "dash": "--",
  "dot": ":",
  "dashdot": "-.",
  "longdash": (0, (9, 3)),
  "longdashdot": (0, (9, 3, 1, 3)),
}


def known_values(records: Sequence[Record]) -> list[str]:
  """Names that some run logged."""
  keys = {key for record in records for row in record.rows for key in row}
  return sorted({key.partition("/")[2] for key in keys if key.startswith(("train/", "val/"))})


def _style(index: int) -> dict:
  colour, dash = look(index)
  return dict(color=colour, linestyle=STYLES[dash])


def _fill(axes, bands: Sequence, labels: Sequence[str]) -> None:
  """Draws the lines of a panel, and bands where there are several seeds."""
  for index, (label, one) in enumerate(zip(labels, bands, strict=True)):
    style = _style(index)
    marker = "o" if len(one.x) <= FEW else None
    axes.plot(one.x, one.mean, label=label, marker=marker, markersize=3, **style)
    if np.isfinite(one.low).any():
      axes.fill_between(one.x, one.low, one.high, color=style["color"], alpha=0.2, linewidth=0)
  axes.locator_params(axis="x", nbins=6)  # more would touch
  axes.grid(alpha=0.3)


def _legend(figure: Figure, lines: Sequence, labels: Sequence[str]) -> None:
  """Below the panels. Names of folders may begin with an underscore, or look like formulas."""
  places = [str(index) for index in range(len(labels))]
  width, height = figure.get_size_inches()
  entry = KEY_WIDTH + LETTER * max(map(len, labels))
  width, fitting = max(width, entry), int(width / entry)
  columns = max(1, min(4, fitting, len(labels)))
  figure.set_size_inches(width, height + LINE * (-(-len(labels) // columns) - 1))
  legend = figure.legend(lines, places, loc="outside lower center", ncols=columns, fontsize="small")
  for text, label in zip(legend.get_texts(), labels, strict=True):
    text.set_parse_math(False)
    text.set_text(label)


def curves(
  groups: Sequence[Sequence[Record]], labels: Sequence[str], values: Sequence[str], x: str
) -> Figure:
  """Logged values over training.

  Args:
    groups: runs with different seeds; a line with a band for each.
    labels: one for each.
    values: a panel for each.
    x: steps, or images.

  Raises:
    UserError: for a value that no run logged.
  """
  everyone = [record for runs in groups for record in runs]
  figure = Figure(figsize=(WIDTH * len(values), HEIGHT), layout="constrained")
  for number, name in enumerate(values, start=1):
    axes = figure.add_subplot(1, len(values), number)
    key = f"{split_of(everyone, name)}/{name}"
    bands = [band(runs, key, x) for runs in groups]
    if not any(len(one.x) for one in bands):
      logged = ", ".join(known_values(everyone))
      raise UserError(f"--values: no run logged {name!r}; logged: {logged or 'nothing'}")
    _fill(axes, bands, labels)
    axes.set(xlabel=x, title=label_of(name))
  _legend(figure, axes.get_lines(), labels)
  return figure


def against(axis: Axis, name: str, lines: Sequence[Line]) -> Figure:
  """A score against a setting, with the standard deviation over seeds as bars."""
  figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
  axes = figure.add_subplot()
  drawn = []
  for index, line in enumerate(lines):
    bars = [std or 0 for std in line.std]
    options = dict(yerr=bars, capsize=2) if any(bars) else {}
    drawn.append(
      axes.errorbar(line.x, line.mean, marker="o", markersize=3, **options, **_style(index))
    )
  if axis.log:
    axes.set_xscale("log")
  axes.set_xticks(axis.ticks, [f"{tick:g}" for tick in axis.ticks])
  axes.minorticks_off()
  row = score(name)
  axes.set(xlabel=axis.setting, ylabel=f"{row.label}, {row.unit}" if row.unit else row.label)
  axes.grid(alpha=0.3)
  if len(lines) > 1:
    _legend(figure, drawn, [line.label for line in lines])
  return figure


def encoded(figure: Figure, form: str) -> bytes:
  """A figure as a file: "png", "pdf" or "svg"."""
  buffer = io.BytesIO()
  # TrueType: publishers refuse matplotlib's default.
  with matplotlib.rc_context({"pdf.fonttype": 42}):
    figure.savefig(buffer, format=form, dpi=100)
  return buffer.getvalue()
