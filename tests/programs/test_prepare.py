"""Prepared sets: from sources written here in their published formats, through the program, back.

What is read back is compared with what the reader of the published files gives, and with what
TensorFlow Datasets reads by itself.
"""

import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

import data_pipelines
from configs.datasets import common_fields, own_fields
from configs.experiment import compose
from configs.settings import settings, training_command
from data_pipelines import prepare
from data_pipelines.prepared import card as prepared_format
from data_pipelines.prepared import progress
from data_pipelines.prepared import writer as preparation
from data_pipelines.prepared.card import read_card
from data_pipelines.reading.batches import Batches
from data_pipelines.sources import SHARED_FIELDS, DataError

ROOT = Path(__file__).parents[2]
SCENARIOS = {
  "train": ["env_ccs-hard-h=3-vcom=0-vpsf=0-v=1", "env_blocks-easy-h=2-vcom=1-vpsf=0-v=2"],
  "eval": ["env_ccs-hard-h=6-vcom=0-vpsf=2-v=3"],
  "test": ["env_blocks-easy-h=4-vcom=0-vpsf=0-v=4"],
}
VIEWS = 3  # of a scenario; 16 are published


def example(**values):
  feature = {
    name: tf.train.Feature(bytes_list=tf.train.BytesList(value=strings))
    for name, strings in values.items()
  }
  return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


@pytest.fixture(scope="module")
def shapestacks_root(tmp_path_factory):
  """Twelve images with ids and labels, as a tree of PNGs."""
  root, rng = tmp_path_factory.mktemp("shapestacks"), np.random.default_rng(0)
  for split, scenarios in SCENARIOS.items():
    names = root / "splits" / "default" / f"{split}.txt"
    names.parent.mkdir(parents=True, exist_ok=True)
    names.write_text("\n".join(scenarios) + "\n")
    for scenario in scenarios:
      for folder in ("recordings", "iseg"):
        (root / folder / scenario).mkdir(parents=True)
      for camera in range(1, VIEWS + 1):
        blocks = rng.integers(0, 6, (8, 8)).repeat(28, 0).repeat(28, 1)
        colours = rng.integers(0, 256, (6, 3), np.uint8)
        name = f"w=0-f=0-l=0-c=original-cam_{camera}-mono-0"
        Image.fromarray(colours[blocks]).save(root / "recordings" / scenario / f"rgb-{name}.png")
        ids = Image.fromarray((blocks * 32).astype(np.uint8))
        ids.save(root / "iseg" / scenario / f"iseg-{name}.map", "PNG")
  return root


def run(monkeypatch, *words):
  """The program, in this process; returns its exit status."""
  monkeypatch.setattr(sys, "argv", ["prepare", *map(str, words)])
  try:
    return prepare.main()
  except SystemExit as error:
    return error.code


def read(config, split, **arguments):
  """All images of a split, in one dict of arrays."""
  stream = data_pipelines.batches(config, split=split, batch_size=16, epochs=1, **arguments)
  parts = list(stream)
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def in_order(config, split):
  """As `read`, but in the fixed order, by the reader of the published files."""
  records = data_pipelines.datasets.split_records(
    config, data_pipelines.datasets.resolve(config), split
  )
  arguments = dict(batch_size=16, epochs=1, shuffle=False, on_corrupt=config.on_corrupt)
  parts = list(Batches(records, **arguments))
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def the_set(out):
  """The folder of the only prepared set."""
  (card,) = Path(out).glob("*/*/1.0.0/prepared.json")
  return card.parent


def same(found, expected):
  assert found.keys() == expected.keys()
  for name in expected:
    assert found[name].dtype == expected[name].dtype
    np.testing.assert_array_equal(found[name], expected[name])


@pytest.fixture(scope="module")
def gqn_set(gqn_root, tmp_path_factory):
  """A prepared set of 80 train, 40 val and 40 test images in shards of 32."""
  out = tmp_path_factory.mktemp("prepared")
  config = settings("gqn", data_dir=str(gqn_root))
  card, _, is_new = preparation.carry_out(
    preparation.plan(config, ("train", "val", "test"), 32), out
  )
  assert is_new and {name: split.num_images for name, split in card.splits.items()} == {
    "train": 80, "val": 40, "test": 40,
  }  # fmt: skip
  return out


def gqn_config(data_dir, **changes):
  return settings("gqn", data_dir=str(data_dir), **dict(shuffle_buffer=20) | changes)


def copy(root, to):
  """The same prepared set, in files of its own."""
  subprocess.run(["cp", "-r", root, to], check=True)
  return to


