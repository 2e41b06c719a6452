"""A run's checkpoints: written atomically in the background, and resumed from.

A checkpoint holds the state as a nested dictionary of numpy arrays, its origin (configuration and
data source), and checksums of both. All hosts write and read together; Orbax decides who touches
the disk.
"""

import functools
import json
import logging
import os
import pathlib
import sys
import zlib

import jax
import orbax.checkpoint as ocp
from flax import serialization, traverse_util

from experiments.console.errors import UserError
from experiments.hardware import devices
from genesis_jax import runs

# Fields that a resumed run may change; any other makes it another experiment.
MAY_CHANGE = (
  "num_steps",
  "steps_per_call",
  "matmul_precision",
  "compilation_cache",
  "log_every",
  "images_every",
  "validate_every",
  "num_validation_images",
  "num_segmentation_images",
  "test_images",
  "test_fid_images",
  "checkpoint_every",
  "keep_checkpoints",
  "keep_every",
  "log_distributions",
  "log_weights",
  "data.data_dir",  # the same data may lie elsewhere; the source is compared
)


def origin_of(config, source) -> dict:
  """What a checkpoint belongs to: {"config", "source"}, in JSON's types."""
  return {
    "config": json.loads(config.to_json_best_effort()),
    "source": {"name": source.name, "variant": source.variant, "stand_in": source.stand_in},
  }


def _flat(tree: dict) -> dict:
  return traverse_util.flatten_dict(tree, sep=".")


def differences(saved: dict, current: dict) -> list[str]:
  """Fields in which two origins differ and must not, as "field: saved -> current"."""
  may_change = set(MAY_CHANGE)
  objective = current["config"]["objective"]
  if not objective["geco"] and objective["beta_warmup"]:
    may_change.remove("num_steps")  # beta rises over a part of them
  old = _flat(saved["config"]) | _flat({"source": saved["source"]})
  new = _flat(current["config"]) | _flat({"source": current["source"]})
  return [
    f"{name}: {old.get(name, 'absent')!r} -> {new.get(name, 'absent')!r}"
    for name in sorted((old.keys() | new.keys()) - may_change)
    if old.get(name, "absent") != new.get(name, "absent")
  ]


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


# Logged with a traceback by the threads of a write that failed, which raises the same error here.
ECHOES = (
  "_SignalingThread.run() raised an exception",
  "Commit callback in background save thread",
  "Save Finalize thread",
  "exception was never retrieved",
)


@functools.cache
def keep_back_echoes() -> None:
  """From now on, keeps back what is told once more for each array after a read or write failed.

  Some of it comes when the program ends.
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

  Raises:
    UserError: for a folder whose checkpoints could not be read again.
  """

  def __init__(self, workdir: pathlib.Path, origin: dict, config):
    if any("[" in where(workdir) for where in (os.path.abspath, os.path.realpath)):
      raise UserError(
        f"--workdir {os.path.realpath(workdir)} has a [ in it, which the writer of checkpoints "
        "takes for a pattern: they could not be read again; choose another --workdir"
      )
    self._workdir = workdir
    self._origin = origin
    self._manager = None
    self._options = ocp.CheckpointManagerOptions(
      max_to_keep=max(1, config.keep_checkpoints),
      keep_period=config.keep_every or None,
      cleanup_tmp_directories=True,  # what a killed program left half-written
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
    folder = os.path.abspath(self._workdir / runs.FOLDER)
    self._manager = ocp.CheckpointManager(folder, options=self._options)
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
    origin = _flat(self._origin) | {"config.data.data_dir": None}  # it may lie elsewhere
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
        f"checkpoint {step} in {self._workdir} holds weights alone, and training needs more to "
        "go on; choose another --workdir"
      )
    if changed := differences(origin, self._origin):
      raise UserError(
        f"{self._workdir} holds another experiment; choose another --workdir, or undo "
        f"(saved -> given): {'; '.join(changed)}"
      )
    template = serialization.to_state_dict(state)
    _check_arrays(saved, template, step)
    if saved["diverged_at"] >= 0:
      raise UserError(
        f"step {saved['diverged_at'] + 1} of the run in {self._workdir} diverged and would again; "
        "choose another --workdir, and for example a smaller optimizer.learning_rate"
      )
    devices.wait_for_all("read")
    if devices.is_main_host():
      for bad_step, reason in unreadable.items():
        print(f"WARNING: checkpoint {bad_step} cannot be read ({reason}); resuming from {step}")
        folder = self._workdir / runs.FOLDER
        os.replace(folder / str(bad_step), folder / f"{bad_step}.unreadable")
    # Empty parts, such as an optimizer's without state, come from the template.
    empty = traverse_util.flatten_dict(template, keep_empty_nodes=True, sep="/")
    nested = traverse_util.unflatten_dict(empty | _named(saved), sep="/")
    return serialization.from_state_dict(state, nested)

  def save(self, state) -> None:
    """Starts writing the state, unless its step is saved already; waits for the devices only.

    Args:
      state: a replicated TrainState.

    Raises:
      UserError: if this or the save before it could not be written.
    """
    host_state = serialization.to_state_dict(devices.to_host(state))
    step = int(host_state["step"])
    if step == self._manager.latest_step():
      return
    items = ocp.args.Composite(
      state=ocp.args.StandardSave(host_state),
      origin=ocp.args.JsonSave(self._origin),
      checksums=ocp.args.JsonSave(runs.checksums(host_state, self._origin)),
    )
    self._explained(lambda: self._manager.save(step, args=items, force=True))

  def wait(self) -> None:
    """Returns once everything is on disk."""
    self._explained(self._manager.wait_until_finished)

  def preempted(self, step: int) -> bool:
    """Whether all hosts shall stop after this step; every host must ask after every step."""
    return self._manager.reached_preemption(step)

  def _explained(self, write) -> None:
    try:
      write()
    except (OSError, ValueError) as error:
      raise UserError(f"cannot write a checkpoint in {self._workdir}: {error}") from error
