"""Every data set rendered by the program, read as published, prepared, and read again."""

import inspect
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

import data_pipelines
from configs.settings import settings
from data_pipelines import datasets, generate
from data_pipelines.prepared import writer as preparation
from data_pipelines.prepared.card import CARD_FILE

# Images, or scenes of gqn. Others take long to render, or are in files such as these; their writers
# have tests of their own.
NUM = {"gqn": 3, "multi_dsprites": 10, "tetrominoes": 10, "image_folder": 10}
WITHOUT_STAND_IN = ("tfds", "hdf5")  # which are formats, and no one set
LABELS = {
  "tetrominoes": {"x": (4,), "y": (4,), "shape": (4,), "visibility": (4,), "color": (4, 3)},
}


def run(monkeypatch, *words):
  """The program, in this process; returns its exit status."""
  monkeypatch.setattr(sys, "argv", ["generate", *map(str, words)])
  try:
    return generate.main()
  except SystemExit as error:
    return error.code


def read(config, split):
  """All images of a split, in one dict of arrays."""
  parts = list(data_pipelines.batches(config, split=split, batch_size=16, epochs=1))
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_all_data_sets_can_be_rendered():
  for name in data_pipelines.DATASETS:
    config = settings(name)
    if (module := datasets.stand_in(config)) is None:
      assert name in WITHOUT_STAND_IN
      continue
    takes = set(inspect.signature(module.write).parameters)
    assert {"out_dir", "variant", "num_scenes", "seed"} <= takes, name
    assert ("dataset" in takes) == (data_pipelines.DATASETS[name] != name), name
    assert module.planned(config).arguments["num_scenes"] >= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", NUM)
def test_generate_read_prepare_read(name, tmp_path, monkeypatch, capsys):
  out = tmp_path / "rendered"
  assert run(monkeypatch, name, "--out", out, "--num", NUM[name], "--seed", 3) == 0
  printed = capsys.readouterr().out
  assert "RENDERED STAND-IN" in printed and f"experiment.py:genesis,{name} " in printed
  # Small, so that little is compiled and compared.
  fields = dict(image_size=16, limit=20)
  config = settings(name, data_dir=str(out), **fields)
  assert data_pipelines.resolve(config).stand_in
  expected = {split: read(config, split) for split in ("val", "test")}
  for split, batch in expected.items():
    assert f"{split}: " in printed and f"{split}: 0 images" not in printed
    assert batch["image"].shape[1:] == (16, 16, 3) and batch["instances"].dtype == np.int32
    assert batch["image"].std() > 5 and len(np.unique(batch["instances"])) > 1
    for label, shape in LABELS.get(name, {}).items():
      assert batch[label].shape == (len(batch["image"]), *shape)
  plan = preparation.plan(config, ("train", "val", "test"), 8)
  card, root, _ = preparation.carry_out(plan, tmp_path / "prepared")
  config.data_dir = str(tmp_path / "prepared")
  source = data_pipelines.resolve(config)
  assert source.stand_in and source.root == root and card.stand_in
  for split, batch in expected.items():
    found = read(config, split)
    assert found.keys() == batch.keys()
    for feature in batch:
      assert found[feature].dtype == batch[feature].dtype
      np.testing.assert_array_equal(found[feature], batch[feature])
  builder = tfds.builder_from_directory(root)
  (first,) = builder.as_dataset(split="test[:1]").as_numpy_iterator()
  np.testing.assert_array_equal(first["image"], expected["test"]["image"][0])


def test_a_seed_decides_the_scenes(tmp_path, monkeypatch):
  images = []
  for i, seed in enumerate((1, 1, 2)):
    out = tmp_path / str(i)
    assert run(monkeypatch, "multi_dsprites", "--out", out, "--num", 10, "--seed", seed) == 0
    images.append(read(settings("multi_dsprites", data_dir=str(out)), "train")["image"].sum())
  assert images[0] == images[1] != images[2]


@pytest.mark.parametrize(
  "words, status, what",
  [
    (("nothing", "--out", "x", "--num", "3"), 2, "data set is 'nothing'; allowed: apc, "),
    (("gqn", "--num", "3"), 2, "--out"),
    (("gqn", "--out", "x", "--num", "0"), 2, "0 is too small; it must be at least 1"),
    (("gqn", "--out", "x", "--num", "ten"), 2, "'ten' is not a whole number"),
    (("gqn", "--out", "x", "--num", "2"), 2, "--num is 2"),
    (("gqn", "--out", "x", "--num", "3", "--seed", 2**32), 2, "4294967296 is too large"),
    (("gqn", "--out", "x", "--num", "3", "--variant", "jacko"), 2, 'Did you mean "jaco"'),
  ],
)
def test_mistakes_are_one_line(words, status, what, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert run(monkeypatch, *words) == status
  error = capsys.readouterr().err.splitlines()
  assert len(error) == 1 and error[0].startswith("error: ") and what in error[0]
  assert not list(tmp_path.iterdir())


def test_what_is_there_is_left(tmp_path, monkeypatch, capsys):
  words = ("multi_dsprites", "--out", tmp_path, "--num", 10)
  assert run(monkeypatch, *words) == 0
  capsys.readouterr()
  assert run(monkeypatch, *words) == 1
  assert "has rendered scenes already; remove it or choose another" in capsys.readouterr().err
  assert run(monkeypatch, *words, "--variant", "unique") == 0
  mine = tmp_path / "mine" / "default"
  mine.mkdir(parents=True)
  (mine / "thesis.txt").write_text("")
  assert run(monkeypatch, "multi_dsprites", "--out", tmp_path / "mine", "--num", 10) == 1
  assert "exists and is not a stand-in" in capsys.readouterr().err
  assert [path.name for path in mine.iterdir()] == ["thesis.txt"]
  assert not list(tmp_path.rglob(CARD_FILE))