def test_settings_are_those_of_experiments():
  assert SHARED_FIELDS == common_fields() | {"module", "protocol"}
  for name in data_pipelines.DATASETS:
    found = settings(name).to_dict()
    assert found.pop("num_slots") and found == compose("genesis", name).data.to_dict(), name
    own = set(found) - SHARED_FIELDS
    assert own == {f for f, names in own_fields().items() if name in names} - {"protocol"}


def test_round_trip_with_instances_and_labels(shapestacks_root, tmp_path, monkeypatch, capsys):
  out = tmp_path / "out"
  words = ("shapestacks", "--source", shapestacks_root, "--out", out, "--shard_images", 4)
  assert run(monkeypatch, *words) == 0
  printed = capsys.readouterr().out
  assert "train: 6 images in 2 files" in printed and "STAND-IN" not in printed
  source, config = (settings("shapestacks", data_dir=str(path)) for path in (shapestacks_root, out))
  assert (
    "prepared set of 6 train, 3 val, 3 test images" in data_pipelines.resolve(config).description
  )
  for split in ("val", "test"):
    same(read(config, split), read(source, split))
    assert data_pipelines.num_examples(config, split) == VIEWS
  expected = in_order(source, "train")
  assert expected["stable"].tolist() == [1] * VIEWS + [0] * VIEWS
  builder = tfds.builder("shapestacks/default_64px_bilinear", data_dir=out)
  assert builder.info.splits["train"].num_examples == 6
  assert "h=" not in builder.info.description and str(shapestacks_root) in builder.info.description
  found = list(builder.as_dataset(split="train").as_numpy_iterator())
  assert [one["id"] for one in found] == list(range(6))
  stacked = {name: np.stack([one[name] for one in found]) for name in expected}
  np.testing.assert_array_equal(stacked.pop("instances")[..., 0], expected.pop("instances"))
  same(stacked, expected)
  # Another name for the same folder, and a part of a split.
  by_folder = tfds.builder_from_directory(the_set(out))
  assert len(list(by_folder.as_dataset(split="train[50%:]"))) == 3


def test_a_complete_set_is_left_and_another_is_refused(
  shapestacks_root, tmp_path, monkeypatch, capsys
):
  words = ("shapestacks", "--source", shapestacks_root, "--out", tmp_path, "--limit", 3)
  assert run(monkeypatch, *words) == 0
  before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
  assert run(monkeypatch, *words) == 0
  assert "complete already; nothing was changed" in capsys.readouterr().out
  assert run(monkeypatch, *words[:-1], 2) == 1
  error = capsys.readouterr().err.splitlines()[-1]
  assert error.startswith("error: ") and "limit 3 instead of 2" in error and "--out" in error
  assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before
  # A limited set is not taken for all of it.
  with pytest.raises(data_pipelines.DataError, match="limit is 3, wanted 0"):
    data_pipelines.resolve(settings("shapestacks", data_dir=str(tmp_path)))
  config = settings("shapestacks", data_dir=str(tmp_path), limit=2)
  assert len(read(config, "train")["image"]) == data_pipelines.num_examples(config, "train") == 2


def write_gqn(root, records_per_file):
  """GQN files of so many records; each image is of one colour."""
  rng = np.random.default_rng(1)
  frames = [tf.io.encode_jpeg(np.full((64, 64, 3), rng.integers(0, 256, 3), np.uint8)).numpy()
            for _ in range(50)]  # fmt: skip
  for name, count in records_per_file.items():
    path = root / "rooms_ring_camera" / f"{name}.tfrecord"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
      for _ in range(count):
        writer.write(example(frames=[frames[i] for i in rng.integers(0, 50, 10)]))


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path, monkeypatch, capsys):
  source, out = tmp_path / "source", tmp_path / "out"
  write_gqn(source, {"train/1-of-2": 100, "train/2-of-2": 2, "test/1-of-1": 2})
  words = ("gqn", "--source", source, "--out", out, "--shard_images", 16)
  program = subprocess.Popen(
    [sys.executable, "-m", "data_pipelines.prepare", *map(str, words)],
    cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
  )  # fmt: skip
  partial = out / "gqn" / "rooms_ring_camera_64px_nearest" / ".1.0.0.partial"
  deadline = time.monotonic() + 120
  while not (whole := sorted(partial.glob("gqn-train.tfrecord-*-of-00063")))[4:]:
    assert program.poll() is None and time.monotonic() < deadline
    time.sleep(0.002)
  program.send_signal(signal.SIGKILL)
  assert program.wait() == -signal.SIGKILL
  assert not (out / "gqn" / "rooms_ring_camera_64px_nearest" / "1.0.0").exists()
  assert prepared_format.find(gqn_config(out)) == (None, [], False)
  kept = {path: path.stat().st_mtime_ns for path in whole[:3]}
  os.truncate(whole[3], whole[3].stat().st_size - 5)  # as a crash of the machine might
  assert run(monkeypatch, *words[:-1], 32) == 1  # other shards cannot go on
  assert "shard_images 16 instead of 32" in capsys.readouterr().err
  assert run(monkeypatch, *words) == 0
  root = the_set(out)
  assert {path: (root / path.name).stat().st_mtime_ns for path in kept} == kept
  assert (root / whole[3].name).stat().st_mtime_ns > max(kept.values())
  assert sorted(p.name for p in root.iterdir() if "tfrecord" not in p.name) == [
    "dataset_info.json", "features.json", "prepared.json",
  ]  # fmt: skip
  assert not list(root.glob("*.unfinished"))
  dataset = tfds.builder_from_directory(root).as_dataset(split="train")
  images = np.stack([one["image"] for one in dataset.as_numpy_iterator()])
  np.testing.assert_array_equal(images, in_order(gqn_config(source), "train")["image"])


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_damaged_progress_is_named(tmp_path, content):
  (tmp_path / progress.FILE).write_text(content)
  (tmp_path / "gqn-train.tfrecord-00000-of-00001").touch()
  with pytest.raises(
    DataError, match="progress.json is damaged .*remove the folder .* start again"
  ):
    progress.Progress(tmp_path, {}, on_corrupt="error")


