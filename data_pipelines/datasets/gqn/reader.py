"""GQN scenes (Eslami et al., Neural scene representation and rendering, Science 2018).

    source = describe(config, root, None)  # which files there are
    records = split_records(config, source, "train")

Records are tf.Examples: `frames`, bytes [V], JPEG; `cameras`, floats [5V] (x, y, z, yaw, pitch).
Every view is an image. Only `frames` is needed; `instances`, bytes [V], PNG of ids, is a feature of
our rendered stand-ins alone.

Splits follow the file numbers i-of-n: the last n // 60 train files (at least one) are "val". Where
a partial download has none of them, the last 60th (at least one) of the files that are there is,
and where there is one train file, the last 60th of its records.
"""

import contextlib
from functools import partial
from pathlib import Path

import tensorflow as tf

from data_pipelines.datasets.gqn import files
from data_pipelines.datasets.gqn.files import FOLDERS, VARIANTS
from data_pipelines.reading import tfrecords
from data_pipelines.reading.headers import jpeg_size, png_header
from data_pipelines.reading.lanes import files as parts_of_files
from data_pipelines.reading.records import Range, Records, check_not_empty
from data_pipelines.sources import DataError, Source, resize_ids, resize_images, stand_in_notes

VAL_PART = 60  # one in so many train files is for validation
PLACES = ("data/gqn/{variant}", "data/gqn-dataset/{variant}", "data/{variant}")
COUNTABLE_BYTES = 2**31  # larger splits are not counted: that would read in every part of them


def find(folder: Path, config) -> Path | None:
  """The variant's folder with records in it."""
  for root in (folder / config.variant, folder):
    if files.files(root, "train") or files.files(root, "test"):
      return root
  return None


def missing(folder: Path, config) -> tuple[str, str]:
  """What is wrong with a folder without records, and the cure."""
  places = folder / config.variant, folder
  root = folder if folder.name == config.variant else places[0]
  beside = next(filter(None, map(files.beside, places)), "")
  return f"has no GQN records{beside}", files.expected(config.variant, root)


def describe(config, root: Path, notes: dict | None) -> Source:
  """What lies in a folder.

  Raises:
    DataError: the records are those of another set.
  """
  found = {folder: len(files.files(root, folder)) for folder in FOLDERS}
  if notes:
    description = (
      f"{config.variant}: RENDERED STAND-IN, not the published images "
      f"({notes['num_scenes']} scenes, {notes['image_size']} pixels) in {root}"
    )
  else:
    description = files.describe(root, config.variant, found)
  parts = ("train", "test")
  return Source(config.name, config.variant, root, bool(notes), description, found, parts=parts)


def _split_train(paths: list[Path]) -> tuple[list[Range], list[Range]]:
  """Ranges for train and val out of the train files that are there (see the module's docstring)."""
  if len(paths) == 1:
    total = Range(paths[0]).num_records()
    num_val = max(1, total // VAL_PART)
    if total < 2:
      raise DataError(
        f"{paths[0]} has {total} records: no part of it can be set aside for "
        "validation; add another train file"
      )
    first = total - num_val
    return [Range(paths[0], 0, first)], [Range(paths[0], first)]
  numbers = [files.numbers(path) for path in paths]
  is_val = [i > n - max(1, n // VAL_PART) for i, n in numbers]
  mixed = len({n for _, n in numbers}) > 1
  if mixed or not any(is_val) or all(is_val):
    first_val = len(paths) - max(1, len(paths) // VAL_PART)
    is_val = [i >= first_val for i in range(len(paths))]
  ranges = [Range(path) for path in paths]
  train = [part for part, held_out in zip(ranges, is_val, strict=True) if not held_out]
  return train, [part for part, held_out in zip(ranges, is_val, strict=True) if held_out]


def _ranges(config, source: Source, split: str) -> list[Range]:
  folder = "test" if split == "test" else "train"
  paths = files.files(source.root, folder)
  if not paths:
    raise DataError(
      f"{source.root / folder} has no records for the {split} split; "
      f"{files.expected(config.variant, source.root)}"
    )
  if split == "test":
    return [Range(path) for path in paths]
  train, val = _split_train(paths)
  return train if split == "train" else val


def _has_instances(ranges: list[Range]) -> bool:
  """Whether the first readable record has ids of instances."""
  for part in ranges:
    for record in parts_of_files.records(part.path, 0, part.path.stat().st_size):
      with contextlib.suppress(ValueError):
        if record.data is not None:
          return "instances" in tfrecords.example_features(record.data)
  return False


def _unpack(record: bytes, *, side: int, views: int, instances: bool) -> list[tuple[bytes, ...]]:
  """(frame,) or (frame, ids) per view, still encoded, and sure to be of the right size."""
  features = tfrecords.example_features(record)
  frames = tfrecords.bytes_feature(features, "frames", views)
  for view, frame in enumerate(frames):
    try:
      height, width = jpeg_size(frame)
    except ValueError as error:
      raise ValueError(f"frame {view} {error}") from None
    if (height, width) != (side, side):
      raise ValueError(f"frame {view} is {height}x{width} pixels instead of {side}x{side}")
  if not instances:
    return [(frame,) for frame in frames]
  maps = tfrecords.bytes_feature(features, "instances", views)
  for view, ids in enumerate(maps):
    header = png_header(ids)
    if header is None or header[:2] != (side, side):
      raise ValueError(f"instances {view} is not a PNG of {side}x{side} pixels")
  return list(zip(frames, maps, strict=True))


def _decode(*features: tf.Tensor, side: int, size: int, resize: str) -> dict[str, tf.Tensor]:
  """Frames and perhaps ids, strings [B], as image uint8 [B, S, S, 3], instances int32 [B, S, S]."""
  decoders = (partial(tf.io.decode_jpeg, channels=3), partial(tf.io.decode_png, channels=1))
  # A loop over the batch is three times as fast as an element of tf.data for every image.
  images, *maps = tf.map_fn(
    lambda encoded: [decode(one) for decode, one in zip(decoders, encoded, strict=False)],
    list(features),
    fn_output_signature=[tf.uint8] * len(features),
    parallel_iterations=1,
  )
  images = tf.ensure_shape(images, [None, side, side, 3])
  batch = {"image": resize_images(images, size, resize)}
  if maps:
    ids = tf.ensure_shape(maps[0], [None, side, side, 1])[..., 0]
    batch["instances"] = tf.cast(resize_ids(ids, size, resize), tf.int32)
  return batch


def split_records(config, source: Source, split: str) -> Records:
  """The records of a split.

  Raises:
    DataError: the split has no files, or no records in them.
  """
  ranges, variant = _ranges(config, source, split), VARIANTS[config.variant]
  check_not_empty(
    ranges,
    f"the {split} split is empty: {len(ranges)} files without a record in {source.root}; "
    f"{files.expected(config.variant, source.root)}",
  )
  notes, instances = stand_in_notes(source.root), _has_instances(ranges)
  side = notes["image_size"] if notes else variant.side
  return Records(
    ranges=tuple(ranges),
    views=variant.views,
    unpack=partial(_unpack, side=side, views=variant.views, instances=instances),
    num_features=2 if instances else 1,
    decode=partial(_decode, side=side, size=config.image_size, resize=config.resize),
    cure="fetch the file again, or leave such records out with --config.data.on_corrupt=skip",
  )


def images_per_scene(config) -> int:
  """How many images in a row show one scene."""
  return VARIANTS[config.variant].views
