"""A run made of a checkpoint of the original PyTorch code: weights, optimizer, GECO and step.

    made = import_run(checkpoint, workdir, configuration(checkpoint))

The flags.json beside the checkpoint tells the configuration, or else the user does.
"""

import os
import pathlib
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import data_pipelines
from configs import loading
from data_pipelines.stores.files import is_remote
from experiments.console.errors import UserError, explained
from experiments.hardware import devices
from experiments.runs import checkpoints, folder
from experiments.runs.original_runs import config_from_flags, ignored_flags, train_state
from experiments.stores.transfers import file_brought
from genesis_jax.torch_files import load_torch


class Configuration(NamedTuple):
  """An experiment's configuration, where it comes from, and the flags that it leaves out."""

  config: Any
  source: str
  ignored_flags: list[str]


def configuration(
  checkpoint: pathlib.Path | str,
  flags: pathlib.Path | str | None = None,
  config: str | None = None,
  overrides: Sequence[str] = (),
) -> Configuration:
  """The configuration of a run to import.

  Args:
    checkpoint: of the original, also as an address in a store.
    flags: its flags; None: the flags.json beside the checkpoint.
    config: a configuration file in place of flags.
    overrides: of that configuration.

  Raises:
    UserError: if there is none or it cannot be used.
  """
  if config:
    return Configuration(loading.load_config(config, overrides), config, [])
  if is_remote(checkpoint):
    beside = f"{checkpoint.rpartition('/')[0]}/flags.json"
  else:
    beside = checkpoint.with_name("flags.json")
  path = flags or beside
  content = _flags(path)
  with explained():
    try:
      made = config_from_flags(content)
      return Configuration(made, str(path), ignored_flags(content, made))
    except ValueError as error:
      raise ValueError(f"{path}: {error}") from error


def _flags(path: pathlib.Path | str) -> dict:
  try:
    with file_brought(path) as file:
      return folder.dictionary_in(file)
  except (FileNotFoundError, UserError) as error:
    words = str(error) if isinstance(error, UserError) else f"{path} does not exist"
    raise UserError(
      f"{words}; give --flags, or the run's configuration, for example "
      "--config=configs/experiment.py:genesis,gqn"
    ) from error
  except (OSError, ValueError) as error:
    raise UserError(f"{path} cannot be read as JSON: {error}") from error


def check_workdir(workdir: pathlib.Path) -> None:
  """Raises UserError unless a run can be made there."""
  if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
    raise UserError(f"--workdir {workdir} exists and is not empty; choose another")


def published_source(config):
  """The data of an imported run: the published set, which need not be on this machine."""
  return data_pipelines.Source(
    name=config.data.name,
    variant=config.data.variant,
    root=pathlib.Path(),
    stand_in=False,  # the original knows no stand-ins
    description="not looked for when importing",
    num_files={},
  )


def write_run(workdir: pathlib.Path, config, state, origin: dict) -> None:
  """Makes the run's folder, whole or not at all, in a hidden folder of this import alone.

  Args:
    workdir: to make; may be there if it is empty.
    config: of the experiment.
    state: TrainState to start from, not replicated.
    origin: content of imported.json.

  Raises:
    UserError: the folder is no longer empty.
  """
  source = published_source(config)
  workdir.parent.mkdir(parents=True, exist_ok=True)
  partial = pathlib.Path(tempfile.mkdtemp(prefix=f".{workdir.name}.partial-", dir=workdir.parent))
  try:
    partial.chmod(0o755)  # mkdtemp makes folders that only their owner can read
    with checkpoints.Checkpoints(partial, checkpoints.origin_of(config, source), config) as writer:
      writer.restore(state)  # there is nothing yet: opens it for writing
      writer.save(devices.replicate(state))
      writer.wait()
    num_parameters = sum(np.size(x) for x in jax.tree.leaves(state.params))
    folder.write_labels(partial, config, source, num_parameters, int(state.step))
    folder.write_json(partial / "imported.json", origin)
    try:
      os.replace(partial, workdir)
    except OSError:
      check_workdir(workdir)  # another import was faster
      raise
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def import_run(path: pathlib.Path | str, workdir: pathlib.Path, settings: Configuration):
  """Makes a run of a checkpoint of the original; returns its TrainState.

  Args:
    path: of the checkpoint, also an address in a store.
    workdir: folder of the run.
    settings: of the experiment.

  Raises:
    UserError: the checkpoint cannot be read or does not fit, or the folder is in use.
  """
  with explained(), file_brought(path) as file:
    checkpoint = load_torch(file)
    if not isinstance(checkpoint, dict):
      raise ValueError(f"{path} does not contain a dictionary")
    try:
      state = train_state(settings.config, checkpoint)
    except ValueError as error:
      raise ValueError(f"{path} with {settings.source}: {error}") from error
  origin = dict(
    checkpoint=str(path if is_remote(path) else path.absolute()),
    configuration=settings.source,
    iter_idx=int(checkpoint["iter_idx"]),
    step=int(state.step),
    ignored_flags=settings.ignored_flags,
  )
  write_run(workdir, settings.config, state, origin)
  return state
