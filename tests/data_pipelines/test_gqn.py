"""The GQN reader, on records written here in the published format."""

import functools
import gc
import io
import os
import time
import weakref

import ml_collections
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import data_pipelines
from data_pipelines.datasets.gqn import reader as gqn

SIDE, VIEWS = 64, 10
RECORDS = 12  # per train file
TRAIN_FILES = 4


def jpeg(color, size=(SIDE, SIDE)):
  buffer = io.BytesIO()
  Image.new("RGB", size, tuple(color)).save(buffer, "JPEG", quality=95, subsampling=0)
  return buffer.getvalue()


def color_of(record, view):
  """A colour per image, with steps that JPEG keeps apart; see `identify`."""
  return (record % 16 * 16 + 8, record // 16 * 16 + 8, view * 16 + 8)


def identify(images):
  """Images -> their record * VIEWS + view."""
  red, green, blue = np.asarray(images)[:, SIDE // 2, SIDE // 2].astype(int).T // 16
  return ((green * 16 + red) * VIEWS + blue).tolist()


def example(images=None, **features):
  values = {"cameras": tf.train.Feature(float_list=tf.train.FloatList(value=[0.0] * 5 * VIEWS))}
  if images is not None:
    values["frames"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=images))
  return tf.train.Example(features=tf.train.Features(feature=values | features)).SerializeToString()


@functools.cache
def record(index):
  return example([jpeg(color_of(index, view)) for view in range(VIEWS)])


def write(path, records):
  path.parent.mkdir(parents=True, exist_ok=True)
  with tf.io.TFRecordWriter(str(path)) as writer:
    for encoded in records:
      writer.write(encoded)


def train_file(root, i, n=TRAIN_FILES):
  return root / "rooms_ring_camera" / "train" / f"{i}-of-{n}.tfrecord"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """4 train files of 12 records, 1 test file of 7."""
  root = tmp_path_factory.mktemp("gqn")
  for i in range(TRAIN_FILES):
    write(train_file(root, i + 1), map(record, range(i * RECORDS, (i + 1) * RECORDS)))
  write(root / "rooms_ring_camera/test/1-of-1.tfrecord", map(record, range(100, 107)))
  return root


def make_config(root, **changes):
  fields = dict(
    name="gqn",
    variant="rooms_ring_camera",
    data_dir=root and str(root),
    image_size=64,
    resize="nearest",
    on_corrupt="error",
    limit=0,
    order="lanes",
    shuffle_buffer=10_000,
    standin_scenes=20,
    num_val=10_000,
    num_test=10_000,
  )
  return ml_collections.ConfigDict(fields | changes)


def draw(config, num=None, **arguments):
  """Ids of the images, batch by batch."""
  stream = data_pipelines.batches(config, **({"split": "train", "batch_size": 32} | arguments))
  return [identify(b["image"]) for b, _ in zip(stream, range(num or 10**6), strict=False)]


def test_every_view_comes_exactly_once(whole):
  config = make_config(whole)
  ids = {split: sum(draw(config, split=split, epochs=1), []) for split in ("train", "val", "test")}
  assert sorted(ids["train"]) == list(range(3 * RECORDS * VIEWS))
  assert ids["val"] == list(range(3 * RECORDS * VIEWS, 4 * RECORDS * VIEWS))  # in file order
  assert ids["test"] == list(range(1000, 1070))
  for split, images in ids.items():
    assert data_pipelines.num_examples(config, split) == len(images)


def test_batches_are_plain_arrays(whole):
  sizes = []
  for batch in data_pipelines.batches(make_config(whole), split="test", batch_size=32, epochs=1):
    assert set(batch) == {"image"} and isinstance(batch["image"], np.ndarray)
    assert batch["image"].dtype == np.uint8 and batch["image"].shape[1:] == (SIDE, SIDE, 3)
    sizes.append(len(batch["image"]))
  assert sizes == [32, 32, 6]


def test_order_follows_from_seed_and_epoch(whole):
  config = make_config(whole)
  first, again = draw(config, seed=1, epochs=2), draw(config, seed=1, epochs=2)
  assert first == again
  assert draw(config, seed=2, epochs=1) != draw(config, seed=1, epochs=1)
  flat, per_epoch = sum(first, []), 3 * RECORDS * VIEWS
  assert sorted(flat[:per_epoch]) == sorted(flat[per_epoch:])
  assert flat[:per_epoch] != flat[per_epoch:]


def test_views_of_a_record_are_spread(whole):
  records = np.array(sum(draw(make_config(whole), epochs=1), [])) // VIEWS
  assert np.mean(records[1:] == records[:-1]) < 0.1  # by chance 9 / 359


@pytest.mark.slow
@pytest.mark.parametrize(
  "split, on_corrupt", [("train", "error"), ("train", "skip"), ("val", "error")]
)
def test_starting_at_a_batch_is_as_if_those_before_were_drawn(whole, split, on_corrupt):
  config = make_config(whole, on_corrupt=on_corrupt)
  expected = draw(config, 43, split=split, seed=3)
  for first in (4, 11, 40):  # 11.25 batches make an epoch
    got = draw(config, 3, split=split, seed=3, first_batch=first)
    assert got == expected[first : first + 3], first


def test_starting_skips_whole_groups(whole, monkeypatch):
  monkeypatch.setattr("data_pipelines.reading.pipeline.MIN_GROUP", 1)
  monkeypatch.setattr("data_pipelines.reading.pipeline.GROUP_VIEWS", 7 * VIEWS)
  unpacked = []
  unpack = gqn._unpack
  monkeypatch.setattr(gqn, "_unpack", lambda *a, **k: unpacked.append(1) or unpack(*a, **k))
  config = make_config(whole, order="buffer")
  expected = draw(config, epochs=1)[10:]
  unpacked.clear()
  assert draw(config, epochs=1, first_batch=10) == expected
  assert len(unpacked) <= 7 + 1  # 36 records in groups of 7; batches 10 and 11 are records 32-35


def test_starting_after_the_end_gives_nothing(whole):
  assert draw(make_config(whole), split="test", epochs=1, first_batch=3) == []


@pytest.mark.parametrize("split", ["train", "test"])
def test_shards_concatenate_to_the_global_batches(whole, split):
  config = make_config(whole)
  whole_batches = draw(config, split=split, epochs=1)
  shards = [draw(config, split=split, epochs=1, shard_index=i, shard_count=4) for i in range(4)]
  assert [sum(parts, []) for parts in zip(*shards, strict=True)] == whole_batches
  assert all(len(shard[0]) == 8 for shard in shards)


@pytest.mark.slow
def test_limit_takes_the_first_images_in_file_order(whole):
  config = make_config(whole, limit=155)  # ends inside a record of the second file
  images = sum(draw(config, epochs=2), [])
  assert sorted(images[:155]) == sorted(images[155:]) == list(range(155))
  assert images[:155] != images[155:]
  assert data_pipelines.num_examples(config, "train") == 155
  expected = draw(config, 14)[11:]
  assert draw(config, 3, first_batch=11) == expected
  assert sum(draw(make_config(whole, limit=25), split="test", epochs=1), []) == [*range(1000, 1025)]


def test_large_splits_are_not_counted(whole, monkeypatch):
  monkeypatch.setattr(gqn, "COUNTABLE_BYTES", 0)
  assert data_pipelines.num_examples(make_config(whole), "train") is None
  assert data_pipelines.num_examples(make_config(whole, limit=155), "train") == 155


def test_resizing(whole):
  gradient = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[:, None], 64, 1)[None, ..., None]
  gradient = np.repeat(gradient, 3, -1)
  resize = data_pipelines.sources.resize_images
  np.testing.assert_array_equal(resize(gradient, 32, "nearest"), gradient[:, ::2, ::2])
  np.testing.assert_array_equal(resize(gradient, 32, "area"), gradient[:, ::2, ::2] + 2)
  assert resize(gradient, 32, "bilinear").dtype == np.uint8
  for method in ("nearest", "bilinear", "area"):
    config = make_config(whole, image_size=32, resize=method)
    batch = next(data_pipelines.batches(config, split="test", batch_size=8))
    assert batch["image"].shape == (8, 32, 32, 3)


