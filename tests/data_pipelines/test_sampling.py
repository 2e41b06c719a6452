"""Images drawn for scores: which they are, for every reader, and that no others are decoded."""

import shutil

import feature_runs
import image_trees
import numpy as np
import pytest
from conftest import TEST_IMAGES, VIEWS

import data_pipelines
from configs import datasets
from data_pipelines import prepare, sampling
from data_pipelines.reading import records, tfrecords

BATCH = 4


def config_of(name, root, **changes):
  config = getattr(datasets, name)()
  config.image_size = 32
  config.update(dict(data_dir=root and str(root)) | changes)
  return config


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
  root = tmp_path_factory.mktemp("tree")
  for number in range(30):
    split = "test" if number < 28 else ("train", "val")[number % 2]
    image_trees.save(root / split / f"{number:03d}.png", image_trees.picture(number, 32, 32))
  return root


@pytest.fixture(scope="module")
def tetrominoes(tmp_path_factory):
  root = tmp_path_factory.mktemp("tetrominoes")
  feature_runs.write_tetrominoes(root)
  return root


KINDS = ("records", "gzip", "by number", "generator")


@pytest.fixture
def config(request, gqn_root, tetrominoes, tree):
  """A configuration whose test split has some 40 images, by the kind of its reader."""
  if request.param == "records":
    return config_of("gqn", gqn_root)
  if request.param == "gzip":
    return config_of("tetrominoes", tetrominoes, num_test=feature_runs.NUM_TEST, num_val=3)
  if request.param == "by number":
    return config_of("image_folder", tree)
  return config_of("multi_dsprites", None, source="generator", num_test=30)


