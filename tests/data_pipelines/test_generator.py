"""Scenes in place of files: which image is which, whoever draws it, and training on them."""

import functools
import json
import pathlib
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ON_ONE_DEVICE, TINY_RUN
from flax import traverse_util

import data_pipelines
from configs import datasets
from configs.experiment import compose
from data_pipelines.datasets import generator
from experiments.console.errors import UserError
from experiments.hardware import devices
from experiments.training import loop
from experiments.training.feed import Feed
from genesis_jax import runs, scenes

SIDE = 16
GENERATED = {"data.source": "generator", "data.num_val": 20, "data.num_test": 20}


def make_config(model="vae", dataset="multi_dsprites", **changes):
  config = compose(model, dataset)
  config.update_from_flattened_dict(TINY_RUN | GENERATED)
  config.model.image_size = SIDE
  config.update_from_flattened_dict(changes)
  return config


def images(config, split="train", num_batches=2, batch_size=8, **options):
  """The first images of a stream."""
  stream = data_pipelines.batches(config.data, split=split, batch_size=batch_size, **options)
  got = [batch["image"] for batch, _ in zip(stream, range(num_batches), strict=False)]
  return np.concatenate(got)


def distinct(*arrays) -> set[bytes]:
  return {image.tobytes() for array in arrays for image in array}


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["multi_dsprites", "gqn"])
def test_batches_are_as_from_files(dataset):
  config = make_config(dataset=dataset)
  batch = next(data_pipelines.batches(config.data, split="val", batch_size=8))
  assert batch["image"].shape == (8, SIDE, SIDE, 3) and batch["image"].dtype == np.uint8
  assert batch["instances"].shape == (8, SIDE, SIDE) and batch["instances"].dtype == np.int32
  assert (batch["instances"].max((1, 2)) > 0).all() and (batch["instances"] == 0).any()
  for image, ids in zip(batch["image"], batch["instances"], strict=True):
    if dataset == "multi_dsprites":  # plain colours, so that ids and images must agree
      assert all(len(np.unique(image[ids == n], axis=0)) <= 1 for n in range(5))


def test_an_image_follows_from_its_index():
  config = make_config()
  whole = images(config, num_batches=4)
  np.testing.assert_array_equal(images(config, num_batches=1, first_batch=3), whole[24:])
  # Shards of larger batches: other rows, and other numbers of them.
  parts = [images(config, batch_size=16, shard_index=i, shard_count=4) for i in range(4)]
  rows = [part.reshape(2, 4, *part.shape[1:]) for part in parts]
  np.testing.assert_array_equal(np.concatenate(rows, 1).reshape(whole.shape), whole)


def test_streams_share_no_image():
  config = make_config()
  splits = [images(config, split, seed=3) for split in ("train", "val", "test")]
  assert len(distinct(*splits)) == 3 * 16
  np.testing.assert_array_equal(images(config, "val", seed=4), splits[1])
  assert len(distinct(images(config, seed=4), splits[0])) == 2 * 16
  # Each step of a run folds its number into a key of the seed: none of these may draw a scene.
  keys = [jax.random.fold_in(jax.random.key(0), n) for n in range(3)]
  keys += [scenes.stream_key(split, 0) for split in ("train", "val", "test")]
  assert len({jax.random.key_data(key).tobytes() for key in keys}) == 6


def test_ends_where_it_should():
  config = make_config()
  assert data_pipelines.num_examples(config.data, "train") is None
  assert data_pipelines.num_examples(config.data, "val") == 20
  stream = data_pipelines.batches(config.data, split="val", batch_size=8, epochs=1)
  assert [len(batch["image"]) for batch in stream] == [8, 8, 4]
  parts = [
    [
      len(batch["image"])
      for batch in data_pipelines.batches(
        config.data, split="val", batch_size=8, epochs=1, shard_index=i, shard_count=2
      )
    ]
    for i in range(2)
  ]
  assert np.sum(parts, 0).tolist() == [8, 8, 4]
  config.data.limit = 5
  assert data_pipelines.num_examples(config.data, "train") == 5
  again = images(config)
  np.testing.assert_array_equal(again, again[np.arange(16) % 5])
  assert len(distinct(again)) == 5


