"""Folders of images of any kind, written here."""

import io
import zlib

import numpy as np
import pytest
from image_trees import id_map, make_config, photo, picture, put, read, save
from PIL import Image

import data_pipelines
from configs.settings import settings
from data_pipelines import DataError
from data_pipelines.datasets.image_folder.contents import contents_of
from data_pipelines.prepared import writer


def write_folder(root, num=30, **options):
  for i in range(num):
    save(root / f"part{i % 3}" / f"{i:03d}.png", picture(i), **options)
  return root


def test_a_folder_is_divided_by_path_and_stays_so(tmp_path):
  def members(split):
    config = make_config("image_folder", tmp_path)
    contents = contents_of(data_pipelines.resolve(config).root, config)
    return {example.image for example in contents.examples[split]}

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
  (lambda path: path.write_bytes(b""), "no PNG, JPEG, WEBP, BMP, TIFF or GIF"),
  (lambda path: path.write_bytes(b"II*" + bytes(40)), "its header is broken|no PNG, JPEG"),
  (lambda path: path.write_bytes(png_header(8200, 8200)), "8200x8200 pixels, more than"),
  (lambda path: path.write_bytes(png_header(60000, 60000)), "too large"),
], ids=["cut", "flipped", "empty", "no tiff", "large", "bomb"])  # fmt: skip
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


def test_an_empty_split_is_an_error_with_a_cure(tmp_path):
  write_files(tmp_path, "train/a.png")
  with pytest.raises(DataError, match="the val split is empty: none of the 1 images"):
    read(make_config("image_folder", tmp_path), "val")
  with pytest.raises(DataError, match="nowhere does not exist; put PNG"):
    data_pipelines.resolve(make_config("image_folder", tmp_path / "nowhere"))


@pytest.mark.slow
def test_an_example_folder_is_rendered_when_none_is_given(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  config = make_config("image_folder", None, standin_scenes=20, image_size=32)
  source = data_pipelines.resolve(config)
  assert source.stand_in and source.num_files == {"train": 16, "val": 2, "test": 2}
  batch = read(config, "test")
  assert batch["image"].std() > 20 and set(np.unique(batch["instances"])) <= {0, 1, 2, 3, 4}
  assert (batch["instances"] > 0).any((1, 2)).all()
  assert data_pipelines.resolve(config) == source  # not rendered again


def test_what_is_ignored_and_chosen_of_ones_own_images_is_kept(tmp_path):
  files = {f"{name}/{i}.png": array for i in range(4)
           for name, array in (("images", photo(i)), ("masks", id_map(1, 2, 3)))}  # fmt: skip
  own = dict(image_size=24, split_by="image")
  source = settings("image_folder", data_dir=str(put(tmp_path / "in", files)), ignore_ids=3, **own)
  writer.carry_out(writer.plan(source, ("train",), None), tmp_path / "out")
  config = make_config("image_folder", tmp_path / "out", ignore_ids="3", **own)
  assert "prepared set" in data_pipelines.resolve(config).description
  assert set(np.unique(read(config)["instances"])) == {-1, 0, 1, 2}
  config.ignore_ids = "2"
  with pytest.raises(DataError, match="does not fit: ignore_ids is 3, wanted 2"):
    data_pipelines.resolve(config)
