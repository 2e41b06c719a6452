"""A run that is trained in a folder of this machine and kept in a store.

  with held("gs://bucket/runs/name", config) as workdir:      # or a folder, which is held as it is
    train(config, workdir)

The folder is looked through in the background every few seconds, and what is new is uploaded:
checkpoints once they are whole, metrics, pictures. A store that is away stops nothing.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import threading
import time
from collections.abc import Collection, Iterator

from data_pipelines.stores import files
from experiments.console.errors import UserError
from experiments.hardware import devices
from experiments.runs import folder
from experiments.stores.addresses import copy_of
from experiments.stores.lease import Lease
from experiments.stores.reading import bring
from experiments.stores.stored_run import StoredRun
from experiments.stores.transfers import explained
from genesis_jax import runs

EVERY_SECONDS = 10  # between two looks at the folder; GCS takes a write a second to a file
LAST_SECONDS = 600  # for a store that is away when training ends
AGAIN_SECONDS = 5  # between tries then
STAGED = ".staged"  # folder of the checkpoint that is being uploaded
GROWING = (
  "tensorboard",
  "wandb",
)  # folders of files that grow, uploaded again with each checkpoint only
LEASES = ".stored/lease"


@contextlib.contextmanager
def held(address: str | pathlib.Path, config) -> Iterator[pathlib.Path]:
  """Holds a run for this program alone, and yields its folder on this machine.

  All hosts call it together. The first has the folder that is mirrored, the others a copy of what
  the store has.

  Args:
    address: of the run: a folder, or an address in a store.
    config: of the experiment: which checkpoints are kept.

  Raises:
    UserError: another program trains it, or the store cannot be used.
  """
  with contextlib.ExitStack() as stack:
    if not files.is_remote(address):
      if devices.is_main_host():
        stack.enter_context(folder.exclusive(pathlib.Path(address)))
      yield pathlib.Path(address)
      return
    address = files.address(address)
    if devices.is_main_host():
      workdir = copy_of(address, "trained")
      stack.enter_context(folder.exclusive(workdir))
      with explained(address):
        mirror = Mirror(StoredRun(address, workdir), config)
        stack.enter_context(mirror.leased())
        mirror.begin()
      stack.enter_context(mirror)
    devices.wait_for_all("stored")
    if not devices.is_main_host():
      workdir = copy_of(address, "read")
      bring(address, workdir, "newest")
    yield workdir


class Mirror:
  """Keeps a run in a store as it is in a folder; a context, whose end waits for the store.

  Args:
    run: to upload.
    config: see `held`.
  """

  def __init__(self, run: StoredRun, config):
    self._run, self._config = run, config
    self._lost_to: str | None = None
    self._away = False
    self._ended = threading.Event()
    self._thread = threading.Thread(target=self._watch, name="mirror", daemon=True)
    self._lease = Lease(run.system, run.at(LEASES), run.address, self._lose)

  def leased(self) -> Lease:
    """The right to write to the run, as a context."""
    return self._lease

  def begin(self) -> None:
    """Makes the folder the newest state of the run, and uploads what only it has.

    Raises:
      UserError: the store has something else there.
    """
    run, here = self._run, self._run.folder
    if not run.read_manifest() and run.system.exists(run.at("run.json")):
      raise UserError(
        f"{run.address} holds a run that was copied there, not trained there; copy it to this "
        "machine and train it here, or choose another --workdir"
      )
    if not run.is_continued_here():
      if (steps := runs.checkpoint_steps(here)) and not run.lineage:
        raise UserError(
          f"{run.address} is no longer in the store, but up to step {steps[-1]} on this machine: "
          f"remove {here} to begin anew, or choose another --workdir"
        )
      run.empty()
      run.bring_files()
    if max(run.checkpoints, default=-1) > max(runs.checkpoint_steps(here), default=-1):
      run.bring_newest()
    run.begin_lineage()
    run.remove_unnamed()
    self.upload()
    print(f"store      {run.address}, by way of {here}", flush=True)

  def __enter__(self) -> "Mirror":
    self._thread.start()
    return self

  def __exit__(self, kind, *exc_info):
    self._ended.set()
    self._thread.join()
    until = time.monotonic() + (LAST_SECONDS if kind is None else 0)
    while not (stored := self._tried(last=True)) and not self._lost_to:
      if time.monotonic() > until:
        break
      time.sleep(AGAIN_SECONDS)
    if stored:
      print(f"stored     {self._run.address}", flush=True)
      return
    words = (
      f"another program ({self._lost_to}) has taken over {self._run.address}; what this one did "
      f"since is in {self._run.folder} only"
      if self._lost_to
      else f"{self._run.address} could not be written; what is new is in "
      f"{self._run.folder}, and the same command on this machine uploads it"
    )
    if kind is None:
      raise UserError(words)
    print(f"WARNING: {words}", flush=True)  # what ends the program counts

  def _watch(self) -> None:
    while not self._ended.wait(EVERY_SECONDS) and not self._lost_to:
      self._tried()

  def _tried(self, last: bool = False) -> bool:
    """Uploads what is new; returns whether that worked, and says when that changes."""
    if self._lost_to:
      return False
    try:
      self.upload(last)
    except Exception as error:  # libraries of stores raise many kinds
      if not self._away and not self._lost_to:
        self._away = True
        reason = files.explained(error, self._run.address)
        print(f"WARNING: nothing is stored now, but training goes on: {reason}", flush=True)
      return False
    if self._away:
      self._away = False
      print(f"stored     {self._run.address} is there again, and up to date", flush=True)
    return not self._lost_to

  def _lose(self, holder: str) -> None:
    """Ends training, between steps, since another program has the run."""
    self._lost_to = holder
    if not self._ended.is_set():
      print(f"WARNING: {holder} has taken over {self._run.address}; ending", flush=True)
      os.kill(os.getpid(), signal.SIGTERM)

  def upload(self, last: bool = False) -> None:
    """Uploads what is new in the folder, and removes checkpoints that are not to be kept.

    Args:
      last: nothing will follow, so that files that grow are uploaded too.

    Raises:
      Exception: whatever the store says; the next call goes on from there.
    """
    self._check_lease()
    run = self._run
    here = runs.checkpoint_steps(run.folder)
    # An unreadable checkpoint was set aside, and training resumed before it: so does the store.
    undone = [step for step in run.checkpoints if here and step > here[-1]]
    # Of others an earlier program may have left a part.
    newer = {step for step in here if step > max(run.checkpoints, default=-1)}
    new = (newer | self._periodic(here)) - run.checkpoints.keys()
    for step in sorted(new, reverse=True):  # the newest is wanted most
      with self._staged(step) as source:
        if source is not None:
          named = run.send_checkpoint(step, source)
          run.send_files()  # now they have all that was logged before it
          self._name(run.checkpoints | {step: named})
    run.send_files(but=() if last or new else GROWING)
    kept = self._kept(run.checkpoints.keys() | set(here))
    surplus = [step for step in run.checkpoints if step not in kept and step not in here]
    if gone := {*undone, *surplus}:
      self._name({step: named for step, named in run.checkpoints.items() if step not in gone})
      for step in gone:
        run.remove_files(step)

  def _name(self, checkpoints: dict) -> None:
    """Writes the manifest, if this program still may after what came before."""
    self._check_lease()
    self._run.write_manifest(checkpoints)

  def _check_lease(self) -> None:
    if holder := self._lease.other_holder():
      self._lose(holder)
      raise UserError(f"{holder} has the run now")

  def _kept(self, steps: Collection[int]) -> set[int]:
    """Which of the checkpoints are to be kept, as `Checkpoints` does."""
    newest = sorted(steps)[-max(1, self._config.keep_checkpoints) :]
    return {*newest, *self._periodic(steps)}

  def _periodic(self, steps: Collection[int]) -> set[int]:
    every = self._config.keep_every
    return {step for step in steps if every and step % every == 0}

  @contextlib.contextmanager
  def _staged(self, step: int) -> Iterator[pathlib.Path | None]:
    """A folder with a checkpoint's files alone, which stay while Orbax removes the checkpoint.

    None if it is about to be removed: then files may be missing already.
    """
    staged = self._run.folder / STAGED
    shutil.rmtree(staged, ignore_errors=True)
    original = self._run.folder / runs.FOLDER / str(step)
    is_whole = False
    with contextlib.suppress(FileNotFoundError, shutil.Error):
      shutil.copytree(original, staged / str(step), copy_function=_linked)
      # Orbax removes a checkpoint only once a newer one has taken its place.
      is_whole = step in self._kept(runs.checkpoint_steps(self._run.folder))
    try:
      yield staged if is_whole else None
    finally:
      shutil.rmtree(staged, ignore_errors=True)


def _linked(source: str, target: str) -> None:
  try:
    os.link(source, target)
  except FileNotFoundError:
    raise
  except OSError:  # not every file system has links
    shutil.copy2(source, target)
