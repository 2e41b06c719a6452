"""Logged values of several runs as curves in one figure, ready for a paper: no screen.

  python -m experiments.curves --workdir=runs/a --workdir=runs/b --out=curves.png
  python -m experiments.curves --workdir=runs/a --values=elbo,beta --x=images --out=curves.pdf

One panel for each value, one line for each run, with marks where there are few points. A panel has
values of validation, or of training where more of the runs have these. Exit status: 0 when done, 1
when something went wrong, 2 for a mistake on the command line.
"""

import argparse
import os

from data_pipelines.command_line import Parser, file_name, place
from experiments.console import program

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.

FORMATS = (".png", ".pdf", ".svg")
DEFAULT_VALUES = ("ari_fg", "msc_fg")


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


@program.entry
def main(argv: list[str]) -> None:
  """Draws the curves, and says where."""
  options = parse(argv)
  from experiments.reporting.comparing import drawing
  from experiments.runs import folder, records
  from experiments.stores.reading import all_brought
  from experiments.stores.writing import file_written

  with all_brought(options.workdir, "none") as workdirs:
    runs = [[records.read(workdir)] for workdir in workdirs]
  figure = drawing.curves(runs, options.labels, options.values, options.x)
  with file_written(options.out) as out:
    folder.write_out(out, drawing.encoded(figure, out.suffix[1:]))
  print(f"wrote      {options.out}", flush=True)


if __name__ == "__main__":
  program.run(main)
