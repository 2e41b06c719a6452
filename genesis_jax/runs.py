"""Reads the checkpoints of a run.

    model, variables, config = genesis_jax.load("runs/genesis_gqn")

A checkpoint is a nested dictionary of numpy arrays (a `TrainState`), the configuration that made
it, and checksums of both. Orbax is imported only when something is read.

What is made to be passed on is packed (see `packing`), and read like other checkpoints.
"""

import json
import pathlib
import warnings
import zlib

import ml_collections
import numpy as np

from genesis_jax import packing
from genesis_jax.models import build_model

FOLDER = "checkpoints"  # within a run's folder
LISTINGS = 10  # of checkpoints that another program replaces while they are read
WEIGHTS = ("params", "batch_stats")  # of a state, what its model is made of
# Fields of the configuration that runs from before they came do not have -> the value that means
# "as then", which need not be today's default. Options of a model or a data set are not filled in
# when a checkpoint is read: what its class or its reader takes for absent must mean the same.
AS_BEFORE = {
  "deterministic": False,
  "init_from": None,
  "time_limit": None,
  "trackers": (),
  "optimizer.clip_norm": None,
  "optimizer.ema_decay": None,
  "optimizer.schedule": "constant",
  "optimizer.warmup_steps": 0,
  "test_fid_images": 0,
  "test_images": 0,
  "model.monte_carlo_kl": True,
  "data.cache_gb": 50,
  "data.order": "buffer",
  **dict.fromkeys(
    f"data.{name}" for name in ("images", "masks", "ignore_ids", "background_ids", "split_by")
  ),
  **dict.fromkeys(  # of data sets that there were not
    f"data.{name}"
    for name in ("builder", "image_feature", "segmentation_feature")
    + ("train_split", "val_split", "test_split", "file", "num_background")
  ),
}


def checkpoint_steps(workdir: str | pathlib.Path) -> list[int]:
  """Steps of a run's complete checkpoints, oldest first; unfinished ones have other names."""
  folder = pathlib.Path(workdir) / FOLDER
  if not folder.is_dir():
    return []
  names = {packing.step_of(path.name) for path in folder.iterdir()}
  return sorted(int(name) for name in names if name.isdecimal())


def checkpoint_files(workdir: str | pathlib.Path, step: int) -> list[pathlib.Path]:
  """What there is of a checkpoint: a folder of Orbax', or the files of a packed one."""
  found = (pathlib.Path(workdir) / FOLDER).glob(f"{step}*")
  return [path for path in found if packing.step_of(path.name) == str(step)]


def checksums(state: dict, origin: dict) -> dict[str, str]:
  """What tells that a checkpoint is read as it was written: name of each array -> its checksum.

  Orbax has none: a flipped bit on the disk comes back as another number. A CRC-32 of the bytes
  finds all accidents at a gigabyte a second; type and shape stand in front of it.
  """
  sums = {
    f"state/{name}": f"{array.dtype}{list(array.shape)} "
    f"{zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8)):08x}"
    for name, array in packing.flat(state)
  }
  text = json.dumps(origin, sort_keys=True)
  return sums | {"origin": f"{zlib.crc32(text.encode()):08x}"}


def variables(state: dict, raw_weights: bool = False) -> dict:
  """What a model takes of a checkpoint's state: its params and batch_stats.

  Args:
    state: see `read_checkpoint`.
    raw_weights: as they are trained, also where the optimizer keeps a moving average of them.
  """
  average = None if raw_weights else _average(state.get("opt_state") or {})
  if average is None:
    return {part: state[part] for part in WEIGHTS}
  # Orbax leaves out what is empty.
  return {part: average.get(f"average_{part}") or {} for part in WEIGHTS}


def _average(opt_state: dict) -> dict | None:
  """The state of `optimizers.average_weights` within an optimizer's."""
  if "average_params" in opt_state:
    return opt_state
  nodes = (_average(node) for node in opt_state.values() if isinstance(node, dict))
  return next((node for node in nodes if node is not None), None)


