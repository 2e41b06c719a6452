"""Renders a table with solids in the format of Sketchy, for when that is not at hand.

    write("data/mine", variant="default", num_scenes=2000)

The records have every feature that the published ones have: both front views are rendered, and what
nothing here reads is grey or zero. Ids of instances come besides. A set appears under its name only
once it is complete; `STAND_IN.json` says what it is.
"""

import math
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import numpy as np
import tensorflow as tf

from data_pipelines.datasets import Planned
from data_pipelines.datasets.sketchy.reader import FRAME, IMAGES, TOPS, VARIANTS
from data_pipelines.datasets.stand_ins import beside, check_request, jpeg, png, render
from genesis_jax.scenes import table_frames

VERSION = 1  # of the pictures; raise it when they change
MIN_FRAMES = 3  # train, val and test need one each
FRAMES_PER_FILE = 10
JPEG_QUALITY = 90
QUEUE = 8  # frames that may wait to be compressed

# Features of the published records besides the front views: numbers, and sizes of pictures.
FLOATS = {
  "actions": 7, "gripper/joints/angle": 1, "gripper/joints/torque": 1,
  "gripper/joints/velocity": 1, "sawyer/joints/angle": 7, "sawyer/joints/torque": 7,
  "sawyer/joints/velocity": 7, "sawyer/pinch/pose": 7, "sawyer/tcp/effort": 6,
  "sawyer/tcp/pose": 7, "sawyer/tcp/velocity": 6, "wrist/force": 3, "wrist/torque": 3,
  "pixels/royale_camera_driver_depth": 171 * 224,
}  # fmt: skip
PICTURES = {
  "pixels/basket_back_left": (*FRAME, 3),
  "pixels/royale_camera_driver_gray": (171, 224),
  "pixels/usbcam0": (*FRAME, 3),
  "pixels/usbcam1": (*FRAME, 3),
}


def num_frames(num_images: int) -> int:
  """How many frames, of 14 images each, are rendered for a number of images."""
  return max(MIN_FRAMES, math.ceil(num_images / len(IMAGES)))


def _bytes_feature(values: list[bytes]) -> tf.train.Feature:
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _jpeg_feature(image: np.ndarray) -> tf.train.Feature:
  return _bytes_feature([jpeg(image, quality=JPEG_QUALITY)])


def _unread_features() -> dict[str, tf.train.Feature]:
  """What published records have besides, with nothing in it."""
  floats = {
    name: tf.train.Feature(float_list=tf.train.FloatList(value=[0.0] * count))
    for name, count in FLOATS.items()
  }
  pictures = {
    name: _jpeg_feature(np.full(shape, 128, np.uint8)) for name, shape in PICTURES.items()
  }
  grasp = tf.train.Feature(int64_list=tf.train.Int64List(value=[0]))
  return floats | pictures | {"gripper/grasp": grasp}


def encode(views: dict[str, dict], unread: dict[str, tf.train.Feature]) -> bytes:
  """Rendered frames by feature name (see `table_frames`) as a tf.Example like Sketchy's."""
  instances = []
  for name, (row, column, side) in IMAGES:
    instances.append(png(views[name]["instances"][row : row + side, column : column + side]))
  frames = {name: _jpeg_feature(view["image"]) for name, view in views.items()}
  feature = unread | frames | {"instances": _bytes_feature(instances)}
  return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def _jobs(count: int, seed: int) -> Iterator[Callable[[], bytes]]:
  """Renders frame by frame."""
  draw = jax.jit(lambda key, camera: table_frames(key, camera=camera))
  key, unread = jax.random.key(seed), _unread_features()
  for n in range(count):
    each = jax.random.fold_in(key, n)
    views = {name: jax.device_get(draw(each, camera)) for camera, name in enumerate(TOPS)}
    yield partial(encode, views, unread)


def _write_files(folder: Path, count: int, num_files: int, seed: int) -> Iterator[None]:
  """Deals frames out to files that are named as published episodes are, as evenly as it goes."""
  frames = beside(_jobs(count, seed), QUEUE)
  for i in range(num_files):
    path = folder / f"{10**19 + i}_{uuid.UUID(int=i)}"
    with tf.io.TFRecordWriter(str(path)) as writer:
      for _ in range(count * i // num_files, count * (i + 1) // num_files):
        yield writer.write(next(frames))


def planned(config) -> Planned:
  """The stand-in that a configuration asks for."""
  frames = num_frames(config.standin_scenes)
  out = f"sketchy_{frames}_frames_v{VERSION}"
  return Planned(out, "records", dict(num_scenes=config.standin_scenes))


def write(out_dir: str | Path, *, variant: str, num_scenes: int, seed: int = 0) -> Path:
  """Renders `out_dir`/records in the format of Sketchy.

  Args:
    out_dir: folder, made if need be.
    variant: "default".
    num_scenes: images, of which a frame gives 14; rounded up to frames, at least three.
    seed: decides every frame.

  Returns:
    The folder of the episodes. A complete set that is there already is left as it is.

  Raises:
    ValueError: unknown variant, or impossible seed.
    FileExistsError: the folder is in use for something else.
  """
  check_request(variant, VARIANTS, seed)
  count = num_frames(num_scenes)
  num_files = max(min(count, 10), math.ceil(count / FRAMES_PER_FILE))
  notes = dict(
    what="tables rendered in place of the published frames of Sketchy",
    variant=variant,
    num_frames=count,
    num_images=count * len(IMAGES),
    frame=FRAME,
    files=num_files,
    seed=seed,
    renderer="genesis_jax.scenes.table_frames",
    version=VERSION,
  )
  steps = partial(_write_files, count=count, num_files=num_files, seed=seed)
  return render(Path(out_dir) / "records", notes, steps, count, "frame")