class State(NamedTuple):
  step: jax.Array


@pytest.mark.slow
@pytest.mark.parametrize("dataset, limit", [("multi_dsprites", 20), ("gqn", 0)])
def test_two_devices_draw_what_one_draws(dataset, limit):
  config = make_config(dataset=dataset, batch_size=16, **{"data.limit": limit})
  assert jax.device_count() == 2
  seen = devices.parallel(Feed(config, 0).steps(lambda state, batch: (state, batch["image"])))
  for step in (0, 3):
    feed = Feed(config, step)
    batches = next(devices.prefetch(feed, axis=1))
    _, drawn = seen(devices.replicate(State(np.int32(step))), batches, feed.resident)
    drawn = np.asarray(drawn)
    assert drawn.shape == (2, 1, 8, SIDE, SIDE, 3)
    expected = images(config, num_batches=1, batch_size=16, first_batch=step)
    np.testing.assert_array_equal(drawn.reshape(expected.shape), expected)


def test_a_million_steps_later_images_are_new():
  config = make_config(batch_size=8192)
  draw = jax.jit(generator.drawing(config.data, "train", 0))
  late = draw(jnp.uint32(2**32 - 8) + jnp.arange(8, dtype=jnp.uint32))["image"]
  assert len(distinct(np.asarray(late), images(config))) == 24
  np.testing.assert_array_equal(late, images(config, num_batches=1, first_batch=2**29 - 1))


@pytest.mark.parametrize("dataset", scenes.SCENES)
def test_scenes_have_the_shape_of_images(dataset):
  assert datasets.DATASETS[dataset]().variant in scenes.SCENES[dataset]
  first, *_, last = [*scenes.SCENES[dataset].values()] * 2  # others differ in numbers alone
  for draw in {first, last}:
    scene = jax.eval_shape(functools.partial(draw, image_size=SIDE), jax.random.key(0))
    assert (scene["image"].shape, scene["image"].dtype) == ((SIDE, SIDE, 3), np.uint8)
    assert (scene["instances"].shape, scene["instances"].dtype) == ((SIDE, SIDE), np.int32)


def test_variants_are_the_published_ones():
  pytest.importorskip("tensorflow")
  from data_pipelines.datasets.clevrtex import reader as clevrtex
  from data_pipelines.datasets.gqn import reader as gqn
  from data_pipelines.datasets.multi_object import reader as multi_object
  from data_pipelines.datasets.shapestacks import reader as shapestacks

  published = {"gqn": gqn.VARIANTS, "shapestacks": shapestacks.VARIANTS}
  published["clevrtex"] = clevrtex.VARIANTS
  published |= {name: layout.forms for name, layout in multi_object.LAYOUTS.items()}
  for name, variants in published.items():
    assert set(scenes.SCENES[name]) == set(variants), name
  # One's own images, and whatever a format may hold, are like nothing that could be rendered.
  formats = {"image_folder", "tfds", "hdf5"}
  assert set(data_pipelines.DATASETS) - set(scenes.SCENES) == formats


@pytest.mark.parametrize(
  "change, message",
  [
    ({"data.name": "image_folder"}, "data.name 'image_folder'.*generator knows: .*gqn.*sprites"),
    ({"data.variant": "uniqe"}, "data.variant is 'uniqe'; allowed: default, unique.*unique"),
    ({"data.data_dir": "/data"}, "data.data_dir is '/data', but data.source=generator reads no"),
    ({"data.num_val": 0}, "data.num_val is 0; it must be at least 1"),
    ({"data.resize": "cubic"}, "data.resize is 'cubic'; allowed: area"),
    ({"data.on_corrupt": "ask"}, "data.on_corrupt is 'ask'; allowed: error, skip"),
    ({"data.shuffle_buffer": 0}, "data.shuffle_buffer is 0; it must be at least 1"),
    ({"data.standin_scenes": 0}, "data.standin_scenes is 0; it must be at least 1"),
    ({"data.data_dir": ""}, "data.data_dir is ''"),
    ({"data.source": "generated"}, 'data.source is .* allowed: files, generator. Did you mean "g'),
  ],
)
def test_mistakes_are_one_line(tmp_path, change, message):
  with pytest.raises(UserError, match=message) as error:
    config = make_config(**change)
    config.model.image_size = 32
    loop.train(config, tmp_path)
  assert "\n" not in str(error.value)