def _check(state: dict, origin: dict, saved: dict[str, str]) -> None:
  """Raises ValueError unless the checksums are those that were saved."""
  now = checksums(state, origin)
  if changed := sorted(name for name in now.keys() | saved if now.get(name) != saved.get(name)):
    raise ValueError(
      f"{len(changed)} of {len(now)} parts are not what was saved: {changed[0]} was "
      f"{saved.get(changed[0], 'absent')}, is {now.get(changed[0], 'absent')}"
    )


def to_save(state: dict, origin: dict):
  """What Orbax's CheckpointManager is given to save: the counterpart of `read_checkpoint`."""
  import orbax.checkpoint as ocp

  return ocp.args.Composite(
    state=ocp.args.StandardSave(state),
    origin=ocp.args.JsonSave(origin),
    checksums=ocp.args.JsonSave(checksums(state, origin)),
  )


def _completed(origin: dict) -> dict:
  """An origin whose configuration has the fields that it is too old to have."""
  for path, value in AS_BEFORE.items():
    *sections, name = path.split(".")
    node = origin.get("config", {})
    for section in sections:
      node = node.get(section, {})
    if node and sections not in (["model"], ["data"]):
      node.setdefault(name, value)
  return origin


def read_checkpoint(workdir: str | pathlib.Path, step: int) -> tuple[dict, dict]:
  """One checkpoint: the state as nested dictionaries of numpy arrays, and what it belongs to.

  Raises:
    Exception: whatever Orbax says of a damaged checkpoint; ValueError if it says nothing but the
      checksums are others.
  """
  saved_to = pathlib.Path(workdir) / FOLDER
  if files := packing.files(saved_to, step):
    state, origin = packing.read(files)
    return {part: {} for part in WEIGHTS} | state, _completed(origin)
  import orbax.checkpoint as ocp

  folder = (saved_to / str(step)).resolve()
  with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
    origin = reader.restore(folder / "origin")
  with ocp.StandardCheckpointer() as reader:
    state = reader.restore(folder / "state")
  if (folder / "checksums").is_dir():  # runs of earlier versions have none
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
      _check(state, origin, reader.restore(folder / "checksums"))
  return state, _completed(origin)


def reason(error: Exception) -> str:
  """Why a checkpoint cannot be read, in a part of a line."""
  return (str(error).splitlines() or [type(error).__name__])[0][:200]


def read_newest(workdir: str | pathlib.Path) -> tuple[int, dict, dict, dict[int, str]]:
  """The newest checkpoint that can be read.

  Returns:
    Its step, state and origin (see `read_checkpoint`), and the newer checkpoints that cannot be
    read: step -> reason.

  Raises:
    FileNotFoundError: if the folder has no checkpoint.
    ValueError: if none of its checkpoints can be read.
  """
  steps = checkpoint_steps(workdir)
  for _ in range(LISTINGS):
    if not steps:
      raise FileNotFoundError(f"no checkpoint in {pathlib.Path(workdir) / FOLDER}")
    unreadable = {}
    for step in reversed(steps):
      try:
        return step, *read_checkpoint(workdir, step), unreadable
      except Exception as error:  # Orbax raises many kinds, depending on which file is damaged.
        unreadable[step] = reason(error)
    # A program that trains there may have replaced them by newer ones meanwhile.
    listed, steps = steps, checkpoint_steps(workdir)
    if steps == listed:
      break
  raise ValueError(
    f"none of the checkpoints {listed} in {pathlib.Path(workdir) / FOLDER} can be read; the "
    f"newest: {unreadable[listed[-1]]}"
  )


def load(workdir: str | pathlib.Path, raw_weights: bool = False):
  """The newest readable checkpoint of a run.

  Args:
    workdir: of the run, as given to the training program.
    raw_weights: as they are trained, also where the run keeps a moving average of them.

  Returns:
    (model, variables, config): a module of `build_model`; {"params", "batch_stats"} as numpy
    arrays; the experiment's configuration.

  Raises:
    FileNotFoundError: if there is no checkpoint.
    ValueError: if none can be read, or the file that defines the model's class has moved.
  """
  step, state, origin, unreadable = read_newest(workdir)
  for bad_step, reason in unreadable.items():
    warnings.warn(
      f"checkpoint {bad_step} of {workdir} cannot be read ({reason}); using {step}", stacklevel=2
    )
  config = ml_collections.ConfigDict(origin["config"])
  return build_model(config.model), variables(state, raw_weights), config
