"""A small copy of a run to pass on, from which training cannot resume."""

import pathlib
import shutil

import numpy as np

from data_pipelines import durable
from experiments.console.errors import UserError, explained
from experiments.runs.checkpoints import read_checkpoint
from genesis_jax import runs

# What is copied as it is: small, and read by the report.
COPIED = (
  "config.json",
  "run.json",
  "imported.json",
  "metrics.json",
  "metrics.jsonl",
  "evaluation",
)


def export(workdir: pathlib.Path, step: int | None, out: pathlib.Path) -> pathlib.Path:
  """Makes the copy; returns the file with the weights.

  Raises:
    UserError: there is no such checkpoint, `out` is in use, or the weights do not fit.
  """
  in_use = UserError(f"--out={out} exists and is not empty; choose another")
  if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
    raise in_use
  steps = runs.checkpoint_steps(workdir)
  if not steps or step not in (None, *steps):
    raise UserError(f"the checkpoints of {workdir} are {steps or 'none'}; --step={step}")
  step = steps[-1] if step is None else step
  state, origin = read_checkpoint(workdir, step)
  with explained():
    arrays = runs.packed_weights(state, origin)
  try:
    with durable.partial_folder(out) as partial:
      file = runs.weights_file(partial, step)
      file.parent.mkdir()
      np.savez_compressed(file, **arrays)
      for name in COPIED:
        if (workdir / name).is_dir():
          shutil.copytree(workdir / name, partial / name, ignore=shutil.ignore_patterns(".*"))
        elif (workdir / name).exists():
          shutil.copy(workdir / name, partial / name)
  except durable.NameTaken:
    raise in_use from None
  return runs.weights_file(out, step)
