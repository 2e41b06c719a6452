"""Stand-ins for the Multi-Object Datasets: in the published files, labelled, read back whole."""

import json
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

import data_pipelines
from configs.settings import settings
from data_pipelines.datasets.multi_object import stand_in as standins
from genesis_jax.scenes.clevr import clevr_scene

pytestmark = pytest.mark.slow

# Features and their lengths, from the published readers.
CODE = 0  # a string of one byte
SPRITES = {"x": 1, "y": 1, "shape": 1, "visibility": 1, "orientation": 1, "scale": 1, "color": 3}
CLEVR = {"x": 1, "y": 1, "z": 1, "pixel_coords": 3, "rotation": 1, "visibility": 1,
         "size": CODE, "material": CODE, "shape": CODE, "color": CODE}  # fmt: skip
PUBLISHED = {
  ("tetrominoes", "train"): (35, 35, 4, {"x": 1, "y": 1, "shape": 1, "visibility": 1, "color": 3}),
  ("clevr", "train"): (240, 320, 11, CLEVR),
  ("multi_dsprites_colored", "colored_on_colored"): (64, 64, 5, SPRITES),
  ("multi_dsprites_colored", "colored_on_grayscale"): (64, 64, 6, SPRITES),
  ("multi_dsprites_colored", "binarized"): (64, 64, 4, SPRITES | {"color": 1}),
}


@pytest.fixture(scope="module", params=PUBLISHED, ids="-".join)
def written(request, tmp_path_factory):
  out = tmp_path_factory.mktemp("standins")
  name, variant = request.param
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(standins, "clevr_scene", partial(clevr_scene, samples=1))  # for speed
    patch.setattr(standins, "_drawing", standins._drawing.__wrapped__)  # not kept for others
    folder = standins.write(out, dataset=name, variant=variant, num_scenes=10)
  return request.param, out, folder


def parse(path, which):
  """Some records by TensorFlow's own parser, with shapes as published."""
  height, width, entities, factors = PUBLISHED[which]
  masks = [entities, height, width, 1]
  if which[0] == "multi_dsprites_colored":
    masks = [height, width, entities, 1]
  channels = 1 if which[1] == "binarized" else 3
  features = {
    "image": tf.io.FixedLenFeature([height, width, channels], tf.string),
    "mask": tf.io.FixedLenFeature(masks, tf.string),
  }
  for name, size in factors.items():
    shape = [entities, size] if name == "color" and size or size == 3 else [entities]
    kind = tf.string if size == CODE else tf.float32
    features[name] = tf.io.FixedLenFeature(shape, kind)
  records = []
  for record in tf.data.TFRecordDataset(str(path), "GZIP").take(3):
    parsed = tf.io.parse_single_example(record, features)
    for name in [n for n in parsed if parsed[n].dtype == tf.string]:
      parsed[name] = tf.io.decode_raw(parsed[name], tf.uint8)[..., 0]
    records.append({name: value.numpy() for name, value in parsed.items()})
  return records


def test_records_have_all_that_is_published(written):
  which, out, folder = written
  (path,) = folder.glob("*.tfrecords")
  records = parse(path, which)
  assert len(records) == 3
  for record in records:
    masks = record["mask"][..., 0]
    masks = np.moveaxis(masks, 2, 0) if which[0] == "multi_dsprites_colored" else masks
    assert (masks.astype(int).sum(0) == 255).all() and masks[0].any()
    visible = record["visibility"]
    assert visible[0] == 1 and 2 <= visible.sum() <= len(visible)
    assert not masks[visible == 0].any()
    assert (record["shape"][visible == 0] == 0).all() and record["shape"][0] == 0
    assert (record["shape"][1:][visible[1:] == 1] >= 1).all()
    if which[0] != "clevr":
      for mask, color in zip(masks[1:], record["color"][1:], strict=True):
        expected = np.round(color * 255).astype(np.uint8)
        assert (record["image"][mask > 0] == expected).all()


def test_reading_it_back(written):
  which, out, folder = written
  config = settings(which[0], variant=which[1], data_dir=str(out))
  source = data_pipelines.resolve(config)
  assert source.root == folder and source.stand_in and "STAND-IN" in source.description
  sizes = {s: data_pipelines.num_examples(config, s) for s in ("train", "val", "test")}
  assert sizes == {"train": 8, "val": 1, "test": 1}
  batch = next(data_pipelines.batches(config, split="train", batch_size=8))
  assert batch["image"].shape == (8, config.image_size, config.image_size, 3)
  entities = PUBLISHED[which][2]
  ids = set(np.unique(batch["instances"]))
  assert {0, 2} <= ids <= {0, *range(2, entities + 1)}
  assert batch["color"].shape == ((8, entities) if which[0] == "clevr" else (8, entities, 3))
  notes = json.loads((folder / "STAND_IN.json").read_text())
  assert notes["num_images"] == 10 and notes["variant"] == which[1] and notes["seed"] == 0


def test_seeds_and_what_is_there_already(tmp_path):
  def write(place, seed):
    folder = standins.write(
      tmp_path / place, dataset="tetrominoes", variant="train", num_scenes=10, seed=seed
    )
    assert folder == tmp_path / place / "tetrominoes"  # as in the published bucket
    return (folder / "tetrominoes_train.tfrecords").read_bytes()

  first = write("a", 1)
  assert first == write("b", 1) != write("c", 2)
  assert write("a", 2) == first  # left as it is


def test_mistakes(tmp_path):
  with pytest.raises(ValueError, match="dataset is 'cater'; allowed: clevr"):
    standins.write(tmp_path, dataset="cater", variant="train", num_scenes=10)
  with pytest.raises(ValueError, match="variant is 'grey'; allowed: binarized"):
    standins.write(tmp_path, dataset="multi_dsprites_colored", variant="grey", num_scenes=10)
  with pytest.raises(ValueError, match="num_scenes is 9"):
    standins.write(tmp_path, dataset="clevr", variant="train", num_scenes=9)
  mine = tmp_path / "tetrominoes" / "mine.txt"
  mine.parent.mkdir()
  mine.touch()
  with pytest.raises(FileExistsError, match="not a stand-in"):
    standins.write(tmp_path, dataset="tetrominoes", variant="train", num_scenes=10)
  assert mine.exists()
