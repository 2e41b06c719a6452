"""The Multi-Object Datasets reader, on files written here in the published format."""

import gzip

import ml_collections
import numpy as np
import pytest
import tensorflow as tf

import data_pipelines
from data_pipelines.datasets.multi_object import stand_in

SIDE, ENTITIES, BACKGROUND = 64, 7, 4
TOTAL, TEST, VAL = 60, 10, 8
NAME = "objects_room_train.tfrecords"


def scene(index):
  """Image [64, 64, 3], its first pixel the index, and the entity of each pixel [64, 64]."""
  rng = np.random.default_rng(index)
  image = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
  image[0, 0, 0] = index
  return image, rng.integers(0, ENTITIES, (SIDE, SIDE))


def single_bytes(array):
  values = [bytes([value]) for value in array.ravel()]
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def features(index):
  image, entity = scene(index)
  masks = (np.arange(ENTITIES)[:, None, None] == entity).astype(np.uint8)[..., None] * 255
  return {"image": single_bytes(image), "mask": single_bytes(masks)}


def example(values):
  return tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString()


def write(root, records):
  path = root / "objects_room" / NAME
  path.parent.mkdir(parents=True, exist_ok=True)
  with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
    for record in records:
      writer.write(record)
  return path


@pytest.fixture(scope="module")
def records():
  return [example(features(index)) for index in range(TOTAL)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, records):
  root = tmp_path_factory.mktemp("multi_object")
  write(root, records)
  return root


def make_config(root, **changes):
  fields = dict(name="objects_room", variant="train", data_dir=root and str(root), image_size=SIDE,
                resize="nearest", on_corrupt="error", limit=0, shuffle_buffer=20,
                standin_scenes=10, num_val=VAL, num_test=TEST)  # fmt: skip
  return ml_collections.ConfigDict(fields | changes)


def draw(config, num=None, **arguments):
  """Indices of the images, batch by batch."""
  stream = data_pipelines.batches(config, **({"split": "train", "batch_size": 8} | arguments))
  pairs = zip(stream, range(num or 10**6), strict=False)
  return [batch["image"][:, 0, 0, 0].tolist() for batch, _ in pairs]


def test_pixels_and_ids_are_exact(whole):
  (batch,) = data_pipelines.batches(make_config(whole), split="test", batch_size=TEST, epochs=1)
  assert batch["image"].dtype == np.uint8 and batch["instances"].dtype == np.int32
  for index in range(TEST):
    image, entity = scene(index)
    np.testing.assert_array_equal(batch["image"][index], image)
    expected = np.where(entity >= BACKGROUND, entity + 1, 0)
    np.testing.assert_array_equal(batch["instances"][index], expected)


def test_splits_follow_the_file(whole):
  config = make_config(whole)
  ids = {split: sum(draw(config, split=split, epochs=1), []) for split in ("test", "val", "train")}
  assert ids["test"] == list(range(TEST))
  assert ids["val"] == list(range(TEST, TEST + VAL))
  assert sorted(ids["train"]) == list(range(TEST + VAL, TOTAL))
  for split, images in ids.items():
    assert data_pipelines.num_examples(config, split) == len(images)


def test_order_follows_from_seed_and_epoch(whole):
  config = make_config(whole)
  first = draw(config, seed=1, epochs=2)
  assert first == draw(config, seed=1, epochs=2) != draw(config, seed=2, epochs=2)
  flat, per_epoch = sum(first, []), TOTAL - TEST - VAL
  assert sorted(flat[:per_epoch]) == sorted(flat[per_epoch:]) != flat[:per_epoch]
  assert flat[:per_epoch] != flat[per_epoch:]


@pytest.mark.parametrize("first_batch", [2, 5, 9, 13])  # 5.25 batches make an epoch
@pytest.mark.parametrize("on_corrupt", ["error", "skip"])
def test_starting_at_a_batch_is_as_if_those_before_were_drawn(whole, on_corrupt, first_batch):
  config = make_config(whole, on_corrupt=on_corrupt)
  expected = draw(config, first_batch + 3, seed=3)[first_batch:]
  assert draw(config, 3, seed=3, first_batch=first_batch) == expected


def test_shards_make_up_the_batch(whole):
  config = make_config(whole)
  shards = [draw(config, epochs=1, shard_index=i, shard_count=2) for i in range(2)]
  assert [a + b for a, b in zip(*shards, strict=True)] == draw(config, epochs=1)


