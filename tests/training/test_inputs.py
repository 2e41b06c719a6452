"""Several steps in one program, and images that stay on the devices."""

import json

import jax
import numpy as np
import pytest
import tiny_model
from conftest import TEST_IMAGES, TINY_RUN, do_steps, tiny_config

from data_pipelines.reading.orders import Order
from experiments.console.errors import UserError
from experiments.hardware import devices
from experiments.training import loop
from experiments.training.feed import Feed
from genesis_jax import runs

TRAIN_IMAGES = 2 * TEST_IMAGES  # two files


@pytest.fixture
def tiny(gqn_root):
  config = tiny_config("tiny", gqn_root)
  config.num_steps, config.log_every, config.checkpoint_every = 10, 4, 4
  return config


def logged(workdir) -> dict[int, float]:
  lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
  return {line["step"]: line["train/elbo"] for line in lines if "train/elbo" in line}


def test_order_is_a_permutation_that_seed_and_epoch_decide():
  order = Order(7, seed=3)
  numbers = order.numbers(0, 21).reshape(3, 7)
  assert (np.sort(numbers) == np.arange(7)).all() and (numbers[0] != numbers[1]).any()
  np.testing.assert_array_equal(numbers[1], np.random.default_rng([3, 1]).permutation(7))
  np.testing.assert_array_equal(order.numbers(5, 16), numbers.ravel()[5:16])
  np.testing.assert_array_equal(Order(7, 3, shuffle=False).numbers(5, 9), [5, 6, 0, 1])


@pytest.mark.parametrize("first, ends", [(0, [4, 8, 10]), (4, [8, 10]), (5, [8, 10]), (10, [])])
def test_calls_end_where_something_may_be_due(tiny, first, ends):
  tiny.steps_per_call = 4
  feed = Feed(tiny, first)
  assert list(feed.ends()) == ends
  assert [len(batches["image"]) for batches in feed] == list(np.diff([first, *ends]))


def test_images_are_the_same_in_calls_of_any_length(tiny):
  one, four = [], []
  for config_steps, images in ((1, one), (4, four)):
    tiny.steps_per_call = config_steps
    for batches in Feed(tiny, 2):
      images.extend(batches["image"])
  np.testing.assert_array_equal(np.stack(one), np.stack(four))


def test_resident_images_come_once_an_epoch(tiny):
  tiny.data.resident, tiny.num_steps = True, TRAIN_IMAGES // tiny.batch_size
  feed = Feed(tiny, 0)
  images = devices.first(feed.resident["image"])
  numbers = np.concatenate([batches["number"].ravel() for batches in feed])
  assert images.shape == (TRAIN_IMAGES, 32, 32, 3) and images.dtype == np.uint8
  assert sorted(numbers) == list(range(TRAIN_IMAGES))
  start = Feed(tiny, 3)
  np.testing.assert_array_equal(
    np.concatenate([batches["number"].ravel() for batches in start]), numbers[3 * tiny.batch_size :]
  )


def test_steps_see_the_resident_images(tiny):
  tiny.data.resident, tiny.steps_per_call = True, 2
  feed = Feed(tiny, 0)
  images = np.asarray(devices.first(feed.resident["image"]))

  def step(state, batch):
    return state + 1, {"image": batch["image"]}

  call = devices.parallel(feed.steps(step))
  batches = next(iter(feed))
  state, seen = call(devices.replicate(np.int32(0)), devices.put(batches, axis=1), feed.resident)
  assert (np.asarray(state) == 2).all()
  seen = np.moveaxis(np.asarray(seen["image"]), 0, 1).reshape(2, -1, 32, 32, 3)
  np.testing.assert_array_equal(seen, images[batches["number"]])


@pytest.mark.slow
def test_several_steps_a_call_are_the_same_run(tiny, tmp_path):
  tiny.num_steps = 8
  do_steps(tiny, tmp_path / "one")
  tiny.steps_per_call, tiny.data.resident = 4, False
  do_steps(tiny, tmp_path / "four")
  one, four = logged(tmp_path / "one"), logged(tmp_path / "four")
  assert list(one) == list(four) == [4, 8]
  np.testing.assert_allclose(list(four.values()), list(one.values()), rtol=1e-5)
  assert runs.checkpoint_steps(tmp_path / "four") == [4, 8]


@pytest.mark.slow
def test_resident_run_resumes_exactly(tiny, tmp_path):
  tiny.data.resident, tiny.steps_per_call = True, 2
  do_steps(tiny, tmp_path / "whole")
  tiny.num_steps = 4
  do_steps(tiny, tmp_path / "parts")
  tiny.num_steps = 10
  do_steps(tiny, tmp_path / "parts")
  whole, _ = runs.read_checkpoint(tmp_path / "whole", 10)
  parts, _ = runs.read_checkpoint(tmp_path / "parts", 10)
  jax.tree.map(np.testing.assert_array_equal, whole, parts)


@pytest.mark.slow
def test_generated_images_go_on_where_a_shorter_call_ended(tmp_path):
  config = tiny_model.get_config("multi_dsprites")
  config.update_from_flattened_dict(TINY_RUN | {"data.source": "generator", "data.num_val": 20})
  config.num_steps, config.log_every, config.checkpoint_every, config.steps_per_call = 6, 4, 4, 4
  feed = Feed(config, 2)
  numbers = [batches["number"].ravel() for batches in feed]
  assert [len(n) for n in numbers] == [16, 16]
  np.testing.assert_array_equal(np.concatenate(numbers), np.arange(16, 48))
  config.num_steps = 4
  do_steps(config, tmp_path)
  assert runs.checkpoint_steps(tmp_path) == [4]


def test_divergence_within_a_call_names_its_step(tiny, tmp_path):
  tiny.steps_per_call, tiny.optimizer.learning_rate = 4, 1e9
  with pytest.raises(UserError, match=r"step \d+ diverged: elbo "):
    do_steps(tiny, tmp_path)
  step = runs.checkpoint_steps(tmp_path)[-1]
  state, _ = runs.read_checkpoint(tmp_path, step)
  assert state["diverged_at"] == step == state["step"]


@pytest.mark.parametrize("fields, message", [
  ({"steps_per_call": 0}, "steps_per_call is 0; it must be at least 1"),
  ({"steps_per_call": 3}, "log_every is 4, which is not a multiple of steps_per_call, 3"),
  ({"data.resident": True, "data.source": "generator", "data.data_dir": None},
   "data.resident is True, but data.source=generator has no images"),
])  # fmt: skip
def test_settings_that_cannot_be(tiny, tmp_path, fields, message):
  with tiny.ignore_type():
    tiny.update_from_flattened_dict(fields)
  with pytest.raises(UserError, match=message):
    loop.train(tiny, tmp_path)
