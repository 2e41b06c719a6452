"""The trained model that comes along: it loads, is small, and does what is shown of it."""

import json
import pathlib

import jax
import numpy as np

import data_pipelines
import genesis_jax
from genesis_jax import metrics, runs

FOLDER = pathlib.Path(__file__).parent.parent / "examples/pretrained/monet_multi_dsprites"


def test_divides_and_reconstructs_unseen_scenes():
  model, variables, config = genesis_jax.load(FOLDER)
  batch = next(data_pipelines.batches(config.data, split="test", batch_size=64))
  images = jax.numpy.asarray(batch["image"]) / 255
  apply = jax.jit(lambda v, x: model.apply(v, x, train=False, rngs={"noise": jax.random.key(0)}))
  out = apply(variables, images)
  assert np.mean((out.recon - images) ** 2) < 0.01
  ids = out.log_masks.argmax(1)
  scores = metrics.adjusted_rand_index(batch["instances"], ids, foreground_only=True)
  assert np.mean(scores) > 0.5
  # The background has one slot in nearly all images, and objects have others.
  assert np.mean(metrics.adjusted_rand_index(batch["instances"], ids)) > 0.9


def test_is_small_and_labelled():
  files = [path for path in FOLDER.rglob("*") if path.is_file()]
  assert sum(path.stat().st_size for path in files) < 12 * 2**20
  (step,) = runs.checkpoint_steps(FOLDER)
  labels = json.loads((FOLDER / "run.json").read_text())
  assert labels["stand_in"] and "GENERATED" in labels["data"]["description"]
  assert labels["config"]["num_steps"] >= step
