"""What runs say of themselves, in folders and in stores, without copies of them.

glance.text("gs://bucket/runs/name", "metrics.json"), glance.checkpoint_steps(workdir)
glance.holder(workdir)            # which program of this machine or disk trains it
"""

import json
import pathlib

from data_pipelines import durable
from data_pipelines.stores import files
from experiments.stores.addresses import copy_of
from experiments.stores.transfers import explained

# What imports JAX is imported in functions: jobs of Slurm, which only wait, ask for `text` alone.

Place = pathlib.Path | str  # of a run: a folder, or an address in a store


def folder_of(run: Place) -> pathlib.Path:
  """Where a program on this machine has the files of the run that it trains."""
  return copy_of(files.address(run), "trained") if files.is_remote(run) else pathlib.Path(run)


def copy_for(place: Place) -> pathlib.Path:
  """Where programs on this machine have the files of a folder that they read and add to."""
  return copy_of(files.address(place), "read") if files.is_remote(place) else pathlib.Path(place)


def text(run: Place, name: str) -> str | None:
  """The content of a file of a run; None where there is none.

  Raises:
    UserError: the store cannot be read.
    OSError: the disk cannot be read.
  """
  try:
    if not files.is_remote(run):
      return (pathlib.Path(run) / name).read_text(errors="replace")
    with explained(files.address(run)):
      try:
        system, root = files.open_store(run)
        return system.cat_file(f"{root}/{name}").decode(errors="replace")
      except FileNotFoundError:
        return None
  except (FileNotFoundError, NotADirectoryError):
    return None


def dictionary(run: Place, name: str) -> dict:
  """The dictionary in a JSON file of a run; empty where there is none.

  Raises:
    UserError: it is damaged, or see `text`.
  """
  from experiments.runs import folder

  if not files.is_remote(run):
    return folder.read_json(pathlib.Path(run) / name)
  return json.loads(text(run, name) or "{}")  # stores write whole files


def checkpoint_steps(run: Place) -> list[int]:
  """Steps of the checkpoints that a run can resume from, oldest first."""
  from experiments.stores.stored_run import MANIFEST
  from genesis_jax import runs

  if not files.is_remote(run):
    return runs.checkpoint_steps(run)
  return sorted(map(int, dictionary(run, MANIFEST).get("checkpoints", {})))


def holder(run: Place) -> str | None:
  """Which program trains a run, as far as locks tell; None: nobody.

  Of a run in a store this tells programs of this machine only; training itself finds others.
  """
  from experiments.runs import folder

  return durable.holder(folder_of(run) / folder.LOCK)


def last_line(log: pathlib.Path) -> str:
  """What a program said last."""
  lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
  return lines[-1][:300] if lines else "no output"
