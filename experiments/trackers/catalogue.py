"""Services that runs may be followed on: `config.trackers=("wandb",)`. Another one is a row here.

A tracker is a class that is used in a process of its own, see `process`, and may fail or hang there
as it likes:

  PACKAGE                          what to install
  log_in()                         UserError with the cure where the user has to do something first
  begin(run: Tracked) -> str       where the run can be seen, in words; goes on with a run of its id
  write_scalars(step, values)      name -> number
  write_images(step, images)       name -> uint8 `[N, H, W, 3]`
  write_histograms(step, values)   name -> array of any shape
  write_report(path)               the HTML page
  end(failed: bool)
"""

import importlib.util
import pathlib
from collections.abc import Collection
from typing import NamedTuple

from experiments.console.errors import UserError
from experiments.trackers.weights_and_biases import WeightsAndBiases

TRACKERS = {
  "wandb": WeightsAndBiases,
}


class Tracked(NamedTuple):
  """What a tracker is told of a run."""

  identity: str  # for the service; resumed runs have the same
  name: str
  group: str | None  # seeds of one point of a sweep are one
  workdir: pathlib.Path  # on this machine
  settings: dict


def check_names(names: Collection[str]) -> None:
  """Raises ValueError unless there are such trackers."""
  for name in names:
    if name not in TRACKERS:
      raise ValueError(f"trackers names {name!r}; allowed: {', '.join(TRACKERS)}")


def check_installed(names: Collection[str]) -> None:
  """Raises UserError unless the packages of these trackers are there."""
  for name in names:
    package = TRACKERS[name].PACKAGE
    if not importlib.util.find_spec(package):
      raise UserError(
        f"trackers names {name}, which is not installed: pip install {package}, or train without "
        'it, with --config.trackers="()"'
      )
