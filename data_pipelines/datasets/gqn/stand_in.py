"""Renders scenes in the format of published data, for when that is not at hand.

    write("data/mine", variant="rooms_ring_camera", num_scenes=2000)

The records have everything the published ones have, and ids of instances besides. A set appears
under its name only once it is complete. Nothing here pretends: `STAND_IN.json` says what it is.
"""

import functools
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import numpy as np
import tensorflow as tf

from data_pipelines.datasets import Planned
from data_pipelines.datasets.gqn.files import VARIANTS
from data_pipelines.datasets.stand_ins import beside, check_least, check_request, jpeg, png, render
from genesis_jax.scenes import room_scene

VERSION = 2  # of the pictures; raise it when they change
SCENES_PER_FILE = 100
TEST_PART = 10  # one in so many scenes is for testing
JPEG_QUALITY = 95
VIEWS_OF_SCENE = 10  # standin_scenes counts scenes of so many views


def encode_gqn(scene: dict) -> bytes:
  """A scene (see `genesis_jax.scenes`) as a tf.Example like GQN's, with `instances` added."""
  # Colour at full resolution: the objects are told apart by it.
  frames = [jpeg(image, quality=JPEG_QUALITY, subsampling=0) for image in scene["image"]]
  instances = [png(ids) for ids in scene["instances"]]
  cameras = np.asarray(scene["cameras"]).ravel().tolist()
  feature = {
    "frames": tf.train.Feature(bytes_list=tf.train.BytesList(value=frames)),
    "cameras": tf.train.Feature(float_list=tf.train.FloatList(value=cameras)),
    "instances": tf.train.Feature(bytes_list=tf.train.BytesList(value=instances)),
  }
  return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


@functools.cache  # compiled once
def _drawing(image_size: int, num_views: int) -> Callable[[jax.Array], dict]:
  return jax.jit(partial(room_scene, image_size=image_size, num_views=num_views))


def _jobs(num_scenes: int, *, image_size: int, num_views: int, seed: int):
  """Renders scene by scene."""
  draw, key = _drawing(image_size, num_views), jax.random.key(seed)
  for n in range(num_scenes):
    yield partial(encode_gqn, jax.device_get(draw(jax.random.fold_in(key, n))))


def _encoded_scenes(num_scenes: int, **options) -> Iterator[bytes]:
  """Encoded scenes in order; the next ones render while some are compressed."""
  return beside(_jobs(num_scenes, **options))


def _write_files(
  folder: Path, sizes: dict[str, int], files: dict[str, int], scenes: Callable
) -> Iterator[None]:
  """Deals scenes out to files i-of-n of each split, as evenly as it goes."""
  encoded = scenes(sum(sizes.values()))
  for split, num_files in files.items():
    (folder / split).mkdir(parents=True)
    width = len(str(num_files))
    for i in range(num_files):
      path = folder / split / f"{i + 1:0{width}d}-of-{num_files}.tfrecord"
      with tf.io.TFRecordWriter(str(path)) as writer:
        for _ in range(sizes[split] * i // num_files, sizes[split] * (i + 1) // num_files):
          yield writer.write(next(encoded))


def planned(config) -> Planned:
  """The stand-in that a configuration asks for."""
  size, views = config.image_size, VARIANTS[config.variant].views
  scenes = max(20, config.standin_scenes * VIEWS_OF_SCENE // views)
  out = f"gqn_{size}px_{scenes}_scenes_v{VERSION}"
  return Planned(out, config.variant, dict(num_scenes=scenes, image_size=size))


def write(
  out_dir: str | Path,
  *,
  variant: str,
  num_scenes: int,
  image_size: int | None = None,
  seed: int = 0,
) -> Path:
  """Renders `out_dir`/`variant` in the format of a GQN set, a tenth of the scenes for test.

  All variants get the same kind of rooms, with as many views per scene as are published.

  Args:
    out_dir: folder, made if need be.
    variant: one of GQN's seven names.
    num_scenes: train and test scenes together, at least 3.
    image_size: side in pixels; None: that of the variant.
    seed: decides every scene.

  Returns:
    The variant's folder. A complete set that is there already is left as it is.

  Raises:
    ValueError: unknown variant, impossible seed, or too few scenes for all splits.
    FileExistsError: the variant's folder is in use for something else.
  """
  check_request(variant, VARIANTS, seed)
  check_least(num_scenes, 3, "train, val and test need at least 3")
  views, side = VARIANTS[variant].views, image_size or VARIANTS[variant].side
  num_test = max(1, num_scenes // TEST_PART)
  sizes = {"train": num_scenes - num_test, "test": num_test}
  # Two train files at least, so that one can be set aside for validation.
  files = {split: math.ceil(size / SCENES_PER_FILE) for split, size in sizes.items()}
  files["train"] = max(files["train"], min(sizes["train"], 10))
  notes = dict(
    what="rooms rendered in place of the published images of GQN",
    variant=variant,
    num_scenes=num_scenes,
    num_views=views,
    image_size=side,
    scenes=sizes,
    files=files,
    seed=seed,
    renderer="genesis_jax.scenes.room_scene",
    version=VERSION,
  )
  scenes = partial(_encoded_scenes, image_size=side, num_views=views, seed=seed)
  steps = partial(_write_files, sizes=sizes, files=files, scenes=scenes)
  return render(Path(out_dir) / variant, notes, steps, num_scenes, "scene")
