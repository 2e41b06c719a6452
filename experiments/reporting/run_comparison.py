"""Logged values of several runs as curves in one figure, for papers.

figure = draw([records.read(workdir) for workdir in workdirs], ["one", "two"], ["ari_fg"], "steps")
path.write_bytes(encoded(figure, "pdf"))
"""

import io
from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from experiments.console.errors import UserError
from experiments.reporting.curves import COLOURS, label_of

WIDTH, HEIGHT = 4.0, 2.8  # of a panel, inches
FEW = 60  # points of a line that get marks


def points(record, name: str, x: str) -> tuple[list[int], list[float]]:
  """Steps or images, and values, of one run; both empty where it did not log this."""
  rows = next(
    (found for split in ("val", "train") if (found := _logged(record, f"{split}/{name}"))), []
  )
  scale = record.config["batch_size"] if x == "images" else 1
  return [step * scale for step, _ in rows], [value for _, value in rows]


def _logged(record, key: str) -> list[tuple[int, float]]:
  return [(row["step"], row[key]) for row in record.rows if row.get(key) is not None]


def known_values(records: Sequence) -> list[str]:
  """Names that some run logged."""
  keys = {key for record in records for row in record.rows for key in row}
  return sorted({key.partition("/")[2] for key in keys if key.startswith(("train/", "val/"))})


def _fill(axes, lines: Sequence[tuple[list, list]], labels: Sequence[str]) -> None:
  """Draws the lines of a panel."""
  for index, (label, line) in enumerate(zip(labels, lines, strict=True)):
    style = dict(
      color=COLOURS[index % len(COLOURS)],
      linestyle=("-", "--", ":", "-.")[index // len(COLOURS) % 4],
      marker="o" if len(line[0]) <= FEW else None,
      markersize=3,
    )
    axes.plot(*line, label=label, **style)
  axes.locator_params(axis="x", nbins=6)  # more would touch
  axes.grid(alpha=0.3)


def draw(records: Sequence, labels: Sequence[str], values: Sequence[str], x: str) -> Figure:
  """The figure.

  Args:
    records: of `runs.records.read`.
    labels: one for each.
    values: a panel for each.
    x: steps, or images.

  Raises:
    UserError: for a value that no run logged.
  """
  figure = Figure(figsize=(WIDTH * len(values), HEIGHT), layout="constrained")
  for number, name in enumerate(values, start=1):
    axes = figure.add_subplot(1, len(values), number)
    lines = [points(record, name, x) for record in records]
    if not any(steps for steps, _ in lines):
      logged = ", ".join(known_values(records))
      raise UserError(f"--values: no run logged {name!r}; logged: {logged or 'nothing'}")
    _fill(axes, lines, labels)
    axes.set(xlabel=x, title=label_of(name))
  # Names of folders may begin with an underscore, or hold what looks like a formula.
  places = [str(index) for index in range(len(labels))]
  legend = figure.legend(axes.get_lines(), places, loc="outside lower center", ncols=4)
  for text, label in zip(legend.get_texts(), labels, strict=True):
    text.set_parse_math(False)
    text.set_text(label)
  return figure


def encoded(figure: Figure, form: str) -> bytes:
  """A figure as a file: "png", "pdf" or "svg"."""
  buffer = io.BytesIO()
  # TrueType: publishers refuse matplotlib's default.
  with matplotlib.rc_context({"pdf.fonttype": 42}):
    figure.savefig(buffer, format=form, dpi=100)
  return buffer.getvalue()
