"""Scores of test images at the end of a training: there once, after an interruption too."""

import json
from types import SimpleNamespace

import pytest
import tiny_model
from conftest import TINY_RUN

import genesis_jax
from experiments.hardware import devices
from experiments.scoring import measure
from experiments.scoring.fid import distance, weights
from experiments.scoring.fid.network import Stopped
from experiments.training import final_scores
from genesis_jax import objective, training


@pytest.fixture
def run_and_state(tmp_path):
  """An untrained VAE at its end, on generated scenes."""
  config = tiny_model.get_config("multi_dsprites")
  config.update_from_flattened_dict(
    TINY_RUN | {"data.source": "generator", "data.num_test": 10,
                "test_images": 320})  # fmt: skip
  model, tx = genesis_jax.build_model(config.model), objective.optimizer(config)
  state = training.initial_state(0, model, tx)
  stop = SimpleNamespace(asked=False)
  run = SimpleNamespace(workdir=tmp_path, config=config, model=model, stop=stop)
  return run, devices.replicate(state)


def test_interrupted_it_is_finished_by_the_same_command(run_and_state, caplog, monkeypatch):
  run, state = run_and_state
  path = run.workdir / "evaluation" / "segmentation_step_0_test.json"
  run.stop.asked = True
  assert not final_scores.measure(run, state) and not path.exists()
  run.stop.asked = False
  with caplog.at_level("WARNING", "absl"):
    assert final_scores.measure(run, state)
  assert "has 10 test images, not 320: all of them are used" in caplog.text
  assert json.loads(path.read_text())["num_images"] == 10
  assert final_scores.words(run.workdir, 0).endswith("on all 10 test images")
  monkeypatch.setattr(measure, "measure", lambda *args: pytest.fail("was measured again"))
  assert final_scores.measure(run, state)
  assert not final_scores.words(run.workdir, 1)


def test_what_fails_is_a_warning_with_the_command(run_and_state, caplog, monkeypatch):
  run, state = run_and_state
  run.config.data.name = "clevr"  # of which no scenes are generated like this
  run.config.data.variant = "none"
  with caplog.at_level("WARNING", "absl"):
    assert final_scores.measure(run, state)
  assert f"try again with python -m experiments.evaluate --workdir={run.workdir}" in caplog.text


def test_fid_where_weights_are_at_hand_and_time_is(run_and_state, monkeypatch, tmp_path):
  run, state = run_and_state
  asked = []

  def fake(checkpoint, settings, should_stop):
    asked.append(settings.usual)
    if should_stop():
      raise Stopped
    return dict.fromkeys(distance.KEYS, 0) | dict(fid=12.0, step=checkpoint.step)

  monkeypatch.setattr(distance, "measure", fake)
  monkeypatch.setattr(final_scores, "_segmentation", lambda *args: None)
  assert final_scores.measure(run, state) and not asked  # never downloads
  monkeypatch.setattr(weights, "at_hand", lambda: tmp_path)
  run.config.data.num_test = 2000
  assert final_scores.measure(run, state) and not asked  # takes too long on CPUs
  run.config.data.num_test = 10
  run.stop.asked = True
  assert not final_scores.measure(run, state)
  run.stop.asked, asked[:] = False, []
  assert final_scores.measure(run, state) and final_scores.measure(run, state)
  assert asked == [10_000] and "fid 12" in final_scores.words(run.workdir, 0)
  run.config.test_fid_images = 0
  (run.workdir / "evaluation" / "fid.json").unlink()
  assert final_scores.measure(run, state) and len(asked) == 1
