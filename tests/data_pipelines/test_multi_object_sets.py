"""CLEVR, Tetrominoes and coloured Multi-dSprites, from files written here as published."""

import ml_collections
import numpy as np
import pytest
import tensorflow as tf

import data_pipelines

FLOATS, CODES = ("floats", np.float32), ("codes", np.int32)
SPRITES = dict.fromkeys(["x", "y", "shape", "visibility", "orientation", "scale"], FLOATS)
# name, variant: file, height, width, entities, channels, factors beside color, width of color
SETS = {
  ("clevr", "train"): (
    "clevr_with_masks/clevr_with_masks_train.tfrecords", 240, 320, 11, 3,
    dict.fromkeys(["x", "y", "z", "rotation", "visibility"], FLOATS)
    | dict.fromkeys(["size", "material", "shape", "color"], CODES), None,
  ),
  ("tetrominoes", "train"): (
    "tetrominoes/tetrominoes_train.tfrecords", 35, 35, 4, 3,
    dict.fromkeys(["x", "y", "shape", "visibility"], FLOATS), 3,
  ),
  ("multi_dsprites_colored", "colored_on_colored"): (
    "multi_dsprites/multi_dsprites_colored_on_colored.tfrecords", 64, 64, 5, 3, SPRITES, 3,
  ),
  ("multi_dsprites_colored", "colored_on_grayscale"): (
    "multi_dsprites/multi_dsprites_colored_on_grayscale.tfrecords", 64, 64, 6, 3, SPRITES, 3,
  ),
  ("multi_dsprites_colored", "binarized"): (
    "multi_dsprites/multi_dsprites_binarized.tfrecords", 64, 64, 4, 1, SPRITES, 1,
  ),
}  # fmt: skip
WHOLE = {"clevr": 192, "tetrominoes": 35, "multi_dsprites_colored": 64}  # sizes without scaling


def arrays(which, index):
  """Image [H, W, C], entity of each pixel [H, W], and factors by name, drawn from the index."""
  _, height, width, entities, channels, factors, color = SETS[which]
  rng = np.random.default_rng(index)
  values = {}
  for name, (kind, _) in factors.items():
    if kind == "codes":
      values[name] = rng.integers(0, 9, entities, dtype=np.uint8)
    else:
      values[name] = rng.normal(size=entities).astype(np.float32)
  if color:
    values["color"] = rng.random((entities, color), np.float32)
  else:
    values["pixel_coords"] = rng.normal(size=(entities, 3)).astype(np.float32)
  image = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
  if which[0] == "tetrominoes":
    image[:] = index  # every pixel tells
  return image, rng.integers(0, entities, (height, width)), values


def feature(values):
  if values.dtype == np.float32:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values.ravel().tolist()))
  single = [b"%c" % value for value in values.ravel().tolist()]
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=single))


def features(which, index):
  image, entity, values = arrays(which, index)
  masks = (entity == np.arange(SETS[which][3])[:, None, None]).astype(np.uint8) * 255
  masks = np.moveaxis(masks, 0, 2) if which[0] == "multi_dsprites_colored" else masks
  return {n: feature(v) for n, v in {"image": image, "mask": masks[..., None], **values}.items()}


def example(values):
  return tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString()


def write(root, which, records):
  path = root / SETS[which][0]
  path.parent.mkdir(parents=True, exist_ok=True)
  with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
    for record in records:
      writer.write(record)
  return path


def make_config(root, which, **changes):
  fields = dict(name=which[0], variant=which[1], data_dir=str(root), image_size=WHOLE[which[0]],
                resize="nearest", on_corrupt="error", limit=0, shuffle_buffer=20,
                standin_scenes=10, num_val=0, num_test=2)  # fmt: skip
  return ml_collections.ConfigDict(fields | changes)


