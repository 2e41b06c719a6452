"""The trained models that come along: they load, are small, and do what is shown of them."""

import json
import pathlib

import jax
import numpy as np
import pytest

import data_pipelines
import genesis_jax
from genesis_jax import metrics, runs

pytestmark = pytest.mark.slow

FOLDER = pathlib.Path(__file__).parents[2] / "examples/pretrained"
# Least ARI-FG and ARI of a few images: a little below what benchmarks/RESULTS.md tells of many.
SCORES = {
  "genesis_multi_dsprites": (0.6, 0.85),
  "genesis_v2_objects_room": (0.7, 0.15),  # floor and walls have slots of their own
  "monet_multi_dsprites": (0.5, 0.9),
}


@pytest.fixture(params=SCORES)
def name(request):
  return request.param


def test_divides_and_reconstructs_unseen_scenes(name):
  model, variables, config = genesis_jax.load(FOLDER / name)
  batch = next(data_pipelines.batches(config.data, split="test", batch_size=64))
  images = jax.numpy.asarray(batch["image"]) / 255
  apply = jax.jit(lambda v, x: model.apply(v, x, train=False, rngs={"noise": jax.random.key(0)}))
  out = apply(variables, images)
  assert np.mean((out.recon - images) ** 2) < 0.01
  masks = out.log_masks_recon if model.MIXES_DECODED_MASKS else out.log_masks
  ids = masks.argmax(1)
  scores = metrics.adjusted_rand_index(batch["instances"], ids, foreground_only=True)
  assert np.mean(scores) > SCORES[name][0]
  # Of sprites, the background has one slot in nearly all images, and objects have others.
  assert np.mean(metrics.adjusted_rand_index(batch["instances"], ids)) > SCORES[name][1]


def test_genesis_draws_new_scenes_of_several_objects():
  model, variables, _ = genesis_jax.load(FOLDER / "genesis_multi_dsprites")
  draw = jax.jit(lambda v, key: model.apply(v, 64, method="sample", rngs={"noise": key}))
  samples = draw(variables, jax.random.key(0))
  shares = np.sort(np.exp(samples.log_masks).mean((2, 3)), 1)[:, ::-1]  # of the image's area
  assert np.median(shares[:, 0]) > 0.6  # a background
  assert np.median(shares[:, 1:3], 0).min() > 0.005  # and at least two things on it
  # No two scenes alike: the colours of their backgrounds spread over what there is.
  backgrounds = np.median(samples.images, (1, 2))
  assert backgrounds.std(0).min() > 0.15


def test_are_small_and_labelled(name):
  files = [path for path in FOLDER.rglob("*") if path.is_file()]
  assert sum(path.stat().st_size for path in files) < 12 * 2**20
  (step,) = runs.checkpoint_steps(FOLDER / name)
  labels = json.loads((FOLDER / name / "run.json").read_text())
  assert labels["stand_in"] and "GENERATED" in labels["data"]["description"]
  assert labels["config"]["num_steps"] >= step
