"""Sweeps: every point once, whatever fails or is interrupted, and a table at the end."""

import contextlib
import csv
import json
import os
import pathlib

import pytest
import training_stub
from conftest import ON_ONE_DEVICE, TINY_RUN
from store_server import emulated
from training_stub import interrupted_when, trained, waiting

from data_pipelines.stores import files
from experiments import sweep
from experiments.console.errors import UserError
from experiments.scheduling import plan
from experiments.scoring import sweep_results

ROOT = pathlib.Path(sweep.__file__).parents[1]


@pytest.fixture
def runs(tmp_path, monkeypatch):
  return training_stub.arrange(tmp_path, monkeypatch)


def run(runs, *words: str) -> int:
  return sweep.main(
    [f"--config={runs.parent / 'grid.py'}", f"--workdir={runs}", "--jobs=1", *words]
  )


@pytest.mark.slow
def test_every_point_once_and_a_table(runs, capsys):
  assert run(runs, "--seeds=0,2") == 0
  assert trained(runs) == ["2/0", "2/2", "3/0", "3/2"]
  text = capsys.readouterr().out
  assert "1.5 ± 1.4" in text and "ari_fg" in text and "STAND-IN" not in text
  rows = list(csv.DictReader(open(runs / "sweep.csv")))
  assert [row["point"] for row in rows] == ["latent_2", "latent_3"]
  assert float(rows[0]["err_element_mean"]) == 1.5 and rows[0]["ari_fg_mean"] == ""
  assert float(rows[1]["ari_fg_mean"]) == 0.25 and "mse_mean" not in rows[0]
  content = json.loads((runs / "sweep.json").read_text())
  assert content["points"][0]["runs"]["2"]["val"]["kl"] == 2
  assert "| latent_3 | 2 |" in (runs / "sweep.md").read_text()
  # Again: nothing is left to do; a new seed is.
  assert run(runs, "--seeds=0,2,4") == 0
  assert trained(runs)[4:] == ["2/4", "3/4"]


def test_a_crash_does_not_end_the_others(runs, capsys):
  (runs / "latent_2.txt").write_text("crash")
  assert run(runs) == 1
  assert trained(runs) == ["3/0"]
  captured = capsys.readouterr()
  assert "latent_2, seed 0 (status 1): error: the disk is on fire" in captured.err
  (runs / "latent_2.txt").unlink()
  assert run(runs) == 0 and trained(runs) == ["3/0", "2/0"]


def test_interruption_reaches_the_child_and_the_same_command_goes_on(runs, capsys):
  behaviour = runs / "latent_2.txt"
  behaviour.write_text("wait")
  with interrupted_when(lambda: waiting(runs)):
    assert run(runs) == 0
  assert trained(runs) == []
  assert "the same command continues" in capsys.readouterr().out
  behaviour.unlink()
  assert run(runs, "--dry_run") == 0
  listing = capsys.readouterr().out
  assert "latent_2, seed 0: resumes from step 3" in listing and "latent_3, seed 0: new" in listing
  assert "0 of 2 runs are done" in listing and trained(runs) == []
  assert run(runs) == 0 and trained(runs) == ["2/0", "3/0"]


def test_overrides_count_for_all_points_and_may_not_change(runs, capsys):
  assert run(runs, "--config.batch_size=16") == 0
  saved = runs / "latent_3" / "seed_0" / "config.json"
  assert json.loads(saved.read_text())["batch_size"] == 16
  capsys.readouterr()
  assert run(runs, "--config.batch_size=8") == 1
  assert "another experiment: batch_size: 16 -> 8" in capsys.readouterr().err
  # More steps go on with what is there.
  assert run(runs, "--config.batch_size=16", "--config.num_steps=20") == 0
  assert len(trained(runs)) == 4


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
def test_mistakes_are_named_before_anything_trains(runs, monkeypatch, capsys, words, message):
  monkeypatch.chdir(runs.parent)
  (runs.parent / "list.py").write_text("def sweep():\n  return [1]\n")
  with contextlib.suppress(SystemExit):  # of options
    assert run(runs, *words) == (2 if "latent_dimm" in words[0] or "absent" in words[0] else 1)
  error = capsys.readouterr().err
  assert message in error and error.count("\n") == 1 and trained(runs) == []


def test_the_published_grid(tmp_path):
  options, overrides = sweep.parse(
    [f"--config={ROOT / 'configs' / 'bottlenecks.py'}", f"--workdir={tmp_path}"]
  )
  runs = plan.plan(options, overrides)
  assert len(runs) == 20 and len({run.workdir for run in runs}) == 20
  symmetric = [run for run in runs if run.config.model.component_symmetric]
  assert len(symmetric) == 5
  assert {run.config.model.component_latent_dim for run in runs} == {4, 8, 16, 32, 64}
  with pytest.raises(UserError, match="swept"):
    plan.read_grid(options.config, ["--config.model.component_latent_dim=3"])