@pytest.mark.parametrize("which", SETS, ids="-".join)
def test_pixels_ids_and_factors_are_exact(tmp_path, which):
  write(tmp_path, which, [example(features(which, index)) for index in range(2)])
  config = make_config(tmp_path, which)
  (batch,) = data_pipelines.batches(config, split="test", batch_size=2, epochs=1)
  _, height, width, _, _, factors, _ = SETS[which]
  rows, columns = (slice(24, 216), slice(64, 256)) if height == 240 else (slice(None), slice(None))
  assert batch["image"].dtype == np.uint8 and batch["instances"].dtype == np.int32
  others = {"color"} if which[0] != "clevr" else {"pixel_coords"}
  assert set(batch) == {"image", "instances", *factors, *others}
  for index in range(2):
    image, entity, values = arrays(which, index)
    image = np.broadcast_to(image, (height, width, 3))[rows, columns]
    np.testing.assert_array_equal(batch["image"][index], image)
    expected = np.where(entity >= 1, entity + 1, 0)[rows, columns]
    np.testing.assert_array_equal(batch["instances"][index], expected)
    for name, value in values.items():
      kind = factors.get(name, FLOATS)[1]
      if name == "color" and which[1] == "binarized":
        value = np.repeat(value, 3, axis=1)
      assert batch[name].dtype == kind
      np.testing.assert_array_equal(batch[name][index], value)


@pytest.fixture(scope="module")
def tetrominoes(tmp_path_factory):
  """Thirty images, each of them filled with its index."""
  root, which = tmp_path_factory.mktemp("tetrominoes"), ("tetrominoes", "train")
  write(root, which, [example(features(which, index)) for index in range(30)])
  return root


TETROMINOES = ("tetrominoes", "train")


def draw(config, num=None, **arguments):
  """Indices of the images, batch by batch; checks that factors stay with their images."""
  stream = data_pipelines.batches(config, **({"split": "train", "batch_size": 4} | arguments))
  indices = []
  for batch, _ in zip(stream, range(num or 1000), strict=False):
    indices.append(batch["image"][:, 0, 0, 0].tolist())
    for row, index in enumerate(indices[-1]):
      for name, value in arrays(TETROMINOES, index)[2].items():
        np.testing.assert_array_equal(batch[name][row], value)
  return indices


@pytest.mark.parametrize("on_corrupt", ["error", "skip"])
def test_order_resuming_and_shards(tetrominoes, on_corrupt):
  config = make_config(tetrominoes, TETROMINOES, num_test=4, num_val=3, on_corrupt=on_corrupt)
  first = draw(config, seed=1, epochs=2)
  flat = sum(first, [])
  assert sorted(flat[:23]) == sorted(flat[23:]) == list(range(7, 30)) and flat[:23] != flat[23:]
  assert draw(config, 4, seed=1, first_batch=7) == first[7:11]
  shards = [draw(config, 5, seed=1, shard_index=i, shard_count=2) for i in range(2)]
  assert [a + b for a, b in zip(*shards, strict=True)] == first[:5]


def test_splits_stop_where_the_experiments_did(tetrominoes, monkeypatch):
  from data_pipelines.datasets.multi_object import reader as multi_object

  layout = multi_object.LAYOUTS["tetrominoes"]
  assert layout.used == 60_000 == multi_object.LAYOUTS["multi_dsprites_colored"].used
  assert multi_object.LAYOUTS["clevr"].used == 70_000
  monkeypatch.setitem(multi_object.LAYOUTS, "tetrominoes", layout._replace(used=20))
  config = make_config(tetrominoes, TETROMINOES, num_test=4, num_val=3)
  seen = {s: sum(draw(config, split=s, epochs=1), []) for s in ("test", "val", "train")}
  assert seen["test"] == [0, 1, 2, 3] and seen["val"] == [4, 5, 6]
  assert sorted(seen["train"]) == list(range(7, 20))
  assert data_pipelines.num_examples(config, "train") == 13
  config.limit = 5
  assert sorted(sum(draw(config, epochs=1), [])) == list(range(7, 12))
  config.num_val = 16
  with pytest.raises(data_pipelines.DataError, match="no records for the train split"):
    draw(config)


def without_factors(values):
  return {name: values[name] for name in ("image", "mask")}


def test_a_file_without_factors_is_read(tmp_path):
  records = [example(without_factors(features(TETROMINOES, index))) for index in range(4)]
  write(tmp_path, TETROMINOES, records)
  (batch,) = data_pipelines.batches(
    make_config(tmp_path, TETROMINOES), split="test", batch_size=2, epochs=1
  )
  assert set(batch) == {"image", "instances"} and batch["image"][1, 0, 0, 0] == 1


