"""What is sent to trackers, read back from what wandb wrote; one that hangs is in no way."""

import math
import multiprocessing
from types import SimpleNamespace

import numpy as np
import pytest
import wandb_files

from configs.experiment import compose
from experiments.console.errors import UserError
from experiments.runs.logbook import Logbook
from experiments.trackers import catalogue, following, process
from experiments.training import loop

SOURCE = SimpleNamespace(metadata=lambda: {"stand_in": True})
STOP = SimpleNamespace(asked=False, seconds_left=math.inf)


@pytest.fixture
def config():
  made = compose("vae", "gqn")
  made.trackers = ("wandb",)
  return made


@pytest.mark.slow
def test_runs_are_tracked_and_go_on(config, tmp_path, monkeypatch):
  monkeypatch.setenv("WANDB_MODE", "offline")
  workdir = tmp_path / "sweep" / "latents_4" / "seed_0"
  workdir.mkdir(parents=True)
  report = workdir / "report.html"
  report.write_text("<p>report")
  for step in (2, 4):
    with (
      following.begun(config, workdir, SOURCE, STOP) as senders,
      Logbook(workdir, step - 2, senders) as book,
    ):
      book.scalars(step, {"train/elbo": step / 2, "val/ari": math.nan})
      book.images(step, {"images/input": np.zeros((2, 8, 8, 3), np.uint8)})
      book.histograms(step, {"latents/mean": np.arange(2, dtype=np.float32)})
      book.results(step, {"ari_fg": 0.5}, report)
  first, second = wandb_files.read(workdir)
  assert first[0] == second[0]
  assert first[1:3] == ("latents_4/seed_0", "sweep/latents_4")
  assert first[3]["model"]["name"] == "vae" and first[3]["source"] == {"stand_in": True}
  for step, (*_, rows) in zip((2, 4), (first, second), strict=True):
    scalars, images, histograms, scores, page = rows
    assert (scalars["step"], scalars["train/elbo"]) == (step, step / 2) and "val/ari" in scalars
    assert images["images/input"]["count"] == 2 and images["step"] == step
    assert sum(histograms["latents/mean"]["values"]) == 2
    assert scores["test/ari_fg"] == 0.5 and page["report"]["_type"] == "html-file"


def test_who_cannot_be_tracked_is_told_before_training(config, tmp_path, monkeypatch):
  for name, value in {"HOME": str(tmp_path), "WANDB_MODE": "online"}.items():
    monkeypatch.setenv(name, value)
  monkeypatch.delenv("WANDB_API_KEY", raising=False)
  with (
    pytest.raises(UserError, match="trackers names wandb: .* no login.*`wandb login`.*trackers="),
    following.begun(config, tmp_path, SOURCE, STOP),
  ):
    raise AssertionError
  monkeypatch.setattr(catalogue.WeightsAndBiases, "PACKAGE", "not_there")
  with (
    pytest.raises(UserError, match="wandb, which is not installed: pip install not_there, or"),
    following.begun(config, tmp_path, SOURCE, STOP),
  ):
    raise AssertionError
  config.trackers = ("wandbs",)
  with pytest.raises(UserError, match="trackers names 'wandbs'; allowed: wandb"):
    loop.train(config, tmp_path)


STUB = """
import sys
import threading
from types import SimpleNamespace

class Error(Exception):
  pass

def fail(*args, **kwargs):
  raise Error("of a line\\nand another")

def hang(*args, **kwargs):
  threading.Event().wait()

def setup():
  return SimpleNamespace(settings=SimpleNamespace(mode="online"))

def login(prompt):
  fail()

def init(mode="online", **kwargs):
  if mode != "offline":
    fail()
  return SimpleNamespace(define_metric=lambda *a, **k: None, log=log, finish=hang, offline=True)

Settings, log = dict, fail
"""


@pytest.mark.parametrize("broken", ["", "init = fail", "init = hang", "log = sys.exit"])
def test_one_that_fails_or_hangs_is_in_no_way(config, tmp_path, monkeypatch, capfd, broken):
  (tmp_path / "wandb.py").write_text(STUB + broken)
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.setattr(process, "LAST_SECONDS", 0.5)
  monkeypatch.setattr(process, "WAITING", 4)
  with (
    following.begun(config, tmp_path, SOURCE, STOP) as senders,
    Logbook(tmp_path, 0, senders) as book,
  ):
    for step in range(1, 10):
      book.scalars(step, {"train/elbo": 1.0})
  assert not multiprocessing.active_children()
  said = capfd.readouterr().out
  assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 9
  if broken == "init = fail":
    assert "WARNING: wandb cannot be used (of a line and another); training goes on" in said
  else:
    assert "WARNING: wandb is" in said
  if broken in ("", "log = sys.exit"):
    assert "wandb      of a line and another; offline; `wandb sync " in said
  assert said.count("WARNING") <= 2
