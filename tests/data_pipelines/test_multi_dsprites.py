"""Multi-dSprites: the published draws restated, and files written without the readers' help."""

import hashlib
import itertools
import random
import zipfile

import ml_collections
import numpy as np
import pytest

import data_pipelines
from data_pipelines.datasets.multi_dsprites import draws, reader
from data_pipelines.datasets.multi_dsprites import stand_in as multi_dsprites_standins

NAMES = {"train": "training", "val": "validation", "test": "test"}
ARCHIVE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
FEW = 900  # sprites of an archive that fits into a test


def make_config(root, **changes):
  fields = dict(name="multi_dsprites", variant="default", data_dir=root and str(root),
                image_size=64, resize="nearest", on_corrupt="error", limit=0, shuffle_buffer=20,
                standin_scenes=40, num_val=10_000, num_test=10_000, source="files")  # fmt: skip
  return ml_collections.ConfigDict(fields | changes)


def scene(number):
  """Image [64, 64, 3] of published levels, its first pixel the number, and ids [64, 64]."""
  rng = np.random.default_rng(number)
  image = rng.choice([0, 63, 127, 191, 255], (64, 64, 3)).astype(np.uint8)
  image[0, 0] = number
  return image, rng.integers(0, 5, (64, 64))


def write_arrays(root, numbers, split="train", suffix=""):
  """Writes what the original's generator writes: float32 images in [0, 1], float64 masks."""
  root.mkdir(parents=True, exist_ok=True)
  images, masks = zip(*map(scene, numbers), strict=True)
  images = np.stack(images).astype(np.float64).astype("float32") / 255.0
  masks = np.stack(masks).astype(np.float64)[..., None]
  paths = [root / f"{NAMES[split]}_{what}_rand4{suffix}.npy" for what in ("images", "masks")]
  np.save(paths[0], images)
  np.save(paths[1], masks)
  return paths


def draw(config, **arguments):
  """Numbers of the images of an epoch."""
  stream = data_pipelines.batches(config, **({"batch_size": 4, "epochs": 1} | arguments))
  return [number for batch in stream for number in batch["image"][:, 0, 0, 0].tolist()]


# The draws.


def restated(seed=0, sizes=(50_000, 10_000, 10_000), num_sprites=737_280):
  """All images of all splits, as the paper's generator is described to draw them."""
  rng = random.Random(seed)

  def color():
    return tuple(rng.choice([0, 63, 127, 191, 255]) for _ in range(3))

  for unique in (False, True):
    for size in sizes:
      images = []
      for _ in range(size):
        seen, sprites = [color()], []
        for _ in range(rng.randint(1, 4)):
          sprites.append((rng.randint(0, num_sprites - 1), color()))
          while unique and sprites[-1][1] in seen:
            sprites[-1] = sprites[-1][0], color()
          seen.append(sprites[-1][1])
        images.append((seen[0], tuple(sprites)))
      yield images


def test_the_draws_are_the_published_ones(monkeypatch):
  last = [(d.background, [tuple(s) for s in d.sprites]) for d in draws.draws("unique", "test")]
  # Of the restatement in full, on Python 3.11: all that was drawn before it decides it.
  digest = hashlib.sha256(repr(last).encode())
  assert len(last) == 10_000 and digest.hexdigest().startswith("c51531c99047d47e")
  monkeypatch.setattr(draws, "SIZES", {"train": 200, "val": 30, "test": 20})
  keys = itertools.product(("default", "unique"), ("train", "val", "test"))
  for (variant, split), expected in zip(keys, restated(sizes=(200, 30, 20)), strict=True):
    assert list(draws.draws(variant, split)) == expected
    assert list(draws.draws(variant, split)) == expected  # from where it is known to begin


def test_draws_do_not_touch_the_global_generator():
  random.seed(5)
  expected = random.Random(5).random()
  next(draws.draws("unique", "train"))
  assert random.random() == expected


def test_unknown_names():
  with pytest.raises(ValueError, match="variant is 'uniqe'.*Did you mean \"unique\""):
    next(draws.draws("uniqe", "train"))
  with pytest.raises(ValueError, match="split is 'validation'; allowed: test, train, val"):
    next(draws.draws("default", "validation"))