def test_limit_and_resize(whole):
  config = make_config(whole, limit=5, image_size=32)
  assert sorted(sum(draw(config, epochs=1), [])) == list(range(TEST + VAL, TEST + VAL + 5))
  assert data_pipelines.num_examples(config, "train") == 5
  batch = next(data_pipelines.batches(config, split="test", batch_size=2))
  image, entity = scene(1)
  np.testing.assert_array_equal(batch["image"][1], image[::2, ::2])
  expected = np.where(entity >= BACKGROUND, entity + 1, 0)[::2, ::2]
  np.testing.assert_array_equal(batch["instances"][1], expected)


def test_truncated_file(tmp_path, records):
  path = write(tmp_path, records)
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  with pytest.raises(data_pipelines.DataError, match=rf"{NAME}: record \d+ .*ends inside") as info:
    draw(make_config(tmp_path), epochs=1)
  assert "\n" not in str(info.value)
  config = make_config(tmp_path, on_corrupt="skip")
  stream = data_pipelines.batches(config, split="train", batch_size=8, epochs=1)
  kept = sorted(i for batch in stream for i in batch["image"][:, 0, 0, 0].tolist())
  assert kept == list(range(TEST + VAL, TEST + VAL + len(kept))) and len(kept) >= 3
  assert stream.num_corrupt == 1


def without(name):
  return lambda values: {key: value for key, value in values.items() if key != name}


DAMAGE = {
  "has no feature `mask`": without("mask"),
  "has no feature `image`": without("image"),
  "1 entries instead of 12288": lambda values: (
    values
    | {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes(SIDE * SIDE * 3)]))}
  ),
  "not one byte long": lambda values: (
    values
    | {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"ab"] * SIDE * SIDE * 3))}
  ),
}


@pytest.mark.parametrize("cause", DAMAGE)
def test_damaged_record(tmp_path, records, cause):
  write(tmp_path, [*records[:20], example(DAMAGE[cause](features(20))), *records[21:30]])
  with pytest.raises(data_pipelines.DataError, match=f"record 20 .*{cause}"):
    draw(make_config(tmp_path), epochs=1)
  config = make_config(tmp_path, on_corrupt="skip")
  stream = data_pipelines.batches(config, split="train", batch_size=8, epochs=1)
  kept = sorted(i for batch in stream for i in batch["image"][:, 0, 0, 0].tolist())
  assert kept == [18, 19, *range(21, 30)] and stream.num_corrupt == 1


def test_missing_data_says_what_is_expected(tmp_path):
  for root, what in ((tmp_path / "nowhere", "does not exist"), (tmp_path, f"has no {NAME}")):
    with pytest.raises(data_pipelines.DataError, match=what) as info:
      data_pipelines.resolve(make_config(root))
    message = str(info.value)
    assert f"python -m data_pipelines.fetch objects_room --out {root / 'objects_room'}" in message
    assert str(root / "objects_room" / NAME) in message and "\n" not in message


@pytest.mark.parametrize("content, cause", [
  (b"<html>not found</html>", "checksum of the length is wrong"),
  (gzip.compress(b"<html>not found</html>"), "checksum of the length is wrong"),
], ids=["plain", "gzipped"])  # fmt: skip
def test_a_file_of_something_else(tmp_path, content, cause):
  (tmp_path / NAME).write_bytes(content)
  message = rf"{NAME}: record 0 \(from 0\) is damaged: {cause}; fetch the file again"
  with pytest.raises(data_pipelines.DataError, match=message):
    draw(make_config(tmp_path))


def test_too_few_images_for_a_split(whole):
  with pytest.raises(data_pipelines.DataError, match="no records for the train split"):
    draw(make_config(whole, num_test=10_000))


@pytest.mark.slow
def test_stand_in(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(stand_in, "VIEWS", 2)
  monkeypatch.setattr(stand_in, "_drawing", stand_in._drawing.__wrapped__)  # not kept for others
  config = make_config(None, num_val=10_000, num_test=10_000)
  source = data_pipelines.resolve(config)
  assert source.stand_in and "STAND-IN" in source.description
  sizes = {split: data_pipelines.num_examples(config, split) for split in ("train", "val", "test")}
  assert sizes == {"train": 16, "val": 2, "test": 2}
  batch = next(data_pipelines.batches(config, split="train", batch_size=16))
  assert batch["image"].shape == (16, SIDE, SIDE, 3)
  assert {0, 5} <= set(np.unique(batch["instances"])) <= {0, 5, 6, 7}
  path = source.root / NAME
  for record in tf.data.TFRecordDataset(str(path), "GZIP").take(2).as_numpy_iterator():
    values = tf.train.Example.FromString(record).features.feature
    assert len(values["image"].bytes_list.value) == SIDE * SIDE * 3
    masks = np.frombuffer(b"".join(values["mask"].bytes_list.value), np.uint8)
    masks = masks.reshape(ENTITIES, SIDE, SIDE)
    assert (masks.astype(int).sum(0) == 255).all() and not masks[1:BACKGROUND].any()
