"""A run's checkpoints: written atomically in the background, and resumed from.

A checkpoint holds the state as a nested dictionary of numpy arrays, its origin (configuration, data
source and its files), and checksums of both; `genesis_jax.runs` knows the format. All hosts write
and read together; Orbax decides who touches the disk.
"""

import functools
import json
import logging
import os
import pathlib
import sys
import zlib
from collections.abc import Collection

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import serialization, traverse_util

from data_pipelines.datasets import inventory
from experiments.console.errors import UserError
from experiments.hardware import devices
from experiments.runs import changes
from genesis_jax import runs


def origin_of(config, source, files: dict[str, int] | None = None) -> dict:
  """What a checkpoint belongs to: {"config", "source", maybe "files"}, in JSON's types.

  Args:
    config: of the experiment.
    source: of its data.
    files: `inventory.taken` of the source.
  """
  origin = {
    "config": json.loads(config.to_json_best_effort()),
    "source": {"name": source.name, "variant": source.variant, "stand_in": source.stand_in},
  }
  return origin if files is None else origin | {"files": inventory.digest(files)}


def _check_arrays(saved: dict, template: dict, step: int) -> None:
  """Raises UserError unless both have the same arrays; Orbax checks no shapes."""

  def kind(array):
    return "absent" if array is None else f"{array.dtype}{list(array.shape)}"

  saved, template = _named(saved), _named(template)
  wrong = [
    f"{name}: {kind(saved.get(name))} -> {kind(template.get(name))}"
    for name in sorted(saved.keys() | template.keys(), key=lambda n: (n.startswith("opt_"), n))
    if kind(saved.get(name)) != kind(template.get(name))
  ]
  if wrong:
    raise UserError(
      f"checkpoint {step} does not fit this version of the model's code in {len(wrong)} arrays "
      f"(checkpoint -> code): {'; '.join(wrong[:5])}{'; ...' if len(wrong) > 5 else ''}"
    )


def _named(tree: dict) -> dict:
  return traverse_util.flatten_dict(tree, sep="/")


_MISREAD = "[\\"  # in names of folders: a pattern, another slash

# Logged with a traceback by the threads of a write that failed, which raises the same error here.
ECHOES = (
  "_SignalingThread.run() raised an exception",
  "Commit callback in background save thread",
  "Save Finalize thread",
  "exception was never retrieved",
)


@functools.cache
def keep_back_echoes() -> None:
  """From now on, hides the messages that follow for each array after a read or write failed.

  Some of them come when the program ends.
  """
  tell = sys.unraisablehook

  def hook(unraisable):
    if str(unraisable.exc_value) != "Event loop is closed":
      tell(unraisable)

  def is_news(record: logging.LogRecord) -> bool:
    words = record.getMessage()
    return not any(echo in words for echo in ECHOES)

  sys.unraisablehook = hook
  for name in ("absl", "asyncio"):
    logging.getLogger(name).addFilter(is_news)


class UnreadableError(UserError):
  """A checkpoint that cannot be read."""


def read_checkpoint(workdir: pathlib.Path, step: int) -> tuple[dict, dict]:
  """`genesis_jax.runs.read_checkpoint`; UnreadableError in one line where that fails."""
  keep_back_echoes()
  try:
    return runs.read_checkpoint(workdir, step)
  except Exception as error:  # Orbax raises many kinds, depending on which file is damaged.
    raise UnreadableError(
      f"checkpoint {step} of {workdir} cannot be read ({runs.reason(error)}); choose another --step"
    ) from error


