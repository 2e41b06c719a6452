"""What is found wrong with a run: each kind where it was made to be, and nowhere else."""

import json
import pathlib

import numpy as np
import pytest

from configs.experiment import compose
from experiments import diagnose
from experiments.diagnosis import curves, slots

RUN = pathlib.Path(__file__).parents[1] / "data/before"
CONFIG = compose("genesis", "gqn")
CONFIG.num_steps = 40_000
N, K, S = 12, 4, 16


def rows(**changes) -> list[dict]:
  """The numbers of a run that went well; changes are values, or functions of the step."""
  usual = {
    "err_element": lambda step: 0.5655 + 10 / step, "err_ema_element": lambda step: 0.5655,
    "beta": 0.5, "kl": 40.0, "mse": lambda step: 0.003 + 1 / step, "grad_norm": 5.0,
    "largest_slot": 0.5, "mask_entropy": 0.3, "slots_used": 5.0, "diverged_at": -1.0,
    "elbo": 1.0, "err": 1.0, "loss": 1.0,
  }  # fmt: skip
  return [
    {"step": step} | {
      f"train/{name}": value(step) if callable(value) else value
      for name, value in (usual | changes).items()
    }
    for step in range(1000, 40_001, 1000)
  ]  # fmt: skip


def names(found) -> list[str]:
  return [finding.name for finding in found]


def test_nothing_is_found_in_what_went_well():
  assert not curves.findings(CONFIG.to_dict(), rows())
  assert not curves.findings(CONFIG.to_dict(), [])
  young = rows(largest_slot=1.0, mask_entropy=1.9, err_ema_element=0.7)[:1]
  young[0]["step"] = 100
  assert not curves.findings(CONFIG.to_dict(), young)


def spike(step):
  return 500.0 if step == 20_000 else 5.0


@pytest.mark.parametrize("changes, name, evidence, suggestion", [
  ({"grad_norm": lambda step: None if step == 7000 else 5.0}, "not_finite",
   {"first step": 7000}, "--config.optimizer.clip_norm=10 --change"),
  ({"diverged_at": lambda step: 39_999.0 if step == 40_000 else -1.0}, "not_finite",
   {"first step": 40_000}, "--config.optimizer.clip_norm=10"),
  ({"grad_norm": spike}, "spikes", {"largest": "grad_norm at step 20000", "value": 500.0},
   "--config.optimizer.clip_norm=10"),
  ({"largest_slot": 0.99, "slots_used": 1.0}, "collapsed_slots", {"largest_slot": 0.99},
   "--config.model.pixel_std=0.3"),
  ({"mask_entropy": 1.9}, "uniform_masks", {"mask_entropy": 1.9}, "--config.model.pixel_std=0.3"),
  ({"kl": 0.01}, "dead_latents", {"kl": 0.01}, "a lower --config.objective.goal"),
  ({"err_ema_element": 0.575}, "goal_not_reached", {"error": 0.575, "goal": 0.5655},
   "--config.objective.goal=0.575"),
  ({"err_ema_element": 0.563}, "goal_too_high", {"error": 0.563}, "--config.objective.goal=0.563"),
  ({"beta": lambda step: 1e-10 if step > 30_000 else 0.5}, "beta_at_minimum",
   {"since step": 31_000}, "--config.objective.goal="),
  ({"beta": 1e10}, "beta_at_maximum", {"since step": 1000}, "--config.objective.goal="),
])  # fmt: skip
def test_each_kind_in_the_logged_numbers(changes, name, evidence, suggestion):
  (finding,) = curves.findings(CONFIG.to_dict(), rows(**changes))
  assert finding.name == name and finding.is_problem and finding.words.endswith((".", "used"))
  for key, value in evidence.items():
    assert finding.evidence[key] == (pytest.approx(value) if isinstance(value, float) else value)
  assert finding.suggestions[0].startswith(suggestion)


def test_an_error_that_still_falls_is_left_alone():
  falling = rows(err_ema_element=0.575, err_element=lambda step: 0.64 - step * 3e-6)
  assert not curves.findings(CONFIG.to_dict(), falling[:20])
  assert names(curves.findings(CONFIG.to_dict(), falling)) == ["goal_not_reached"]


def one_hot(winners: np.ndarray) -> np.ndarray:
  return (winners[:, None] == np.arange(K)[:, None, None]).astype(np.float32)


