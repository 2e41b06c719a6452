"""ShapeStacks, on trees written here as published."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from image_trees import make_config, picture, read, save
from PIL import Image

import data_pipelines
from data_pipelines import DataError

SAMPLES = os.environ.get("GENESIS_JAX_SAMPLES")  # folder of real files, not part of the project

SCENARIOS = {
  "train": ["env_ccs-hard-h=2-vcom=0-vpsf=0-v=1", "env_ccs-easy-h=6-vcom=3-vpsf=0-v=12"],
  "eval": ["env_blocks-easy-h=3-vcom=0-vpsf=2-v=7"],
  "test": ["env_blocks-hard-h=4-vcom=0-vpsf=0-v=120", "env_ccs-easy-h=5-vcom=1-vpsf=0-v=2"],
}
CAMERAS = (1, 2, 10)


def stack_view(scenario, camera):
  return picture([len(scenario), ord(scenario[-1]), camera], 224, 224)


def stack_ids(camera):
  rng = np.random.default_rng(camera)
  return np.kron(rng.integers(0, 8, (56, 56)), np.ones((4, 4), int)).astype(np.uint8)


def write_stacks(root, variant="default", absent=(), iseg=True):
  for split, scenarios in SCENARIOS.items():
    path = root / "splits" / variant / f"{split}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in scenarios))
    for name in set(scenarios) - set(absent):
      for camera in CAMERAS:
        view = f"w=0-f=0-l=0-c=original-cam_{camera}-mono-0"
        drawn = view.replace("w=0-f=0-l=0-c=original", "w=5-f=2-l=1-c=unique")
        save(root / "recordings" / name / f"rgb-{drawn}.png", stack_view(name, camera))
        (root / "recordings" / name / "rgb_log.txt").write_text("not an image")
        if iseg:  # grey with alpha in four channels, as matplotlib saves them
          grey = np.repeat(stack_ids(camera)[..., None] * 32, 4, -1)
          grey[..., 3] = 255
          save(root / "iseg" / name / f"iseg-{view}.map", grey)
  return root


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
  return write_stacks(tmp_path_factory.mktemp("stacks"))


def test_stacks_are_cropped_and_resized_as_the_original_does(stacks):
  batch = read(make_config("shapestacks", stacks, image_size=64), "test")
  views = [(name, f"cam_{c}") for name in SCENARIOS["test"] for c in (1, 10, 2)]  # sorted names
  assert batch["image"].shape == (len(views), 64, 64, 3) and batch["image"].dtype == np.uint8
  assert batch["instances"].dtype == np.int32
  for image, ids, (name, camera) in zip(batch["image"], batch["instances"], views, strict=True):
    number = int(camera[4:])
    crop = Image.fromarray(stack_view(name, number)[14:210, 14:210])
    np.testing.assert_array_equal(image, crop.resize((64, 64), Image.BILINEAR))
    rows = np.arange(64) * 196 // 64
    np.testing.assert_array_equal(ids, stack_ids(number)[14:210, 14:210][rows][:, rows])


def test_stacks_have_labels_from_their_names(stacks):
  config = make_config("shapestacks", stacks)
  batch = read(config, "test")
  assert batch["stable"].tolist() == [1, 1, 1, 0, 0, 0] and batch["stable"].dtype == np.int32
  assert batch["height"].tolist() == [4, 4, 4, 5, 5, 5] and batch["height"].dtype == np.int32
  assert read(config, "val")["stable"].tolist() == [0, 0, 0]  # its surface is at fault
  assert sorted(read(config)["height"].tolist()) == [2, 2, 2, 6, 6, 6]
  assert data_pipelines.num_examples(config, "val") == 3


def test_stacks_without_maps_have_no_instances(tmp_path):
  batch = read(make_config("shapestacks", write_stacks(tmp_path, iseg=False)))
  assert set(batch) == {"image", "stable", "height"}


def test_a_partial_download_of_stacks_is_read_and_said(tmp_path):
  root = write_stacks(tmp_path, absent=SCENARIOS["test"][1:])
  config = make_config("shapestacks", root)
  source = data_pipelines.resolve(config)
  assert "1 of 2 test scenarios" in source.description and not source.stand_in
  assert len(read(config, "test")["image"]) == len(CAMERAS)


@pytest.mark.parametrize("harm, message", [
  (lambda root: (root / "splits/default/eval.txt").unlink(), "no splits/default/eval.txt"),
  (lambda root: (root / "splits/default/test.txt").write_text("../../h=3\n"),
   "test.txt line 1: '../../h=3' is no name of a scenario"),
  (lambda root: (root / "recordings").rename(root / "old"), "has no folder recordings"),
])  # fmt: skip
def test_broken_trees_of_stacks_are_refused_in_one_line(tmp_path, harm, message):
  harm(write_stacks(tmp_path))
  with pytest.raises(DataError, match=message) as error:
    data_pipelines.resolve(make_config("shapestacks", tmp_path))
  assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_stacks_that_are_not_there_are_an_empty_split(tmp_path):
  root = write_stacks(tmp_path, absent=SCENARIOS["eval"])
  with pytest.raises(DataError, match="the val split is empty: .* its 1 scenarios"):
    read(make_config("shapestacks", root), "val")


def test_links_to_folders_are_followed(tmp_path):
  root, elsewhere = write_stacks(tmp_path / "stacks", iseg=False), tmp_path / "elsewhere"
  scenario = root / "recordings" / SCENARIOS["eval"][0]
  scenario.rename(elsewhere)
  scenario.symlink_to(elsewhere)
  assert len(read(make_config("shapestacks", root), "val")["image"])
  (tmp_path / "link").symlink_to(root)  # the folder itself may be one
  assert len(read(make_config("shapestacks", tmp_path / "link"), "test")["image"]) == 6


def test_a_missing_map_is_named_or_skipped(tmp_path):
  root = write_stacks(tmp_path)
  name = SCENARIOS["eval"][0]
  (root / "iseg" / name / "iseg-w=0-f=0-l=0-c=original-cam_2-mono-0.map").unlink()
  config = make_config("shapestacks", root)
  with pytest.raises(DataError, match=r"cam_2-mono-0.png is damaged: its map .* no such file"):
    read(config, "val")
  stream = data_pipelines.batches(make_config("shapestacks", root, on_corrupt="skip"),
                                  split="val", batch_size=4, epochs=1)  # fmt: skip
  assert [len(batch["image"]) for batch in stream] == [2] and stream.num_corrupt == 1


@pytest.mark.skipif(not SAMPLES, reason="GENESIS_JAX_SAMPLES names no folder of real files")
def test_real_recordings_of_stacks(tmp_path):
  (scenario,) = Path(SAMPLES, "shapestacks/recordings").iterdir()
  shutil.copytree(scenario.parent, tmp_path / "recordings")
  for split in ("train", "eval", "test"):
    path = tmp_path / "splits/default" / f"{split}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{scenario.name}\nenv_ccs-easy-h=2-vcom=0-vpsf=0-v=99\n")
  config = make_config("shapestacks", tmp_path, image_size=64)
  assert "1 of 2 train scenarios" in data_pipelines.resolve(config).description
  batch = read(config, "test")
  assert batch["height"].tolist() == [5, 5] and batch["stable"].tolist() == [0, 0]
  for image, path in zip(batch["image"], sorted(scenario.glob("*.png")), strict=True):
    crop = Image.open(path).convert("RGB").crop((14, 14, 210, 210))
    np.testing.assert_array_equal(image, crop.resize((64, 64), Image.BILINEAR))


@pytest.mark.slow
def test_rendered_stacks_are_in_the_published_format(tmp_path, monkeypatch):
  from data_pipelines.datasets.shapestacks import stand_in as standins

  monkeypatch.setattr(standins, "NUM_VIEWS", 2)
  monkeypatch.setattr(standins, "MIN_IMAGES", 6)
  root = standins.write(tmp_path / "stacks", variant="ccs_all", num_scenes=8, seed=1)
  lists = {split: (root / f"splits/ccs_all/{split}.txt").read_text().split()
           for split in ("train", "eval", "test")}  # fmt: skip
  assert [len(names) for names in lists.values()] == [2, 1, 1]
  config = make_config("shapestacks", root, variant="ccs_all", image_size=64)
  source = data_pipelines.resolve(config)
  assert source.stand_in and "RENDERED STAND-IN" in source.description
  batch = read(config, "val")
  assert set(batch) == {"image", "instances", "stable", "height"}
  assert f"h={batch['height'][0]}-" in lists["eval"][0]
  view = "w=0-f=0-l=0-c=original-cam_1-mono-0"
  with Image.open(root / "recordings" / lists["eval"][0] / f"rgb-{view}.png") as image:
    assert image.size == (224, 224) and image.mode == "RGB"
  grey = np.asarray(Image.open(root / "iseg" / lists["eval"][0] / f"iseg-{view}.map"))
  ids = set(range(batch["height"][0] + 1))
  assert set(np.unique(grey[..., 0])) == {32 * i for i in ids}
  assert set(np.unique(batch["instances"])) == ids