class Checkpoints:
  """The checkpoints of one run.

  Args:
    workdir: of the run.
    origin: what this program trains, from `origin_of`.
    config: of the experiment; how many checkpoints to keep.
    files: `inventory.taken` of the data.
    shared: whether all hosts have this folder, or each its own, of which the first one's is kept.
    accept_data_change: whether the data may be other than it was.
    told: names of fields that a resumed run may change, of `changes.MAY_CHANGE_WHEN_TOLD`.

  Attributes:
    change: what a resumed run changed that had to be named; None: nothing.

  Raises:
    UserError: for a folder whose checkpoints could not be read again.
  """

  def __init__(
    self,
    workdir: pathlib.Path,
    origin: dict,
    config,
    files: dict[str, int] | None = None,
    shared: bool = True,
    accept_data_change: bool = False,
    told: Collection[str] = (),
  ):
    for character in _MISREAD:
      if any(character in where(workdir) for where in (os.path.abspath, os.path.realpath)):
        raise UserError(
          f"--workdir {os.path.realpath(workdir)} contains {character}, which Orbax misreads: "
          "checkpoints could not be read again; choose another --workdir"
        )
    changes.check_told(told, config)
    self._files, self._accept_data_change, self._told = files, accept_data_change, told
    self.change: dict | None = None
    self._workdir = workdir
    self._origin = origin
    self._manager = None
    self._saves = shared or devices.is_main_host()
    self._options = ocp.CheckpointManagerOptions(
      max_to_keep=max(1, config.keep_checkpoints),
      keep_period=config.keep_every or None,
      cleanup_tmp_directories=True,  # what a killed program left half-written
      create=False,  # it cannot with some of the processes only
      multiprocessing_options=ocp.options.MultiprocessingOptions(
        active_processes=None if shared else {0}
      ),
    )

  def __enter__(self) -> "Checkpoints":
    keep_back_echoes()
    return self

  def __exit__(self, *exc_info):
    if self._manager is not None:
      self._manager.close()

  def restore(self, state):
    """The state of the newest readable checkpoint, or `state` where there is none.

    Newer checkpoints that cannot be read are set aside as "<step>.unreadable", with a warning.

    Args:
      state: a fresh TrainState, with the structure and shapes to expect.

    Raises:
      UserError: if the run is another experiment, or its checkpoints cannot be used.
    """
    steps = runs.checkpoint_steps(self._workdir)
    self._check_hosts_agree(max(steps, default=0))
    if steps:
      state = self._restore(state)
    self._check_hosts_agree(int(state.step))
    if self._saves:
      saved_to = os.path.abspath(self._workdir / runs.FOLDER)
      os.makedirs(saved_to, exist_ok=True)
      self._manager = ocp.CheckpointManager(saved_to, options=self._options)
    return state

  def _check_hosts_agree(self, step: int) -> None:
    """Raises UserError unless all hosts train the same experiment from the same step."""
    if jax.process_count() == 1:
      return
    _, *others = steps = devices.from_all_hosts(step)
    if set(others) != {steps[0]}:
      raise UserError(
        f"the hosts find the newest checkpoint of --workdir {self._workdir} at different steps "
        f"({steps}, by host): put it on a disk that all of them share"
      )
    origin = changes.flat(self._origin) | {"config.data.data_dir": None}  # it may lie elsewhere
    digest = zlib.crc32(json.dumps(origin, sort_keys=True).encode()) >> 1
    first, *others = devices.from_all_hosts(digest)
    if differing := [host for host, other in enumerate(others, start=1) if other != first]:
      raise UserError(
        f"hosts {differing} have another configuration or other data than host 0, which trains on "
        f"{self._origin['source']}: give all hosts the same command, code and data"
      )

  def _restore(self, state):
    try:
      step, saved, origin, unreadable = runs.read_newest(self._workdir)
    except ValueError as error:
      raise UserError(f"{error}; restore them or choose another --workdir") from error
    if "opt_state" not in saved:
      raise UserError(
        f"checkpoint {step} in {self._workdir} has weights only; training cannot resume from it, "
        f"but begin with them: --config.init_from={self._workdir} and another --workdir"
      )
    changed = changes.of_config(origin, self._origin, self._told, self._workdir)
    data = changes.of_data(
      origin, self._origin, self._files, self._accept_data_change, self._workdir
    )
    if changed or data:
      self.change = {"step": step, "config": changed, "data": data}
    template = serialization.to_state_dict(state)
    _check_arrays(saved, template, step)
    if saved["diverged_at"] >= 0:
      if not changed:
        raise self._would_diverge(saved["diverged_at"] + 1)
      saved["diverged_at"] = np.full_like(saved["diverged_at"], -1)
    devices.wait_for_all("read")
    if devices.is_main_host():
      self._set_aside(unreadable, step)
    # Empty parts, such as an optimizer's without state, come from the template.
    empty = traverse_util.flatten_dict(template, keep_empty_nodes=True, sep="/")
    nested = traverse_util.unflatten_dict(empty | _named(saved), sep="/")
    return serialization.from_state_dict(state, nested)

  def _set_aside(self, unreadable: dict[int, str], step: int) -> None:
    for bad_step, reason in unreadable.items():
      print(f"WARNING: checkpoint {bad_step} cannot be read ({reason}); resuming from {step}")
      for path in runs.checkpoint_files(self._workdir, bad_step):
        os.replace(path, path.with_name(f"{path.name}.unreadable"))

  def _would_diverge(self, step: int) -> UserError:
    half = self._origin["config"]["optimizer"]["learning_rate"] / 2
    return UserError(
      f"step {step} of the run in {self._workdir} diverged and would again; continue from the "
      f"state before it with another learning rate, --config.optimizer.learning_rate={half:g} "
      "--change=optimizer.learning_rate, or choose another --workdir"
    )

  def save(self, state) -> None:
    """Starts writing the state, unless its step is saved already; waits for the devices only.

    Args:
      state: a replicated TrainState.

    Raises:
      UserError: if this or the save before it could not be written.
    """
    if not self._saves:
      return
    host_state = serialization.to_state_dict(devices.to_host(state))
    step = int(host_state["step"])
    if step == self._manager.latest_step():
      return
    items = runs.to_save(host_state, self._origin)
    self._explained(lambda: self._manager.save(step, args=items, force=True))

  def wait(self) -> None:
    """Returns once everything is on disk."""
    if self._saves:
      self._explained(self._manager.wait_until_finished)

  def preempted(self, step: int) -> bool:
    """Whether all hosts must stop after this step; every host must ask after every step."""
    return ocp.utils.reached_preemption(step)

  def _explained(self, write) -> None:
    try:
      write()
    except (OSError, ValueError) as error:
      raise UserError(f"cannot write a checkpoint in {self._workdir}: {error}") from error