def test_partial_download_is_said_and_split(tmp_path):
  for i in (1, 5, 9):
    path = tmp_path / "rooms_ring_camera" / "train" / f"{i:04d}-of-2160.tfrecord"
    write(path, map(record, range(i * 2, i * 2 + 2)))
  config = make_config(tmp_path)
  source = data_pipelines.resolve(config)
  assert "3 of 2160 train files, 0 of 240 test files" in source.description
  assert not source.stand_in and source.metadata()["num_files"] == {"train": 3, "test": 0}
  train, val = (set(sum(draw(config, split=s, epochs=1), [])) for s in ("train", "val"))
  assert val == set(range(180, 200)) and train == {*range(20, 40), *range(100, 120)}
  with pytest.raises(data_pipelines.DataError, match="no records for the test split"):
    draw(config, split="test")


def test_published_validation_files():
  def split(numbers, n=2160):
    paths = [gqn.Path(f"{i:04d}-of-{n}.tfrecord") for i in numbers]
    return [[int(r.path.name[:4]) for r in part] for part in gqn._split_train(paths)]

  train, val = split(range(1, 2161))
  assert val == list(range(2125, 2161)) and train == list(range(1, 2125))
  assert split([3, 4, 2130, 2140]) == [[3, 4], [2130, 2140]]
  assert split(range(2150, 2161)) == [list(range(2150, 2160)), [2160]]
  assert split(range(1, 1081), 1080)[1] == list(range(1063, 1081))


