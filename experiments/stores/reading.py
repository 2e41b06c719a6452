"""What programs that do not train need of a run in a store, and what they write back.

with brought("gs://bucket/runs/name", step) as workdir:      # or a folder, which is used as it is
  evaluate(workdir)
"""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence

from data_pipelines.durable import locked
from data_pipelines.stores import files
from experiments.console.errors import UserError
from experiments.stores.addresses import copy_of
from experiments.stores.stored_run import StoredRun
from experiments.stores.transfers import explained

LABELS = "run.json"  # what every run's folder has
TRIES = 5  # at reading what another program replaces meanwhile
LOCK_SECONDS = 600  # for other programs on this machine that bring the same run


@contextlib.contextmanager
def brought(
  address: str | pathlib.Path, checkpoints: int | str | None = "newest"
) -> Iterator[pathlib.Path]:
  """The folder of a run on this machine; what is written there goes back when the context ends.

  Args:
    address: of the run: a folder, or an address in a store.
    checkpoints: which are needed: "newest" or None for the newest, "all", "none", or a step.

  Raises:
    UserError: it has none, or the store cannot be read or written.
  """
  if not files.is_remote(address):
    yield pathlib.Path(address)
    return
  address = files.address(address)
  workdir = copy_of(address, "read")
  with _sent_back(bring(address, workdir, checkpoints)):
    yield workdir


@contextlib.contextmanager
def _sent_back(run: StoredRun) -> Iterator[None]:
  """Uploads what the body wrote, also if it fails later."""
  try:
    yield
  finally:
    with explained(run.address), _alone_with(run):
      if names := run.send_files():
        print(f"stored     {len(names)} files in {run.address}", flush=True)


@contextlib.contextmanager
def all_brought(
  addresses: Sequence[str | pathlib.Path], checkpoints: int | str | None = "newest"
) -> Iterator[list[pathlib.Path]]:
  """`brought` of several runs."""
  with contextlib.ExitStack() as stack:
    yield [stack.enter_context(brought(address, checkpoints)) for address in addresses]


def runs_below(address: str | pathlib.Path) -> list[str | pathlib.Path]:
  """The runs in a folder, such as that of a sweep, or below an address in a store.

  Raises:
    UserError: there is none, or the store cannot be read.
  """
  if files.is_remote(address):
    address = files.address(address)
    with explained(address):
      system, root = files.open_store(address)
      names = [path.removeprefix(root).strip("/") for path in system.glob(f"{root}/**/{LABELS}")]
    found = [f"{address}/{name}".removesuffix(f"/{LABELS}") for name in names]
  else:
    found = [path.parent for path in pathlib.Path(address).rglob(LABELS)]
  if not found:
    raise UserError(f"{address} holds no runs: no folder below it has a {LABELS}")
  return found


def _alone_with(run: StoredRun) -> contextlib.AbstractContextManager[None]:
  return locked(run.folder / ".lock", seconds=LOCK_SECONDS)


def bring(address: str, workdir: pathlib.Path, checkpoints: int | str | None) -> StoredRun:
  """Makes a copy what the store has: files that are needed, and these checkpoints.

  Raises:
    UserError: see `brought`.
  """
  with explained(address):
    run = StoredRun(address, workdir)
    with _alone_with(run):
      for left in reversed(range(TRIES)):
        if not run.read_manifest():
          raise _no_run(run)
        try:
          run.bring_files()
          _bring_checkpoints(run, checkpoints)
          break
        except FileNotFoundError:  # the program that trains it has replaced a checkpoint meanwhile
          if not left:
            raise
      run.forget_checkpoints()
  return run


@contextlib.contextmanager
def folder_brought(address: str | pathlib.Path | None) -> Iterator[pathlib.Path | None]:
  """As `brought`, for a folder of files that is no run, or not yet there; None is given back."""
  if address is None or not files.is_remote(address):
    yield address
    return
  address = files.address(address)
  with explained(address):
    run = StoredRun(address, copy_of(address, "read"))
    with _alone_with(run):
      run.bring_files()
  with _sent_back(run):
    yield run.folder


def _bring_checkpoints(run: StoredRun, which: int | str | None) -> None:
  if which in (None, "newest"):
    run.bring_newest()
  elif which != "none":
    for step in run.checkpoints if which == "all" else [which]:
      if step not in run.checkpoints:
        there = sorted(run.checkpoints) or "none"
        raise UserError(f"--step={step}, but the checkpoints of {run.address} are {there}")
      run.bring_checkpoint(step)


def _no_run(run: StoredRun) -> UserError:
  """The error for an address where nothing was trained, with what there is beside it."""
  parent, _, name = run.at("")[:-1].rpartition("/")
  beside = sorted(path.rstrip("/").rpartition("/")[2] for path in run.system.ls(parent, False))
  there = ", ".join(other for other in beside if other != name)[:300] or "nothing"
  return UserError(
    f"{run.address} holds no run that training stored there; beside it there is: {there}"
  )
