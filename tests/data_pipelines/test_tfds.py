"""Sets of TensorFlow Datasets, built here by itself: found, divided, read, drawn from, prepared."""

import itertools

import numpy as np
import pytest
import tensorflow_datasets as tfds
from image_trees import read

import data_pipelines
from configs.settings import settings
from data_pipelines import DataError, sources
from data_pipelines.datasets.tfds.features import choose, pictures

SIDE, FRAMES, RECORDS = 16, 3, {"train": 10, "validation": 4}
Image, Sequence = tfds.features.Image, tfds.features.Sequence


def frames(number, length=FRAMES):
  rng = np.random.default_rng(number)
  ids = np.kron(rng.integers(0, 5, (length, 4, 4, 1)), np.ones((1, 4, 4, 1))).astype(np.uint8)
  return rng.integers(0, 256, (length, SIDE, SIDE, 3), np.uint8), ids


def example(shape, number):
  """A record of the set of that shape."""
  images, ids = frames(number, 1 + number % FRAMES if shape == "davis" else FRAMES)
  if shape == "plain":
    return {"image": images[0], "number": number}
  if shape == "pets":
    half = ids[0, :, :12]
    return {"image": images[0, :, :12], "segmentation_mask": half % 3 + 1, "depth": half}
  if shape == "movi":
    return {"video": images, "segmentations": ids, "normal": images.astype(np.uint16)}
  if shape == "stereo":
    return {"left": images[0], "right": images[1]}
  reds = np.pad(ids * 40, ((0, 0),) * 3 + ((0, 2),))
  return {"clip": [{"frames": a, "instances": b} for a, b in zip(images, reds, strict=True)]}


class Tiny(tfds.core.GeneratorBasedBuilder):
  """Sets of the shapes that people have, `RECORDS` each."""

  VERSION = tfds.core.Version("1.0.0")
  FEATURES = {
    "plain": {"image": Image(shape=(SIDE, SIDE, 3)), "number": np.int32},
    "pets": {
      "image": Image(shape=(None, None, 3)),
      "segmentation_mask": Image(shape=(None, None, 1)),
      "depth": Image(shape=(None, None, 1)),
    },
    "movi": {
      "video": tfds.features.Video(shape=(FRAMES, SIDE, SIDE, 3)),
      "segmentations": Sequence(Image(shape=(SIDE, SIDE, 1)), length=FRAMES),
      "normal": tfds.features.Video(shape=(FRAMES, SIDE, SIDE, 3), dtype=np.uint16),
    },
    "davis": {
      "clip": Sequence(
        {"frames": Image(shape=(SIDE, SIDE, 3)), "instances": Image(shape=(SIDE, SIDE, 3))}
      )
    },
    "stereo": {"left": Image(shape=(SIDE, SIDE, 3)), "right": Image(shape=(SIDE, SIDE, 3))},
  }
  BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in FEATURES]

  def _info(self):
    features = tfds.features.FeaturesDict(self.FEATURES[self.builder_config.name])
    return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

  def _split_generators(self, dl_manager):
    return {name: self._generate_examples(name) for name in RECORDS}

  def _generate_examples(self, split):
    first = 100 * list(RECORDS).index(split)
    for number in range(first, first + RECORDS[split]):
      yield number, example(self.builder_config.name, number)


def build(root, file_format, names):
  """A data_dir with these sets, each in two files a split."""
  for name in names:
    builder = Tiny(data_dir=root, config=name, file_format=file_format)
    two = tfds.download.DownloadConfig(num_shards=2)
    builder.download_and_prepare(download_config=two)
  return root


@pytest.fixture(scope="module")
def tfrecord(tmp_path_factory):
  return build(tmp_path_factory.mktemp("tfrecord"), "tfrecord", Tiny.FEATURES)


@pytest.fixture(scope="module")
def array_record(tmp_path_factory):
  names = "plain", "movi", "davis"
  return build(tmp_path_factory.mktemp("array_record"), "array_record", names)


@pytest.fixture(params=["tfrecord", "array_record"])
def built(request):
  """A data_dir in each of the formats."""
  return request.getfixturevalue(request.param)


def test_features_that_are_made_of_pictures():
  deep = {"observation": {"image": Image(shape=(4, 4, 3)), "depth": Image(shape=(4, 4, 1))}}
  found = pictures(tfds.features.FeaturesDict(
    {"steps": tfds.features.Dataset(deep), "twice": Sequence(Sequence(Image(shape=(4, 4, 3)))),
     "label": tfds.features.LabeledImage(labels=3, shape=(None, None, 1))}
  ))  # fmt: skip
  assert {name: one.length for name, one in found.items()} == {
    "label": 1, "steps/observation/depth": None, "steps/observation/image": None
  }  # fmt: skip
  image, ids = choose(found, None, None)
  assert image.name == "steps/observation/image" and ids is None
  with pytest.raises(ValueError, match="'label' with 1 pictures in a record, but .* has None"):
    choose(found, None, "label")


