"""Probes: relations put into features by hand are found, guesses are what they should be."""

import itertools
import json
import os
import re

import numpy as np
import pytest

from experiments import probe
from experiments.console.errors import UserError
from experiments.features import probes
from experiments.features.files import FeatureFolder, Writer

KINDS = {"features": "features", "instances": "instances", "segments": "segments"}


def write(path, arrays, split="test", weights="a", shards=2) -> FeatureFolder:
  """A folder of features with these arrays."""
  index = dict(
    run={"step": 7, "weights_sha256": weights, "model": {"name": "genesis"}},
    data={"split": split, "description": "numbers made by a test"},
    noise_seed=0,
    stand_in=False,
    workdir="runs/a",
    arrays={name: {"kind": KINDS.get(name, "other"), "what": name} for name in arrays},
  )
  with Writer(path, index) as writer:
    bounds = np.linspace(0, len(next(iter(arrays.values()))), shards + 1).astype(int)
    for begin, end in itertools.pairwise(bounds):
      writer.add({name: array[begin:end] for name, array in arrays.items()})
      writer._write_shard()
  return FeatureFolder(path)


def scenes(num=400, seed=0) -> dict[str, np.ndarray]:
  """Features of images, and labels that depend on them in known ways."""
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(num, 6)).astype(np.float32)
  weights = np.arange(1.0, 7.0)
  return {
    "features": x * np.float32([1, 1, 1, 1, 100, 0.01]) + np.float32(3),
    "label_line": (x @ weights).astype(np.float32),
    "label_side": (x @ weights > 0).astype(np.int32),
    "label_corner": ((x[:, 0] > 0) ^ (x[:, 1] > 0)).astype(np.int32),
    "label_noise": (rng.random(num) < 0.7).astype(np.int32),
    "label_constant": np.ones(num, np.int32),
    "label_shape": rng.integers(0, 3, (num, 2)).astype(np.float32),
  }


@pytest.fixture(scope="module")
def scene_folder(tmp_path_factory):
  return write(tmp_path_factory.mktemp("scenes") / "f", scenes())


def scores(folder, target, seed=0, kinds=probes.PROBES):
  examples = probes.scene_examples(folder, target)
  return dict(probes.compare(*probes.split(examples, seed), seed, kinds))


def test_linear_relations_are_recovered(scene_folder):
  assert scores(scene_folder, "line")["linear"].score > 0.9999
  assert scores(scene_folder, "line")["mlp"].score > 0.9
  assert scores(scene_folder, "side", kinds=["linear"])["linear"].score > 0.97


def test_only_an_mlp_reads_what_is_not_linear(scene_folder):
  got = scores(scene_folder, "corner")
  assert got["linear"].score < 0.65 and got["mlp"].score > 0.8


def test_what_is_not_there_is_not_found(scene_folder):
  got = scores(scene_folder, "noise")
  for name in probes.PROBES:
    assert got[name].score < got["baseline"].score + 0.05


def test_baselines_are_majority_and_mean(scene_folder):
  train, test = probes.split(probes.scene_examples(scene_folder, "noise"), 3)
  majority = int(train.values.mean() > 0.5)
  got = dict(probes.compare(train, test, 3, ()))
  assert got["baseline"].score == pytest.approx((test.values == majority).mean())
  train, test = probes.split(probes.scene_examples(scene_folder, "line"), 3)
  wrong = ((test.values - train.values.mean()) ** 2).sum()
  expected = 1 - wrong / ((test.values - test.values.mean()) ** 2).sum()
  assert dict(probes.compare(train, test, 3, ()))["baseline"].score == pytest.approx(expected)


def test_ridge_is_least_squares_where_nothing_needs_shrinking(scene_folder):
  """R² on other images, against numpy's solution."""
  train, test = probes.split(probes.scene_examples(scene_folder, "noise"), 0)
  train, test = (part._replace(values=part.values.astype(np.float64)) for part in (train, test))
  design = [np.c_[part.inputs, np.ones(len(part.inputs))] for part in (train, test)]
  predicted = design[1] @ np.linalg.lstsq(design[0], train.values, rcond=None)[0]
  spread = ((test.values - test.values.mean()) ** 2).sum()
  expected = 1 - ((test.values - predicted) ** 2).sum() / spread
  got = dict(probes.compare(train, test, 0, ["linear"]))["linear"].score
  assert got == pytest.approx(expected, abs=0.03)


