"""APC, on shelves written here as published."""

import random
import zipfile

import numpy as np
import pytest
from image_trees import make_config, picture, read, save
from PIL import Image

import data_pipelines
from data_pipelines import DataError
from data_pipelines.datasets.apc import reader as apc
from data_pipelines.reading import images as image_files

SCENES = [f"{place}/{item}/scene-{i:04d}" for place in ("shelf", "tote")
          for item in ("book", "duck-a", "duck") for i in range(4)]  # fmt: skip
EMPTY = "shelf/none/scene-empty"


def shelf_view(scene, frame):
  return picture([len(scene), ord(scene[0]), ord(scene[-1]), frame], 48, 64)


def shelf_mask(scene, frame):
  mask = np.zeros((48, 64), np.uint8)
  mask[frame + 8 : 40, 20 + int(scene[-1], 36) % 10 : 50] = 255
  return mask


def write_shelves(root, folder="training", frames=2):
  for scene in [*SCENES, EMPTY]:
    for frame in range(frames):
      name = f"frame-{frame:06d}"
      save(root / folder / scene / f"{name}.color.png", shelf_view(scene, frame))
      save(root / folder / scene / f"{name}.depth.png", shelf_view(scene, frame)[..., 0])
      if scene != EMPTY:
        save(root / folder / scene / "masks" / f"{name}.mask.png", shelf_mask(scene, frame))
  return root


@pytest.fixture(scope="module")
def shelves(tmp_path_factory):
  return write_shelves(tmp_path_factory.mktemp("shelves"))


def zipped(root, path, compression=zipfile.ZIP_DEFLATED):
  with zipfile.ZipFile(path, "w", compression) as archive:
    for file in sorted(root.rglob("*")):
      archive.write(file, file.relative_to(root))
  return path


def expected_scenes(split):
  """The published split, written down anew."""
  scenes = sorted(f"training/{scene}" for scene in [*SCENES, EMPTY])
  random.seed(0)
  random.shuffle(scenes)
  tenth = len(scenes) // 10
  parts = {"val": scenes[:tenth], "test": scenes[tenth : 2 * tenth], "train": scenes[2 * tenth :]}
  return sorted(parts[split])


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_shelves_are_split_and_resized_as_the_original_does(shelves, split):
  config = make_config("apc", shelves)
  images = apc.split_records(config, data_pipelines.resolve(config), split)
  features = [images.load(number) for number in range(images.num_images())]
  frames = [(scene.removeprefix("training/"), f) for scene in expected_scenes(split)
            for f in (0, 1)]  # fmt: skip
  for (image, ids), (scene, frame) in zip(features, frames, strict=True):
    resized = Image.fromarray(shelf_view(scene, frame)).resize((21, 16), Image.BILINEAR)
    expected = np.asarray(resized)[:, 2:18]  # a margin of 2.5 is rounded to even
    np.testing.assert_array_equal(np.frombuffer(image, np.uint8).reshape(16, 16, 3), expected)
    mask = Image.fromarray(shelf_mask(scene, frame)).resize((21, 16), Image.NEAREST)
    expected = np.asarray(mask)[:, 2:18] // 255 * (scene != EMPTY)
    np.testing.assert_array_equal(np.frombuffer(ids, np.int32).reshape(16, 16), expected)


def test_torchvision_would_crop_like_that():
  for width, left in ((170, 21), (21, 2), (17, 0), (19, 2), (16, 0)):
    image = Image.fromarray(np.arange(width, dtype=np.uint8)[None].repeat(16, 0))
    side = 128 if width == 170 else 16
    image = image.resize((width, side), Image.NEAREST)
    assert np.asarray(image_files.centre_cropped(image, side))[0, 0] == left
  assert image_files.shrunk_size(640, 480, 128) == (170, 128)
  assert image_files.shrunk_size(480, 640, 128) == (128, 170)


@pytest.mark.parametrize("height, width, size", [(480, 640, 128), (640, 480, 128), (90, 120, 64)])
def test_masks_take_the_pixels_that_pillow_takes(height, width, size):
  number = np.arange(height * width, dtype=np.int32).reshape(height, width)
  resized = Image.fromarray(number).resize(
    image_files.shrunk_size(width, height, size), Image.NEAREST
  )
  expected = np.asarray(image_files.centre_cropped(resized, size))
  np.testing.assert_array_equal(image_files.fitted_ids(number, size, "bilinear"), expected)