def whole(config, split="test"):
  """All images of a split in its order."""
  parts = list(data_pipelines.batches(config, split=split, batch_size=16, epochs=1))
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def drawn(config, num_images, split="test", **options):
  """A sample's batches, joined."""
  parts = list(data_pipelines.sample(config, split, num_images, **{"batch_size": BATCH} | options))
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_an_order_is_a_permutation_in_which_scenes_take_turns():
  order = sampling.order(1003, seed=3, scene=10)
  assert sorted(order) == list(range(1003))
  assert len(set(order[:101] // 10)) == 101  # each of 101 scenes, before any comes again
  assert len(set(order[:101] % 10)) == 10  # not always the same view
  assert max(np.unique(order[:303] // 10, return_counts=True)[1]) <= 4  # the last scene has three
  assert (sampling.order(1003, 3, 10) == order).all() != (
    sampling.order(1003, 4, 10) == order
  ).all()
  # At random from all of it: neither the beginning nor the end is preferred.
  places = np.concatenate([sampling.order(1000, seed)[:50] for seed in range(20)])
  np.testing.assert_allclose(np.histogram(places, 4, (0, 1000))[0], 250, atol=60)


@pytest.mark.parametrize("config", KINDS, indirect=True)
def test_drawn_images_are_those_of_the_split(config):
  everything = whole(config)
  total = len(everything["image"])
  sample = data_pipelines.sample(config, "test", 9, seed=1, batch_size=BATCH)
  assert (sample.total, sample.num_images, sample.num_corrupt) == (total, 9, 0)
  assert sample.words().startswith(f"9 of {total} test images, drawn at random")
  assert [len(batch["image"]) for batch in sample] == [4, 4, 1]
  got = drawn(config, 9, seed=1)
  assert len(set(got["index"])) == 9 and (np.diff(got["index"]) > 0).all()
  assert got["index"].max() > 9  # not the first
  assert sorted(got["rank"]) == list(range(9))
  for name, values in everything.items():
    np.testing.assert_array_equal(got[name], values[got["index"]], name)
    assert got[name].dtype == values.dtype
  fewer, other = drawn(config, 5, seed=1), drawn(config, 9, seed=2)
  assert set(fewer["index"]) == set(got["index"][got["rank"] < 5])
  assert set(other["index"]) != set(got["index"])
  all_of_it = drawn(config, 1000)
  np.testing.assert_array_equal(all_of_it["index"], np.arange(total))
  np.testing.assert_array_equal(all_of_it["image"], everything["image"])


@pytest.mark.parametrize("config", KINDS, indirect=True)
def test_hosts_share_what_one_would_have(config):
  """Three shards of four rows; the last batch has one row, and so two shards have none."""
  one = drawn(config, 13, batch_size=12)
  parts = [list(data_pipelines.sample(config, "test", 13, batch_size=12, shard_index=i,
                                      shard_count=3)) for i in range(3)]  # fmt: skip
  assert [[len(batch["image"]) for batch in part] for part in parts] == [[4, 1], [4, 0], [4, 0]]
  for name, values in one.items():
    joined = np.concatenate([part[b][name] for b in (0, 1) for part in parts])
    np.testing.assert_array_equal(joined, values)


def test_a_scene_gives_one_view(gqn_root):
  config = config_of("gqn", gqn_root)
  scenes = TEST_IMAGES // VIEWS
  assert "one of a scene" in data_pipelines.sample(config, "test", scenes, batch_size=2).words()
  for seed in range(3):
    assert sorted(drawn(config, scenes, seed=seed)["index"] // VIEWS) == list(range(scenes))
  assert sorted(drawn(config, 2 * scenes)["index"] // VIEWS) == sorted(2 * list(range(scenes)))


def test_a_prepared_set_gives_the_same(gqn_root, tmp_path, monkeypatch):
  """The set keeps images alone, and yet the views of a scene are known."""
  config = config_of("gqn", gqn_root)
  words = ["gqn", f"--source={gqn_root}", f"--out={tmp_path}", "--image_size=32", "--splits=test"]
  monkeypatch.setattr("sys.argv", ["prepare", *words])
  prepare.main()
  there = config_of("gqn", tmp_path)
  source, prepared = drawn(config, 4, seed=5), drawn(there, 4, seed=5)
  assert "prepared set" in data_pipelines.resolve(there).description
  np.testing.assert_array_equal(prepared["index"], source["index"])
  np.testing.assert_array_equal(prepared["image"], source["image"])


@pytest.mark.parametrize("config", ["records", "gzip", "by number"], indirect=True)
def test_only_what_is_drawn_is_unpacked_and_decoded(config, monkeypatch):
  """Counted where encoded images are made from records, or loaded by number."""
  calls = []
  reader = data_pipelines.datasets.reader(config)
  split_records = reader.split_records

  def spying(*args):
    images = split_records(*args)
    field = "load" if hasattr(images, "load") else "unpack"
    inner = getattr(images, field)
    spy = lambda item: calls.append(1) or inner(item)  # noqa: E731
    return records.dataclasses.replace(images, **{field: spy})

  monkeypatch.setattr(reader, "split_records", spying)
  drawn(config, 3)
  assert len(calls) == 3


def test_of_scenes_without_end_each_seed_takes_others():
  config = config_of("multi_dsprites", None, source="generator")
  one, other = (drawn(config, 3, split="train", seed=seed) for seed in (0, 1))
  assert one["index"].tolist() == other["index"].tolist() == [0, 1, 2]
  assert (one["image"] != other["image"]).any()
  with pytest.raises(ValueError, match="has no end; say how many"):
    data_pipelines.sample(config, "train", None, batch_size=2)


def damage(path, number):
  """Flips a bit in the middle of a record of a tfrecord file."""
  frames, content = tfrecords.framing(path), bytearray(path.read_bytes())
  content[frames.offsets[number] + frames.lengths[number] // 2] ^= 1
  path.write_bytes(content)


def test_damaged_records_are_told_or_give_their_place_to_others(gqn_root, tmp_path):
  path = tmp_path / "rooms_ring_camera" / "test" / "1-of-1.tfrecord"
  path.parent.mkdir(parents=True)
  path.write_bytes((gqn_root / "rooms_ring_camera" / "test" / "1-of-1.tfrecord").read_bytes())
  damage(path, 2)
  with pytest.raises(data_pipelines.DataError, match=r"record 2 .*damaged: checksum of the data"):
    drawn(config_of("gqn", tmp_path), 4)
  skipping = config_of("gqn", tmp_path, on_corrupt="skip")
  sample = data_pipelines.sample(skipping, "test", 4, batch_size=3)
  batches = list(sample)
  index = np.concatenate([batch["index"] for batch in batches])
  assert [len(batch["image"]) for batch in batches] == [3, 1] and sample.num_corrupt == 1
  assert len(set(index)) == 4 and set(index // VIEWS) == {0, 1, 3}
  everything = whole(config_of("gqn", gqn_root))["image"]
  for batch in batches:
    np.testing.assert_array_equal(batch["image"], everything[batch["index"]])
  assert len(drawn(skipping, 1000)["index"]) == 30  # all there is


def test_a_damaged_picture_is_replaced(tree, tmp_path):
  root = shutil.copytree(tree, tmp_path / "tree")
  victim = drawn(config_of("image_folder", root), 3)["index"][1]
  path = root / "test" / f"{victim:03d}.png"
  path.write_bytes(path.read_bytes()[:60])
  config = config_of("image_folder", root, on_corrupt="skip")
  got = drawn(config, 3)
  assert len(got["index"]) == 3 and victim not in got["index"] and max(got["rank"]) == 3
  with pytest.raises(data_pipelines.DataError, match=path.name):
    drawn(config_of("image_folder", root), 3)


def test_mistakes(gqn_root):
  config = config_of("gqn", gqn_root)
  for words, options in (
    ("split is 'tset'", dict(split="tset")),
    ("cannot draw 0 images", dict(num_images=0)),
    ("seed -1", dict(seed=-1)),
    ("batch_size 3 is not a multiple of 2 shards", dict(batch_size=3, shard_count=2)),
    ("shard_index is 2", dict(shard_index=2, shard_count=2)),
  ):
    options = dict(split="test", num_images=3, batch_size=4) | options
    with pytest.raises(ValueError, match=words):
      data_pipelines.sample(config, options.pop("split"), options.pop("num_images"), **options)