def test_a_single_train_file_is_split_by_record(tmp_path):
  write(train_file(tmp_path, 1, 1), map(record, range(6)))
  config = make_config(tmp_path)
  train, val = (sorted(sum(draw(config, split=s, epochs=1), [])) for s in ("train", "val"))
  assert train == list(range(50)) and val == list(range(50, 60))


@pytest.mark.parametrize("variant", sorted(gqn.VARIANTS))
def test_all_published_names_resolve(tmp_path, variant):
  write(tmp_path / variant / "train" / "1-of-9.tfrecord", [example()])
  config = make_config(tmp_path / variant, variant=variant)  # the folder itself will do as well
  assert data_pipelines.resolve(config).root == tmp_path / variant
  with pytest.raises(data_pipelines.DataError, match="1 records"):
    draw(config)


def damaged_whole(tmp_path, damage):
  """Two train files of which the first has its record 5 damaged, and one for validation."""
  for i in range(3):
    records = [record(i * RECORDS + j) for j in range(RECORDS)]
    if i == 0 and isinstance(damage, bytes):
      records[5] = damage
    write(train_file(tmp_path, i + 1, 3), records)
  path = train_file(tmp_path, 1, 3)
  if not isinstance(damage, bytes):
    data, start = bytearray(path.read_bytes()), 0
    for _ in range(5):
      start += 16 + int.from_bytes(data[start : start + 8], "little")
    path.write_bytes(damage(data, start))
  return make_config(tmp_path)


def flip(offset):
  def damage(data, start):
    data[start + offset] ^= 4
    return data

  return damage


