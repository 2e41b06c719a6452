"""A run kept in a store: kills in the middle of uploads, other machines, second programs, outages.

The stores are fsspec's own, `memory://`, with folders in place of a training program.
"""

import contextlib
import json
import threading
import types

import fsspec
import pytest

from data_pipelines import durable
from data_pipelines.stores import files
from experiments.console.errors import UserError
from experiments.stores import addresses, lease, mirror, reading
from experiments.stores.mirror import Mirror
from experiments.stores.stored_run import MANIFEST, StoredRun
from genesis_jax import runs

CONFIG = types.SimpleNamespace(keep_checkpoints=2, keep_every=0)
URL = "memory://bucket/runs/mine"
NAMES = ("_METADATA", "state/manifest", "state/d/1", "origin/metadata")


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  monkeypatch.setattr(durable, "sync", lambda path: None)  # no power is cut here
  monkeypatch.setattr(lease, "RENEW_SECONDS", 0.1)
  monkeypatch.setattr(lease, "EXPIRE_SECONDS", 0.5)
  system = fsspec.filesystem("memory")
  system.store.clear()
  system.pseudo_dirs[:] = [""]
  system.makedirs("/bucket/runs")
  return system


def train(folder, step: int) -> None:
  """What a step of training leaves in a folder: a line, and a checkpoint in place of an old one."""
  (folder / "pictures").mkdir(parents=True, exist_ok=True)
  (folder / "run.json").write_text('{"config": {}}')
  with open(folder / "metrics.jsonl", "a") as file:
    file.write(json.dumps({"step": step}) + "\n")
  partial = folder / runs.FOLDER / f"{step}.orbax-checkpoint-tmp"
  for name in NAMES:
    (partial / name).parent.mkdir(parents=True, exist_ok=True)
    (partial / name).write_text(f"{name} of {step}")
  partial.rename(partial.with_name(str(step)))
  old = folder / runs.FOLDER / str(step - CONFIG.keep_checkpoints)
  for name in NAMES if old.exists() else ():
    (old / name).unlink()
  for name in ("state/d", "state", "origin", "") if old.exists() else ():
    (old / name).rmdir()


def check(workdir, newest: int | None = None) -> int:
  """Raises AssertionError unless a copy has a whole checkpoint and all before it; its step."""
  step = runs.checkpoint_steps(workdir)[-1]
  assert newest in (None, step)
  for name in NAMES:
    assert (workdir / runs.FOLDER / str(step) / name).read_text() == f"{name} of {step}"
  rows = [json.loads(line)["step"] for line in open(workdir / "metrics.jsonl")]
  assert rows[:step] == list(range(1, step + 1))
  return step


class Killed(BaseException):
  """The end of a program."""


class Mortal:
  """A file system whose user dies at an operation: that one and all later ones do nothing."""

  def __init__(self, system, last: int):
    self._system, self._left, self._lock = system, last, threading.Lock()

  def __getattr__(self, name):
    found = getattr(self._system, name)
    if not callable(found):
      return found

    def call(*arguments, **options):
      with self._lock:
        self._left -= 1
        if self._left < 0:
          raise Killed
      return found(*arguments, **options)

    return call


def begun(folder, url: str = URL) -> Mirror:
  """A mirror after its beginning, but without its threads."""
  found = Mirror(StoredRun(url, folder), CONFIG)
  assert found.leased()._take()
  found.begin()
  return found


def test_a_kill_at_any_operation_leaves_whole_checkpoints(tmp_path, monkeypatch, store):
  opened, kills = files.open_store, 0
  for last in range(2, 200, 3):
    url, folder = f"{URL}_{last}", addresses.copy_of(f"{URL}_{last}", "trained")

    def mortal(address, last=last):
      system, path = opened(address)
      return Mortal(system, last), path

    seen, done = 0, False
    monkeypatch.setattr(files, "open_store", mortal)
    with contextlib.suppress(Killed):
      killed = begun(folder, url)
      for step in (1, 2, 3, 4):
        train(folder, step)
        killed.upload()
        seen = step  # is in the store
      done = True
    kills += not done
    monkeypatch.setattr(files, "open_store", opened)
    if store.exists(f"/bucket/runs/mine_{last}/run.json"):
      with reading.brought(url) as copy:
        if seen or runs.checkpoint_steps(copy):
          assert seen <= check(copy) <= seen + 1
    # The same machine goes on; what the kill left is gone in the end.
    again = Mirror(StoredRun(url, folder), CONFIG)
    monkeypatch.setattr(durable, "has_ended", lambda process: True)
    assert again.leased()._take()
    again.begin()
    for step in range(max([0, *runs.checkpoint_steps(folder)]) + 1, 7):
      train(folder, step)
    again.upload()
    names = store.find(f"/bucket/runs/mine_{last}/{runs.FOLDER}")
    assert {path.split("/")[5] for path in names} == {"5", "6"}
    with reading.brought(url) as copy:
      check(copy, newest=6)
    if done:
      break
  assert done and kills >= 20, kills
  print(kills)
