"""Pictures of what a run's model has learned, ready for a paper: one command, no screen.

  python -m experiments.visualise --workdir=runs/genesis_gqn
  python -m experiments.visualise --workdir=runs/genesis_gqn --what=swaps --edit=2,5 --format=pdf

Writes PNG files and a film to RUN/visualisations, with `index.json` that says what each shows, and
the same to TensorBoard. What a model cannot have is left out and named, and is an error if --what
asks for it. Exit status: 0 when done, 1 when something went wrong, 2 for a mistake on the command
line.
"""

import argparse

from data_pipelines.command_line import Parser, place, seed_number, whole_number
from data_pipelines.sources import SPLITS
from experiments.console import program, startup
from experiments.figures.catalogue import FIGURES

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.

FORMATS = ("png", "pdf")


def parse(argv: list[str]) -> argparse.Namespace:
  """Options; a mistake ends the program with one line and status 2."""
  parser = Parser("experiments.visualise", __doc__)
  add = parser.add_argument
  add("--workdir", type=place, required=True, help="folder of the run")
  add("--out", type=place, metavar="DIR", help="default: RUN/visualisations")
  add("--num", type=whole_number(1), default=8, help="images and samples; default: 8")
  add("--split", choices=SPLITS, default="test", help="of the data; default: test")
  add("--step", type=whole_number(0), help="checkpoint; default: the newest")
  add("--seed", type=seed_number, default=0, help="which images, and the samples")
  figures = "; ".join(f"{name}, {kind.about}" for name, kind in FIGURES.items())
  add("--what", type=_names, metavar="NAME,...", help=f"default: all of {figures}")
  add("--edit", type=_pair, metavar="A,B",
      help="images to edit, as numbered in reconstructions; default: 1,2")  # fmt: skip
  add("--num_dims", type=whole_number(1), default=3, help="traversed, of a latent; default: 3")
  add("--match_slots", action="store_true", help="order slots by the instances they overlap with")
  add("--scale", type=whole_number(1), default=1, help="of the PNGs: pixels per unit; default: 1")
  add("--format", choices=FORMATS, default="png", help="pdf: PDF files too, with real text")
  add("--no_title", action="store_true", help="no line above the figures")
  add("--data_dir", metavar="DIR", help="if the data lies elsewhere than in training")
  add("--raw_weights", action="store_true", help="not their average, where the run keeps one")
  options = parser.parse_args(argv)
  options.edit = options.edit or (0, min(1, options.num - 1))
  if max(options.edit) >= options.num:
    parser.error(f"--edit names image {max(options.edit) + 1} of --num={options.num}")
  return options


def _names(text: str) -> list[str]:
  names = list(dict.fromkeys(text.split(",")))
  for name in names:
    if name not in FIGURES:
      raise argparse.ArgumentTypeError(f"{name!r} is no figure; allowed: {', '.join(FIGURES)}")
  return names


def _pair(text: str) -> tuple[int, int]:
  numbers = text.split(",")
  if len(numbers) != 2 or not all(n.isdecimal() and int(n) for n in numbers):
    raise argparse.ArgumentTypeError(f"{text!r} is not two numbers from 1 on, such as 1,2")
  return int(numbers[0]) - 1, int(numbers[1]) - 1


@program.entry
def main(argv: list[str]) -> None:
  """Makes all figures."""
  options = parse(argv)
  startup.prepare()
  from experiments.figures.drawing import draw
  from experiments.stores.reading import brought, folder_brought

  # A film shows all checkpoints.
  needed = "all" if "film" in (options.what or FIGURES) else options.step
  with (
    brought(options.workdir, needed) as options.workdir,
    folder_brought(options.out) as options.out,
  ):
    draw(options)


if __name__ == "__main__":
  program.run(main)