@pytest.fixture
def scene():
  """True segments of a background and two squares anywhere, and latents that say where."""
  rng = np.random.default_rng(0)
  instances = np.zeros((N, S, S), np.int32)
  for image in instances:
    for number, (y, x) in enumerate(rng.integers(0, S - 6, (2, 2)), start=1):
      image[y : y + 6, x : x + 6] = number
  return instances, {"component": rng.standard_normal((N, K, 8))}


def found(masks, latents, instances=None) -> list[str]:
  seen = slots.Seen({"attention": masks}, latents, instances)
  return names(slots.findings(seen, CONFIG))


def test_nothing_is_found_in_masks_that_are_right(scene):
  instances, latents = scene
  assert found(one_hot(instances), latents, instances) == []
  assert found(one_hot(instances), latents) == []


def test_each_kind_in_masks(scene):
  instances, latents = scene
  alone = one_hot(np.where(instances == 3, 1, 0))
  assert found(alone, latents, instances) == found(alone, latents) == ["collapsed_slots"]
  uniform = np.full((N, K, S, S), 1 / K) + 1e-3 * np.random.default_rng(1).random((N, K, S, S))
  assert found(uniform, latents) == ["uniform_masks"]
  stripes = np.broadcast_to(np.arange(S)[:, None] * K // S, (N, S, S))
  assert found(one_hot(stripes), latents) == ["cut_alike"]
  # Objects are found, but each half of the background has its own slot.
  halves = np.where(instances > 0, 1, np.arange(S) // 6)
  halves[instances == 0] += 1 * (halves[instances == 0] > 0)
  assert "split_background" in found(one_hot(halves), latents, instances)
  assert "split_background" not in found(one_hot(halves), latents)


def test_a_background_in_pieces_matters_less_where_objects_are_found(scene):
  instances, latents = scene
  pieces = np.where(instances > 0, instances, 3 * (np.arange(S) // (S // 2)))

  def split(winners):
    seen = slots.Seen({"attention": one_hot(winners)}, latents, instances)
    (finding,) = (f for f in slots.findings(seen, CONFIG) if f.name == "split_background")
    return finding

  apart, merged = split(pieces), split(np.where(instances == 2, 1, pieces))
  assert not apart.is_problem and "objects have slots of their own" in apart.words
  assert merged.is_problem and merged.evidence["ARI-FG"] < apart.evidence["ARI-FG"] == 1
  # As many slots as an image has segments are never too many.
  assert apart.suggestions[0] == f"--config.model.num_slots={K - 1}" and instances.max() + 1 < K


def test_two_slots_for_everything(scene):
  instances, latents = scene
  masks = one_hot(np.minimum(instances, 1))
  masks = np.concatenate([masks, np.zeros_like(masks[:, :1])], 1)
  assert found(masks, latents) == ["unused_slots"]


def test_latents(scene):
  instances, latents = scene
  masks = one_hot(instances)
  of_slot = np.broadcast_to(np.arange(K)[:, None], (N, K, 8))  # but not of the image
  assert found(masks, {"component": of_slot}) == ["dead_latents"]
  half = np.where(np.arange(8) < 2, latents["component"], 0)
  (finding,) = slots.findings(slots.Seen({}, {"latent": half[:, 0]}), CONFIG)
  assert finding.evidence == {"latent": "2 of 8 alive"} and not finding.is_problem


@pytest.mark.slow
def test_a_whole_run(capsys):
  """Of three steps, whose masks cannot be any good."""
  words = [f"--workdir={RUN / 'run'}", f"--data_dir={RUN / 'prepared'}", "--num_images=4"]
  assert diagnose.main([*words, "--json"]) == 0
  content = json.loads(capsys.readouterr().out)
  assert content["rows"] == 3 and content["step"] == 3 and content["num_images"] == 4
  assert content["left_out"] == ""
  for finding in content["findings"]:
    assert finding["words"] and finding["evidence"] and finding["suggestions"]


def test_a_run_whose_data_is_not_at_hand(capsys, tmp_path):
  assert diagnose.main([f"--workdir={RUN / 'run'}", f"--data_dir={tmp_path}"]) == 0
  out = capsys.readouterr().out
  assert "left out   masks and latents: " in out and "logged     3 steps" in out
  assert diagnose.main([f"--workdir={RUN / 'export'}", "--num_images=0"]) == 0
  assert diagnose.main([f"--workdir={tmp_path}"]) == 1
  assert "holds no run" in capsys.readouterr().err
