"""Training that starts from the weights of another run: `init_from`.

  state = started(state, tx, "runs/pretrained")     # a run, an export, an imported run

Arrays that have the same name and shape in both models are taken, those of the moving average where
the other run keeps one. The rest stays fresh, as do optimizer, GECO, step and random numbers.
"""

import os
import pathlib

from flax import traverse_util

from data_pipelines.stores.files import is_remote
from experiments.console.errors import UserError
from experiments.hardware import devices
from experiments.runs import folder
from experiments.stores.addresses import name_of
from experiments.stores.reading import brought
from genesis_jax import optimizers, runs, training

NAMED = 3  # arrays of each kind


def started(
  state: training.TrainState, tx, init_from: str, workdir: pathlib.Path
) -> training.TrainState:
  """A fresh state with another run's weights; says, and notes in the folder, what does not fit.

  Args:
    state: fresh, of the model to train.
    tx: its optimizer.
    init_from: folder of the other run.
    workdir: folder of this one.

  Raises:
    UserError: there is no run that can be read, or nothing of it fits.
  """
  try:
    with brought(init_from if is_remote(init_from) else os.path.expanduser(init_from)) as source:
      step, saved, origin, _ = runs.read_newest(source)
  except (OSError, ValueError) as error:
    raise UserError(f"init_from={init_from}: {error}") from error
  ours = _flat({"params": state.params, "batch_stats": state.batch_stats})
  theirs = _flat(runs.variables(saved))
  taken = {n for n in ours.keys() & theirs.keys() if ours[n].shape == theirs[n].shape}
  kinds = _misfits(ours, theirs, taken)
  if not any(name.startswith("params/") for name in taken):
    raise UserError(
      f"init_from={init_from}: nothing of its {origin['config']['model']['name']} fits this model; "
      + "; ".join(f"{kind}: {words}" for kind, words in kinds.items())
    )
  if devices.is_main_host():
    about = dict(folder=name_of(source.absolute()), step=step, arrays=len(taken), misfits=kinds)
    folder.note_beginning(workdir, "init_from", about)
    print(f"weights    of {init_from}, step {step}: {len(taken)} of {len(ours)} arrays")
    for kind, words in kinds.items():
      print(f"           {kind}: {words}", flush=True)
  new = {name: theirs[name].astype(x.dtype) if name in taken else x for name, x in ours.items()}
  variables = {"batch_stats": {}} | traverse_util.unflatten_dict(new, sep="/")
  return state.replace(**variables, opt_state=optimizers.initial_state(tx, variables))


def _flat(tree: dict) -> dict:
  return traverse_util.flatten_dict(tree, sep="/")


def _misfits(ours: dict, theirs: dict, taken: set[str]) -> dict[str, str]:
  """What is not taken over: a kind -> how many arrays and the first of them."""
  shapes = {
    name: f"{name} {list(theirs[name].shape)} -> {list(ours[name].shape)}"
    for name in sorted((ours.keys() & theirs.keys()) - taken)
  }
  kinds = {
    "another shape, left fresh": list(shapes.values()),
    "not there, left fresh": sorted(ours.keys() - theirs.keys()),
    "not used": sorted(theirs.keys() - ours.keys()),
  }
  return {
    kind: f"{len(names)} arrays ({', '.join(names[:NAMED])}{', ...' * (len(names) > NAMED)})"
    for kind, names in kinds.items()
    if names
  }