def test_commands_to_copy_are_for_a_shell():
  command = training_command("gqn", settings("gqn", limit=3), "a folder/é")
  assert shlex.split(command)[-2:] == ["--config.data.data_dir=a folder/é", "--config.data.limit=3"]


def test_a_buffer_without_room_is_refused_of_prepared_sets_too(gqn_set):
  with pytest.raises(ValueError, match="data.shuffle_buffer is 0; it must be at least 1"):
    data_pipelines.resolve(gqn_config(gqn_set, shuffle_buffer=0))


@pytest.mark.parametrize("after", [0, 70])
def test_interrupted_with_damage_left_out(tmp_path, monkeypatch, after):
  """Going on counts the damage before the place where the run was stopped."""
  source = tmp_path / "source"
  write_gqn(source, {"train/1-of-2": 10, "train/2-of-2": 2, "test/1-of-1": 2})
  path = source / "rooms_ring_camera" / "train" / "1-of-2.tfrecord"
  data = bytearray(path.read_bytes())
  data[len(data) // 20] ^= 255  # in the first of ten records
  path.write_bytes(data)
  config = gqn_config(source, on_corrupt="skip")
  encoded = preparation.tfds_format.encoded

  def interrupted(*arguments):
    for n, record in enumerate(encoded(*arguments)):
      if n == after:
        raise KeyboardInterrupt
      yield record

  plan = preparation.plan(config, ("train", "val", "test"), 16)
  monkeypatch.setattr(preparation.tfds_format, "encoded", interrupted)
  with pytest.raises(KeyboardInterrupt):
    preparation.carry_out(plan, tmp_path)
  monkeypatch.setattr(preparation.tfds_format, "encoded", encoded)
  card, root, is_new = preparation.carry_out(plan, tmp_path)
  train = card.splits["train"]
  assert is_new and (train.promised, train.damaged) == (100, 1)
  assert train.shard_images == [16] * 5 + [10] and read_card(root) == card
  same(in_prepared_order(tmp_path), in_order(gqn_config(source, on_corrupt="skip"), "train"))


def in_prepared_order(out):
  dataset = tfds.builder_from_directory(the_set(out)).as_dataset(split="train")
  return {"image": np.stack([one["image"] for one in dataset.as_numpy_iterator()])}


def test_damaged_sources(tmp_path, monkeypatch, capsys):
  source, out = tmp_path / "source", tmp_path / "out"
  write_gqn(source, {"train/1-of-2": 4, "train/2-of-2": 2, "test/1-of-1": 2})
  words = ("gqn", "--source", source, "--out", out)
  path = source / "rooms_ring_camera" / "test" / "1-of-1.tfrecord"
  with tf.io.TFRecordWriter(str(path)) as writer:
    writer.write(example(frames=[b"no jpeg"] * 10))
    writer.write(example(frames=[tf.io.encode_jpeg(np.zeros((64, 64, 3), np.uint8)).numpy()] * 10))
  assert run(monkeypatch, *words) == 1
  error = capsys.readouterr().err.splitlines()[-1]
  assert f"{path}: record 0" in error and "--on_corrupt=skip" in error and "config" not in error
  assert not list(out.glob("*/*/1.0.0"))
  assert run(monkeypatch, *words, "--on_corrupt", "skip") == 0
  assert (
    "test: 10 images in 1 files, 0.0 MiB, 1 damaged records left out" in capsys.readouterr().out
  )
  assert "1 damaged records left out" in data_pipelines.resolve(gqn_config(out)).description


def test_a_source_that_is_not_what_it_claims(gqn_root, tmp_path, monkeypatch, capsys):
  for words, status, what in (
    (("gqn", "--source", tmp_path / "nowhere"), 1, "--source .*nowhere does not exist; expected"),
    (("objects_room", "--source", gqn_root), 1, "has no objects_room_train.tfrecords"),
    (("gqn", "--source", gqn_root, "--variant", "jacko"), 2, 'Did you mean "jaco"'),
    (("gqn", "--source", gqn_root, "--protocol", "iodine"), 2, "gqn has no protocol"),
    (("gqn", "--source", gqn_root, "--image_size", "0"), 2, "at least 1"),
    (("gqn", "--source", gqn_root, "--splits", "train,tset"), 2, 'Did you mean "test"'),
    (("gqm", "--source", gqn_root), 2, "data set is 'gqm'; allowed: apc, "),
  ):
    assert run(monkeypatch, *words, "--out", tmp_path / "out") == status
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and re.search(what, error), error
  assert not list((tmp_path / "out").rglob("prepared.json"))
  source = tmp_path / "source"
  write_gqn(source, {"train/1-of-2": 4, "train/2-of-2": 2, "test/1-of-1": 2})
  plan = preparation.plan(gqn_config(source), ("train", "val", "test"), None)
  write_gqn(source, {"train/1-of-2": 3})  # while it is being read
  with pytest.raises(data_pipelines.DataError, match="gave 30 images for the train split .* 40"):
    preparation.carry_out(plan, tmp_path / "out")


def test_a_full_disk_ends_with_one_line_and_leaves_what_is_whole(
  gqn_root, tmp_path, monkeypatch, capsys
):
  words = ("gqn", "--source", gqn_root, "--out", tmp_path, "--shard_images", 16)
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
  try:
    assert run(monkeypatch, *words) == 1
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  error = capsys.readouterr().err.splitlines()[-1]
  assert error.startswith("error: cannot write") and "File too large" in error
  assert run(monkeypatch, *words) == 0


def test_two_runs_at_once(gqn_root, tmp_path):
  plan = preparation.plan(gqn_config(gqn_root), ("train", "val", "test"), None)
  partial = tmp_path / "gqn" / "rooms_ring_camera_64px_nearest" / ".1.0.0.partial"
  partial.mkdir(parents=True)
  with preparation.only_one(partial):
    with pytest.raises(data_pipelines.DataError, match="another run is preparing"):
      preparation.carry_out(plan, tmp_path)
  assert preparation.carry_out(plan, tmp_path)[2]


def test_a_stand_in_stays_one(gqn_root, tmp_path, monkeypatch, capsys):
  source = copy(gqn_root, tmp_path / "source")
  notes = dict(what="rooms", num_scenes=16, image_size=64)
  (source / "rooms_ring_camera" / "STAND_IN.json").write_text(json.dumps(notes))
  out = tmp_path / "data" / "prepared"
  assert run(monkeypatch, "gqn", "--source", source, "--out", out, "--limit", 5) == 0
  assert "RENDERED STAND-IN" in capsys.readouterr().out
  found = data_pipelines.resolve(gqn_config(out, limit=5))
  assert found.stand_in and "RENDERED STAND-IN, not the published images" in found.description
  assert read_card(the_set(out)).stand_in == notes
  # Where no data_dir says that it is wanted, it is the last resort.
  monkeypatch.chdir(tmp_path)
  config = gqn_config(out, limit=5)
  config.data_dir = None
  found = data_pipelines.resolve(config)
  assert found.stand_in and found.root == the_set("data/prepared")
  copy(gqn_root / "rooms_ring_camera", Path("data/rooms_ring_camera").absolute())
  found = data_pipelines.resolve(config)
  assert not found.stand_in and found.root == Path("data/rooms_ring_camera")


def test_prepared_sets_come_first_where_they_fit(gqn_root, gqn_set, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  copy(gqn_set, Path("data").absolute())
  config = gqn_config("")
  config.data_dir = None
  prepared = data_pipelines.resolve(config)
  assert prepared.root == Path("data/gqn/rooms_ring_camera_64px_nearest/1.0.0")
  assert not prepared.stand_in and prepared.num_files == {"train": 3, "val": 2, "test": 2}
  # Another size: the published files are read if they are there, else it is said what differs.
  config.image_size = 32
  with pytest.raises(data_pipelines.DataError, match="image_size is 64, wanted 32") as info:
    data_pipelines.resolve(config)
  assert "--image_size 32" in str(info.value) and "\n" not in str(info.value)
  assert not Path("data/stand_ins").exists()
  copy(gqn_root / "rooms_ring_camera", Path("data/gqn/rooms_ring_camera").absolute())
  assert data_pipelines.resolve(config).root == Path("data/gqn/rooms_ring_camera")
  assert read(config, "test")["image"].shape == (40, 32, 32, 3)


@pytest.mark.parametrize(
  "name, changes, what",
  [
    ("gqn", dict(variant="jaco"), "variant is rooms_ring_camera, wanted jaco"),
    ("gqn", dict(resize="area"), "resize is nearest, wanted area"),
    ("apc", {}, "dataset is gqn, wanted apc"),
  ],
)
def test_what_does_not_fit_is_named(gqn_set, name, changes, what):
  config = settings(name, data_dir=str(the_set(gqn_set)), **changes)
  with pytest.raises(data_pipelines.DataError, match=what):
    data_pipelines.resolve(config)


@pytest.mark.slow
def test_order_resume_and_shards_are_as_elsewhere(gqn_set):
  config = gqn_config(gqn_set, limit=70)

  def draw(num, **arguments):
    arguments = dict(split="train", batch_size=8, seed=3) | arguments
    batches = data_pipelines.batches(config, **arguments)
    return [batch["image"] for batch, _ in zip(batches, range(num), strict=False)]

  first = draw(20)
  assert len({image.tobytes() for image in np.concatenate(first[:8])}) > 60
  assert not np.array_equal(first[0], draw(1, seed=4)[0])
  for on_corrupt in ("error", "skip"):
    config.on_corrupt = on_corrupt
    np.testing.assert_array_equal(draw(6, first_batch=14), first[14:])
  halves = [draw(3, shard_index=i, shard_count=2) for i in range(2)]
  for i in range(3):
    np.testing.assert_array_equal(np.concatenate([halves[0][i], halves[1][i]]), first[i])


def damage_shard(gqn_set, tmp_path, change):
  root = the_set(copy(gqn_set, tmp_path / "copy"))
  path = sorted(root.glob("gqn-test*"))[0]
  change(path)
  return path, gqn_config(root)


def test_half_a_shard(gqn_set, tmp_path):
  path, config = damage_shard(
    gqn_set, tmp_path, lambda path: os.truncate(path, path.stat().st_size // 2)
  )
  with pytest.raises(data_pipelines.DataError, match=rf"{path}: record \d+ .*ends inside"):
    read(config, "test")
  config.on_corrupt = "skip"
  stream = data_pipelines.batches(config, split="test", batch_size=8, epochs=1)
  assert 8 + 10 < sum(len(batch["image"]) for batch in stream) < 8 + 22  # of 8 + 32
  assert stream.num_corrupt == 1


def test_a_shard_cut_between_records_and_one_that_is_gone(gqn_set, tmp_path):
  def keep_three(path):
    records = list(tf.data.TFRecordDataset(str(path)).take(3).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(path)) as writer:
      for record in records:
        writer.write(record)

  path, config = damage_shard(gqn_set, tmp_path, keep_three)
  with pytest.raises(data_pipelines.DataError, match=f"{path} has 3 records, 32 were prepared"):
    read(config, "test")
  config.on_corrupt = "skip"
  assert len(read(config, "test")["image"]) == 3 + 8
  path.unlink()
  with pytest.raises(data_pipelines.DataError, match=f"{path} is missing"):
    read(config, "test")


def test_records_that_lie_about_their_images(gqn_set, tmp_path):
  bomb = Image.new("RGB", (5000, 5000))
  bomb.save(tmp_path / "bomb.png")

  def replace(path):
    with tf.io.TFRecordWriter(str(path)) as writer:
      writer.write(example(image=[(tmp_path / "bomb.png").read_bytes()]))

  path, config = damage_shard(gqn_set, tmp_path, replace)
  config.on_corrupt = "skip"
  stream = data_pipelines.batches(config, split="test", batch_size=8, epochs=1)
  assert sum(len(batch["image"]) for batch in stream) == 8 and stream.num_corrupt == 1
  (path.parent / "prepared.json").write_text("{}")
  with pytest.raises(data_pipelines.DataError, match="is not the card of a prepared set"):
    data_pipelines.resolve(config)
