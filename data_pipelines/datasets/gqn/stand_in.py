"""Renders scenes in the format of published data, for when that is not at hand.

    write_gqn("data/mine", variant="rooms_ring_camera", num_scenes=2000)

The records have everything the published ones have, and ids of instances besides. A set appears
under its name only once it is complete. Nothing here pretends: `STAND_IN.json` says what it is.
"""

import io
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import jax
import numpy as np
import tensorflow as tf
from PIL import Image

from data_pipelines.datasets.gqn.reader import VARIANTS
from data_pipelines.datasets.publishing import published, with_progress
from data_pipelines.sources import STAND_IN_FILE, check_choice, check_seed
from genesis_jax.scenes import room_scene

VERSION = 2  # of the pictures; raise it when they change
SCENES_PER_FILE = 100
TEST_PART = 10  # one in so many scenes is for testing
JPEG_QUALITY = 95
ENCODERS = 2  # threads that compress while the next scenes render
QUEUE = 16  # scenes that may wait for them


def _jpeg(image: np.ndarray) -> bytes:
  buffer = io.BytesIO()
  # Colour at full resolution: the objects are told apart by it.
  Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
  return buffer.getvalue()


def _png(ids: np.ndarray) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(ids.astype(np.uint8)).save(buffer, "PNG", compress_level=1)
  return buffer.getvalue()


def encode_gqn(scene: dict) -> bytes:
  """A scene (see `genesis_jax.scenes`) as a tf.Example like GQN's, with `instances` added."""
  frames = [_jpeg(image) for image in scene["image"]]
  instances = [_png(ids) for ids in scene["instances"]]
  cameras = np.asarray(scene["cameras"]).ravel().tolist()
  feature = {
    "frames": tf.train.Feature(bytes_list=tf.train.BytesList(value=frames)),
    "cameras": tf.train.Feature(float_list=tf.train.FloatList(value=cameras)),
    "instances": tf.train.Feature(bytes_list=tf.train.BytesList(value=instances)),
  }
  return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def _encoded_scenes(num_scenes: int, *, image_size: int, num_views: int, seed: int):
  """Encoded scenes in order; the next ones render while some are compressed."""
  render = jax.jit(partial(room_scene, image_size=image_size, num_views=num_views))
  key = jax.random.key(seed)
  with ThreadPoolExecutor(ENCODERS) as pool:
    waiting = []
    for n in range(num_scenes):
      scene = jax.device_get(render(jax.random.fold_in(key, n)))
      waiting.append(pool.submit(encode_gqn, scene))
      if len(waiting) > QUEUE:
        yield waiting.pop(0).result()
    yield from (one.result() for one in waiting)


def _write_files(folder: Path, scenes: Iterator[bytes], num_scenes: int, num_files: int) -> None:
  """Deals scenes out to files i-of-n, as evenly as it goes."""
  folder.mkdir(parents=True)
  width = len(str(num_files))
  for i in range(num_files):
    path = folder / f"{i + 1:0{width}d}-of-{num_files}.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
      for _ in range(num_scenes * i // num_files, num_scenes * (i + 1) // num_files):
        writer.write(next(scenes))


def write_gqn(
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
  check_choice("variant", variant, VARIANTS)
  check_seed(seed)
  if num_scenes < 3:
    raise ValueError(f"num_scenes is {num_scenes}; train, val and test need at least 3")
  final = Path(out_dir) / variant
  if (final / STAND_IN_FILE).exists():
    return final
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
  with published(final, notes) as folder:
    scenes = _encoded_scenes(num_scenes, image_size=side, num_views=views, seed=seed)
    scenes = with_progress(scenes, num_scenes, f"rendering {final}", "scene")
    for split, size in sizes.items():
      _write_files(folder / split, scenes, size, files[split])
  return final
