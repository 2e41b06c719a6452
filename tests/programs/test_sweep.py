"""Sweeps: every point once, whatever fails or is interrupted, and a table at the end."""

import contextlib
import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from experiments import sweep
from experiments.console.errors import UserError
from experiments.scoring import sweep_results

ROOT = pathlib.Path(sweep.__file__).parents[1]

GRID = """
from configs.experiment import compose

def get_config():
  config = compose("vae", "gqn")
  config.num_steps = 12
  return config

def sweep():
  return {f"latent_{n}": {"model.latent_dim": n} for n in (2, 3)}
"""

# Stands in for the training program: its files, without its minutes.
STUB = """
import json, pathlib, signal, sys, time
from configs.loading import load_config
options = dict(word.split("=", 1) for word in sys.argv[1:])
workdir = pathlib.Path(options.pop("--workdir"))
config = load_config(options.pop("--config"), [f"{k}={v}" for k, v in options.items()])
workdir.mkdir(parents=True, exist_ok=True)
behaviour = workdir.parents[1] / f"latent_{config.model.latent_dim}.txt"
if behaviour.exists() and behaviour.read_text() == "crash":
  sys.exit("error: the disk is on fire")
(workdir / "config.json").write_text(config.to_json_best_effort())
if behaviour.exists() and behaviour.read_text() == "wait":
  def save(*_):
    (workdir / "checkpoints" / "3").mkdir(parents=True)
    sys.exit(0)
  signal.signal(signal.SIGTERM, save)
  behaviour.with_suffix(".ready").touch()
  time.sleep(60)
val = dict(err_element=0.5 + config.seed, kl=config.model.latent_dim, num_images=4)
if config.model.latent_dim == 3:
  val["ari_fg"] = 0.25
numbers = dict(step=config.num_steps, stand_in=False, val=val)
(workdir / "metrics.json").write_text(json.dumps(numbers))
with open(workdir.parents[1] / "trained.txt", "a") as file:
  file.write(f"{config.model.latent_dim}/{config.seed} ")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
  (tmp_path / "grid.py").write_text(GRID)
  (tmp_path / "stub.py").write_text(STUB)
  monkeypatch.setattr(sweep, "TRAINING_PROGRAM", [sys.executable, str(tmp_path / "stub.py")])
  monkeypatch.setenv("PYTHONPATH", str(ROOT))
  (tmp_path / "runs").mkdir()
  return tmp_path


def run(folder, *words: str) -> int:
  return sweep.main([f"--config={folder / 'grid.py'}", f"--workdir={folder / 'runs'}", *words])


def trained(folder) -> list[str]:
  path = folder / "runs" / "trained.txt"
  return path.read_text().split() if path.exists() else []


def test_every_point_once_and_a_table(folder, capsys):
  assert run(folder, "--seeds=0,2") == 0
  assert trained(folder) == ["2/0", "2/2", "3/0", "3/2"]
  text = capsys.readouterr().out
  assert "1.5 ± 1.4" in text and "ari_fg" in text and "STAND-IN" not in text
  rows = list(csv.DictReader(open(folder / "runs" / "sweep.csv")))
  assert [row["point"] for row in rows] == ["latent_2", "latent_3"]
  assert float(rows[0]["err_element_mean"]) == 1.5 and rows[0]["ari_fg_mean"] == ""
  assert float(rows[1]["ari_fg_mean"]) == 0.25 and "mse_mean" not in rows[0]
  content = json.loads((folder / "runs" / "sweep.json").read_text())
  assert content["points"][0]["runs"]["2"]["val"]["kl"] == 2
  assert "| latent_3 | 2 |" in (folder / "runs" / "sweep.md").read_text()
  # Again: nothing is left to do; a new seed is.
  assert run(folder, "--seeds=0,2,4") == 0
  assert trained(folder)[4:] == ["2/4", "3/4"]


def test_a_crash_does_not_end_the_others(folder, capsys):
  (folder / "runs" / "latent_2.txt").write_text("crash")
  assert run(folder) == 1
  assert trained(folder) == ["3/0"]
  captured = capsys.readouterr()
  assert "latent_2, seed 0 (status 1): error: the disk is on fire" in captured.err
  (folder / "runs" / "latent_2.txt").unlink()
  assert run(folder) == 0 and trained(folder) == ["3/0", "2/0"]


def test_interruption_reaches_the_child_and_the_same_command_goes_on(folder, capsys):
  behaviour = folder / "runs" / "latent_2.txt"
  behaviour.write_text("wait")

  def interrupt():
    while not behaviour.with_suffix(".ready").exists():
      time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)

  thread = threading.Thread(target=interrupt)
  thread.start()
  assert run(folder) == 0
  thread.join()
  assert trained(folder) == []
  assert "the same command continues" in capsys.readouterr().out
  behaviour.unlink()
  assert run(folder, "--dry_run") == 0
  listing = capsys.readouterr().out
  assert "latent_2, seed 0: resumes from step 3" in listing and "latent_3, seed 0: new" in listing
  assert "0 of 2 runs are done" in listing and trained(folder) == []
  assert run(folder) == 0 and trained(folder) == ["2/0", "3/0"]


def test_overrides_count_for_all_points_and_may_not_change(folder, capsys):
  assert run(folder, "--config.batch_size=16") == 0
  saved = folder / "runs" / "latent_3" / "seed_0" / "config.json"
  assert json.loads(saved.read_text())["batch_size"] == 16
  capsys.readouterr()
  assert run(folder, "--config.batch_size=8") == 1
  assert "another experiment: batch_size: 16 -> 8" in capsys.readouterr().err
  # More steps go on with what is there.
  assert run(folder, "--config.batch_size=16", "--config.num_steps=20") == 0
  assert len(trained(folder)) == 4


@pytest.mark.parametrize(
  "words, message",
  [
    (["--config.model.latent_dim=4"], "is swept over"),
    (["--seeds=1", "--config.seed=2"], "not both"),
    (["--config.model.latent_dimm=4"], "latent_dim"),
    (["--config.model.image_size=48"], "point latent_2: model.image_size is 48"),
    (["--config.objective.goal=0.5"], "point latent_2: objective.goal"),
    (["--config=absent.py"], "is not a file"),
    (["--config=list.py"], "sweep() of list.py must return a dictionary"),
    (["--seeds=-1"], "--seeds is '-1'; expected whole numbers"),
    ([f"--config={ROOT / 'configs' / 'demo.py'}"], "has no function sweep"),
  ],
)
def test_mistakes_are_named_before_anything_trains(folder, monkeypatch, capsys, words, message):
  monkeypatch.chdir(folder)
  (folder / "list.py").write_text("def sweep():\n  return [1]\n")
  with contextlib.suppress(SystemExit):  # of options
    assert run(folder, *words) == (2 if "latent_dimm" in words[0] or "absent" in words[0] else 1)
  error = capsys.readouterr().err
  assert message in error and error.count("\n") == 1 and trained(folder) == []


def test_the_published_grid(tmp_path):
  options, overrides = sweep.parse(
    [f"--config={ROOT / 'configs' / 'bottlenecks.py'}", f"--workdir={tmp_path}"]
  )
  runs = sweep.plan(options, overrides)
  assert len(runs) == 20 and len({run.workdir for run in runs}) == 20
  symmetric = [run for run in runs if run.config.model.component_symmetric]
  assert len(symmetric) == 5
  assert {run.config.model.component_latent_dim for run in runs} == {4, 8, 16, 32, 64}
  with pytest.raises(UserError, match="swept"):
    sweep.read_grid(options.config, ["--config.model.component_latent_dim=3"])


def test_stand_ins_are_marked():
  row = sweep_results.Row("a", {}, {0: {"stand_in": True, "val": {"kl": 1.0}}})
  assert sweep_results.STAND_IN in sweep_results.as_markdown([row], "t")
  empty = sweep_results.Row("b", {}, {})
  assert sweep_results.as_text([empty]).splitlines()[-1].split() == ["b", "0"]


@pytest.mark.slow
def test_the_training_program_itself(tmp_path, gqn_root):
  (tmp_path / "grid.py").write_text(GRID.replace("(2, 3)", "(2,)"))
  settings = dict(batch_size=8, num_steps=2, num_validation_images=8, images_every=0)
  settings |= {"model.image_size": 32, "data.data_dir": gqn_root}
  command = [sys.executable, "-m", "experiments.sweep", f"--config={tmp_path / 'grid.py'}"]
  command += [f"--workdir={tmp_path / 'runs'}"]
  command += [f"--config.{name}={value}" for name, value in settings.items()]
  # One device: eight virtual ones, as the other tests have, compile for minutes.
  env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
  done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, check=False)
  assert done.returncode == 0, done.stderr + done.stdout
  points = json.loads((tmp_path / "runs" / "sweep.json").read_text())["points"]
  assert [point["runs"]["0"]["step"] for point in points] == [2]
