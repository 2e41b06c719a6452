"""ShapeStacks, APC and folders of images, on trees that Pillow writes here as published."""

import io
import os
import random
import shutil
import zipfile
import zlib
from pathlib import Path

import ml_collections
import numpy as np
import pytest
from PIL import Image

import data_pipelines
from data_pipelines import DataError, apc, image_files, image_folder

SAMPLES = os.environ.get("GENESIS_JAX_SAMPLES")  # folder of real files, not part of the project


def make_config(name, root, **changes):
  fields = dict(name=name, variant="default", source="files", data_dir=root and str(root),
                image_size=16, resize="bilinear", on_corrupt="error", limit=0, shuffle_buffer=20,
                standin_scenes=10, num_val=10, num_test=10)  # fmt: skip
  return ml_collections.ConfigDict(fields | changes)


def read(config, split="train", **arguments):
  """All images of a split in one batch."""
  options = dict(split=split, batch_size=1000, epochs=1) | arguments
  (batch,) = data_pipelines.batches(config, **options)
  return batch


def save(path, array, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  image = array if isinstance(array, Image.Image) else Image.fromarray(array)
  image.save(path, **({"format": "PNG"} | options))


def picture(seed, height=20, width=20):
  """Blocks of random colours, which survive resizing better than noise."""
  small = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
  return np.kron(small, np.ones((4, 4, 1), np.uint8))


# ShapeStacks


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


def test_a_scenario_that_is_a_link_out_of_the_folder_is_not_followed(tmp_path):
  root, elsewhere = write_stacks(tmp_path / "stacks", iseg=False), tmp_path / "elsewhere"
  scenario = root / "recordings" / SCENARIOS["eval"][0]
  scenario.rename(elsewhere)
  scenario.symlink_to(elsewhere)
  with pytest.raises(DataError, match=r"cam_1-mono-0.png is damaged: it is a link out of"):
    read(make_config("shapestacks", root), "val")
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


# APC


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


# Folders of images


def write_folder(root, num=30, **options):
  for i in range(num):
    save(root / f"part{i % 3}" / f"{i:03d}.png", picture(i), **options)
  return root


def test_a_folder_is_divided_by_path_and_stays_so(tmp_path):
  def members(split):
    config = make_config("image_folder", tmp_path)
    splits = image_folder._splits(data_pipelines.resolve(config).root)
    return {pair.image for pair in splits[split]}

  write_folder(tmp_path, 100)
  before = {split: members(split) for split in ("train", "val", "test")}
  assert sum(map(len, before.values())) == 100 and len(set.union(*before.values())) == 100
  assert len(before["train"]) > 70 and min(map(len, before.values())) > 3
  write_folder(tmp_path, 160)
  for split, names in before.items():
    assert names < members(split)
    assert data_pipelines.num_examples(make_config("image_folder", tmp_path), split) == len(
      members(split)
    )


def test_folders_named_like_splits_are_the_splits(tmp_path):
  for i, split in enumerate(("train", "val", "test")):
    for j in range(i + 1):
      save(tmp_path / split / f"{j}.png", picture(j))
  config = make_config("image_folder", tmp_path)
  assert [len(read(config, split)["image"]) for split in ("train", "val", "test")] == [1, 2, 3]
  save(tmp_path / "stray.png", picture(0))
  with pytest.raises(
    DataError, match=r"stray.png and 0 more are in none of the folders train, val"
  ):
    data_pipelines.resolve(config)


def folder_of_one(root, array, name="x.png", mask=None, mask_name="x.mask.png", **options):
  save(root / "train" / name, array, **options)
  if mask is not None:
    save(root / "train" / mask_name, mask)
  return read(make_config("image_folder", root, image_size=8))


def test_pictures_of_any_shape_are_fitted(tmp_path):
  wide = picture(3, 16, 40)
  (image,) = folder_of_one(tmp_path, wide)["image"]
  expected = np.asarray(Image.fromarray(wide).resize((20, 8), Image.BILINEAR))[:, 6:14]
  np.testing.assert_array_equal(image, expected)


def test_jpegs_are_read(tmp_path):
  (image,) = folder_of_one(tmp_path, picture(1, 8, 8), "x.JPG", format="JPEG", quality=95)["image"]
  assert np.abs(image.astype(int) - picture(1, 8, 8)).mean() < 20


def test_transparent_parts_lie_on_black(tmp_path):
  array = np.full((8, 8, 4), 200, np.uint8)
  array[:, :4, 3], array[:, 4:, 3] = 0, 255
  (image,) = folder_of_one(tmp_path, array)["image"]
  assert (image[:, :4] == 0).all() and (image[:, 4:] == 200).all()


def test_sixteen_bits_keep_the_upper_ones(tmp_path):
  values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1024
  (image,) = folder_of_one(tmp_path, values)["image"]
  np.testing.assert_array_equal(image, np.repeat((values >> 8)[..., None], 3, -1))


def test_of_an_animation_the_first_picture_counts(tmp_path):
  first, second = (Image.fromarray(picture(i, 8, 8)) for i in (1, 2))
  (image,) = folder_of_one(tmp_path, first, save_all=True, append_images=[second])["image"]
  np.testing.assert_array_equal(image, first)


def test_an_orientation_that_a_camera_noted_is_heeded(tmp_path):
  array, exif = np.zeros((8, 8, 3), np.uint8), Image.Exif()
  array[:, :4], exif[0x0112] = 255, 6  # to be turned right by a quarter
  (image,) = folder_of_one(tmp_path, array, "x.jpg", format="JPEG", exif=exif)["image"]
  assert image[:2].mean() > 200 and image[6:].mean() < 50


MAP = np.array([[0, 0, 1, 1], [0, 2, 2, 1], [0, 2, 2, 0], [3, 3, 3, 0]]).repeat(2, 0).repeat(2, 1)


def palette_mask():
  image = Image.fromarray((MAP * 5).astype(np.uint8)).convert("P")
  image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
  return image


def color_mask(channels=3):
  colors = np.array([[0, 0, 0, 255], [0, 0, 9, 255], [0, 200, 0, 255], [255, 0, 0, 255]], np.uint8)
  return colors[MAP][..., :channels]


@pytest.mark.parametrize("mask", [
  lambda: (MAP * 80).astype(np.uint8), lambda: (MAP * 9000).astype(np.uint16), palette_mask,
  color_mask, lambda: color_mask(4),
], ids=["grey", "16 bits", "palette", "colors", "colors with alpha"])  # fmt: skip
def test_masks_of_all_kinds(tmp_path, mask):
  batch = folder_of_one(tmp_path, picture(0, 8, 8), mask=mask())
  assert batch["instances"].dtype == np.int32
  np.testing.assert_array_equal(batch["instances"][0], MAP)


@pytest.mark.parametrize("image, mask", [
  ("train/a/x.jpg", "train/a/x.mask.png"), ("train/a/x.jpg", "train/a/masks/x.png"),
  ("train/images/a/x.jpeg", "train/masks/a/x.png"), ("images/train/x.png", "masks/train/x.png"),
])  # fmt: skip
def test_where_masks_may_lie(tmp_path, image, mask):
  if not image.startswith("train"):
    tmp_path = tmp_path / "moved"
    image, mask = (f"train/{path}" for path in (image, mask))
  save(tmp_path / image, picture(0, 8, 8), format="JPEG" if "jp" in image else "PNG")
  save(tmp_path / mask, (MAP > 0).astype(np.uint8))
  batch = read(make_config("image_folder", tmp_path, image_size=8))
  np.testing.assert_array_equal(batch["instances"][0], MAP > 0)


def test_ids_lie_over_their_picture_when_resized(tmp_path):
  rng = np.random.default_rng(0)
  ids = np.kron(rng.integers(0, 4, (8, 12)), np.ones((8, 8), int)).astype(np.uint8)
  save(tmp_path / "train/x.png", ids * 60)
  save(tmp_path / "train/x.mask.png", ids)
  batch = read(make_config("image_folder", tmp_path, image_size=32))
  image, instances = batch["image"][0, ..., 0].astype(int), batch["instances"][0]
  shifts = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
  errors = {at: np.abs(image - 60 * np.roll(instances, at, (0, 1))).mean() for at in shifts}
  assert min(errors, key=errors.get) == (0, 0) and errors[0, 0] < 0.7 * errors[0, 1]


def png_header(width, height):
  """A PNG that promises more than it has."""
  buffer = io.BytesIO()
  Image.new("RGB", (1, 1)).save(buffer, "PNG")
  data = bytearray(buffer.getvalue())
  data[16:24] = width.to_bytes(4) + height.to_bytes(4)
  data[29:33] = zlib.crc32(data[12:29]).to_bytes(4)
  return bytes(data)


def cut(path):
  path.write_bytes(path.read_bytes()[:-60])


def flipped(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 255
  path.write_bytes(data)


@pytest.mark.parametrize("harm, message", [
  (cut, "cannot be decoded"), (flipped, "cannot be decoded"),
  (lambda path: path.write_bytes(b""), "no PNG or JPEG"),
  (lambda path: path.write_bytes(b"GIF89a" + bytes(40)), "no PNG or JPEG"),
  (lambda path: path.write_bytes(png_header(8200, 8200)), "8200x8200 pixels, more than"),
  (lambda path: path.write_bytes(png_header(60000, 60000)), "too large"),
], ids=["cut", "flipped", "empty", "gif", "large", "bomb"])  # fmt: skip
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_damaged_images_are_named_or_skipped(tmp_path, harm, message):
  for name in ("good", "bad"):
    save(tmp_path / "train" / f"{name}.png", picture(0))
  harm(tmp_path / "train" / "bad.png")
  with pytest.raises(DataError, match=rf"train/bad.png is damaged: .*{message}") as error:
    read(make_config("image_folder", tmp_path))
  assert "\n" not in str(error.value)
  assert len(read(make_config("image_folder", tmp_path, on_corrupt="skip"))["image"]) == 1


@pytest.mark.parametrize("mask, message", [
  (np.zeros((4, 4), np.uint8), "its mask train/x.mask.png is 4x4 pixels instead of 8x8"),
  ("jpeg", "its mask train/x.mask.png: it is a JPEG"),
])  # fmt: skip
def test_masks_that_do_not_fit_are_named(tmp_path, mask, message):
  save(tmp_path / "train/x.png", picture(0, 8, 8))
  if isinstance(mask, str):
    save(tmp_path / "train/x.mask.png", picture(0, 8, 8), format="JPEG")
  else:
    save(tmp_path / "train/x.mask.png", mask)
  with pytest.raises(DataError, match=message):
    read(make_config("image_folder", tmp_path))


def write_files(root, *names):
  for name in names:
    save(root / name, picture(0, 8, 8)[..., 0])


@pytest.mark.parametrize("names, message", [
  (["a.png", "b.mask.png"], "b.mask.png is a mask without an image; add b.png"),
  (["a.png", "a.mask.png", "masks/a.png"], "are masks of the same image"),
  (["a.png", "a.jpg", "a.mask.png"], "a.mask.png is a mask of .*; rename one"),
  (["notes.txt"], "has no images; put PNG or JPEG files there"),
  ([".hidden.png"], "has no images"),
])  # fmt: skip
def test_folders_that_make_no_sense_are_refused(tmp_path, names, message):
  write_files(tmp_path, *names)
  with pytest.raises(DataError, match=message) as error:
    data_pipelines.resolve(make_config("image_folder", tmp_path))
  assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_an_image_without_a_mask_among_others_with_one(tmp_path):
  write_files(tmp_path, "train/a.png", "train/a.mask.png", "train/b.png")
  with pytest.raises(DataError, match=r"train/b.png is damaged: it has no mask"):
    read(make_config("image_folder", tmp_path))
  assert len(read(make_config("image_folder", tmp_path, on_corrupt="skip"))["image"]) == 1


def test_an_empty_split_is_an_error_with_a_cure(tmp_path):
  write_files(tmp_path, "train/a.png")
  with pytest.raises(DataError, match="the val split is empty: none of the 1 images"):
    read(make_config("image_folder", tmp_path), "val")
  with pytest.raises(DataError, match="nowhere does not exist; put PNG"):
    data_pipelines.resolve(make_config("image_folder", tmp_path / "nowhere"))


def test_links_out_of_the_folder_are_not_followed(tmp_path):
  inside, outside = tmp_path / "inside", tmp_path / "outside"
  write_files(inside, "train/a.png")
  write_files(outside, "secret.png")
  (inside / "train/b.png").symlink_to(inside / "train/a.png")
  assert len(read(make_config("image_folder", inside))["image"]) == 2
  (inside / "train/c.png").symlink_to(outside / "secret.png")
  with pytest.raises(DataError, match=r"train/c.png is damaged: it is a link out of"):
    read(make_config("image_folder", inside))
  (inside / "train/more").symlink_to(outside)
  with pytest.raises(DataError, match="train/more is a link to a folder"):
    data_pipelines.resolve(make_config("image_folder", inside))


# Rendered stand-ins


def test_rendered_stacks_are_in_the_published_format(tmp_path, monkeypatch):
  from data_pipelines import shapestacks_standins as standins

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


def test_rendered_shelves_are_in_the_published_format(tmp_path, monkeypatch):
  from data_pipelines import apc_standins as standins

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


def test_an_example_folder_is_rendered_when_none_is_given(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  config = make_config("image_folder", None, standin_scenes=20, image_size=32)
  source = data_pipelines.resolve(config)
  assert source.stand_in and source.num_files == {"train": 16, "val": 2, "test": 2}
  batch = read(config, "test")
  assert batch["image"].std() > 20 and set(np.unique(batch["instances"])) <= {0, 1, 2, 3, 4}
  assert (batch["instances"] > 0).any((1, 2)).all()
  assert data_pipelines.resolve(config) == source  # not rendered again


@pytest.mark.parametrize("name", ["shapestacks", "apc", "image_folder"])
def test_writing_over_other_files_is_refused(tmp_path, name):
  module = __import__(f"data_pipelines.{name}_standins", fromlist=["write"])
  (tmp_path / "mine.txt").write_text("keep")
  with pytest.raises(FileExistsError, match="is not a stand-in"):
    module.write(tmp_path, variant="default", num_scenes=200)
  with pytest.raises(ValueError, match="num_scenes is 5"):
    module.write(tmp_path / "new", variant="default", num_scenes=5)
