"""Files that several programs write: real processes, some of them killed."""

import errno
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from data_pipelines import durable
from data_pipelines.datasets.stand_ins import published

ROOT = pathlib.Path(__file__).parents[2]


def start(code: str, *arguments) -> subprocess.Popen:
  head = "import json, os, pathlib, sys, time; from data_pipelines import durable\n"
  words = [sys.executable, "-c", head + code, *map(str, arguments)]
  return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def hidden(folder) -> list[str]:
  return [path.name for path in folder.iterdir() if path.name.endswith(".partial")]


WRITES = """
path, me = pathlib.Path(sys.argv[1]), sys.argv[2]
for i in range(50):
  durable.write_atomically(path, json.dumps([me] * 1000))
"""


def test_writers_of_one_file_do_not_meet(tmp_path):
  path = tmp_path / "a.json"
  writers = [start(WRITES, path, i) for i in range(4)]
  seen = set()
  while any(writer.poll() is None for writer in writers):
    if path.exists():
      content = json.loads(path.read_text())  # whole, whenever it is read
      assert len(content) == 1000 and len(set(content)) == 1
      seen |= set(content)
  assert [writer.returncode for writer in writers] == [0] * 4
  assert seen and [p.name for p in tmp_path.iterdir()] == ["a.json"]


ADDS = """
path, me = pathlib.Path(sys.argv[1]), sys.argv[2]
for i in range(50):
  with durable.locked(path.with_name(".lock"), seconds=60):
    numbers = json.loads(path.read_text()) if path.exists() else []
    durable.write_atomically(path, json.dumps([*numbers, f"{me} {i}"]))
"""
WITHOUT_LOCKS = """
import errno, fcntl
def flock(*arguments): raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = flock
"""


@pytest.mark.parametrize("file_system", ["", WITHOUT_LOCKS])
def test_nothing_is_lost_that_is_added_under_a_lock(tmp_path, file_system):
  path = tmp_path / "a.json"
  writers = [start(file_system + ADDS, path, i) for i in range(4)]
  assert [writer.wait() for writer in writers] == [0] * 4
  assert sorted(json.loads(path.read_text())) == sorted(
    f"{m} {i}" for m in range(4) for i in range(50)
  )
  assert not hidden(tmp_path) and not (tmp_path / ".lock.held").exists()


HOLDS = """
with durable.locked(pathlib.Path(sys.argv[1])):
  print("locked", flush=True)
  time.sleep(100)
"""


@pytest.mark.parametrize("has_locks", [True, False])
def test_a_lock_ends_with_its_program(tmp_path, monkeypatch, has_locks):
  if not has_locks:

    def flock(*_):
      raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
  lock = tmp_path / "lock"
  holder = start(("" if has_locks else WITHOUT_LOCKS) + HOLDS, lock)
  assert holder.stdout.readline() == "locked\n"
  with pytest.raises(durable.Taken, match=f"process {holder.pid} on "):
    with durable.locked(lock, seconds=0.2):
      pass
  holder.kill()
  holder.wait()
  with durable.locked(lock, seconds=5):
    pass


DIES = """
with getattr(durable, sys.argv[2])(pathlib.Path(sys.argv[1])) as partial:
  (partial / "a" if partial.is_dir() else partial).write_text("half")
  print("half", flush=True)
  time.sleep(100)
"""


@pytest.mark.parametrize("kind", ["partial_file", "partial_folder"])
def test_what_a_killed_program_left_is_removed_by_the_next(tmp_path, kind):
  final = tmp_path / "final"
  victim, alive = start(DIES, final, kind), start(DIES, final, kind)
  assert victim.stdout.readline() == alive.stdout.readline() == "half\n"
  victim.send_signal(signal.SIGKILL)
  victim.wait()
  assert not final.exists() and len(hidden(tmp_path)) == 2
  durable.write_atomically(tmp_path / "other", "")
  (left,) = hidden(tmp_path)
  assert f"-{alive.pid}-" in left
  alive.kill()
  alive.wait()


def test_partial_files_of_other_machines_are_kept_for_a_week(tmp_path):
  foreign = tmp_path / ".a.00000000-1-0.partial"
  foreign.touch()
  durable.write_atomically(tmp_path / "b", "")
  assert foreign.exists()
  long_ago = time.time() - 8 * 24 * 3600
  os.utime(foreign, (long_ago, long_ago))
  durable.write_atomically(tmp_path / "b", "")
  assert not foreign.exists()


def test_a_failed_write_leaves_what_was_there(tmp_path):
  path = tmp_path / "a"
  durable.write_atomically(path, "old")
  with pytest.raises(RuntimeError), durable.partial_file(path) as partial:
    partial.write_text("half")
    raise RuntimeError
  with pytest.raises(RuntimeError), durable.partial_folder(tmp_path / "b") as partial:
    (partial / "c").write_text("half")
    raise RuntimeError
  assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_folder_takes_its_name_from_nobody_unless_told_to(tmp_path):
  final = tmp_path / "final"
  final.mkdir()
  for content in ("1", "2"):  # an empty folder gives way, and what may be replaced
    with durable.partial_folder(final, replace=content == "2") as partial:
      (partial / "a").write_text(content)
    assert (final / "a").read_text() == content
  with pytest.raises(durable.NameTaken), durable.partial_folder(final) as partial:
    (partial / "a").write_text("3")
  assert (final / "a").read_text() == "2" and [p.name for p in tmp_path.iterdir()] == ["final"]


REPLACES = """
for i in range(20):
  with durable.partial_folder(pathlib.Path(sys.argv[1]), replace=True) as partial:
    for name in "ab":
      (partial / name).write_text(f"{sys.argv[2]} {i}")
"""


def test_programs_that_replace_one_folder_do_not_meet(tmp_path):
  final = tmp_path / "final"
  writers = [start(REPLACES, final, i) for i in range(4)]
  assert [writer.wait() for writer in writers] == [0] * 4
  assert (final / "a").read_text() == (final / "b").read_text()
  assert [p.name for p in tmp_path.iterdir()] == ["final"]


def test_the_faster_stand_in_stays(tmp_path):
  final = tmp_path / "final"
  with published(final, {"by": "the slower one"}) as slower:
    with published(final, {"by": "the faster one"}):
      pass
    assert slower.exists()
  (notes,) = final.iterdir()
  assert json.loads(notes.read_text()) == {"by": "the faster one"}
