"""A data set that a configuration brings along: found, rendered, read, drawn from, prepared."""

import pathlib
import shutil

import numpy as np
import pytest

import data_pipelines
from configs.loading import load_config
from configs.settings import settings
from data_pipelines import DataError, datasets, generate, inspect, prepare
from data_pipelines.datasets import inventory

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "own_data.py"
TENTH = 3


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  """Squares, rendered by the program, as somebody's own files: without notes on what they are."""
  out = tmp_path_factory.mktemp("squares")
  assert generate.main([str(EXAMPLE), "--out", str(out), "--num", str(10 * TENTH)]) == 0
  (out / "STAND_IN.json").unlink()
  return out


def config_of(data_dir, **changes):
  return settings(str(EXAMPLE), data_dir=data_dir and str(data_dir), **changes)


def all_of(config, split="train"):
  (batch,) = data_pipelines.batches(config, split=split, batch_size=100, epochs=1)
  return batch


def test_its_images_and_instances_are_read(files):
  config = config_of(files)
  source = data_pipelines.resolve(config)
  assert source.name == "squares" and source.root == files and not source.stand_in
  sizes = {split: data_pipelines.num_examples(config, split) for split in ("train", "val", "test")}
  assert sizes == {"train": 8 * TENTH, "val": TENTH, "test": TENTH}
  pixels = np.fromfile(files / "val.rgbi", np.uint8).reshape(-1, 32, 32, 4)
  batch = all_of(config, "val")
  np.testing.assert_array_equal(batch["image"], pixels[..., :3])
  np.testing.assert_array_equal(batch["instances"], pixels[..., 3])
  half = all_of(config_of(files, image_size=16), "val")
  np.testing.assert_array_equal(half["instances"], pixels[:, ::2, ::2, 3])


def test_samples_are_drawn_and_files_noticed(files, tmp_path):
  drawn = data_pipelines.sample(config_of(files), "train", 5, seed=1, batch_size=5)
  assert drawn.words() == "5 of 24 train images, drawn at random (seed 1)"
  (batch,) = drawn
  read = np.fromfile(files / "train.rgbi", np.uint8).reshape(-1, 32, 32, 4)
  np.testing.assert_array_equal(batch["image"], read[batch["index"], ..., :3])
  mine = shutil.copytree(files, tmp_path / "mine")
  before = inventory.condensed(inventory.taken(data_pipelines.resolve(config_of(mine))))
  (mine / "val.rgbi").unlink()
  after = inventory.taken(data_pipelines.resolve(config_of(mine)))
  assert inventory.difference(before, after) == "1 missing (val.rgbi)"


def test_a_stand_in_takes_the_place_of_files(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  source = data_pipelines.resolve(config_of(None, standin_scenes=10))
  assert source.stand_in and source.root.parent == pathlib.Path("data/stand_ins")
  pathlib.Path("data/squares").mkdir()
  shutil.copy(source.root / "train.rgbi", "data/squares")
  assert data_pipelines.resolve(config_of(None)).root == pathlib.Path("data/squares")


def test_it_is_inspected(files, capsys):
  words = [f"--config={EXAMPLE}", f"--config.data.data_dir={files}"]
  assert inspect.main(words) == 0
  out = capsys.readouterr().out
  assert out.startswith("squares: files for train, val, test in ") and "uint8 32x32x3" in out
  assert "with 1 instance" in out


def test_it_is_prepared_and_read_again(files, tmp_path, capsys):
  words = [str(EXAMPLE), "--source", str(files), "--out", str(tmp_path)]
  assert prepare.main(words) == 0
  assert f"--config={EXAMPLE} --config.data.data_dir={tmp_path}" in capsys.readouterr().out
  prepared = config_of(tmp_path)
  assert "prepared set of 24 train, 3 val, 3 test" in data_pipelines.resolve(prepared).description
  expected = all_of(config_of(files), "test")
  for name, values in all_of(prepared, "test").items():
    np.testing.assert_array_equal(values, expected[name])
  # A field of its own tells prepared sets apart.
  with prepared.unlocked():
    prepared.shade = 2
  with pytest.raises(DataError, match="shade is None, wanted 2; .*own_data.py --source DIR"):
    data_pipelines.resolve(prepared)


@pytest.mark.parametrize(
  "content, message",
  [
    (None, "data.module is .*mine.py.* must name the Python file"),
    ("find = describe = None", "mine.py has no split_records"),
  ],
)
def test_what_is_no_reader_is_named(tmp_path, content, message):
  if content:
    (tmp_path / "mine.py").write_text(content)
  config = config_of(tmp_path, module=str(tmp_path / "mine.py"))
  with pytest.raises(ValueError, match=message):
    data_pipelines.resolve(config)


def test_a_file_that_moved_is_found_by_its_name(files, tmp_path, monkeypatch):
  """As a model's is: runs remember where it was."""
  shutil.copy(EXAMPLE, tmp_path / "moved.py")
  monkeypatch.syspath_prepend(tmp_path)
  source = data_pipelines.resolve(config_of(files, module="/was/here/moved.py"))
  assert source.name == "squares" and source.root == files


def test_a_reader_without_stand_in_says_what_is_missing(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  pathlib.Path("mine.py").write_text("def find(folder, config): pass\ndescribe = split_records = 0")
  with pytest.raises(DataError, match="no squares data given, and no stand-in; set --config"):
    data_pipelines.resolve(config_of(None, module="mine.py"))
  with pytest.raises(DataError, match="has no files of squares; name the folder"):
    data_pipelines.resolve(config_of(tmp_path, module="mine.py"))


def test_its_settings_are_part_of_a_configuration():
  config = load_config(str(EXAMPLE), ["--config.data.limit=4"])
  assert config.model.image_size == 32 and config.model.num_slots == 4
  assert datasets.reader(config.data).SIDE == 32