def test_splits_share_no_image_and_depend_on_the_seed(scene_folder):
  examples = probes.scene_examples(scene_folder, "side")
  objects = examples._replace(images=examples.images // 3)
  train, test = probes.split(objects, 0)
  assert not set(train.images) & set(test.images)
  assert len(train.values) + len(test.values) == len(objects.values)
  assert 0.15 < len(test.values) / len(objects.values) < 0.25
  assert set(test.images) != set(probes.split(objects, 1)[1].images)
  assert len(np.unique(probes.subset(train, 20, 0).images)) == 20


def test_rare_classes_are_not_learnt_but_tested(scene_folder):
  examples = probes.scene_examples(scene_folder, "side")
  values = examples.values.copy()
  values[:2], values[300] = 5, 6
  train = examples._replace(values=values)
  got = dict(probes.compare(*(probes._rows(train, np.arange(400) % 2 == i) for i in (0, 1)), 0))
  assert 0.8 < got["mlp"].score < 1 and 0.9 < got["linear"].score < 1


# Slots and objects.


def objects(num=60, slots=5, seed=0) -> dict[str, np.ndarray]:
  """Squares, each in a slot of its own but for one that no slot has; slots are shuffled."""
  rng = np.random.default_rng(seed)
  instances = np.zeros((num, 16, 16), np.int32)
  shape = rng.integers(1, 4, (num, 4)).astype(np.float32)
  color = rng.random((num, 4, 3)).astype(np.float32)
  order = np.stack([rng.permutation(slots) for _ in range(num)])
  segments = np.repeat(order[:, :1], 256, 1).reshape(num, 16, 16).astype(np.uint8)
  latents = rng.normal(size=(num, slots, 8)).astype(np.float32)
  for i, entity in itertools.product(range(num), range(1, 4)):
    corner = 5 * (entity - 1)
    square = np.s_[i, corner : corner + 4, 2 + i % 9 : 7 + i % 9]
    instances[square] = entity + 1
    segments[square] = order[i, entity]
    latents[i, order[i, entity], :4] = np.eye(4)[int(shape[i, entity])]
    latents[i, order[i, entity], 4:7] = color[i, entity]
  return {
    "features": latents.reshape(num, -1),
    "latent_mask_mean": latents[..., :2],
    "latent_component_mean": latents[..., 2:],
    "latent_mask_sample": latents[..., :1] * 0,
    "instances": instances,
    "segments": segments,
    "label_shape": shape,
    "label_color": color,
    "order": order,
  }


@pytest.fixture(scope="module")
def object_arrays():
  return objects()


@pytest.fixture(scope="module")
def object_folder(tmp_path_factory, object_arrays):
  return write(tmp_path_factory.mktemp("objects") / "f", object_arrays)


def test_permuted_slots_are_found(object_arrays):
  order = object_arrays["order"]
  pairs, seen = probes.match(object_arrays["instances"], object_arrays["segments"])
  assert seen == 3 * len(order) == len(pairs.index)
  for image, entity, slot in pairs.index:
    assert slot == order[image, entity]
  np.testing.assert_array_equal(pairs.iou, 1)


def brute_force(instances, segments) -> float:
  """Largest sum of IoUs of all one-to-one assignments of objects to slots."""
  ids, slots = [i for i in np.unique(instances) if i > 0], range(4)
  counted = instances >= 0
  best = 0.0
  for chosen in itertools.permutations(slots, len(ids)):
    pairs = [(instances == i, (segments == k) & counted) for i, k in zip(ids, chosen, strict=True)]
    best = max(best, sum((a & b).sum() / (a | b).sum() for a, b in pairs))
  return best


def test_matching_is_the_best_of_all(object_arrays):
  rng = np.random.default_rng(0)
  instances = rng.integers(-1, 4, (12, 5, 5)).astype(np.int32)
  instances[0], instances[1] = 0, 3  # no object; nothing but one
  segments = rng.integers(0, 4, (12, 5, 5)).astype(np.uint8)
  pairs, seen = probes.match(instances, segments)
  assert seen == sum(len(set(np.unique(x)) - {-1, 0}) for x in instances)
  for i in range(12):
    mine = pairs.index[:, 0] == i
    assert len(set(pairs.index[mine, 2])) == mine.sum()
    assert pairs.iou[mine].sum() == pytest.approx(brute_force(instances[i], segments[i]))


def test_objects_are_read_from_their_own_slots(object_folder, object_arrays):
  examples = probes.slot_examples(object_folder, "shape")
  order, shape = object_arrays["order"], object_arrays["label_shape"]
  assert examples.inputs.shape == (3 * len(order), 8) and examples.are_classes
  assert examples.matching == {"objects": 180, "matched": 180, "mean_iou": 1.0}
  np.testing.assert_array_equal(examples.inputs[:, :4].argmax(1), examples.values)
  np.testing.assert_array_equal(np.sort(examples.values), np.sort(shape[:, 1:].ravel()))
  got = dict(probes.compare(*probes.split(examples, 0), 0, ["linear"]))
  assert got["linear"].score == 1 > got["baseline"].score
  colors = probes.slot_examples(object_folder, "color")
  got = dict(probes.compare(*probes.split(colors, 0), 0, ["linear"]))["linear"]
  assert not colors.are_classes and len(got.columns) == 3 and min(got.columns) > 0.999


def test_centroids_are_means_of_pixels(object_folder, object_arrays):
  examples = probes.slot_examples(object_folder, "centroid")
  assert examples.values.shape == (180, 2)
  pairs, _ = probes.match(object_arrays["instances"], object_arrays["segments"])
  for (image, entity, _), value in zip(pairs.index, examples.values, strict=True):
    pixels = np.argwhere(object_arrays["instances"][image] == entity + 1)
    np.testing.assert_allclose(value, pixels.mean(0) / 7.5 - 1, atol=1e-9)


# Mistakes, and the program.


def test_mistakes_are_named(scene_folder, object_folder, object_arrays, tmp_path):
  with pytest.raises(UserError, match="'hue'.*of images: constant, corner.*of objects: shape"):
    probes.is_of_objects(scene_folder, "hue")
  with pytest.raises(UserError, match="all have the value 1: there is nothing to predict"):
    probes.scene_examples(scene_folder, "constant")
  with pytest.raises(UserError, match="has no instances: the data has no true masks"):
    probes.slot_examples(scene_folder, "shape")
  arrays = {name: x for name, x in object_arrays.items() if name != "segments"}
  with pytest.raises(UserError, match="has no segments: the model has no slots"):
    probes.slot_examples(write(tmp_path / "vae", arrays), "shape")
  arrays = object_arrays | {"latent_mask_mean": object_arrays["latent_mask_mean"] * np.nan}
  with pytest.raises(UserError, match="not finite"):
    probes.slot_examples(write(tmp_path / "nan", arrays), "shape")
  arrays = object_arrays | {"label_shape": object_arrays["label_shape"][:, :2]}
  with pytest.raises(UserError, match="values for 2 entities, but .* id 4"):
    probes.slot_examples(write(tmp_path / "few", arrays), "shape")
  examples = probes.scene_examples(scene_folder, "line")
  with pytest.raises(UserError, match="line: 12 examples to train on are too few, at least 20"):
    list(probes.compare(probes.subset(examples, 12, 0), examples, 0))


def test_program_reports_what_the_probes_say(scene_folder, tmp_path, capsys, monkeypatch):
  monkeypatch.setenv("JAX_PLATFORMS", os.environ.get("JAX_PLATFORMS", "cpu"))
  other = write(tmp_path / "train", scenes(300, seed=1), split="train")
  words = [f"--features={other.folder}"]
  words += [f"--test_features={scene_folder.folder}", "--target=side,line", "--probe=linear"]
  assert probe.main([*words, "--num_train=100", "--num_seeds=2"]) == 0
  said_by_program = capsys.readouterr().out
  content = json.loads((other.folder / "probe_side_line.json").read_text())
  assert content["num_seeds"] == 2 and content["features"]["run"]["step"] == 7
  train, test = (probes.scene_examples(folder, "side") for folder in (other, scene_folder))
  side, line = content["results"]
  assert (side["metric"], line["metric"]) == ("accuracy", "r2")
  assert side["num_train"] == 100 and side["num_test"] == 400
  got = [
    dict(probes.compare(probes.subset(train, 100, seed), test, seed, ["linear"]))["linear"].score
    for seed in range(2)
  ]
  said = side["scores"]["linear"]
  assert said["values"] == pytest.approx(got) and said["mean"] == pytest.approx(np.mean(got))
  assert said["std"] == pytest.approx(np.std(got, ddof=1)) and "mlp" not in side["scores"]
  row = next(row for row in said_by_program.splitlines() if row.startswith("side"))
  assert re.search(rf"images +100 +400 +accuracy .*\(majority\) +{np.mean(got):.3f} ± ", row)
  assert "held-out images" not in said_by_program and "STAND-IN" not in said_by_program


def test_mistakes_are_one_line(scene_folder, object_folder, tmp_path, capsys, monkeypatch):
  monkeypatch.setenv("JAX_PLATFORMS", os.environ.get("JAX_PLATFORMS", "cpu"))
  other = write(tmp_path / "other", scenes(seed=2), split="train", weights="b")
  mistakes = {
    "holds no features": dict(features=tmp_path / "absent"),
    "are of different models": dict(test_features=other.folder),
    "both of the test split of the same data": dict(test_features=scene_folder.folder),
    "no such label": dict(target="hue"),
    "is of whole images; choose mean": dict(
      features=object_folder.folder, target="shape", representation="features"
    ),
  }
  for words, options in mistakes.items():
    options = dict(features=scene_folder.folder, target="side") | options
    assert probe.main([f"--{name}={value}" for name, value in options.items()]) == 1
    error = capsys.readouterr().err
    assert re.search(f"^error: .*{words}", error) and error.count("\n") == 1, error
