"""A run kept in a store: kills in the middle of uploads, other machines, second programs, outages.

The stores are fsspec's own, `memory://`, with folders in place of a training program.
"""

import contextlib
import io
import json
import shutil
import signal
import threading
import time
import types

import fsspec
import numpy as np
import pytest

from data_pipelines import durable
from data_pipelines.stores import files
from experiments import score
from experiments.console.errors import UserError
from experiments.stores import addresses, lease, mirror, reading, writing
from experiments.stores.mirror import Mirror
from experiments.stores.stored_run import MANIFEST, StoredRun
from genesis_jax import packing, runs

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
  for last in range(2, 200, 5):
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
  assert done and kills >= 12


@contextlib.contextmanager
def trained(config=CONFIG):
  """(folder, mirror) of a program that trains, with everything stored at the end."""
  with mirror.held(URL, config) as folder:
    yield folder


def on_machine(monkeypatch, tmp_path, name: str) -> None:
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))


def test_the_run_goes_on_elsewhere_and_back(tmp_path, monkeypatch, capsys):
  with trained() as first:
    train(first, 1)
    (first / "tensorboard").mkdir()
    (first / "tensorboard" / "events").write_text("many")
  assert "stored     memory://bucket/runs/mine" in capsys.readouterr().out
  on_machine(monkeypatch, tmp_path, "other")
  with trained() as second:
    assert second != first and check(second) == 1
    assert not (second / "tensorboard").exists()  # nothing there is read again
    train(second, 2)
  train(first, 9)  # of a program that was killed before it stored anything
  on_machine(monkeypatch, tmp_path, "cache")
  with trained() as third:
    assert third == first and check(third, newest=2) == 2
    assert 9 not in runs.checkpoint_steps(third)
  assert addresses.name_of(third) == URL


def test_a_run_that_is_gone_from_the_store_is_not_begun_anew(store):
  with trained() as folder:
    train(folder, 1)
  store.rm("/bucket/runs/mine", recursive=True)
  with pytest.raises(UserError, match=f"up to step 1 on this machine: remove {folder}"):
    with trained():
      pass
  store.pipe_file("/bucket/runs/copied/run.json", b"{}")
  with pytest.raises(UserError, match="holds a run that was copied there"):
    with mirror.held("memory://bucket/runs/copied", CONFIG):
      pass


def leased(store, on_loss=lambda holder: None) -> lease.Lease:
  return lease.Lease(store, "/bucket/runs/mine/.stored/lease", URL, on_loss)


def test_a_second_program_is_refused_while_the_first_lives(store, capsys):
  with leased(store):
    with pytest.raises(UserError, match=r"another program trains memory://.*\(process \d+ on "):
      leased(store).__enter__()
  with leased(store):  # which the first one has given back
    pass
  assert not store.find("/bucket/runs/mine")
  assert capsys.readouterr().out.count("waiting") == 1


def test_the_lease_of_a_dead_program_expires_and_a_frozen_one_notices(store):
  frozen, heard = leased(store), []
  assert frozen._take()
  with leased(store) as other:  # after EXPIRE_SECONDS
    assert frozen.other_holder() == other._me["holder"]
    frozen._on_loss = heard.append
    frozen._renew_for_ever()
    assert heard == [other._me["holder"]]
    frozen.__dict__["_thread"] = threading.Thread(target=lambda: None)
    frozen._thread.start()
    frozen.__exit__()
    assert other.other_holder() is None and store.find("/bucket/runs/mine")
  assert frozen.other_holder() == "a program that has ended since"


def test_a_store_that_is_away_stops_nothing(tmp_path, monkeypatch, capsys, store):
  monkeypatch.setattr(mirror, "EVERY_SECONDS", 1000)
  monkeypatch.setattr(mirror, "AGAIN_SECONDS", 0)
  folder = addresses.copy_of(URL, "trained")
  run = StoredRun(URL, folder)
  mine = Mirror(run, CONFIG)
  assert mine.leased()._take()
  mine.begin()
  put = store.put_file

  def away(*arguments):
    raise ConnectionError("no route")

  monkeypatch.setattr(store, "put_file", away)
  train(folder, 1)
  assert not mine._tried() and not mine._tried()
  out = capsys.readouterr().out
  assert out.count("WARNING") == 1 and "training goes on: memory://bucket/runs/mine" in out
  monkeypatch.setattr(mirror, "LAST_SECONDS", 0)
  with pytest.raises(UserError, match=f"is in {folder}, and the same command on this machine"):
    with mine:
      pass
  monkeypatch.setattr(store, "put_file", put)
  assert mine._tried() and "is there again" in capsys.readouterr().out
  with reading.brought(URL) as copy:
    check(copy, newest=1)


