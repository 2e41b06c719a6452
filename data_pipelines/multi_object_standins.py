"""Renders rooms in the format of the Multi-Object Datasets, for when these are not at hand.

    write(root, dataset="objects_room", variant="train", num_scenes=2000)

A set appears under its name only once it is complete; `STAND_IN.json` says what it is.
"""

from functools import partial
from pathlib import Path

import jax
import numpy as np
import tensorflow as tf

from data_pipelines.multi_object import LAYOUTS, file_name
from data_pipelines.publishing import published
from data_pipelines.standins import room_scene

VERSION = 1  # of the pictures; raise it when they change
MAX_OBJECTS = 3  # that rooms have
MIN_SCENES = 10  # so that a tenth is one
VIEWS = 10  # images per scene


def _message(number: int, content: bytes) -> bytes:
  """A field of a protocol buffer."""
  length, rest = b"", len(content)
  while rest > 127:
    length, rest = length + bytes([rest & 127 | 128]), rest >> 7
  return bytes([number << 3 | 2]) + length + bytes([rest]) + content


def _feature(name: str, values: np.ndarray) -> bytes:
  """An entry of a tf.Example: a list of strings of one byte each, without making the strings."""
  triples = np.empty((values.size, 3), np.uint8)
  triples[:] = 0x0A, 1, 0  # field 1 of bytes, a length of one, the byte
  triples[:, 2] = values.ravel()
  content = _message(2, _message(1, triples.tobytes()))
  return _message(1, _message(1, name.encode()) + content)


def encode(image: np.ndarray, masks: np.ndarray) -> bytes:
  """A tf.Example of uint8 arrays: image [H, W, 3] and masks [E, H, W, 1]."""
  return _message(1, _feature("image", image) + _feature("mask", masks))


def _masks(ids: np.ndarray, num_background: int, num_entities: int) -> np.ndarray:
  """Ids of rooms [H, W] -> [E, H, W, 1]; all background is entity 0."""
  entity = np.where(ids > 0, ids + num_background - 1, 0)
  return ((np.arange(num_entities)[:, None, None] == entity) * 255).astype(np.uint8)[..., None]


def _write_images(path: Path, *, num_scenes: int, side: int, background: int, entities: int):
  """Renders into one GZIP file."""
  render = jax.jit(partial(room_scene, image_size=side, num_views=VIEWS))
  key = jax.random.key(0)
  options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)
  with tf.io.TFRecordWriter(str(path), options) as writer:
    for n in range(num_scenes):
      scene = jax.device_get(render(jax.random.fold_in(key, n)))
      for image, ids in zip(scene["image"], scene["instances"], strict=True):
        writer.write(encode(image, _masks(ids, background, entities)))


def write(root: str | Path, *, dataset: str, variant: str, num_scenes: int) -> None:
  """Renders a variant into the folder `root`, ten images a scene.

  Raises:
    FileExistsError: `root` is in use for something else.
  """
  root, layout = Path(root), LAYOUTS[dataset]
  entities = layout.num_entities[variant]
  notes = dict(
    what=f"rooms rendered in place of the published images of {dataset}",
    background="all of it is entity 0; the other background entities are empty",
    variant=variant,
    num_images=num_scenes * VIEWS,
    image_size=layout.side,
    renderer="genesis_jax.scenes.room_scene",
    version=VERSION,
  )
  with published(root, notes) as folder:
    _write_images(
      folder / file_name(layout, variant),
      num_scenes=num_scenes,
      side=layout.side,
      background=layout.num_background,
      entities=entities,
    )