def test_later_sprites_cover_earlier_ones():
  sprites = np.zeros((3, 64, 64), np.uint8)
  sprites[0, 10:30, 10:30] = sprites[1, 20:40, 20:40] = sprites[2, 22:24, 22:24] = 1
  images = draws.Draw(
    (255, 0, 63), (draws.Sprite(2, (1, 2, 3)), draws.Sprite(0, (4, 5, 6)),
                   draws.Sprite(1, (7, 8, 9)))
  )  # fmt: skip
  image, ids = draws.compose(images, sprites)
  assert image.dtype == ids.dtype == np.uint8
  expected = np.zeros((64, 64), int)
  expected[10:30, 10:30], expected[20:40, 20:40] = 2, 3  # the first one is hidden
  np.testing.assert_array_equal(ids, expected)
  colors = np.array([(255, 0, 63), (1, 2, 3), (4, 5, 6), (7, 8, 9)])
  np.testing.assert_array_equal(image, colors[expected])


# The archive.


@pytest.fixture(scope="module")
def sprites():
  """Masks [FEW, 64, 64] of blocks, each unlike the others."""
  masks = np.zeros((FEW, 64, 64), np.uint8)
  for number, mask in enumerate(masks):
    top, left = divmod(number, 30)
    mask[top : top + 20, left : left + 16] = 1
  return masks


def write_archive(path, imgs):
  path.parent.mkdir(parents=True, exist_ok=True)
  # The published one has an object that only pickle could read: nothing may touch it.
  np.savez_compressed(path, metadata=np.array({"date": "April 2017"}, object), imgs=imgs)


@pytest.fixture
def small(monkeypatch):
  monkeypatch.setattr(draws, "NUM_SPRITES", FEW)
  monkeypatch.setattr(draws, "SIZES", {"train": 30, "val": 8, "test": 5})
  monkeypatch.setattr(reader, "SIZES", draws.SIZES)
  monkeypatch.setattr(draws, "CHUNK", 128)  # the last one is smaller


@pytest.mark.parametrize("folder", ["", "dsprites-dataset", "multi_dsprites/dsprites-dataset"])
def test_the_archive_is_found(tmp_path, folder):
  (tmp_path / folder).mkdir(parents=True, exist_ok=True)
  (tmp_path / folder / ARCHIVE).touch()
  source = data_pipelines.resolve(make_config(tmp_path))
  assert source.root == tmp_path / folder and not source.stand_in


def test_images_come_out_of_the_archive(small, sprites, tmp_path):
  write_archive(tmp_path / ARCHIVE, sprites)
  images = restated(sizes=draws.SIZES.values(), num_sprites=FEW)
  keys = itertools.product(("default", "unique"), ("train", "val", "test"))
  for (variant, split), expected in zip(keys, images, strict=True):
    config = make_config(tmp_path, variant=variant)
    assert data_pipelines.num_examples(config, split) == len(expected)
    (batch,) = data_pipelines.batches(config, split=split, batch_size=50, epochs=1)
    painted = []
    for background, parts in expected:
      image, ids = np.zeros((64, 64, 3), np.uint8) + np.uint8(background), np.zeros((64, 64), int)
      for number, (index, color) in enumerate(parts, start=1):
        image[sprites[index] > 0], ids[sprites[index] > 0] = color, number
      painted.append(image.tobytes() + ids.tobytes())
    found = [
      image.tobytes() + ids.astype(int).tobytes()
      for image, ids in zip(batch["image"], batch["instances"], strict=True)
    ]
    assert (sorted(found) == sorted(painted)) if split == "train" else (found == painted)


def test_only_what_is_needed_of_the_archive_is_kept(small, sprites, tmp_path):
  write_archive(tmp_path / ARCHIVE, sprites * 255)  # any value but 0 is the sprite
  loaded = draws.load_sprites(tmp_path / ARCHIVE, {3, FEW - 1, 500})
  for number in (3, 500, FEW - 1):
    np.testing.assert_array_equal(loaded[number], sprites[number])
  with pytest.raises(KeyError, match="sprite 4 was not loaded"):
    loaded[4]
  config = make_config(tmp_path, limit=3)
  assert data_pipelines.num_examples(config, "train") == 3
  (batch,) = data_pipelines.batches(config, split="train", batch_size=8, epochs=1)
  assert len(batch["image"]) == 3


def cut(path):
  path.write_bytes(path.read_bytes()[:-2000])


def garble(path):
  data = bytearray(path.read_bytes())
  middle = zipfile.ZipFile(path).getinfo("imgs.npy").compress_size // 2
  data[middle : middle + 300] = bytes(300)
  path.write_bytes(data)


DAMAGE = {
  "not a zip file": cut,
  "imgs.npy|invalid|incorrect|CRC": garble,
  r"`imgs` are float32\[900, 64, 64\] instead of uint8\[900, 64, 64\]": (
    lambda path: np.savez(path, imgs=np.zeros((FEW, 64, 64), np.float32))
  ),
  r"`imgs` are uint8\[5, 64, 64\]": lambda path: np.savez(path, imgs=np.zeros((5, 64, 64), "u1")),
  "no item named .imgs.npy": lambda path: np.savez(path, pictures=np.zeros(3)),
}