def test_stand_ins_are_marked():
  row = sweep_results.Row("a", {}, {0: {"stand_in": True, "val": {"kl": 1.0}}})
  assert sweep_results.STAND_IN in sweep_results.as_markdown([row], "t")
  empty = sweep_results.Row("b", {}, {})
  assert sweep_results.as_text([empty]).splitlines()[-1].split() == ["b", "0"]


def test_seeds_of_a_configuration_without_a_grid(tmp_path, monkeypatch, capsys):
  runs = training_stub.arrange(tmp_path, monkeypatch)
  text = (tmp_path / "grid.py").read_text()
  (tmp_path / "plain.py").write_text(text[: text.index("def sweep")])
  monkeypatch.chdir(tmp_path)
  # The folder of one run is left to that.
  assert sweep.main(["--config=plain.py", "--seeds=0,1,1"]) == 0
  rows = list(csv.DictReader(open(runs / "plain_seeds" / "sweep.csv")))
  assert [(row["point"], row["seeds"]) for row in rows] == [("plain", "2")]
  capsys.readouterr()
  (runs / "run.json").write_text("{}")
  assert sweep.main(["--config=plain.py", "--seeds=0", f"--workdir={runs}"]) == 1
  assert "holds a run, not a sweep" in capsys.readouterr().err


def test_the_commands_can_be_printed(runs, capsys):
  assert run(runs, "--seeds=1") == 0
  capsys.readouterr()
  words = [f"--config={runs.parent / 'grid.py'}", f"--workdir={runs}", "--seeds=0,1"]
  assert sweep.main([*words, "--launcher=print"]) == 0
  *commands, total = capsys.readouterr().out.splitlines()
  assert total == "# 2 commands, 24 steps; 2 of 4 runs are done"
  for command in commands:  # each is complete
    assert os.system(command) == 0
  assert sorted(trained(runs)[2:]) == ["2/0", "3/0"]


def test_a_sweep_goes_on_with_what_it_began_with(tmp_path, monkeypatch, capsys):
  runs = training_stub.arrange(tmp_path, monkeypatch)
  assert run(runs) == 0
  (tmp_path / "grid.py").write_text(training_stub.grid((2, 3, 4)))  # a point more
  assert run(runs) == 0 and trained(runs) == ["2/0", "3/0", "4/0"]
  capsys.readouterr()
  changed = training_stub.grid((2, 3, 4)).replace(
    '{"model.latent_dim": n}', '{"model.latent_dim": 9}'
  )
  for text, words in (
    (changed, "(began -> now): point latent_2 is now another experiment: model.latent_dim: 2 -> 9"),
    (training_stub.grid((2, 3)), "point latent_4 is not in it any more"),
  ):
    (tmp_path / "grid.py").write_text(text)
    assert run(runs, "--seeds=5") == 1  # of which there is no run yet
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
  assert len(trained(runs)) == 3


@pytest.mark.slow
def test_the_training_program_itself_in_a_store(tmp_path, gqn_root, monkeypatch, capsys):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  # One device: two virtual ones, as the other tests have, would be two places.
  monkeypatch.setenv("XLA_FLAGS", ON_ONE_DEVICE["XLA_FLAGS"])
  tiny = 'importlib.import_module("tests.support.tiny_model").get_config()'
  grid = training_stub.grid((2,)).replace('compose("vae", "gqn")', tiny)
  (tmp_path / "grid.py").write_text(f"import importlib\n{grid}")
  settings = TINY_RUN | {"num_steps": 2, "num_validation_images": 8, "data.data_dir": gqn_root}
  address = "gs://bucket/sweeps/tiny"
  words = [f"--config={tmp_path / 'grid.py'}", f"--workdir={address}"]
  words += [f"--config.{name}={value}" for name, value in settings.items()]
  with emulated():
    assert sweep.main(words) == 0, capsys.readouterr()
    system, root = files.open_store(address)
    points = json.loads(system.cat_file(f"{root}/sweep.json"))["points"]
    assert [point["runs"]["0"]["step"] for point in points] == [2]
    assert b"done: 2 steps" in system.cat_file(f"{root}/latent_2/seed_0/output.log")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    capsys.readouterr()
    assert sweep.main([*words, "--dry_run"]) == 0
    assert "1 of 1 runs are done" in capsys.readouterr().out
    assert sweep.main([*words, "--config.batch_size=16"]) == 1
    assert "batch_size: 8 -> 16" in capsys.readouterr().err
