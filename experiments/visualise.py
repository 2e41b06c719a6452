"""Pictures of what a run's model has learned, ready for a paper: one command, no screen.

  python -m experiments.visualise --workdir=runs/genesis_gqn
  python -m experiments.visualise --workdir=runs/genesis_gqn --what=swaps --edit=2,5 --format=pdf

Writes PNG files and a film to RUN/visualisations, with `index.json` that says what each shows, and
the same to TensorBoard. What a model cannot have is left out and named, and is an error if --what
asks for it. Exit status: 0 when done, 1 when something went wrong, 2 for a mistake on the command
line.
"""

import argparse
import dataclasses

import data_pipelines
from data_pipelines.command_line import Parser, path_name, seed_number, whole_number
from data_pipelines.sources import SPLITS
from experiments.console import bars, program, startup
from experiments.console.errors import UserError, explained
from experiments.figures.catalogue import FIGURES, impossible

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.

FORMATS = ("png", "pdf")


def parse(argv: list[str]) -> argparse.Namespace:
  """Options; a mistake ends the program with one line and status 2."""
  parser = Parser("experiments.visualise", __doc__)
  add = parser.add_argument
  add("--workdir", type=path_name, required=True, help="folder of the run")
  add("--out", type=path_name, metavar="DIR", help="default: RUN/visualisations")
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


def chosen_figures(model, options: argparse.Namespace) -> list[str]:
  """Names of the figures to make; says which of all are left out.

  Raises:
    UserError: one that was asked for cannot be made.
  """
  possible = []
  for name in options.what or FIGURES:
    reason = impossible(name, model, options.num)
    if reason is None:
      possible.append(name)
    elif options.what:
      raise UserError(f"--what={name}: {reason}")
    else:
      print(f"skipped    {name}: {reason}")
  return possible


def view_of(model, variables, network, batch: dict, options: argparse.Namespace):
  """The `galleries.View` that options ask for."""
  from experiments.figures.galleries import View

  if options.match_slots and not hasattr(model, "num_slots"):
    raise UserError(f"--match_slots: {type(model).__name__} has no slots")
  if options.match_slots and "instances" not in batch:
    raise UserError("--match_slots: the data has no instances to match with")
  return View(model, variables, network, batch, options.match_slots, options.edit, options.num_dims)


def film(steps: list[int], view, title: str, options: argparse.Namespace) -> tuple[bytes, str]:
  """(GIF, caption) of checkpoints, the last of which `view` shows; damaged ones are left out."""
  from experiments.figures import films
  from experiments.runs.opening import opened

  frames, shown = [], []
  for step in bars.shown(steps, "film", "checkpoints", len(steps)):
    now = view
    try:
      if step != steps[-1]:
        now = dataclasses.replace(view, variables=opened(options.workdir, step)[2])
      frames.append(films.film_frame(now, step, title).image(options.scale))
      shown.append(step)
    except UserError as error:
      if step == steps[-1]:
        raise
      print(f"skipped    frame of step {step}: {error}")
  if len(shown) == 1:
    print(f"note       film: one frame, since there is no checkpoint but that of step {shown[0]}")
  return films.gif(frames), f"The same images at the run's checkpoints: steps {shown}."


def make(options: argparse.Namespace) -> None:
  """Makes all figures.

  Raises:
    UserError, DataError, OSError: in one line.
  """
  from experiments.figures import galleries
  from experiments.figures.data import chosen
  from experiments.figures.folder import Folder
  from experiments.figures.view import Network
  from experiments.runs.opening import opened
  from genesis_jax import runs

  with explained():
    step, model, variables, config = opened(options.workdir, options.step, options.data_dir)
    names = chosen_figures(model, options)
    source = data_pipelines.resolve(config.data)
    batch = chosen(config.data, options.split, options.num, options.seed)
  view = view_of(model, variables, Network(model, options.seed), batch, options)
  stand_in = ", STAND-IN DATA" if source.stand_in else ""
  subject = f"{config.model.name} on {config.data.name}, {options.split} split{stand_in}"
  print(f"data       {source.description}")
  about = dict(
    step=step,
    model=config.model.name,
    split=options.split,
    seed=options.seed,
    data=source.description,
    stand_in=source.stand_in,
  )
  titles, pdf = not options.no_title, options.format == "pdf"
  with Folder(options.workdir, options.out, about, options.scale, pdf, titles) as folder:
    for name in names:
      if name == "film":
        steps = [s for s in runs.checkpoint_steps(options.workdir) if s <= step]
        content, caption = film(steps, view, subject if titles else "", options)
        folder.add_film("film", content, caption)
        continue
      for figure in galleries.drawn(name, view):
        folder.add(figure, f"{subject}, step {step}")


@program.entry
def main(argv: list[str]) -> None:
  """Makes all figures."""
  options = parse(argv)
  startup.prepare()
  make(options)


if __name__ == "__main__":
  program.run(main)