GOOD = [jpeg((9, 9, 9))] * VIEWS
BROKEN_BODY = bytearray(GOOD[0])
BROKEN_BODY[-60:-2] = b"\xff\xc0" * 29
# What is wrong with record 5; its cause as reported; which records of the file are lost.
DAMAGE = {
  "truncated": (lambda data, start: data[: start + 40], "file ends inside", range(5, RECORDS)),
  "bit_flip": (flip(200), "checksum of the data", [5]),
  "length_flip": (flip(1), "checksum of the length", range(5, RECORDS)),
  "no_frames": (example(), "no feature `frames`", [5]),
  "frames_of_floats": (
    example(frames=tf.train.Feature(float_list=tf.train.FloatList(value=[1.0]))),
    "`frames` has 0 entries instead of 10",
    [5],
  ),
  "view_count": (example(GOOD[:-1]), "`frames` has 9 entries instead of 10", [5]),
  "not_a_jpeg": (example([*GOOD[:-1], b"no image"]), "frame 9 is not a JPEG", [5]),
  "half_a_jpeg": (example([GOOD[0][:400], *GOOD[1:]]), "frame 0 is a JPEG that ends", [5]),
  "huge_jpeg": (
    example([jpeg((1, 2, 3), (3000, 2000)), *GOOD[1:]]),
    "frame 0 is 2000x3000 pixels instead of 64x64",
    [5],
  ),
  "not_an_example": (b"\xff" * 300, "is not a tf.Example", [5]),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_an_error_with_its_place(tmp_path, case):
  damage, cause, _ = DAMAGE[case]
  with pytest.raises(data_pipelines.DataError) as error:
    draw(damaged_whole(tmp_path, damage), epochs=1)
  message = str(error.value)
  assert "1-of-3.tfrecord: record 5 (from 0)" in message and cause in message
  assert "--config.data.on_corrupt=skip" in message and "\n" not in message


# One of those that are seen in the content of a record, and all that are seen around it.
@pytest.mark.parametrize("order", ["lanes", "buffer"])
@pytest.mark.parametrize("case", ["truncated", "bit_flip", "length_flip", "half_a_jpeg"])
def test_damage_can_be_skipped(tmp_path, case, order):
  damage, _, lost = DAMAGE[case]
  config = damaged_whole(tmp_path, damage)
  config.on_corrupt, config.order = "skip", order
  stream = data_pipelines.batches(config, split="train", batch_size=32, epochs=2)
  batches = [identify(batch["image"]) for batch in stream]
  left = sorted(set(range(2 * RECORDS)) - set(lost))
  expected = sorted(record * VIEWS + view for record in left for view in range(VIEWS))
  flat = sum(batches, [])
  assert sorted(flat[: len(expected)]) == sorted(flat[len(expected) :]) == expected
  assert stream.num_corrupt == 1
  assert draw(config, epochs=2, first_batch=9) == batches[9:]


def test_an_image_that_does_not_decode_is_placed(tmp_path):
  config = damaged_whole(tmp_path, example([bytes(BROKEN_BODY), *GOOD[1:]]))
  with pytest.raises(data_pipelines.DataError, match="1-of-3.tfrecord: record 5 .*decoded"):
    draw(config, epochs=1)


@pytest.mark.parametrize("epochs", [1, None])
def test_nothing_but_damage_is_an_error(tmp_path, epochs):
  for i in range(2):
    write(train_file(tmp_path, i + 1, 2), [example()] * 3)
  with pytest.raises(data_pipelines.DataError, match="every record is damaged"):
    draw(make_config(tmp_path, on_corrupt="skip"), epochs=epochs)


@pytest.mark.parametrize("exists", [True, False])
def test_missing_data_says_what_is_expected_and_where_to_get_it(tmp_path, exists):
  folder = tmp_path if exists else tmp_path / "nowhere"
  with pytest.raises(data_pipelines.DataError) as error:
    data_pipelines.resolve(make_config(folder))
  message = str(error.value)
  assert str(folder) in message and "\n" not in message
  assert "train/0001-of-2160.tfrecord" in message
  out = folder / "rooms_ring_camera"
  assert f"python -m data_pipelines.fetch gqn --max_gb 10 --out {out}" in message


@pytest.mark.parametrize(
  "change, message",
  [
    (dict(name="gqm"), "data.name is 'gqm'.*gqn"),
    (dict(variant="room_ring_camera"), 'data.variant.*Did you mean "rooms_ring_camera"'),
    (dict(resize="bilinaer"), 'data.resize.*Did you mean "bilinear"'),
    (dict(on_corrupt="ignore"), "data.on_corrupt is 'ignore'; allowed: error, skip"),
    (dict(image_size=0), "data.image_size is 0"),
  ],
)
def test_impossible_fields(whole, change, message):
  with pytest.raises(ValueError, match=message):
    draw(make_config(whole, **change))


@pytest.mark.parametrize(
  "change, message",
  [
    (dict(split="trian"), "split is 'trian'.*Did you mean \"train\""),
    (dict(shard_index=2, shard_count=2), "shard_index is 2"),
    (dict(first_batch=-1), "first_batch is -1; it must be at least 0"),
    (dict(epochs=0), "epochs is 0"),
    (dict(batch_size=5, shard_count=2), "batch_size 5 is not a multiple of 2 shards"),
  ],
)
def test_impossible_arguments(whole, change, message):
  with pytest.raises(ValueError, match=message):
    draw(make_config(whole), **change)


@pytest.mark.slow
def test_a_dropped_stream_leaves_no_threads_behind(whole):
  def num_threads():
    return len(os.listdir("/proc/self/task"))

  def drop_one():
    stream = data_pipelines.batches(make_config(whole), split="train", batch_size=8)
    next(stream)
    return weakref.ref(stream)

  drop_one()
  gc.collect()
  before = num_threads()
  dropped = [drop_one() for _ in range(3)]
  gc.collect()
  assert not any(stream() for stream in dropped)
  deadline = time.monotonic() + 10
  while num_threads() > before + 5 and time.monotonic() < deadline:
    time.sleep(0.05)
  assert num_threads() <= before + 5  # one stream has dozens
