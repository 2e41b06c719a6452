"""Named protocols of CLEVR and Tetrominoes, pinned on pixels, splits and what a run records."""

import ml_collections
import numpy as np
import pytest
import tensorflow as tf

import data_pipelines
from configs import datasets
from data_pipelines.datasets.multi_object import protocols, wire

FILES = {
  "clevr": ("clevr_with_masks/clevr_with_masks_train.tfrecords", 240, 320, 11),
  "tetrominoes": ("tetrominoes/tetrominoes_train.tfrecords", 35, 35, 4),
}


def scene(name, index):
  """Image [H, W, 3] and entities [H, W], noise, the first pixel kept is the index."""
  _, height, width, entities = FILES[name]
  rng = np.random.default_rng(index)
  image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
  return image, rng.integers(0, entities, (height, width))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  root = tmp_path_factory.mktemp("protocols")
  for name, (file, _, _, entities) in FILES.items():
    (root / file).parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(root / file), "GZIP") as writer:
      for index in range(4 if name == "clevr" else 12):
        image, entity = scene(name, index)
        masks = (entity == np.arange(entities)[:, None, None]).astype(np.uint8) * 255
        writer.write(wire.encode({"image": image, "mask": masks}))
  return root


def make_config(root, name, image_size, **changes):
  config = datasets.DATASETS[name]()
  with config.unlocked():
    config.update(data_dir=str(root), image_size=image_size, num_val=1, num_test=2)
    config.update(changes)
  return ml_collections.ConfigDict(config)


def first(config, split="test"):
  batch = next(data_pipelines.batches(config, split=split, batch_size=1, epochs=1))
  return batch["image"][0], batch["instances"][0]


def ids(entity):
  return np.where(entity > 0, entity + 1, 0)


def bilinear(image, size):
  """Pixel i at i * S / size, between its two neighbours; no antialiasing, corners stay."""
  for axis in (0, 1):
    at = np.arange(size) * image.shape[axis] / size
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, image.shape[axis] - 1)
    part = (at - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    image = np.take(image, low, axis) * (1 - part) + np.take(image, high, axis) * part
  return image


def test_genesis_takes_the_middle_of_clevr_and_picks_pixels(root):
  image, entity = scene("clevr", 0)
  picked = np.arange(128) * 3 // 2
  found, instances = first(make_config(root, "clevr", 128))
  np.testing.assert_array_equal(found, image[24:216, 64:256][picked][:, picked])
  np.testing.assert_array_equal(instances, ids(entity)[24:216, 64:256][picked][:, picked])


def test_iodine_takes_other_rows_of_clevr_and_mixes_pixels(root):
  image, entity = scene("clevr", 1)  # of four images: train, two for test, the last for val
  config = make_config(root, "clevr", 128, protocol="iodine")
  found, instances = first(config)
  expected = bilinear(image[29:221, 64:256].astype(float), 128)
  assert np.abs(found - expected).max() <= 0.5 + 1e-3
  picked = np.arange(128) * 3 // 2
  np.testing.assert_array_equal(instances, ids(entity)[29:221, 64:256][picked][:, picked])
  found, instances = first(make_config(root, "clevr", 192, protocol="iodine"))
  np.testing.assert_array_equal(found, image[29:221, 64:256])
  np.testing.assert_array_equal(instances, ids(entity)[29:221, 64:256])


def test_genesis_squeezes_tetrominoes(root):
  image, entity = scene("tetrominoes", 0)
  picked = np.arange(32) * 35 // 32
  found, instances = first(make_config(root, "tetrominoes", 32))
  np.testing.assert_array_equal(found, image[picked][:, picked])
  np.testing.assert_array_equal(instances, ids(entity)[picked][:, picked])
  np.testing.assert_array_equal(first(make_config(root, "tetrominoes", 35))[0], image)


@pytest.mark.parametrize("size, start", [(35, 0), (34, 0), (33, 1), (32, 1)])
def test_iodine_keeps_or_crops_tetrominoes(root, size, start):
  image, entity = scene("tetrominoes", 9)  # the last three are set aside
  config = make_config(root, "tetrominoes", size, protocol="iodine")
  found, instances = first(config)
  kept = slice(start, start + size)
  np.testing.assert_array_equal(found, image[kept, kept])
  np.testing.assert_array_equal(instances, ids(entity)[kept, kept])


def test_iodine_scales_tetrominoes_to_other_sizes(root):
  found, _ = first(make_config(root, "tetrominoes", 70, protocol="iodine"))
  expected = bilinear(scene("tetrominoes", 9)[0].astype(float), 70)
  assert np.abs(found - expected).max() <= 0.5 + 1e-3


def test_a_configuration_may_ask_for_another_scaling(root):
  image, _ = scene("clevr", 1)
  config = make_config(root, "clevr", 96, protocol="iodine", resize="nearest")
  np.testing.assert_array_equal(first(config)[0], image[29:221:2, 64:256:2])
  config.resize = "area"
  crop = image[29:221, 64:256].reshape(96, 2, 96, 2, 3).mean((1, 3))
  assert np.abs(first(config)[0] - crop).max() <= 0.5 + 1e-3


def test_spans():
  genesis, iodine = (protocols.get("clevr", name) for name in ("genesis", "iodine"))
  sizes = dict(used=70_000, num_val=10_000, num_test=10_000)
  assert genesis.span("test", **sizes) == (0, 10_000)
  assert genesis.span("val", **sizes) == (10_000, 10_000)
  assert genesis.span("train", **sizes) == (20_000, 50_000)
  assert genesis.span("train", **sizes | dict(used=None)) == (20_000, None)
  assert iodine.span("train", **sizes) == (0, 70_000)
  assert iodine.span("test", **sizes) == (70_000, 320)
  assert iodine.span("val", **sizes) == (70_320, 10_000)


@pytest.mark.parametrize("protocol", ["genesis", "iodine"])
def test_splits_share_no_image(root, protocol):
  config = make_config(root, "tetrominoes", 35, protocol=protocol)
  images = {scene("tetrominoes", n)[0].tobytes(): n for n in range(12)}
  seen = {}
  for split in ("train", "val", "test"):
    stream = data_pipelines.batches(config, split=split, batch_size=4, epochs=1)
    seen[split] = sorted(images[one.tobytes()] for batch in stream for one in batch["image"])
    assert data_pipelines.num_examples(config, split) == len(seen[split])
  if protocol == "genesis":
    assert seen == {"test": [0, 1], "val": [2], "train": list(range(3, 12))}
  else:
    assert seen == {"train": list(range(9)), "test": [9, 10], "val": [11]}


@pytest.mark.parametrize("protocol", ["genesis", "iodine"])
def test_a_run_records_the_protocol(root, protocol):
  source = data_pipelines.resolve(make_config(root, "clevr", 64, protocol=protocol))
  assert f"protocol {protocol}" in source.description
  assert source.metadata()["protocol"] == protocol
  assert datasets.clevr().protocol == "genesis"


def test_mistakes(root):
  with pytest.raises(ValueError, match="data.protocol is 'iodin'; allowed: genesis, iodine. Did"):
    data_pipelines.resolve(make_config(root, "clevr", 64, protocol="iodin"))
  with pytest.raises(ValueError, match="data.resize is 'cubic'; allowed: .*protocol"):
    data_pipelines.resolve(make_config(root, "clevr", 64, resize="cubic"))
  config = datasets.objects_room()
  with config.unlocked():
    config.update(image_size=64, resize="protocol")
  with pytest.raises(ValueError, match="data.resize is 'protocol'; allowed: area"):
    data_pipelines.resolve(config)
