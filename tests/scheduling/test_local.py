"""Runs side by side on one machine: devices, other programs, kills."""

import json
import os
import subprocess
import sys

import pytest
import training_stub
from conftest import ON_ONE_DEVICE
from training_stub import ROOT, interrupted_when, meanwhile, trained, wait_until, waiting

from experiments import sweep
from experiments.console import startup
from experiments.console.errors import UserError
from experiments.scheduling import board, local, places
from experiments.scheduling.places import Place
from experiments.scheduling.standing import Progress


def words(runs, *more: str) -> list[str]:
  return [f"--config={runs.parent / 'grid.py'}", f"--workdir={runs}", *more]


@pytest.mark.slow
def test_twelve_runs_on_virtual_devices_killed_twice(tmp_path, monkeypatch, capsys):
  points = (2, 3, 4, 5)
  runs = training_stub.arrange(tmp_path, monkeypatch, points)
  command = words(runs, "--seeds=0,1,2", "--jobs=auto")
  everything = sorted(f"{point}/{seed}" for point in points for seed in range(3))
  (runs / "all.txt").write_text("wait")

  # SIGTERM: both programs, one a device, save and end.
  with interrupted_when(lambda: len(waiting(runs)) == 2):
    assert sweep.main(command) == 0
  saved = sorted(path.parent.parent.name for path in runs.glob("*/*/checkpoints"))
  assert len(saved) == 2 and not waiting(runs) and not trained(runs)
  seen = [json.loads(path.read_text()) for path in runs.glob("*/*/seen.json")]
  assert all("device_count=1 " in each["XLA_FLAGS"] for each in seen)
  if len(os.sched_getaffinity(0)) > 1:
    assert not set(seen[0]["cores"]) & set(seen[1]["cores"])

  # SIGKILL: its programs go on, and keep what they train.
  environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}"}
  start = "import sys, training_stub; from experiments import sweep; "
  start += "from experiments.scheduling import plan; "
  start += "plan.TRAINING_PROGRAM = [sys.executable, training_stub.__file__]; sweep.main()"
  killed = subprocess.Popen([sys.executable, "-c", start, *command], env=environment)
  wait_until(lambda: len(waiting(runs)) == 2)
  killed.kill()
  killed.wait()
  left = waiting(runs)
  assert len(left) == 2 and not trained(runs)

  # The same command, twice at once: what is left over is waited for, and nothing trains twice.
  other = subprocess.Popen([sys.executable, "-c", start, *command], env=environment)

  def release():
    wait_until(lambda: len(waiting(runs)) == 4)  # two of ours or theirs beside the two
    (runs / "all.txt").unlink()

  capsys.readouterr()
  with meanwhile(release):
    assert sweep.main(command) == 0
  assert other.wait() == 0
  assert sorted(trained(runs)) == everything
  said = capsys.readouterr().out
  assert (
    f"{left[0].parent.name}, seed {left[0].name[5:]}: another program trains it (process" in said
  )
  table = (runs / "sweep.md").read_text()
  assert all(f"| latent_{point} | 3 |" in table for point in points)


def test_a_device_that_vanishes_leaves_its_runs_to_others(tmp_path, monkeypatch, capsys):
  runs = training_stub.arrange(tmp_path, monkeypatch)
  there = {"gpu 0": Place("gpu 0", {"CUDA_VISIBLE_DEVICES": "0"})}
  broken = Place("gpu 1", {"CUDA_VISIBLE_DEVICES": "broken"})
  monkeypatch.setattr(Place, "is_there", lambda self: self.name in there)
  monkeypatch.setattr(places, "found", lambda *_: [broken, *there.values()])
  assert sweep.main(words(runs, "--seeds=0,1")) == 0
  assert sorted(trained(runs)) == ["2/0", "2/1", "3/0", "3/1"]
  assert "gpu 1 is gone; latent_2, seed 0 goes to another one" in capsys.readouterr().out
  monkeypatch.setattr(places, "found", lambda *_: [broken])
  assert sweep.main(words(runs, "--seeds=2")) == 1
  assert "error: all devices are gone; 2 runs are left" in capsys.readouterr().err