DAMAGE = {
  "has no feature `visibility`": lambda f: {n: v for n, v in f.items() if n != "visibility"},
  "has no feature `x`": without_factors,
  "has no feature `mask`": lambda f: {n: v for n, v in f.items() if n != "mask"},
  "`color` has 11 entries instead of 12": lambda f: f | {"color": feature(np.ones(11, np.float32))},
  "`mask` has 6125 entries instead of 4900": lambda f: (
    f | {"mask": feature(np.zeros(6125, np.uint8))}
  ),
}


@pytest.mark.parametrize("cause", DAMAGE)
def test_damaged_record(tmp_path, cause):
  values = [features(TETROMINOES, index) for index in range(8)]
  values[5] = DAMAGE[cause](values[5])
  write(tmp_path, TETROMINOES, map(example, values))
  config = make_config(tmp_path, TETROMINOES)
  with pytest.raises(data_pipelines.DataError, match=f"record 5 .*{cause}") as info:
    draw(config, epochs=1)
  assert "\n" not in str(info.value)
  config.on_corrupt = "skip"
  stream = data_pipelines.batches(config, split="train", batch_size=4, epochs=1)
  kept = sorted(index for batch in stream for index in batch["image"][:, 0, 0, 0].tolist())
  assert kept == [2, 3, 4, 6, 7] and stream.num_corrupt == 1


def test_some_factors_missing_everywhere_is_damage(tmp_path):
  partial = DAMAGE["has no feature `visibility`"]
  write(tmp_path, TETROMINOES, [example(partial(features(TETROMINOES, i))) for i in range(4)])
  with pytest.raises(data_pipelines.DataError, match="record .*has no feature `visibility`"):
    draw(make_config(tmp_path, TETROMINOES), epochs=1)


def test_grey_images_may_be_stored_as_rgb(tmp_path):
  which = ("multi_dsprites_colored", "binarized")
  values = features(which, 0)
  grey, _, factors = arrays(which, 0)
  values["image"] = feature(np.repeat(grey, 3, axis=-1))
  values["color"] = feature(np.repeat(factors["color"], 3, axis=-1))
  write(tmp_path, which, [example(values)] * 2)
  (batch,) = data_pipelines.batches(
    make_config(tmp_path, which), split="test", batch_size=2, epochs=1
  )
  np.testing.assert_array_equal(batch["image"][0], np.repeat(grey, 3, axis=-1))
  np.testing.assert_array_equal(batch["color"][1], np.repeat(factors["color"], 3, axis=-1))


def test_variants_are_not_taken_for_each_other(tmp_path):
  which, other = (("multi_dsprites_colored", f"colored_on_{v}") for v in ("grayscale", "colored"))
  path = write(tmp_path, which, [example(features(which, 0))] * 2)
  path.rename(path.with_name("multi_dsprites_colored_on_colored.tfrecords"))
  with pytest.raises(data_pipelines.DataError, match="`mask` has 24576 entries instead of 20480"):
    next(data_pipelines.batches(make_config(tmp_path, other), split="test", batch_size=2))
  with pytest.raises(ValueError, match="data.variant is 'grey'; allowed: binarized"):
    data_pipelines.resolve(make_config(tmp_path, ("multi_dsprites_colored", "grey")))


def test_truncated_file(tmp_path, tetrominoes):
  data = (tetrominoes / SETS[TETROMINOES][0]).read_bytes()
  path = tmp_path / SETS[TETROMINOES][0]
  path.parent.mkdir(parents=True)
  path.write_bytes(data[: len(data) * 2 // 3])
  config = make_config(tmp_path, TETROMINOES)
  with pytest.raises(
    data_pipelines.DataError, match=r"tetrominoes_train.*record \d+ .*ends inside"
  ):
    draw(config, epochs=1)
  config.on_corrupt = "skip"
  kept = sorted(sum(draw(config, epochs=1), []))
  assert kept == list(range(2, 2 + len(kept))) and 10 < len(kept) < 28
