"""The folder of a run: made, locked against a second program, and labelled with what runs in it.

workdir/
  run.json, config.json    what runs here, on what, with which versions
  data_files.json          which files the data has, see data_pipelines.datasets.inventory
  beginning.json           what was found before the first step: GECO's goal, weights of another run
  records.json             how many records the data's files have, where these come from a store
  checkpoints/<step>/      see checkpoints.py
  metrics.jsonl            one line for each logged step
  tensorboard/             the same and more, for TensorBoard
  pictures/                PNG grids
  metrics.json             the final numbers
  report.html              all of it on one page
"""

import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator

import jax

from data_pipelines.datasets import inventory
from data_pipelines.durable import Taken, locked, write_atomically
from experiments.console.errors import TAKEN, UserError

LOCK = ".lock"
LOOK_SECONDS = 0.5
DATA_FILES = "data_files.json"
BEGINNING = "beginning.json"
PACKAGES = (
  "jax",
  "jaxlib",
  "flax",
  "optax",
  "orbax-checkpoint",
  "clu",
  "ml-collections",
  "numpy",
  "tensorflow",
  "tensorflow-cpu",
)


def write_out(out: pathlib.Path, content: bytes | str) -> None:
  """Writes the file named by --out.

  Raises:
    UserError: it cannot be written.
  """
  if out.is_dir():
    raise UserError(f"cannot write {out}: it is a folder; --out is the name of a file")
  try:
    write_atomically(out, content)
  except OSError as error:
    raise UserError(f"cannot write {out}: {error.strerror}; choose another --out") from error


def write_json(path: pathlib.Path, content: dict) -> None:
  """Writes a dictionary as readable JSON."""
  write_atomically(path, json.dumps(content, indent=2, default=str) + "\n")


def dictionary_in(path: pathlib.Path) -> dict:
  """The dictionary in a JSON file.

  Raises:
    OSError: it cannot be read.
    ValueError: it is damaged, or holds something else.
  """
  content = json.loads(path.read_text(errors="replace"))
  if not isinstance(content, dict):
    raise ValueError(f"it holds a {type(content).__name__}, not a dictionary")
  return content


def read_json(path: pathlib.Path) -> dict:
  """The dictionary in a JSON file; empty where there is none.

  Raises:
    UserError: it is damaged.
  """
  try:
    return dictionary_in(path) if path.exists() else {}
  except ValueError as error:
    raise UserError(f"{path} is damaged ({error}); move it away and run this again") from error


def note_beginning(workdir: pathlib.Path, name: str, content: dict) -> None:
  """Notes in beginning.json what was found before the first step."""
  path = workdir / BEGINNING
  write_json(path, read_json(path) | {name: content})


@contextlib.contextmanager
def exclusive(workdir: pathlib.Path) -> Iterator[None]:
  """Holds the folder, made if need be, for this program alone.

  The kernel drops the lock with the process, so that no crash leaves a stale one.

  Raises:
    UserError: if the folder cannot be written, or another program trains there.
  """
  with contextlib.ExitStack() as stack:
    try:
      workdir.mkdir(parents=True, exist_ok=True)
      # Sweeps look at the lock, for a moment each.
      stack.enter_context(locked(workdir / LOCK, seconds=LOOK_SECONDS))
    except Taken as error:
      raise UserError(
        f"{TAKEN} in {workdir} ({error}); wait for it, stop it, or choose another --workdir"
      ) from error
    except OSError as error:
      raise UserError(f"cannot write to --workdir {workdir}: {error.strerror}") from error
    yield


@contextlib.contextmanager
def alone_with(path: pathlib.Path) -> Iterator[None]:
  """Keeps other programs from changing a file while this one reads it, changes it and writes it.

  Raises:
    UserError: another program has held it for a minute.
    OSError: its folder cannot be written.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  lock = path.with_name(f".{path.name}.lock")
  try:
    with locked(lock, seconds=60):
      yield
  except Taken as error:
    raise UserError(f"another program ({error}) holds {lock}; wait for it, or remove it") from error


def _versions() -> dict[str, str]:
  versions = {"python": platform.python_version()}
  for package in PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      versions[package] = importlib.metadata.version(package)
  return versions


def _git_commit() -> str | None:
  here = pathlib.Path(__file__).parent
  describe = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40"]
  try:
    return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return None


def _changes(workdir: pathlib.Path, change: dict | None) -> list[dict]:
  """What resumed runs changed in a folder, with the newest change."""
  try:
    changes = read_json(workdir / "run.json").get("changes", [])
  except UserError:  # damaged: it is written anew
    changes = []
  # A run that was killed before its next checkpoint changes the same once more, and by then knows
  # less of it.
  known = [(old["step"], old["config"], bool(old["data"])) for old in changes]
  if change is None or (change["step"], change["config"], bool(change["data"])) in known:
    return changes
  return [*changes, change]


def _hardware() -> dict:
  return dict(
    devices=[device.device_kind for device in jax.devices()],
    platform=jax.default_backend(),
    hosts=jax.process_count(),
    host_cpus=os.cpu_count(),
    machine=platform.platform(),
  )


def write_labels(
  workdir: pathlib.Path,
  config,
  source,
  num_parameters: int,
  first: int,
  files: dict[str, int] | None = None,
  change: dict | None = None,
) -> None:
  """Writes run.json, config.json and data_files.json.

  Args:
    workdir: of the run.
    config: of the experiment.
    source: of the data, from `data_pipelines.resolve`.
    num_parameters: of the model.
    first: step from which this program resumes.
    files: `inventory.taken` of the data.
    change: what the run changes from there on, see `Checkpoints`.
  """
  settings = json.loads(config.to_json_best_effort())
  write_json(workdir / "config.json", settings)
  labels = dict(
    command=shlex.join(sys.orig_argv),
    started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    resumed_from_step=first,
    changes=_changes(workdir, change),
    num_parameters=num_parameters,
    stand_in=source.stand_in,
    data=source.metadata(),
    hardware=_hardware(),
    versions=_versions(),
    git_commit=_git_commit(),
    xla_flags=os.environ.get("XLA_FLAGS", ""),
    genesis_jax_pairs=os.environ.get("GENESIS_JAX_PAIRS", ""),
    config=settings,
  )
  write_json(workdir / "run.json", labels)
  if files is not None:
    write_json(workdir / DATA_FILES, inventory.digest(files) | inventory.condensed(files))
