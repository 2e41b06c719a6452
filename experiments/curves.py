"""Logged values of several runs as curves in one figure, ready for a paper: no screen.

  python -m experiments.curves --workdir=runs/a --workdir=runs/b --out=curves.png
  python -m experiments.curves --workdir=runs/a --values=elbo,beta --x=images --out=curves.pdf

One panel for each value, one line for each run, with marks where there are few points. A value is
taken from validation where it was validated, else from training. Exit status: 0 when done, 1 when
something went wrong, 2 for a mistake on the command line.
"""

import argparse
import io
import os
from collections.abc import Sequence

from data_pipelines.command_line import Parser, file_name, place
from experiments.console import program
from experiments.console.errors import UserError

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.

FORMATS = (".png", ".pdf", ".svg")
DEFAULT_VALUES = ("ari_fg", "msc_fg")
WIDTH, HEIGHT = 4.0, 2.8  # of a panel, inches
FEW = 60  # points of a line that get marks


def parse(argv: list[str]) -> argparse.Namespace:
  """Options; a mistake ends the program with one line and status 2."""

  def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]

  parser = Parser("experiments.curves", __doc__)
  parser.add_argument(
    "--workdir", type=place, action="append", required=True, help="of a run; may be repeated"
  )
  parser.add_argument(
    "--values", type=names, metavar="NAME,...", default=list(DEFAULT_VALUES),
    help=f"as in metrics.jsonl, without train/ and val/; default: {','.join(DEFAULT_VALUES)}",
  )  # fmt: skip
  parser.add_argument("--labels", type=names, metavar="A,...", help="default: names of the folders")
  parser.add_argument("--x", choices=("steps", "images"), default="steps", help="default: steps")
  parser.add_argument(
    "--out", type=file_name(*FORMATS), required=True, help="FILE.png, .pdf or .svg"
  )
  options = parser.parse_args(argv)
  if not options.values:
    parser.error("--values names nothing")
  options.labels = options.labels or [
    os.path.basename(os.path.abspath(path)) for path in options.workdir
  ]
  if len(options.labels) != len(options.workdir):
    parser.error(f"--labels has {len(options.labels)} names for {len(options.workdir)} runs")
  return options


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


def draw(records: Sequence, labels: Sequence[str], values: Sequence[str], x: str):
  """The figure.

  Args:
    records: of `run_records.read`.
    labels: one for each.
    values: a panel for each.
    x: steps, or images.

  Raises:
    UserError: for a value that no run logged.
  """
  from matplotlib.figure import Figure

  from experiments.reporting.curves import COLOURS, label_of

  figure = Figure(figsize=(WIDTH * len(values), HEIGHT), layout="constrained")
  for number, name in enumerate(values, start=1):
    axes = figure.add_subplot(1, len(values), number)
    lines = [points(record, name, x) for record in records]
    if not any(steps for steps, _ in lines):
      logged = ", ".join(known_values(records))
      raise UserError(f"--values: no run logged {name!r}; logged: {logged or 'nothing'}")
    for index, (label, line) in enumerate(zip(labels, lines, strict=True)):
      style = dict(
        color=COLOURS[index % len(COLOURS)],
        linestyle=("-", "--", ":", "-.")[index // len(COLOURS) % 4],
        marker="o" if len(line[0]) <= FEW else None,
        markersize=3,
      )
      axes.plot(*line, label=label, **style)
    axes.set(xlabel=x, title=label_of(name))
    axes.locator_params(axis="x", nbins=6)  # more would touch
    axes.grid(alpha=0.3)
  # Names of folders may begin with an underscore, or hold what looks like a formula.
  places = [str(index) for index in range(len(labels))]
  legend = figure.legend(axes.get_lines(), places, loc="outside lower center", ncols=4)
  for text, label in zip(legend.get_texts(), labels, strict=True):
    text.set_parse_math(False)
    text.set_text(label)
  return figure


@program.entry
def main(argv: list[str]) -> None:
  """Draws the curves, and says where."""
  options = parse(argv)
  import matplotlib

  from experiments.runs import folder
  from experiments.runs import records as run_records
  from experiments.stores.reading import all_brought

  with all_brought(options.workdir, "none") as workdirs:
    records = [run_records.read(workdir) for workdir in workdirs]
  figure, buffer = draw(records, options.labels, options.values, options.x), io.BytesIO()
  # TrueType: publishers refuse matplotlib's default.
  with matplotlib.rc_context({"pdf.fonttype": 42}):
    figure.savefig(buffer, format=options.out.suffix[1:], dpi=100)
  folder.write_out(options.out, buffer.getvalue())
  print(f"wrote      {options.out}", flush=True)


if __name__ == "__main__":
  program.run(main)