def test_fields_of_other_data_sets_are_checked():
  config = make_config(dataset="clevr", **{"data.protocol": "iodin"})
  with pytest.raises(ValueError, match='data.protocol is .iodin.; allowed: .*"iodine"'):
    data_pipelines.resolve(config.data)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_that_no_key_is_made_from(seed):
  config = make_config().data
  for start in (
    lambda: data_pipelines.batches(config, split="train", batch_size=8, seed=seed),
    lambda: generator.drawing(config, "train", seed),
  ):
    with pytest.raises(ValueError, match=f"seed is {seed}; it must be from 0 to 4294967295"):
      start()


# The training program where neither TensorFlow nor what comes with it is found: called for files,
# for six steps, and, in a copy of the run as it was after three, for the other three.
CALLS = """
import shutil, sys
sys.modules.update(dict.fromkeys(["tensorflow", "tensorboard", "tensorflow_datasets"]))
from experiments.main import main
folder, words = sys.argv[1], sys.argv[2:]
assert main([*words, f"--workdir={folder}/files", "--config.data.source=files"]) == 1
assert main([*words, f"--workdir={folder}/whole"]) == 0
of_the_end = shutil.ignore_patterns("6", "metrics.json", "final.png")
shutil.copytree(f"{folder}/whole", f"{folder}/halves", ignore=of_the_end)
print("AGAIN")
assert main([*words, f"--workdir={folder}/halves"]) == 0
"""


@pytest.fixture(scope="module")
def called(tmp_path_factory) -> tuple[pathlib.Path, str, str]:
  """The folder of these runs, and what was printed."""
  folder = tmp_path_factory.mktemp("without_tensorflow")
  settings = TINY_RUN | GENERATED
  settings |= {"num_steps": 6, "images_every": 4, "validate_every": 4}
  words = ["--config=configs/experiment.py:vae,multi_dsprites"]
  words += [f"--config.{name}={value}" for name, value in settings.items()]
  command = [sys.executable, "-c", CALLS, str(folder), *words]
  done = subprocess.run(command, env=ON_ONE_DEVICE, capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr
  return folder, done.stdout, done.stderr


@pytest.mark.slow
def test_trains_where_tensorflow_is_not_installed(called):
  folder, out, _ = called
  first, again = out.split("AGAIN")
  assert "resuming   from step 3 of 6" in again and "resuming   from" not in first
  assert "GENERATED on the device, not the published images" in first
  assert "STAND-IN DATA" in first and "tensorboard" not in out
  for name in ("whole", "halves"):
    rows = [json.loads(line) for line in open(folder / name / "metrics.jsonl")]
    assert [row["step"] for row in rows] == [2, 4, 6]
    final = json.loads((folder / name / "metrics.json").read_text())
    assert final["step"] == 6 and final["val"]["num_images"] == 20
    pictures = {path.name for path in (folder / name / "pictures").iterdir()}
    assert pictures == {"step_0000004.png", "final.png"}
    assert not (folder / name / "tensorboard").exists()
  record = json.loads((folder / "whole" / "run.json").read_text())
  assert record["stand_in"] is True and record["data"]["root"] is None
  assert record["config"]["data"]["source"] == "generator"


@pytest.mark.slow
def test_a_resumed_run_is_the_whole_run(called):
  halves, whole = (
    traverse_util.flatten_dict(runs.read_checkpoint(called[0] / name, 6)[0], sep="/")
    for name in ("halves", "whole")
  )
  assert halves.keys() == whole.keys()
  for name, value in halves.items():
    np.testing.assert_array_equal(value, whole[name], err_msg=name)


@pytest.mark.slow
def test_files_without_tensorflow_are_one_line(called):
  line = called[2].splitlines()[0]
  assert line.startswith("error: TensorFlow, which reads files of data sets, is not")
  assert "--config.data.source=generator" in line