def test_programs_that_read_bring_what_they_need_and_write_back(store, capsys):
  keeping = types.SimpleNamespace(keep_checkpoints=1, keep_every=1)
  with trained(keeping) as folder:
    for step in (1, 2):
      train(folder, step)
    for name in ("tensorboard/events", "features/test_2/shard", "pictures/step.png"):
      (folder / name).parent.mkdir(parents=True, exist_ok=True)
      (folder / name).write_text("much")
  with reading.brought(URL, "none") as copy:
    names = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    assert names >= {"run.json", "metrics.jsonl", "pictures/step.png"}
    assert not names & {"tensorboard/events", "features/test_2/shard"}
    assert runs.checkpoint_steps(copy) == []
    (copy / "report.html").write_text("a page")
    (copy / "robustness").mkdir()
    (copy / "robustness" / "curves.png").write_text("a figure")
  assert store.exists("/bucket/runs/mine/robustness/curves.png")
  with reading.brought(URL, 1) as copy:
    assert runs.checkpoint_steps(copy) == [1]
    with pytest.raises(UserError, match=r"--step=3, but the checkpoints of .* are \[1, 2\]"):
      with reading.brought(URL, 3):
        pass
  store.pipe_file("/bucket/runs/mine/metrics.json", b"newer")
  store.rm_file("/bucket/runs/mine/pictures/step.png")
  with pytest.raises(ZeroDivisionError):  # what was written before an error is not lost
    with reading.brought(URL, "all") as copy:
      assert (copy / "metrics.json").read_text() == "newer"
      assert not (copy / "pictures" / "step.png").exists()
      (copy / "evaluation").mkdir()
      (copy / "evaluation" / "scores.json").write_text("{}")
      assert runs.checkpoint_steps(copy) == [1, 2]
      _ = 1 / 0
  assert store.cat_file("/bucket/runs/mine/evaluation/scores.json") == b"{}"
  told = capsys.readouterr().out
  assert "stored     2 files in" in told and "stored     1 files in" in told


def test_names_that_are_misspelt_and_checkpoints_that_are_damaged(store, capsys):
  with trained() as folder:
    for step in (1, 2):
      train(folder, step)
  with pytest.raises(UserError, match="mime holds no run .*; beside it there is: mine"):
    with reading.brought("memory://bucket/runs/mime"):
      pass
  store.pipe_file(f"/bucket/runs/mine/{runs.FOLDER}/2/state/d/1", b"other bytes")
  with reading.brought(URL) as copy:
    assert runs.checkpoint_steps(copy) == [1]
  assert "WARNING: checkpoint 2 of memory://bucket/runs/mine is damaged" in capsys.readouterr().out
  manifest = json.loads(store.cat_file(f"/bucket/runs/mine/{MANIFEST}"))
  assert sorted(manifest["checkpoints"]) == ["1", "2"]


def test_the_store_keeps_the_checkpoints_that_a_disk_would(tmp_path, monkeypatch, store):
  keeping = types.SimpleNamespace(keep_checkpoints=2, keep_every=3)

  def stored() -> list[int]:
    content = json.loads(store.cat_file(f"/bucket/runs/mine/{MANIFEST}"))
    return sorted(map(int, content["checkpoints"]))

  with trained(keeping) as folder:
    for step in (3, 4):
      train(folder, step)
  on_machine(monkeypatch, tmp_path, "other")  # which has the newest only
  with trained(keeping) as folder:
    assert runs.checkpoint_steps(folder) == [4]
    train(folder, 5)
    train(folder, 6)
    partial = folder / runs.FOLDER / "1"  # is being removed: what is left is not stored
    (partial / "state").mkdir(parents=True)
  assert stored() == [3, 5, 6]
  with trained(keeping) as folder:  # 6 cannot be read: training goes on from 5
    shutil.rmtree(folder / runs.FOLDER / "6")
  assert stored() == [3, 5]


def test_training_ends_when_another_program_has_the_run(monkeypatch, store):
  signals = []
  monkeypatch.setattr(mirror.os, "kill", lambda process, number: signals.append(number))
  with pytest.raises(UserError, match="another program .process 1 on other. has taken over"):
    with trained() as folder:
      train(folder, 1)
      taken = json.dumps({"holder": "process 1 on other", "token": "theirs"})
      store.pipe_file("/bucket/runs/mine/.stored/lease/000002", taken.encode())
      _wait_until(lambda: signals)
  assert signals == [signal.SIGTERM]
  assert not json.loads(store.cat_file(f"/bucket/runs/mine/{MANIFEST}"))["checkpoints"]


def _wait_until(is_so) -> None:
  until = time.monotonic() + 20
  while not is_so() and time.monotonic() < until:
    time.sleep(0.01)


class HttpError(Exception):
  """As gcsfs raises it."""

  code = 401