@pytest.mark.parametrize("cause", DAMAGE)
def test_damaged_archive(small, sprites, tmp_path, cause):
  write_archive(tmp_path / ARCHIVE, sprites)
  DAMAGE[cause](tmp_path / ARCHIVE)
  with pytest.raises(data_pipelines.DataError, match=cause) as info:
    draw(make_config(tmp_path), split="val")
  message = str(info.value)
  assert message.startswith(str(tmp_path / ARCHIVE)) and "\n" not in message
  assert f"python -m data_pipelines.fetch multi_dsprites --out {tmp_path}" in message


# The arrays.


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
  root = tmp_path_factory.mktemp("arrays")
  for split, numbers in (("train", range(22)), ("val", range(30, 35)), ("test", range(40, 43))):
    write_arrays(root / "processed", numbers, split)
  write_arrays(root / "processed", range(50, 57), "train", "_unique")
  return root


def test_pixels_and_ids_are_exact(arrays):
  (batch,) = data_pipelines.batches(make_config(arrays), split="val", batch_size=8, epochs=1)
  assert batch["image"].dtype == np.uint8 and batch["instances"].dtype == np.int32
  images, ids = zip(*map(scene, range(30, 35)), strict=True)
  np.testing.assert_array_equal(batch["image"], images)
  np.testing.assert_array_equal(batch["instances"], ids)
  config = make_config(arrays, image_size=32)
  (batch,) = data_pipelines.batches(config, split="val", batch_size=8, epochs=1)
  np.testing.assert_array_equal(batch["image"], np.array(images)[:, ::2, ::2])
  np.testing.assert_array_equal(batch["instances"], np.array(ids)[:, ::2, ::2])


def test_splits_and_variants(arrays):
  config = make_config(arrays)
  assert draw(config, split="test") == [40, 41, 42]
  train = draw(config, split="train")
  assert sorted(train) == list(range(22)) != train
  assert draw(config, split="train", first_batch=3) == train[12:]
  assert [data_pipelines.num_examples(config, s) for s in NAMES] == [22, 5, 3]
  config = make_config(arrays, variant="unique")
  assert sorted(draw(config, split="train")) == list(range(50, 57))
  source = data_pipelines.resolve(config)
  assert not source.stand_in and source.num_files == {"train": 1}
  with pytest.raises(data_pipelines.DataError, match="validation_images_rand4_unique.npy is not"):
    draw(config, split="val")


def test_arrays_are_preferred_to_the_archive(arrays, small, sprites, tmp_path):
  write_archive(tmp_path / "dsprites-dataset" / ARCHIVE, sprites)
  write_arrays(tmp_path / "processed", range(3), "test")
  assert draw(make_config(tmp_path), split="test") == [0, 1, 2]
  unique = data_pipelines.resolve(make_config(tmp_path, variant="unique"))
  assert unique.description.endswith(f"composed from {tmp_path / 'dsprites-dataset' / ARCHIVE}")


def change(path, where, value):
  array = np.load(path)
  array[where] = value
  np.save(path, array)


BAD_IMAGES = {
  r"from 0.0 to 1.5, not 0 to 1": lambda images, masks: change(images, (2, 5, 5), 1.5),
  r"from nan to nan, not 0 to 1": lambda images, masks: change(images, (2, 5, 5), np.nan),
  "not whole numbers from 0 to 255": lambda images, masks: change(masks, (2, 1, 1), 0.5),
  "whole numbers from 0 to 255": lambda images, masks: change(masks, (2, 1, 1), -1),
}


@pytest.mark.parametrize("cause", BAD_IMAGES)
def test_damaged_image(tmp_path, cause):
  paths = write_arrays(tmp_path, range(5), "val")
  BAD_IMAGES[cause](*paths)
  expected = rf"validation_images_rand4.npy: image 2 \(from 0\) is damaged: .*{cause}"
  with pytest.raises(data_pipelines.DataError, match=expected):
    draw(make_config(tmp_path), split="val")
  config = make_config(tmp_path, on_corrupt="skip")
  stream = data_pipelines.batches(config, split="val", batch_size=2, epochs=1)
  assert [n for batch in stream for n in batch["image"][:, 0, 0, 0]] == [0, 1, 3, 4]
  assert stream.num_corrupt == 1


def pickled(path):
  np.save(path, np.array([{"a": 1}], object), allow_pickle=True)