def test_an_empty_shelf_is_all_background(tmp_path):
  for i in range(10):
    save(tmp_path / f"training/a/{i}/scene-empty/frame-000000.color.png", shelf_view("a", i))
  batch = read(make_config("apc", tmp_path))
  assert batch["image"].any() and not batch["instances"].any() and len(batch["image"]) == 8


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_archive_gives_the_same_as_the_folder(shelves, tmp_path, compression):
  archive = zipped(shelves, tmp_path / "training.zip", compression)
  for place in (archive, tmp_path):
    packed, unpacked = (read(make_config("apc", root), seed=2) for root in (place, shelves))
    assert set(packed) == {"image", "instances"}
    for name in packed:
      np.testing.assert_array_equal(packed[name], unpacked[name])


def test_damage_in_the_archive_is_found(shelves, tmp_path):
  archive = zipped(shelves, tmp_path / "training.zip", zipfile.ZIP_STORED)
  data = bytearray(archive.read_bytes())
  with zipfile.ZipFile(archive) as opened:
    info = opened.getinfo(f"{expected_scenes('val')[0]}/frame-000001.color.png")
  data[info.header_offset + 200] ^= 1
  archive.write_bytes(data)
  with pytest.raises(DataError, match=r"training.zip: .*frame-000001.color.png .* checksum"):
    read(make_config("apc", tmp_path), "val")
  archive.write_bytes(data[: len(data) // 2])
  with pytest.raises(DataError, match="is no readable zip archive"):
    data_pipelines.resolve(make_config("apc", tmp_path))


def test_a_mask_of_another_size_is_named(tmp_path):
  write_shelves(tmp_path, frames=1)
  scene = tmp_path / next(s for s in expected_scenes("val") if EMPTY not in s)
  save(scene / "masks/frame-000000.mask.png", np.zeros((10, 12), np.uint8))
  with pytest.raises(DataError, match=r"color.png is damaged: its mask .* is 12x10 pixels instead"):
    read(make_config("apc", tmp_path), "val")


def test_scenes_that_are_missing_are_an_error_with_a_cure(tmp_path):
  with pytest.raises(DataError, match=r"has no scenes; expected training/\*/\*/scene"):
    data_pipelines.resolve(make_config("apc", tmp_path))
  with pytest.raises(DataError, match="does not exist"):
    data_pipelines.resolve(make_config("apc", tmp_path / "nowhere"))
  save(tmp_path / "training/a/b/scene-1/frame-0.color.png", shelf_view("a", 0))
  with pytest.raises(DataError, match="the test split is empty: it gets 0 of the 1 scenes"):
    read(make_config("apc", tmp_path), "test")


@pytest.mark.slow
def test_rendered_shelves_are_in_the_published_format(tmp_path, monkeypatch):
  from data_pipelines.datasets.apc import stand_in as standins

  monkeypatch.setattr(standins, "FRAMES", 2)
  monkeypatch.setattr(standins, "RENDERED_WIDTH", 64)
  monkeypatch.setattr(standins, "MIN_IMAGES", 20)
  root = standins.write(tmp_path / "apc", variant="default", num_scenes=60, seed=2)
  frames = sorted(root.glob("training/*/*/scene-*/frame-*.color.png"))
  masks = sorted(root.glob("training/*/*/scene-*/masks/frame-*.mask.png"))
  empty = sorted(root.glob("training/*/*/scene-empty/*.png"))
  assert len(frames) == 60 and len(masks) == 60 - len(empty) and len(empty) > 0
  for path in (frames[0], masks[0]):
    with Image.open(path) as image:
      assert image.size == (640, 480)
  assert set(np.unique(np.asarray(Image.open(masks[0])))) == {0, 255}
  config = make_config("apc", root, image_size=128)
  assert data_pipelines.resolve(config).stand_in
  assert [len(read(config, split)["image"]) for split in ("train", "val", "test")] == [48, 6, 6]
