"""All figures of a run's checkpoint, from the run's folder to the files."""

import argparse

import data_pipelines
from experiments.console.errors import UserError, explained
from experiments.figures import films, galleries
from experiments.figures.catalogue import FIGURES, impossible
from experiments.figures.data import chosen
from experiments.figures.folder import Folder
from experiments.figures.view import Network, View
from experiments.runs.opening import opened
from genesis_jax import runs


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


def _check_can_match(model, batch: dict) -> None:
  if not hasattr(model, "num_slots"):
    raise UserError(f"--match_slots: {type(model).__name__} has no slots")
  if "instances" not in batch:
    raise UserError("--match_slots: the data has no instances to match with")


def draw(options: argparse.Namespace) -> None:
  """Draws figures and writes them.

  Args:
    options: of experiments.visualise.

  Raises:
    UserError, DataError, OSError: in one line.
  """
  with explained():
    step, model, variables, config = opened(
      options.workdir, options.step, options.data_dir, options.raw_weights
    )
    names = chosen_figures(model, options)
    source = data_pipelines.resolve(config.data)
    batch = chosen(config.data, options.split, options.num, options.seed)
  if options.match_slots:
    _check_can_match(model, batch)
  network = Network(model, options.seed)
  view = View(model, variables, network, batch, options.match_slots, options.edit, options.num_dims)
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
        look = (subject if titles else "", options.scale, options.raw_weights)
        folder.add_film(name, *films.film(options.workdir, steps, view, *look))
        continue
      for figure in galleries.drawn(name, view):
        folder.add(figure, f"{subject}, step {step}")