BAD_FILES = {
  "images_rand4.npy is not a .npy file": lambda images, masks: cut(images),
  "images_rand4.npy is not a .npy file, or damaged: Array can't be memory-mapped": (
    lambda images, masks: pickled(images)
  ),
  r"images_rand4.npy has float32\[3, 64, 64\] instead of floats \[N, 64, 64, 3\]": (
    lambda images, masks: np.save(images, np.zeros((3, 64, 64), np.float32))
  ),
  r"has int64\[3, 64, 64, 3\]": (
    lambda images, masks: np.save(images, np.zeros((3, 64, 64, 3), int))
  ),
  r"has float32\[0, 64, 64, 3\]": (
    lambda images, masks: np.save(images, np.zeros((0, 64, 64, 3), np.float32))
  ),
  "masks_rand4.npy is not there": lambda images, masks: masks.unlink(),
  "masks_rand4.npy has 4 masks for 3 images": (
    lambda images, masks: np.save(masks, np.zeros((4, 64, 64, 1)))
  ),
}


@pytest.mark.parametrize("cause", BAD_FILES)
def test_damaged_file(tmp_path, cause):
  BAD_FILES[cause](*write_arrays(tmp_path, range(3)))
  with pytest.raises(data_pipelines.DataError, match=cause) as info:
    draw(make_config(tmp_path), split="train")
  assert "\n" not in str(info.value) and ARCHIVE in str(info.value)


def test_missing_data_says_what_is_expected(tmp_path):
  for root, what in (
    (tmp_path / "nowhere", "does not exist"),
    (tmp_path, "has no multi_dsprites unique"),
  ):
    with pytest.raises(data_pipelines.DataError, match=what) as info:
      data_pipelines.resolve(make_config(root, variant="unique"))
    message = str(info.value)
    assert str(root / "training_images_rand4_unique.npy") in message and "\n" not in message
    assert str(root / ARCHIVE) in message and "data_pipelines.fetch multi_dsprites" in message
  with pytest.raises(ValueError, match="data.variant is 'rainbow'; allowed: default, unique"):
    data_pipelines.resolve(make_config(tmp_path, variant="rainbow"))


# The stand-in.


@pytest.mark.parametrize("variant", ["default", "unique"])
def test_stand_in(tmp_path, monkeypatch, variant):
  monkeypatch.chdir(tmp_path)
  config = make_config(None, variant=variant)
  source = data_pipelines.resolve(config)
  assert source.stand_in and "STAND-IN" in source.description and "40 images" in source.description
  sizes = {split: data_pipelines.num_examples(config, split) for split in NAMES}
  assert sizes == {"train": 32, "val": 4, "test": 4}
  suffix = "_unique" if variant == "unique" else ""
  images = np.load(source.root / f"validation_images_rand4{suffix}.npy")
  masks = np.load(source.root / f"validation_masks_rand4{suffix}.npy")
  assert images.dtype == np.float32 and masks.dtype == np.float64
  for image, mask, published in zip(images, masks, draws.draws(variant, "val"), strict=False):
    colors = np.float32([published.background, *(sprite.color for sprite in published.sprites)])
    assert np.unique(mask).max() == len(published.sprites)  # the last one is never hidden
    np.testing.assert_array_equal(image, colors[mask[..., 0].astype(int)] / np.float32(255))
  (batch,) = data_pipelines.batches(config, split="val", batch_size=8, epochs=1)
  np.testing.assert_array_equal(batch["image"], np.round(images * 255))
  np.testing.assert_array_equal(batch["instances"], masks[..., 0])


def test_writing_a_stand_in(tmp_path):
  write = multi_dsprites_standins.write
  folders = [
    write(tmp_path / name, variant="default", num_scenes=3, seed=seed)
    for name, seed in (("a", 0), ("b", 0), ("c", 1))
  ]
  a, b, c = (np.load(folder / "training_images_rand4.npy") for folder in folders)
  assert a.shape == (1, 64, 64, 3) and (a == b).all() and not (a == c).all()
  before = (folders[0] / "STAND_IN.json").stat()
  assert write(tmp_path / "a", variant="default", num_scenes=3) == folders[0]
  assert (folders[0] / "STAND_IN.json").stat() == before
  assert data_pipelines.num_examples(make_config(tmp_path / "a"), "val") == 1
  for num in (2, 70_001):
    with pytest.raises(ValueError, match=f"num_scenes is {num}; it must be from 3 to 70,000"):
      write(tmp_path / "d", variant="default", num_scenes=num)
  assert multi_dsprites_standins._split_sizes(70_000) == draws.SIZES
  assert multi_dsprites_standins._split_sizes(66_001)["train"] <= 50_000
  (tmp_path / "e" / "default").mkdir(parents=True)
  (tmp_path / "e" / "default" / "precious").touch()
  with pytest.raises(FileExistsError, match="is not a stand-in"):
    write(tmp_path / "e", variant="default", num_scenes=3)
