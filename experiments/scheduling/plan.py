"""What a sweep consists of: points of a grid, seeds, and the command that trains each of them."""

import argparse
import copy
import dataclasses
import pathlib
import sys
from typing import Any

import genesis_jax
from configs import loading
from data_pipelines.stores.files import is_remote
from experiments.console import program
from experiments.console.errors import UserError
from experiments.runs import changes
from experiments.stores import glance
from genesis_jax import objective

TRAINING_PROGRAM = [sys.executable, "-m", "experiments.main"]


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
  """One point of the grid with one seed.

  Attributes:
    point, seed: which.
    workdir: its folder, or its address in a store.
    config: of the experiment.
    command: of the training program.
    log: file for what that says.
  """

  point: str
  seed: int
  workdir: glance.Place
  config: Any
  command: list[str]
  log: pathlib.Path

  def __str__(self):
    return f"{self.point}, seed {self.seed}"


def workdir_of(options: argparse.Namespace) -> glance.Place:
  """Of the sweep: what was asked for, or a folder named for the configuration."""
  if options.workdir:
    return options.workdir
  folder = program.default_workdir(options.config)
  return pathlib.Path(folder if _has_grid(options.config) else f"{folder}_seeds")


def _has_grid(config_path: str) -> bool:
  return hasattr(loading.read_file(config_path.partition(":")[0]), "sweep")


def read_grid(
  config_path: str, overrides: list[str], seeds: list[int] | None = None
) -> dict[str, dict[str, Any]]:
  """Name of each point -> its overrides; one point without any, where seeds are all that differs.

  Raises:
    ConfigError: if the file cannot be read.
    UserError: if there is nothing to sweep over, or a field is given for all points that one sets.
  """
  path = config_path.partition(":")[0]
  module = loading.read_file(path)
  if not hasattr(module, "sweep"):
    if seeds:
      return {pathlib.Path(program.default_workdir(config_path)).name: {}}
    raise UserError(
      f"{path} has no function sweep(); write one (see configs/bottlenecks.py), or give --seeds"
    )
  points = module.sweep()
  if not isinstance(points, dict) or not all(isinstance(p, dict) for p in points.values()):
    raise UserError(f"sweep() of {path} must return a dictionary: point -> its fields")
  given = {word.removeprefix("--config.").partition("=")[0] for word in overrides}
  swept = {field for point in points.values() for field in point}
  if both := sorted(given & swept):
    raise UserError(f"--config.{both[0]} is swept over; it cannot be set for all points")
  return points


def plan(options: argparse.Namespace, overrides: list[str]) -> list[Run]:
  """All runs of a sweep, checked as far as can be before the first one trains.

  Raises:
    UserError: for a point that cannot be trained.
  """
  points = read_grid(options.config, overrides, options.seeds)
  if options.seeds and any(word.startswith("--config.seed=") for word in overrides):
    raise UserError("give --seeds or --config.seed, not both")
  seeds = options.seeds or [loading.load_config(options.config, overrides).seed]
  found = []
  for name, fields in points.items():
    own = [*overrides, *(f"--config.{field}={value}" for field, value in fields.items())]
    try:
      config = loading.load_config(options.config, own)
      genesis_jax.build_model(config.model)
      objective.check(config)
    except ValueError as error:
      raise UserError(f"point {name}: {error}") from error
    found += [_run(options, name, seed, config, own) for seed in seeds]
  return found


def _run(options, name: str, seed: int, config, overrides: list[str]) -> Run:
  config = copy.deepcopy(config)
  config.seed = seed
  if is_remote(options.workdir):
    workdir = f"{options.workdir}/{name}/seed_{seed}"
  else:
    workdir = options.workdir / name / f"seed_{seed}"
    changes.keep_order(config, workdir)
  words = [f"--config={options.config}", *overrides, f"--config.seed={seed}"]
  command = [*TRAINING_PROGRAM, *words, f"--workdir={workdir}"]
  # Of a store: where it goes there from, with the table of the sweep.
  log = glance.copy_for(options.workdir) / name / f"seed_{seed}" / "output.log"
  return Run(name, seed, workdir, config, command, log)