def config_of(root, builder, **changes):
  fields = dict(data_dir=str(root), builder=builder, image_size=SIDE, shuffle_buffer=20)
  return settings("tfds", **fields | changes)


def test_images_without_masks(built):
  config = config_of(built, "tiny/plain:1.*.*")
  source = data_pipelines.resolve(config)
  assert "train train[:90%] (9 records)" in source.description and not source.stand_in
  assert "test train[90%:100%] (1 records)" in source.description
  assert "feature image, no segmentation" in source.description
  sizes = {split: data_pipelines.num_examples(config, split) for split in sources.SPLITS}
  assert sizes == {"train": 9, "val": 4, "test": 1}
  batch = read(config, "val")
  assert set(batch) == {"image"} and batch["image"].dtype == np.uint8
  np.testing.assert_array_equal(batch["image"], [frames(100 + n)[0][0] for n in range(4)])


def test_frames_of_videos_with_their_ids(built):
  config = config_of(built, "tiny/movi")
  assert "feature video, segmentation segmentations" in data_pipelines.resolve(config).description
  batch = read(config, "val")
  expected = [np.concatenate(arrays) for arrays in zip(*map(frames, range(100, 104)), strict=True)]
  np.testing.assert_array_equal(batch["image"], expected[0])
  np.testing.assert_array_equal(batch["instances"], expected[1][..., 0])
  assert batch["instances"].dtype == np.int32
  half = read(config_of(built, "tiny/movi", image_size=8, resize="nearest"), "val")
  np.testing.assert_array_equal(half["instances"], batch["instances"][:, ::2, ::2])
  # Frames of one video are drawn only once all have had a turn; a shard gets its own rows.
  drawn = data_pipelines.sample(config, "train", 9, batch_size=10, shard_index=1, shard_count=2)
  assert "one of a scene" in drawn.words()
  (rows,) = drawn
  assert len(rows["image"]) == 4 and len(set(rows["index"] // FRAMES)) == 4
  np.testing.assert_array_equal(
    rows["image"], [frames(n // FRAMES)[0][n % FRAMES] for n in rows["index"]]
  )


def test_any_batch_of_any_shard_is_reached(built):
  config, stream = config_of(built, "tiny/movi"), dict(split="train", batch_size=4, seed=1)
  whole = list(itertools.islice(data_pipelines.batches(config, **stream), 9))
  counts = {}
  for batch in whole[:7]:  # an epoch of 27 images and one more
    for image in batch["image"]:
      counts[image.tobytes()] = counts.get(image.tobytes(), 0) + 1
  assert len(counts) == 27 and sum(counts.values()) == 28
  for shard in (0, 1):
    part = dict(first_batch=8, shard_index=shard, shard_count=2)
    rows = next(data_pipelines.batches(config, **stream, **part))
    for name, values in whole[8].items():
      np.testing.assert_array_equal(rows[name], values[2 * shard : 2 * shard + 2])


def test_videos_of_any_length_and_colours_for_ids(built):
  config = config_of(built, "tiny/davis")
  batch = read(config, "val")  # records 100 to 103 have 2, 3, 1 and 2 frames
  assert data_pipelines.num_examples(config, "val") == len(batch["image"]) == 8
  expected = [frames(number, 1 + number % FRAMES) for number in range(100, 104)]
  np.testing.assert_array_equal(batch["image"], np.concatenate([a for a, _ in expected]))
  for found, ids in zip(batch["instances"], np.concatenate([b for _, b in expected]), strict=True):
    np.testing.assert_array_equal(found, np.searchsorted(np.unique([0, *ids.ravel()]), ids[..., 0]))


def test_values_that_are_no_instances(tfrecord):
  batch = read(config_of(tfrecord, "tiny/pets", background_ids=2, ignore_ids="3"), "val")
  trimap = np.stack([frames(100 + n)[1][0] for n in range(4)])[..., :12, 0] % 3 + 1
  assert batch["image"].shape == (4, SIDE, SIDE, 3)  # of 16 x 12: the middle
  assert set(np.unique(batch["instances"])) == {-1, 0, 1}
  plain = read(config_of(tfrecord, "tiny/pets"), "val")
  assert set(np.unique(plain["instances"])) == set(np.unique(trimap)) == {1, 2, 3}
  assert "instances" not in read(
    config_of(tfrecord, "tiny/pets", segmentation_feature="none"), "val"
  )
  depth = read(config_of(tfrecord, "tiny/pets", segmentation_feature="depth"), "val")
  assert depth["instances"].max() == 4


def test_splits_are_those_that_are_named(tfrecord):
  named = dict(train_split="train[:3]+validation", test_split="train[50%:]")
  config = config_of(tfrecord, "tiny/plain", **named)
  sizes = {split: data_pipelines.num_examples(config, split) for split in sources.SPLITS}
  assert sizes == {"train": 7, "val": 4, "test": 5}
  with pytest.raises(DataError, match="nothing is known to be the test split .*test_split"):
    read(config_of(tfrecord, "tiny/plain", val_split="train[9:]"), "test")


def test_records_in_two_splits_are_told(tfrecord, caplog):
  sources.warn_once.cache_clear()
  data_pipelines.resolve(config_of(tfrecord, "tiny/plain", test_split="train[8:]"))
  assert "2 records of tiny/plain/1.0.0 are in both train and test" in caplog.text


def test_files_that_are_not_there_are_told(built, tmp_path):
  root = tmp_path / "tiny/plain/1.0.0"
  root.mkdir(parents=True)
  for path in (built / "tiny/plain/1.0.0").iterdir():
    if "train" not in path.name or "-00000-of" in path.name:
      (root / path.name).symlink_to(path)
  config = config_of(root, None)  # the folder itself
  assert "(5 records, 1 of 2 files)" in data_pipelines.resolve(config).description
  assert data_pipelines.num_examples(config, "train") == 5
  with pytest.raises(DataError, match="test split is empty: none of the 1 files of train.90%"):
    read(config, "test")


@pytest.mark.parametrize(
  "builder, changes, message",
  [
    ("tiny", {}, "several sets; name one with --config.data.builder: tiny/davis, tiny/movi"),
    ("clevr:3.1.0", {}, "has no clevr:3.1.0 .*: tfds build clevr --data_dir "),
    ("movi_a/128x128", {}, "gsutil -m cp -r gs://kubric-public/tfds/movi_a/128x128 "),
    ("../tiny", {}, "data.builder is '../tiny'; it must be a name as in tfds.builder"),
    ("tiny/stereo", {}, "tiny: data.image_feature is not set, and several feat.*: left, right"),
    ("tiny/movi", {"image_feature": "vide"}, 'is .vide.; allowed: .*Did you mean "video"'),
    ("tiny/plain", {"train_split": "train[:x]"}, "data.train_split is 'train.:x.', .*allowed: tr"),
    ("tiny/plain", {"ignore_ids": "many"}, "data.ignore_ids is 'many'"),
  ],
)
def test_mistakes_are_one_line(tfrecord, builder, changes, message):
  with pytest.raises(ValueError, match=message) as error:
    data_pipelines.resolve(config_of(tfrecord, builder, **changes))
  assert "\n" not in str(error.value)


def test_nothing_is_downloaded(tmp_path, monkeypatch):
  from data_pipelines.datasets.tfds import reader

  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(reader, "PLACES", ("data/tensorflow_datasets",))
  with pytest.raises(DataError, match="no tfds data found under .*no stand-in; .*tfds build mnist"):
    data_pipelines.resolve(settings("tfds", builder="mnist"))
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("on_corrupt", ["error", "skip"])
def test_damage_is_named_or_skipped(built, tmp_path, on_corrupt):
  root = tmp_path / "tiny"
  for path in (built / "tiny/movi/1.0.0").iterdir():
    root.mkdir(exist_ok=True)
    (root / path.name).write_bytes(path.read_bytes())
  kind = "tfrecord" if "tfrecord" in str(built) else "array_record"
  path = root / f"tiny-validation.{kind}-00001-of-00002"
  data = bytearray(path.read_bytes())
  at = data.index(b"IDAT") + 20
  data[at] ^= 255
  path.write_bytes(data)
  stream = data_pipelines.batches(
    config_of(root, None, on_corrupt=on_corrupt), split="val", batch_size=20, epochs=1
  )
  if on_corrupt == "error":
    with pytest.raises(DataError, match=f"{path.name}: record 0 .*damaged.*build or copy"):
      next(stream)
  else:
    assert len(next(stream)["image"]) in (6, 9) and stream.num_corrupt


def test_it_is_prepared_and_read_again(tfrecord, tmp_path, capsys):
  from data_pipelines import prepare

  words = ["tfds", f"--source={tfrecord}", "--builder=tiny/movi", f"--out={tmp_path}"]
  assert prepare.main([*words, f"--image_size={SIDE}", "--splits=val"]) == 0
  assert "--config.data.builder=tiny/movi" in capsys.readouterr().out
  config = config_of(tmp_path, "tiny/movi")
  assert "prepared set of 12 val images" in data_pipelines.resolve(config).description
  for name, values in read(config_of(tfrecord, "tiny/movi"), "val").items():
    np.testing.assert_array_equal(read(config, "val")[name], values)
