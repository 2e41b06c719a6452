"""Where a model breaks, through the command line: a tiny model that was never trained."""

import json

import jax
import numpy as np
import pytest
import tiny_model
from conftest import TINY_RUN
from PIL import Image

import data_pipelines
import genesis_jax
from experiments import evaluate, robustness
from experiments.hardware import devices
from experiments.runs import checkpoints, importing
from experiments.scoring import scores
from experiments.shifts import dials
from genesis_jax import objective, training

pytestmark = pytest.mark.slow

NUM_IMAGES = 6


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
  config = tiny_model.composed("tiny_slots", "multi_dsprites")
  changes = TINY_RUN | {"data.source": "generator", "data.num_test": NUM_IMAGES}
  config.update_from_flattened_dict(changes | {"model.num_slots": 3})
  model, tx = genesis_jax.build_model(config.model), objective.optimizer(config)
  state = jax.tree.map(np.asarray, training.initial_state(0, model, tx)).replace(step=np.int32(3))
  workdir = tmp_path_factory.mktemp("robustness") / "run"
  origin = checkpoints.origin_of(config, importing.published_source(config))
  with checkpoints.Checkpoints(workdir, origin, config) as writer:
    writer.restore(state)
    writer.save(devices.replicate(state))
    writer.wait()
  return workdir


def flags(run_dir, *words) -> list[str]:
  return [f"--workdir={run_dir}", f"--num_images={NUM_IMAGES}", "--batch_size=8", *words]


def test_curves_a_table_and_the_worst_images(run_dir, monkeypatch, capfd):
  monkeypatch.setattr(dials, "SLOTS", (0, 1))
  words = ["--dials=objects,noise,slots", "--data", "multi_dsprites:unique"]
  assert robustness.main(flags(run_dir, *words)) == 0
  assert "results" in capfd.readouterr().out
  folder = run_dir / "robustness"
  result = json.loads((folder / "robustness.json").read_text())
  levels = {dial["name"]: dial["levels"] for dial in result["dials"]}
  assert list(levels) == ["objects", "noise", "slots", "data"]
  assert [level["label"] for level in levels["slots"]] == ["3", "4"]
  # The level of training is the same of all dials, and what evaluate says.
  usual = [level["scores"] for dial in levels.values() for level in dial if level["is_training"]]
  assert len(usual) == 4 and all(one == usual[0] for one in usual)
  assert evaluate.main(flags(run_dir)) == 0
  whole = json.loads((run_dir / "evaluation/segmentation_step_3_test.json").read_text())["scores"]
  drawn = scores.named(whole, scores.SHIFTS)
  assert {"ari_fg", "msc_fg", "miou", "mse"} <= set(drawn)
  for name in drawn:
    assert usual[0][name]["mean"] == pytest.approx(whole[name]["mean"], rel=1e-5)
    assert usual[0][name]["low"] <= usual[0][name]["mean"] <= usual[0][name]["high"]
  # An untrained model paints grey: the error grows by the noise, of which some is clipped.
  noise = [level["scores"]["mse"]["mean"] for level in levels["noise"]]
  data = genesis_jax.load(run_dir)[2].data
  images = next(data_pipelines.batches(data, split="test", batch_size=NUM_IMAGES))["image"] / 255
  noisy = np.clip(images + np.random.default_rng(0).normal(0, 0.25, images.shape), 0, 1)
  grown = ((noisy - 0.5) ** 2).mean() - ((images - 0.5) ** 2).mean()
  assert max(noise) == noise[-1] == pytest.approx(noise[0] + grown, abs=grown / 4)
  table = (folder / "robustness.md").read_text()
  assert "**1-4** (training)" in table and scores.label("miou") in table
  for name in ("curves.png", "worst.png"):
    with Image.open(folder / name) as image:
      assert np.asarray(image.convert("L")).std() > 10
  assert (folder / "curves.pdf").read_bytes()[:4] == b"%PDF"


@pytest.mark.parametrize(
  "words, status, message",
  [
    (["--dials=fog"], 2, "'fog' is no dial; allowed: objects"),
    (["--dials=camera"], 1, "--dials=camera: the scenes are flat"),
    (["--images=7", "--dials=noise"], 1, "--num_images=6"),
    (["--data", "gqn:mountains"], 1, "data.variant is 'mountains'"),
    (["--data", "gqn=/nowhere"], 1, "/nowhere"),
  ],
)
def test_mistakes_end_in_one_line(run_dir, words, status, message, capfd):
  try:
    ended = robustness.main(flags(run_dir, *words))
  except SystemExit as error:
    ended = error.code
  error = capfd.readouterr().err.strip().splitlines()[-1]
  assert ended == status and error.startswith("error: ") and message in error


def test_a_folder_without_a_checkpoint_is_named(tmp_path, capfd):
  assert robustness.main([f"--workdir={tmp_path}"]) == 1
  assert "no checkpoint" in capfd.readouterr().err