@pytest.mark.parametrize(
  "error, words",
  [
    (HttpError("Invalid Credentials"), "the login of this machine does not count at .*: log in"),
    (OSError("Forbidden: b/bucket/o\nno access"), "may not be read by you .*: ask its owner, or"),
    (FileNotFoundError("bucket"), "is not there; see that the bucket and the path are spelt"),
    (OSError(28, "No space left on device"), "the disk is full where .*XDG_CACHE_HOME"),
    (ConnectionError("no route"), "does not answer .no route.; see that the network is there"),
  ],
)
def test_what_a_person_can_mend_is_one_line(monkeypatch, store, error, words):
  def fail(*arguments, **options):
    raise error

  with trained() as folder:
    train(folder, 1)
  monkeypatch.setattr(store, "get_file", fail)
  monkeypatch.setattr(store, "find", fail)
  for opened in (lambda: mirror.held(URL, CONFIG), lambda: reading.brought(URL)):
    with pytest.raises(UserError, match=words) as raised:
      with opened():
        pass
    assert "\n" not in str(raised.value) and URL in str(raised.value)


def test_scores_of_masks_in_a_store(store, capsys):
  buffer = io.BytesIO()
  np.savez(buffer, np.arange(32).reshape(2, 4, 4) % 3)
  store.pipe_file("/bucket/masks.npz", buffer.getvalue())
  words = ["--truth=memory://bucket/masks.npz", "--num_bootstrap=2"]
  assert score.main([*words, "--predictions=memory://bucket/masks.npz"]) == 0
  assert score.main([*words, "--predictions=memory://bucket/mask.npz"]) == 1
  assert capsys.readouterr().err.startswith("error: memory://bucket/mask.npz is not there; see")
  words += ["--predictions=memory://bucket/masks.npz", "--out=memory://bucket/of/scores.json"]
  assert score.main(words) == 0
  assert "results    memory://bucket/of/scores.json" in capsys.readouterr().out
  assert json.loads(store.cat_file("/bucket/of/scores.json"))["truth"].startswith("memory://")


def test_a_file_in_a_store_is_added_to(store, tmp_path):
  for count in range(3):
    with writing.file_written("memory://bucket/fid.json") as out:
      assert addresses.name_of(out) == "memory://bucket/fid.json" and out.exists() == (count > 0)
      out.write_text("x" * count + "\r")
  assert store.cat_file("/bucket/fid.json") == b"xx\r"
  assert not list((tmp_path / "cache").rglob("fid.json"))
  with (
    pytest.raises(UserError, match="--out=http://a/b can only be read; name a place of gs://"),
    writing.file_written("http://a/b"),
  ):
    raise AssertionError


def make_copy(out) -> None:
  """What `export` makes, with the state of the optimizer."""
  (out / runs.FOLDER).mkdir(parents=True)
  (out / "run.json").write_text("{}")
  for part in "12":
    (out / runs.FOLDER / f"30.state-{part}-of-2").write_text(part)


def test_a_packed_run_in_a_store(store, tmp_path, monkeypatch):
  url = "memory://bucket/runs/copy"
  with pytest.raises(Killed), writing.folder_made(url) as out:
    make_copy(out)
    raise Killed
  assert not store.find("/bucket/runs")
  with writing.folder_made(url) as out:
    make_copy(out)
  with (
    pytest.raises(UserError, match=f"--out={url} exists and is not empty; choose another"),
    writing.folder_made(url),
  ):
    raise AssertionError
  for _ in range(2):
    with reading.brought(url) as workdir:
      parts = packing.files(workdir / runs.FOLDER, 30)
      assert [part.read_text() for part in parts] == ["1", "2"]
      assert runs.checkpoint_steps(workdir) == [30]
  with mirror.held(url, CONFIG) as workdir:  # from which training goes on
    assert runs.checkpoint_steps(workdir) == [30]
    train(workdir, 31)
  run = StoredRun(url, tmp_path / "other")
  assert run.read_manifest() and sorted(run.checkpoints) == [30, 31]
  run.bring_checkpoint(30)
  run.checkpoints = {}
  run.forget_checkpoints()
  assert not runs.checkpoint_steps(run.folder)


def test_what_cannot_be_stored_is_kept(store, monkeypatch):
  def full(*args, **kwargs):
    raise OSError("no more room")

  with pytest.raises(UserError, match="no more room.*is on this machine: ") as error:
    with writing.folder_made("memory://bucket/runs/copy") as out:
      make_copy(out)
      monkeypatch.setattr(type(store), "put_file", full)
  assert (out / "run.json").exists() and str(out) in str(error.value)


def test_a_folder_of_features_in_a_store(store):
  store.pipe_file("/bucket/features/test_5/index.json", b"{}")
  with reading.folder_brought("memory://bucket/features/test_5") as folder:
    assert (folder / "index.json").read_text() == "{}"
    (folder / "probe_x.json").write_text("scores")
  assert store.cat_file("/bucket/features/test_5/probe_x.json") == b"scores"
