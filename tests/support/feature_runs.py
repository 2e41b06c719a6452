"""An untrained run of a tiny model, on Tetrominoes written here as published."""

import functools
import pathlib

import jax
import numpy as np
import numpy_weights
from conftest import TINY_GENESIS, TINY_RUN

import genesis_jax
from experiments.runs import importing
from genesis_jax import objective, training

ENTITIES, SIDE = 4, 35
NUM_TEST, NUM_VAL, NUM_TRAIN = 39, 3, 3


def factors(index: int) -> dict[str, np.ndarray]:
  """Factors of an image's entities, drawn from its place in the file; entity 0 is background."""
  rng = np.random.default_rng(index)
  return {
    "x": rng.uniform(8, 27, ENTITIES).astype(np.float32),
    "y": rng.uniform(8, 27, ENTITIES).astype(np.float32),
    "shape": rng.integers(1, 4, ENTITIES).astype(np.float32),
    "visibility": np.ones(ENTITIES, np.float32),
    "color": rng.integers(0, 2, (ENTITIES, 3)).astype(np.float32),
  }


def entity_map(index: int) -> np.ndarray:
  """Entity at each pixel; squares, of which later ones cover earlier ones."""
  values, entity = factors(index), np.zeros((SIDE, SIDE), np.uint8)
  for e in range(1, ENTITIES):
    row, column = round(float(values["y"][e])), round(float(values["x"][e]))
    entity[row - 5 : row + 6, column - 5 : column + 6] = e
  return entity


def _record(index: int) -> bytes:
  import tensorflow as tf

  def single_bytes(array):
    values = [b"%c" % value for value in array.ravel().tolist()]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

  entity, values = entity_map(index), factors(index)
  color = values["color"] * (np.arange(ENTITIES) > 0)[:, None]
  masks = (entity == np.arange(ENTITIES)[:, None, None]).astype(np.uint8) * 255
  feature = {
    name: tf.train.Feature(float_list=tf.train.FloatList(value=value.ravel().tolist()))
    for name, value in values.items()
  }
  feature["image"] = single_bytes((color[entity] * 255).astype(np.uint8))
  feature["mask"] = single_bytes(masks)
  return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def write_tetrominoes(root: pathlib.Path) -> None:
  import tensorflow as tf

  path = root / "tetrominoes" / "tetrominoes_train.tfrecords"
  path.parent.mkdir(parents=True)
  with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
    for index in range(NUM_TEST + NUM_VAL + NUM_TRAIN):
      writer.write(_record(index))


def write_run(folder: pathlib.Path, model_name: str, data: pathlib.Path) -> None:
  """A run with a checkpoint of step 0; of a model that `tiny_model.composed` knows."""
  from tests.support import tiny_model

  config = tiny_model.composed(model_name, "tetrominoes")
  sizes = {"data.num_test": NUM_TEST, "data.num_val": NUM_VAL, "data.data_dir": str(data)}
  config.update_from_flattened_dict(TINY_RUN | sizes)
  if model_name == "genesis":
    config.update_from_flattened_dict(TINY_GENESIS)
  model, tx = genesis_jax.build_model(config.model), objective.optimizer(config)
  create = functools.partial(training.create_train_state, model=model, tx=tx)
  state = jax.tree.map(np.asarray, numpy_weights.drawn(create, jax.random.key(0)))
  importing.write_run(folder, config, state, {})
