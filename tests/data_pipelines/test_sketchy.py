"""Sketchy's records: fourteen crops a frame, splits by episode, damage, and rendered stand-ins."""

import functools
import io

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import data_pipelines
from data_pipelines import DataError
from data_pipelines.datasets.sketchy import stand_in as sketchy_standins
from data_pipelines.sources import STAND_IN_FILE
from genesis_jax.scenes import table

HEIGHT, WIDTH = 600, 960
NAME = "100{:02d}_b615a417-ce34-41a8-8411-2a1ce3f3bd07"


def make_config(root, **changes):
  fields = dict(name="sketchy", variant="default", data_dir=str(root), image_size=16,
                resize="bilinear", on_corrupt="error", limit=0, shuffle_buffer=100,
                standin_scenes=42, num_val=10_000, num_test=10_000)  # fmt: skip
  return ml_collections.ConfigDict(fields | changes)


def frame(seed: int, size=(HEIGHT, WIDTH)) -> np.ndarray:
  """Smooth colours that differ everywhere, so that no crop is like another."""
  rng = np.random.default_rng(seed)
  small = Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8))
  return np.asarray(small.resize(size[::-1], Image.Resampling.BICUBIC))


def jpeg(image: np.ndarray) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, "JPEG", quality=90)
  return buffer.getvalue()


def bytes_feature(*values: bytes) -> tf.train.Feature:
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def example(left: bytes, right: bytes) -> dict:
  depth = tf.train.FloatList(value=[0.0] * 38304)
  return {
    "pixels/basket_front_left": bytes_feature(left),
    "pixels/basket_front_right": bytes_feature(right),
    "pixels/usbcam0": bytes_feature(b"not looked at"),
    "pixels/royale_camera_driver_depth": tf.train.Feature(float_list=depth),
    "actions": tf.train.Feature(float_list=tf.train.FloatList(value=[0.0] * 7)),
  }


def serialized(feature: dict) -> bytes:
  return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def write(path, records: list[bytes]):
  path.parent.mkdir(parents=True, exist_ok=True)
  with tf.io.TFRecordWriter(str(path)) as writer:
    for record in records:
      writer.write(record)


@functools.cache
def plain(grey: int) -> bytes:
  """A record whose images are all of one grey."""
  encoded = jpeg(np.full((HEIGHT, WIDTH, 3), grey, np.uint8))
  return serialized(example(encoded, encoded))


@pytest.fixture(scope="module")
def episodes(tmp_path_factory):
  """Ten episodes of two frames; frame n is of grey 10 * n + 5."""
  root = tmp_path_factory.mktemp("sketchy")
  for i in range(10):
    write(root / "records" / NAME.format(i), [plain(20 * i + 5), plain(20 * i + 15)])
  return root


