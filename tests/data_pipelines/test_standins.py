"""Rendered stand-ins: written like GQN, complete or not there, and never taken for real data."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import ml_collections
import numpy as np
import pytest
import tensorflow as tf

import data_pipelines
from data_pipelines import sources
from data_pipelines.datasets.gqn import stand_in as standins
from data_pipelines.sources import STAND_IN_FILE, DataError, stand_in_notes

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SIDE, SCENES = 16, 12


def make_config(**changes):
  fields = dict(name="gqn", variant="rooms_ring_camera", data_dir=None, image_size=SIDE,
                resize="nearest", on_corrupt="error", limit=0, shuffle_buffer=100,
                standin_scenes=20, num_val=10_000, num_test=10_000)  # fmt: skip
  return ml_collections.ConfigDict(fields | changes)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
  folder = tmp_path_factory.mktemp("stand_in")
  return standins.write(
    folder, variant="rooms_ring_camera", num_scenes=SCENES, image_size=SIDE, seed=3
  )


def test_records_are_in_the_published_format(stand_in):
  paths = sorted(stand_in.glob("*/*.tfrecord"))
  assert paths[0] == stand_in / "test" / "1-of-1.tfrecord"
  assert paths[1] == stand_in / "train" / "01-of-10.tfrecord"
  for record in tf.data.TFRecordDataset([str(path) for path in paths]).as_numpy_iterator():
    features = tf.train.Example.FromString(record).features.feature
    assert len(features["frames"].bytes_list.value) == 10
    assert len(features["cameras"].float_list.value) == 50
    frame = tf.io.decode_jpeg(features["frames"].bytes_list.value[0])
    assert frame.shape == (SIDE, SIDE, 3)


def test_reading_back_gives_images_and_ids(stand_in):
  config = make_config(data_dir=str(stand_in))
  source = data_pipelines.resolve(config)
  assert source.stand_in and "STAND-IN" in source.description
  sizes = {split: data_pipelines.num_examples(config, split) for split in ("train", "val", "test")}
  assert sizes == {"train": 90, "val": 20, "test": 10}
  batch = next(data_pipelines.batches(config, split="train", batch_size=90))
  assert batch["image"].dtype == np.uint8 and batch["image"].shape == (90, SIDE, SIDE, 3)
  assert batch["instances"].dtype == np.int32 and batch["instances"].shape == (90, SIDE, SIDE)
  assert set(np.unique(batch["instances"])) <= {0, 1, 2, 3} and batch["instances"].any()


def test_ids_stay_on_their_objects_when_resized(stand_in):
  whole = next(data_pipelines.batches(make_config(data_dir=str(stand_in)),
                                      split="test", batch_size=10))  # fmt: skip
  half = next(data_pipelines.batches(make_config(data_dir=str(stand_in), image_size=8),
                                     split="test", batch_size=10))  # fmt: skip
  np.testing.assert_array_equal(half["instances"], whole["instances"][:, ::2, ::2])
  np.testing.assert_array_equal(half["image"], whole["image"][:, ::2, ::2])


def test_notes_say_what_it_is(stand_in):
  notes = json.loads((stand_in / STAND_IN_FILE).read_text())
  assert notes["num_scenes"] == SCENES and notes["image_size"] == SIDE and notes["seed"] == 3
  assert notes["version"] == standins.VERSION


def test_missing_data_is_replaced_once_and_loudly(tmp_path, monkeypatch, caplog):
  monkeypatch.chdir(tmp_path)
  sources.warn_once.cache_clear()  # another test may have been warned of the same
  rendered = []
  write = standins.write
  monkeypatch.setattr(standins, "write", lambda *a, **k: rendered.append(1) or write(*a, **k))
  with caplog.at_level(logging.WARNING, logger="absl"):
    source = data_pipelines.resolve(make_config())
  assert source.stand_in and "NO GQN DATA FOUND" in caplog.text
  assert f"gqn_{SIDE}px_20_scenes" in str(source.root)
  assert data_pipelines.resolve(make_config()) == source and rendered == [1]
  # Data that turns up later is preferred.
  real = tmp_path / "data" / "gqn" / "rooms_ring_camera" / "train"
  real.mkdir(parents=True)
  (real / "0001-of-2160.tfrecord").write_bytes(b"not empty")
  assert not data_pipelines.resolve(make_config()).stand_in


def test_an_interrupted_run_leaves_nothing_behind(tmp_path, monkeypatch):
  def interrupted(*_, **__):
    yield b"one record"
    raise KeyboardInterrupt

  monkeypatch.setattr(standins, "_encoded_scenes", interrupted)
  with pytest.raises(KeyboardInterrupt):
    standins.write(tmp_path, variant="rooms_ring_camera", num_scenes=20, image_size=SIDE)
  assert not list(tmp_path.iterdir())


def test_the_slower_of_two_runs_yields(tmp_path, monkeypatch):
  def overtaken(num_scenes, **_):
    final = tmp_path / "rooms_ring_camera"
    if not final.exists():
      final.mkdir()
      (final / STAND_IN_FILE).write_text("theirs")
    yield from [b"record"] * num_scenes

  monkeypatch.setattr(standins, "_encoded_scenes", overtaken)
  done = standins.write(tmp_path, variant="rooms_ring_camera", num_scenes=20)
  assert (done / STAND_IN_FILE).read_text() == "theirs"
  assert [path.name for path in tmp_path.iterdir()] == ["rooms_ring_camera"]


def test_a_folder_of_something_else_is_left_alone(tmp_path, monkeypatch):
  monkeypatch.setattr(standins, "_encoded_scenes", lambda n, **_: iter([b"record"] * n))
  mine = tmp_path / "rooms_ring_camera" / "notes.txt"
  mine.parent.mkdir()
  mine.touch()
  with pytest.raises(FileExistsError, match="not a stand-in"):
    standins.write(tmp_path, variant="rooms_ring_camera", num_scenes=20)
  assert mine.exists()


def test_a_program_does_without_the_library_and_ends_while_streams_read_ahead(stand_in):
  """Threads of endless streams that call Python would otherwise keep a program from ending."""
  program = (
    "import sys, ml_collections, data_pipelines, tests.data_pipelines.test_indexed as t\n"
    f"config = ml_collections.ConfigDict({make_config(data_dir=str(stand_in)).to_dict()!r})\n"
    "streams = [t.Batches(t.make_images(), batch_size=2, shuffle=True),\n"
    "           data_pipelines.batches(config, split='train', batch_size=2)]\n"
    "for stream in streams: [next(stream) for _ in range(3)]\n"
    "assert 'genesis_jax' not in sys.modules\n"
    "print('done')\n"
  )
  words = [sys.executable, "-c", program]
  done = subprocess.run(words, capture_output=True, text=True, timeout=100, cwd=ROOT)
  assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize("content", ["", "[]", '{"a": "\n"}'])
def test_damaged_notes_are_named(tmp_path, content):
  (tmp_path / STAND_IN_FILE).write_text(content)
  with pytest.raises(DataError, match="STAND_IN.json is damaged .*; remove the folder"):
    stand_in_notes(tmp_path)


def test_impossible_arguments(tmp_path):
  with pytest.raises(ValueError, match="seed is -1; it must be from 0"):
    standins.write(tmp_path, variant="jaco", num_scenes=3, seed=-1)
  with pytest.raises(ValueError, match="variant is 'rooms'"):
    standins.write(tmp_path, variant="rooms", num_scenes=20)
  with pytest.raises(ValueError, match="num_scenes is 2"):
    standins.write(tmp_path, variant="jaco", num_scenes=2)


@pytest.mark.parametrize("name", ["shapestacks", "apc", "image_folder"])
def test_writing_over_other_files_is_refused(tmp_path, name):
  module = __import__(f"data_pipelines.datasets.{name}.stand_in", fromlist=["write"])
  (tmp_path / "mine.txt").write_text("keep")
  with pytest.raises(FileExistsError, match="is not a stand-in"):
    module.write(tmp_path, variant="default", num_scenes=200)
  with pytest.raises(ValueError, match="num_scenes is 5"):
    module.write(tmp_path / "new", variant="default", num_scenes=5)
