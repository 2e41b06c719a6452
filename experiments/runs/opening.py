"""A run's checkpoint as a usable model; what the user can fix is one line."""

import pathlib

import flax
import ml_collections
import numpy as np
from absl import logging

from experiments.console.errors import UserError
from experiments.hardware import devices
from experiments.runs import checkpoints
from genesis_jax import build_model, runs


def opened(
  workdir: pathlib.Path,
  step: int | None,
  data_dir: str | None = None,
  raw_weights: bool = False,
):
  """A checkpoint of a run: (step, model, variables, config); devices are set up for it.

  Args:
    workdir: of the run.
    step: of the checkpoint; None: the newest.
    data_dir: where the data lies now, if not where the run found it.
    raw_weights: as they are trained, also where the run keeps a moving average of them.

  Raises:
    ValueError: the configuration is not of this version.
    UserError: there is none, it holds NaNs, or (UnreadableError) it cannot be read.
  """
  steps = runs.checkpoint_steps(workdir)
  if step is not None and step not in steps:
    raise UserError(f"--step={step}, but the checkpoints of {workdir} are {steps or 'none'}")
  if step is None:
    checkpoints.keep_back_echoes()
    try:
      step, state, origin, unreadable = runs.read_newest(workdir)
    except (OSError, ValueError) as error:
      raise UserError(str(error)) from error
    for bad_step, reason in unreadable.items():
      logging.warning("checkpoint %d cannot be read (%s); using %d", bad_step, reason, step)
  else:
    state, origin = checkpoints.read_checkpoint(workdir, step)
  variables = runs.variables(state, raw_weights)
  for path, array in flax.traverse_util.flatten_dict(variables, sep="/").items():
    if not np.isfinite(array).all():
      raise UserError(f"checkpoint {step} of {workdir} has NaNs in {path}; choose another --step")
  config = ml_collections.ConfigDict(origin["config"])
  if data_dir:
    config.data.data_dir = data_dir
  devices.configure(config)
  return step, build_model(config.model), variables, config