def test_each_program_has_an_accelerator_of_its_own(monkeypatch):
  monkeypatch.setattr(startup, "only_cpu", lambda: False)
  monkeypatch.setattr(places, "_look", lambda _: ("cuda", 2))
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
  monkeypatch.delenv("JAX_PLATFORMS", raising=False)
  settings = [place.settings for place in places.found(None, 1)]
  assert settings == [
    {"CUDA_VISIBLE_DEVICES": name, "JAX_PLATFORMS": "cuda,cpu"} for name in ("GPU-a", "GPU-b")
  ]
  shared = places.found(3, 2)
  assert [place.name for place in shared] == ["gpu GPU-a", "gpu GPU-b", "gpu GPU-a"]
  assert {place.settings["XLA_PYTHON_CLIENT_MEM_FRACTION"] for place in shared} == {"0.450"}
  with pytest.raises(UserError, match="--jobs is 5, but 2 devices with 2 programs on each train 4"):
    places.found(5, 2)
  monkeypatch.setattr(places, "_look", lambda _: ("tpu", 4))
  assert [place.settings["TPU_VISIBLE_CHIPS"] for place in places.found(None, 1)] == list("0123")
  with pytest.raises(UserError, match="one program at a time"):
    places.found(None, 2)


def test_cores_are_shared_out(monkeypatch):
  monkeypatch.delenv("XLA_FLAGS")
  monkeypatch.setattr(startup, "only_cpu", lambda: True)
  monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
  monkeypatch.setattr(places, "_free_memory", lambda: 6 * places.BYTES_EACH)
  assert [len(place.cores) for place in places.found(None, 1)] == [1, 1, 2, 1, 1, 2]
  assert sorted(core for place in places.found(3, 1) for core in place.cores) == list(range(8))
  assert [place.cores for place in places.found(1, 1)] == [None]
  assert len(places.found(20, 1)) == 20
  with pytest.raises(UserError, match="--per_device is for accelerators"):
    places.found(None, 2)


def test_accelerators_are_counted_by_another_program():
  assert places._look(ON_ONE_DEVICE) == ("cpu", 1)
  with pytest.raises(UserError, match="cannot be counted: .*nonsense"):
    places._look(ON_ONE_DEVICE | {"JAX_PLATFORMS": "nonsense"})


def rows() -> list[board.Row]:
  moving = Progress(30, 0.5, 140.0, {"mse": 0.25, "ari_fg": 0.75, "num_images": 4})
  return [
    board.Row("c, seed 0", board.WAITS, Progress(), 100),
    board.Row("a, seed 0", board.DONE, Progress(100, scores={"mse": 0.125}), 100),
    board.Row("b, seed 0", board.TRAINS, moving, 100, "node gpu 1"),
  ]


def test_the_table_shows_what_trains_first():
  lines = [line.split("  ") for line in board.table(rows()).splitlines()]
  cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
  head = ["run", "state", "step", "steps/s", "ETA", "MSE", "ARI-FG", "host"]
  assert cells[0] == head
  assert cells[1] == [
    "b, seed 0",
    "trains",
    "30/100",
    "0.5",
    "2m 20s",
    "0.25",
    "0.75",
    "node gpu 1",
  ]
  assert cells[2:] == [["c, seed 0", "waits", "0/100"], ["a, seed 0", "done", "100/100", "0.125"]]
  assert board.table(rows(), height=2).splitlines()[-1] == "and 1 waits, 1 done"


def test_the_table_stays_in_place_on_a_terminal(monkeypatch, capsys):
  shown = board.Board()
  shown.show(rows())
  (line,) = capsys.readouterr().out.splitlines()
  assert line == "1 trains, 1 waits, 1 done; b, seed 0: step 30/100, 0.5 steps/s, ETA 2m 20s"
  monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
  shown = board.Board()
  shown.show(rows())
  shown.say("a word")
  shown.show(rows())
  first, _, rest = capsys.readouterr().out.partition("\x1b[5A\x1b[J")  # four rows and the counts
  assert first.count("\n") == 5 and rest.startswith("a word\n") and rest.count("\n") == 6


def test_progress_is_read_from_what_runs_write(tmp_path, monkeypatch):
  runs = training_stub.arrange(tmp_path, monkeypatch)
  seen = []
  (runs / "latent_2.txt").write_text("wait")
  show = board.Board.show

  def note(self, rows):
    seen.append(rows)
    if rows[0].progress.step == 3:
      (runs / "latent_2.txt").unlink(missing_ok=True)
    show(self, rows)

  monkeypatch.setattr(board.Board, "show", note)
  monkeypatch.setattr(board.Board, "is_due", property(lambda self: True))
  assert sweep.main(words(runs, "--jobs=1")) == 0
  moving = next(rows[0] for rows in seen if rows[0].progress.step == 3)
  assert moving.state == board.TRAINS and moving.progress.seconds_left == 18
  assert moving.progress.scores == {"mse": 0.25}
  assert local.socket.gethostname() in moving.host
