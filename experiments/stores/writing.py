"""What programs write where `--out` says: on this machine, or in a store, to which it goes at last.

with file_written("gs://bucket/scores.json") as out:      # or a path, which is used as it is
  out.write_text(...)
with folder_made("gs://bucket/runs/copy") as out:         # as a run, if it has checkpoints
  export(workdir, out)
"""

import contextlib
import json
import pathlib
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator

from data_pipelines.stores import files
from experiments.console.errors import UserError
from experiments.stores.addresses import STATE, copy_of
from experiments.stores.stored_run import StoredRun
from experiments.stores.transfers import explained, upload
from genesis_jax import runs


def file_written(out: pathlib.Path | str | None) -> contextlib.AbstractContextManager:
  """Where on this machine to write a file, which is brought first where it is there already.

  Args:
    out: a path, an address in a store, or None, which is given back.

  Raises:
    UserError: the store cannot be written.
  """

  def bring(system, root: str, here: pathlib.Path) -> None:
    if system.exists(root):
      system.get_file(root, str(here))

  def send(system, root: str, here: pathlib.Path) -> None:
    upload(system, here, root)

  return _written(out, "--out", bring, send)


def folder_made(
  out: pathlib.Path | str | None, option: str = "--out"
) -> contextlib.AbstractContextManager:
  """Where on this machine to make a folder; one with checkpoints can be read as a run then.

  Args:
    out: an address in a store, where there must be nothing yet; or a path or None, given back.
    option: what the user calls it.

  Raises:
    UserError: the store cannot be written, or has something there.
  """

  def refuse(system, root: str, here: pathlib.Path) -> None:
    if system.find(root):
      raise UserError(f"{option}={files.address(out)} exists and is not empty; choose another")

  def send(system, root: str, here: pathlib.Path) -> None:
    run = StoredRun(files.address(out), here)
    steps = runs.checkpoint_steps(here)
    sent = {step: run.send_checkpoint(step, here / runs.FOLDER) for step in steps}
    run.send_files()
    if sent:
      run.lineage = secrets.token_hex(8)
      run.write_manifest(sent)

  return _written(out, option, refuse, send)


@contextlib.contextmanager
def _written(out, option: str, begin: Callable, send: Callable) -> Iterator[pathlib.Path | None]:
  """Has `begin` and, if the body does not fail, `send` work on (store, path there, path here)."""
  if out is None or not files.is_remote(out):
    yield out and pathlib.Path(out)
    return
  address = files.address(out)
  if address.startswith("http"):
    raise UserError(f"{option}={address} can only be read; name a place of gs:// or s3://")
  above, _, name = address.rpartition("/")
  copies = copy_of(address, "written").parent
  copies.mkdir(parents=True, exist_ok=True)
  folder = pathlib.Path(tempfile.mkdtemp(dir=copies))
  here = folder / name
  (folder / STATE).write_text(json.dumps({"address": above}))
  try:
    with explained(address):
      system, root = files.open_store(address)
      begin(system, root, here)
      _try_to_write(system, f"{root}.{secrets.token_hex(4)}")
    yield here
  except BaseException:
    shutil.rmtree(folder)
    raise
  try:
    send(system, root, here)
  except Exception as error:  # libraries of stores raise many kinds
    reason = files.explained(error, address)
    raise UserError(f"{reason}; what was to be there is on this machine: {here}") from error
  shutil.rmtree(folder)
  print(f"stored     {address}", flush=True)


def _try_to_write(system, path: str) -> None:
  """Better refused now than when all is done."""
  system.auto_mkdir = True  # of file://
  system.pipe_file(path, b"")
  system.rm_file(path)