def frames_of(config, split: str, **options) -> list[int]:
  stream = data_pipelines.batches(config, split=split, batch_size=14, epochs=1, **options)
  return [int(image.mean()) // 10 for batch in stream for image in batch["image"]]


def original_crops(left: bytes, right: bytes) -> list[np.ndarray]:
  """What the original's preparation makes of a frame: whole, then top and bottom by columns."""
  crops = []
  for encoded, rows in ((left, slice(71, -81)), (right, slice(91, -61))):
    part = tf.io.decode_jpeg(encoded).numpy()[rows, 144:-144]  # whole, as it was done there
    assert part.shape == (448, 672, 3)
    crops.append(part[:, 112:560])
    for vertical in (slice(0, 352), slice(-352, None)):
      for horizontal in (slice(0, 352), slice(160, 512), slice(-352, None)):
        crops.append(part[vertical, horizontal])
  return [
    np.asarray(Image.fromarray(crop).resize((128, 128), Image.Resampling.BILINEAR))
    for crop in crops
  ]


def test_the_fourteen_crops_are_the_originals(tmp_path):
  views = [(jpeg(frame(2 * n)), jpeg(frame(2 * n + 1))) for n in range(3)]
  write(tmp_path / "example_data.tfrecords", [serialized(example(*pair)) for pair in views])
  config = make_config(tmp_path, image_size=128)
  (batch,) = data_pipelines.batches(config, split="test", batch_size=14, epochs=1)
  assert batch["image"].shape == (14, 128, 128, 3) and batch["image"].dtype == np.uint8
  assert "instances" not in batch
  for image, wanted in zip(batch["image"], original_crops(*views[1]), strict=True):
    # Pillow rounds once more, between rows and columns.
    assert np.abs(image.astype(int) - wanted).max() <= 1
  part = next(data_pipelines.batches(make_config(tmp_path, resize="nearest", image_size=224),
                                     split="test", batch_size=1))  # fmt: skip
  left = tf.io.decode_jpeg(views[1][0]).numpy()[71:-81, 256:704]
  np.testing.assert_array_equal(part["image"][0], left[::2, ::2])  # to the bit, edges included


def test_splits_go_by_sorted_files(episodes):
  config = make_config(episodes)
  assert frames_of(config, "val") == [0] * 14 + [1] * 14
  assert frames_of(config, "test") == [2] * 14 + [3] * 14
  train = frames_of(config, "train")
  assert sorted(train) == sorted([n for n in range(4, 20) for _ in range(14)]) != train
  assert data_pipelines.num_examples(config, "train") == 16 * 14
  assert data_pipelines.resolve(config).description.endswith(
    f"10 episode files in {episodes}/records"
  )


@pytest.mark.parametrize("files,val,test", [(3, [0], [1]), (19, [0], [1]), (20, [0, 1], [2, 3])])
def test_a_tenth_of_the_files_is_held_out(tmp_path, files, val, test):
  for i in range(files):
    write(tmp_path / NAME.format(i), [plain(10 * i + 5)])
  config = make_config(tmp_path, image_size=2)
  assert sorted(set(frames_of(config, "val"))) == val
  assert sorted(set(frames_of(config, "test"))) == test
  assert data_pipelines.num_examples(config, "train") == 14 * (files - len(val) - len(test))


@pytest.mark.slow
def test_few_files_are_split_by_records(tmp_path):
  write(tmp_path / "a.tfrecord", [plain(5)])
  write(tmp_path / "b.tfrecord", [plain(10 * n + 5) for n in range(1, 21)])
  config = make_config(tmp_path, image_size=2)
  assert sorted(set(frames_of(config, "val"))) == [0, 1]
  assert sorted(set(frames_of(config, "test"))) == [2, 3]
  assert sorted(set(frames_of(config, "train"))) == [*range(4, 21)]


@pytest.mark.slow
def test_any_batch_is_reached_and_shared_out(episodes):
  config = make_config(episodes)
  options = dict(split="train", batch_size=20, seed=3)
  whole = data_pipelines.batches(config, **options)
  first = [next(whole)["image"] for _ in range(14)]  # into the second epoch
  late = data_pipelines.batches(config, first_batch=12, **options)
  np.testing.assert_array_equal(next(late)["image"], first[12])
  np.testing.assert_array_equal(next(late)["image"], first[13])
  shards = [next(data_pipelines.batches(config, shard_index=i, shard_count=2, **options))["image"]
            for i in range(2)]  # fmt: skip
  np.testing.assert_array_equal(np.concatenate(shards), first[0])
  assert len(frames_of(make_config(episodes, limit=17), "train")) == 17


def test_what_waits_in_the_shuffle_buffer_is_small(tmp_path):
  record = plain(100)
  write(tmp_path / "a.tfrecord", [record] * 3)
  config = make_config(tmp_path)
  records = data_pipelines.records(config, "train")
  compact = records.compact(record)
  assert len(compact) < len(record) - 4 * 38304
  assert records.unpack(compact) == records.unpack(record)
  assert records.compact(b"\xff junk") == b"\xff junk"


good = jpeg(np.full((HEIGHT, WIDTH, 3), 95, np.uint8))
DAMAGE = {
  "junk": (b"\xff\xff\xff", "is not a tf.Example"),
  "feature": (serialized({"pixels/basket_front_left": bytes_feature(good)}),
              "has no feature `pixels/basket_front_right`"),
  "two": (serialized(example(good, good) | {"pixels/basket_front_left": bytes_feature(good, good)}),
          "`pixels/basket_front_left` has 2 entries instead of 1"),
  "size": (serialized(example(jpeg(frame(0, (480, 640))), good)),
           "`pixels/basket_front_left` is 480x640 pixels instead of 600x960"),
  "jpeg": (serialized(example(good, b"GIF89a")), "`pixels/basket_front_right` is not a JPEG"),
  "cut": (serialized(example(good, good[: len(good) // 2])), "is a JPEG that ends too early"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_or_counted(tmp_path, kind):
  record, cause = DAMAGE[kind]
  path = tmp_path / "a.tfrecord"
  write(path, [plain(5), plain(15), plain(25), record, plain(45)])
  with pytest.raises(DataError) as caught:
    frames_of(make_config(tmp_path), "train")
  message = str(caught.value)
  assert f"{path}: record 3 (from 0) is damaged: " in message and cause in message
  assert "\n" not in message and "on_corrupt=skip" in message
  stream = data_pipelines.batches(
    make_config(tmp_path, on_corrupt="skip"), split="train", batch_size=14, epochs=1
  )
  assert sum(len(batch["image"]) for batch in stream) == 2 * 14
  assert stream.num_corrupt == 1


def test_what_is_not_there_is_said_in_one_line(tmp_path):
  for folder, words in ((tmp_path / "none", "does not exist"), (tmp_path, "has no Sketchy")):
    with pytest.raises(DataError, match=words) as caught:
      data_pipelines.resolve(make_config(folder))
    assert str(folder) in str(caught.value) and "data_pipelines.fetch sketchy" in str(caught.value)
  for name in ("metadata.sqlite", "lift_green__demos-00000-of-00002.tar.bz2", ".hidden.tfrecord"):
    (tmp_path / name).write_bytes(b"other files do not count")
  with pytest.raises(DataError, match="has no Sketchy"):
    data_pipelines.resolve(make_config(tmp_path))
  write(tmp_path / "a.tfrecord", [plain(5), plain(15)])
  with pytest.raises(DataError, match="2 records in 1 files: too few"):
    next(data_pipelines.batches(make_config(tmp_path), split="val", batch_size=1))
  for i in range(3):
    write(tmp_path / "empty" / NAME.format(i), [])
  with pytest.raises(DataError, match="no Sketchy episodes; left out: 3 empty files"):
    next(data_pipelines.batches(make_config(tmp_path / "empty"), split="val", batch_size=1))
  with pytest.raises(ValueError, match="data.variant is 'lift'"):
    data_pipelines.resolve(make_config(tmp_path, variant="lift"))


COLORS = np.array([(90, 100, 80), (230, 20, 20), (20, 200, 20)], np.uint8)


def painted(key, *, camera):
  """A frame of plain colours that tell the ids, in place of a rendered one, which takes seconds."""
  rows, columns = jnp.arange(HEIGHT)[:, None], jnp.arange(WIDTH)
  where = jax.random.randint(key, (), 250, 350)
  ids = (abs(rows - where) < 60) & (abs(columns - 400) < 60)
  ids = ids + 2 * ((abs(rows - 300) < 40) & (abs(columns - 600 - 40 * camera) < 40))
  return {"image": jnp.array(COLORS)[ids], "instances": ids.astype(jnp.int32)}


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
  root = tmp_path_factory.mktemp("stand_in")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sketchy_standins, "table_frames", painted)
    return sketchy_standins.write(root, variant="default", num_scenes=29, seed=1)


def test_stand_ins_have_what_the_published_reader_asks_for(stand_in):
  """The features and shapes that the authors' own reader parses."""
  text = {
    name: tf.io.FixedLenFeature(1, tf.string)
    for name in ("pixels/basket_front_left", "pixels/basket_back_left", "pixels/usbcam0",
                 "pixels/basket_front_right", "pixels/royale_camera_driver_gray", "pixels/usbcam1")
  }  # fmt: skip
  floats = {
    "actions": 7, "gripper/joints/velocity": 1, "gripper/joints/torque": 1,
    "gripper/joints/angle": 1, "sawyer/joints/velocity": 7, "sawyer/pinch/pose": 7,
    "sawyer/tcp/pose": 7, "sawyer/tcp/effort": 6, "sawyer/joints/torque": 7,
    "sawyer/tcp/velocity": 6, "sawyer/joints/angle": 7, "wrist/torque": 3, "wrist/force": 3,
    "pixels/royale_camera_driver_depth": (171, 224, 1),
  }  # fmt: skip
  spec = text | {name: tf.io.FixedLenFeature(shape, tf.float32) for name, shape in floats.items()}
  spec["gripper/grasp"] = tf.io.FixedLenFeature(1, tf.int64)
  files = sorted(path for path in stand_in.iterdir() if path.name != STAND_IN_FILE)
  records = list(tf.data.TFRecordDataset([str(path) for path in files]))
  assert len(files) == len(records) == 3
  for record in records:
    parsed = tf.io.parse_single_example(record, spec)
    assert tf.io.decode_jpeg(parsed["pixels/basket_front_right"][0]).shape == (HEIGHT, WIDTH, 3)
    assert tf.io.decode_jpeg(parsed["pixels/usbcam1"][0]).shape == (HEIGHT, WIDTH, 3)


def test_stand_ins_are_read_back_with_their_instances(stand_in):
  config = make_config(stand_in.parent, image_size=128)
  source = data_pipelines.resolve(config)
  assert source.stand_in and "STAND-IN" in source.description
  (batch,) = data_pipelines.batches(config, split="train", batch_size=14, epochs=1)
  ids = batch["instances"]
  assert ids.shape == (14, 128, 128) and ids.dtype == np.int32
  assert set(np.unique(ids)) == {0, 1, 2}
  # The nearest of the colours tells the id, but for a pixel or so at borders.
  distance = np.abs(batch["image"][..., None, :].astype(int) - COLORS).sum(-1)
  assert (distance.argmin(-1) == ids).mean((1, 2)).min() > 0.97
  (other,) = data_pipelines.batches(config, split="val", batch_size=14, epochs=1)
  assert (other["image"] != batch["image"]).any()


def test_stand_ins_are_rendered_when_nothing_is_found(tmp_path, monkeypatch, stand_in):
  monkeypatch.chdir(tmp_path)
  asked = []

  def write(out_dir, *, variant, num_scenes):
    asked.append((variant, num_scenes))
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    out_dir.symlink_to(stand_in.parent)

  monkeypatch.setattr(sketchy_standins, "write", write)
  config = make_config("")
  with config.ignore_type():
    config.data_dir = None
  source = data_pipelines.resolve(config)
  assert data_pipelines.resolve(config) == source and source.stand_in
  assert asked == [("default", 42)]  # once


@pytest.mark.slow
def test_frames_show_solids_where_their_ids_are(monkeypatch):
  monkeypatch.setattr(table, "FRAME", (60, 96))
  render = jax.jit(lambda key, camera: table.table_frames(key, camera=camera))
  seen = set()
  for seed in range(3):
    views = [jax.device_get(render(jax.random.key(seed), camera)) for camera in (0, 1)]
    assert (views[0]["image"] != views[1]["image"]).any()
    for view in views:
      ids, image = view["instances"], view["image"].astype(int)
      assert ids.shape == (60, 96) and image.shape == (60, 96, 3)
      vivid = image.max(-1) - image.min(-1) > 45
      objects = (ids > 0) & (ids < table.GRIPPER)
      # Only the objects have bright colours: ids must lie where these are.
      assert vivid[objects].mean() > 0.9 and vivid[ids == 0].mean() < 0.1
      seen |= set(np.unique(ids[objects]).tolist())
      assert 2 <= view["factors"]["exists"].sum() <= 4
  assert seen == {1, 2, 3, 4}
