"""Trains a model on a data set: the loop, as a list of sentences."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from typing import Any

import jax

import data_pipelines
import genesis_jax
from data_pipelines.datasets import inventory
from data_pipelines.sources import check_seed
from data_pipelines.stores.files import is_remote
from experiments.console.errors import UserError, explained
from experiments.hardware import devices
from experiments.runs import changes
from experiments.runs.checkpoints import Checkpoints, origin_of
from experiments.runs.logbook import Logbook
from experiments.runs.notice_board import Board
from experiments.stores import mirror
from experiments.trackers import catalogue, following
from experiments.training import announcements, pilot, transfer
from experiments.training.album import Album
from experiments.training.feed import Feed, check_steps_per_call
from experiments.training.progress import Progress, RecentSteps
from experiments.training.stop import Stop, seconds
from experiments.training.validation import Validator
from genesis_jax import objective, runs, training


@dataclasses.dataclass(frozen=True)
class Run:
  """What the loop works with."""

  config: Any
  workdir: pathlib.Path
  model: Any
  tx: Any  # optimizer
  source: data_pipelines.Source
  stop: Stop
  checkpoints: Checkpoints
  logbook: Logbook
  album: Album
  validate: Validator
  first: int  # steps done by earlier programs
  files: dict[str, int] | None  # of the data, see `data_pipelines.datasets.inventory`


def train(config, workdir: str | pathlib.Path, **resuming) -> None:
  """Trains until `config.num_steps`, or until asked to stop; resumes from what is in `workdir`.

  Args:
    config: of the experiment.
    workdir: folder of the run, or its address in a store.
    resuming: `accept_data_change` and `told`, see `Checkpoints`.

  Raises:
    UserError: for what the user can fix, and for a run that diverged.
    data_pipelines.DataError: for data that is missing or damaged.
  """
  with opened(config, workdir, **resuming) as (run, state):
    state = run_steps(run, devices.replicate(state))
    done = int(devices.first(state.step))
    if run.stop.asked or done < config.num_steps:
      print(f"stopped after step {done}{run.stop.reason}; the same command resumes")
    else:
      announcements.finish(run, state)


def _check_numbers(config):
  objective.check(config)
  if config.num_steps < 1:
    raise ValueError(f"num_steps is {config.num_steps}; it must be at least 1")
  check_seed(config.seed)
  catalogue.check_names(config.trackers)


@contextlib.contextmanager
def opened(
  config, workdir: str | pathlib.Path, **resuming
) -> Iterator[tuple[Run, training.TrainState]]:
  """Checks all that can be checked early; yields the run and the state to start from."""
  with explained():
    _check_numbers(config)
    limit = seconds(config.time_limit)
    devices.configure(config)
    devices.check_determinism(config)
    model = genesis_jax.build_model(config.model)
    devices.check_batch_size(config.batch_size)
    check_steps_per_call(config)
  with contextlib.ExitStack() as stack:
    stop = stack.enter_context(Stop(limit, config.steps_per_call))
    shared = not is_remote(workdir)
    workdir = stack.enter_context(mirror.held(workdir, config))
    changes.keep_order(config, workdir)
    with explained():
      source = data_pipelines.resolve(config.data)
      config = pilot.settled(config, workdir)
      tx = objective.optimizer(config)
      album = Album(config, workdir, model)
    files = inventory.taken(source)
    origin = origin_of(config, source, files)
    state = training.initial_state(config.seed, model, tx)
    if config.init_from is not None and not runs.checkpoint_steps(workdir):
      state = transfer.started(state, tx, config.init_from, workdir)
    checkpoints = Checkpoints(workdir, origin, config, files, shared, **resuming)
    stack.enter_context(checkpoints)
    state = checkpoints.restore(state)
    stop.expect_saving(sum(x.nbytes for x in jax.tree.leaves(state)))
    first = int(state.step)
    senders = stack.enter_context(following.begun(config, workdir, source, stop))
    logbook = stack.enter_context(Logbook(workdir, first, senders))
    validate = Validator(config, model)
    run = Run(
      config, workdir, model, tx, source, stop, checkpoints, logbook, album, validate, first, files
    )
    announcements.introduce(run, state)
    yield run, state


def run_steps(run: Run, state) -> training.TrainState:
  """Does the remaining training steps, and whatever is due between them.

  Args:
    run: what to train.
    state: a replicated TrainState, donated.

  Returns:
    The last state, replicated; it is saved.

  Raises:
    UserError: if training diverges; the last good state is saved.
  """
  config, last = run.config, run.config.num_steps
  board = Board(run.workdir)
  feed = Feed(config, run.first, board)
  steps = compiled_steps(config, run.model, run.tx, feed)
  recent = RecentSteps()
  with Progress(config, run.first) as progress:
    catch_up(run, state, progress)
    for done, batches in zip(feed.ends(), devices.prefetch(feed, axis=1), strict=True):
      with run.stop.timed("call"):
        state, scalars = steps(state, batches, feed.resident)
        recent.add(done, scalars)
        progress.tick(scalars)
      run.stop.listen()
      due = functools.partial(is_due, done, last)
      values = {}
      if recent.are_many:
        stop_if_diverged(run, recent, state)
      if due(config.log_every) or done == last:
        stop_if_diverged(run, recent, state)
        values |= progress.report(done, recent.fetch() | {"num_corrupt": feed.num_corrupt})
      with progress.paused():
        if due(config.validate_every) and run.stop.has_time_for("validation"):
          with run.stop.timed("validation"):
            values |= progress.report_validation(run.validate(state, lambda: run.stop.asked))
        if due(config.images_every) and run.stop.has_time_for("pictures"):
          with run.stop.timed("pictures"):
            run.album.add(f"step_{done:07d}", state, run.logbook)
        run.logbook.scalars(done, values)
        stopping = run.stop.asked or run.checkpoints.preempted(done)
        saving = due(config.checkpoint_every) or due(config.keep_every) or done == last
        if saving or stopping:
          stop_if_diverged(run, recent, state)
          with run.stop.timed("saving"):
            board.save()
            run.checkpoints.save(state)
            if config.time_limit is not None:
              run.checkpoints.wait()  # so that it is known how long that takes
      if stopping:
        break
  run.checkpoints.wait()
  return state


def catch_up(run: Run, state, progress: Progress) -> None:
  """Does the validation for which the program before this one had no time.

  Raises:
    UserError: if this one has not enough of it either.
  """
  was_due = run.first and is_due(run.first, run.config.num_steps, run.config.validate_every)
  if not was_due or not any(devices.from_all_hosts(int(run.logbook.lacks(run.first, "val/")))):
    return
  with progress.paused():
    values = run.validate(state, lambda: run.stop.asked)
    run.logbook.scalars(run.first, progress.report_validation(values))
  if not values and run.stop.reason:
    raise UserError(
      f"a validation takes longer than time_limit={run.config.time_limit}: give it more time, or "
      "validate on fewer images (num_validation_images) or never (validate_every=0)"
    )


def is_due(done: int, last: int, every: int) -> bool:
  """Whether something is due after `done` steps; the last one has its own ending."""
  return every > 0 and done % every == 0 and done < last


def stop_if_diverged(run: Run, recent: RecentSteps, state) -> None:
  """Raises UserError if one of the recent steps diverged, once the state before it is saved."""
  if diverged := recent.divergence():
    step, values = diverged
    run.checkpoints.save(state)
    run.checkpoints.wait()
    logged = {f"train/{name}": value for name, value in values.items()}
    run.logbook.scalars(step, logged | {"train/diverged_at": step - 1})
    words = ", ".join(f"{name} {value:.6g}" for name, value in values.items())
    raise UserError(f"step {step} diverged: {words}; the state before it is saved in {run.workdir}")


def compiled_steps(config, model, tx, feed: Feed):
  """(replicated state, batches, resident) -> (state, scalars) on all devices; donates the state."""
  step = training.configured_step(config, model, tx, devices.AXIS)
  return devices.parallel(feed.steps(step), donate=0)
