"""Sketchy: a robot arm above a basket of solids (Cabi et al. 2020), as in the GENESIS-V2 paper.

    source = describe(config, root, None)  # which episodes there are
    records = split_records(config, source, "train")

A file is an episode, and a record one of its frames: a tf.Example whose features
`pixels/basket_front_left` and `pixels/basket_front_right` are JPEGs of 600x960 pixels. Of each, a
part of 448x672 gives seven images: the 448x448 in its middle, and six crops of 352x352, top and
bottom by left, middle and right. `instances`, bytes [14], PNG of ids for the images in this order,
is a feature of our rendered stand-ins alone.

Splits follow the sorted file names: the first tenth is "val", the next tenth "test". Where there
are three to nine files these have one each, and of one or two files a tenth of the records each.
"""

import re
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from data_pipelines.reading.headers import jpeg_size, png_header
from data_pipelines.reading.record_files import is_empty, left_out
from data_pipelines.reading.records import Range, Records, check_not_empty
from data_pipelines.reading.tfrecords import bytes_feature, example_features
from data_pipelines.sources import DataError, Source, resize_ids, resize_images
from data_pipelines.stores.published import command

VARIANTS = ("default",)
PLACES = ("data/sketchy",)  # searched when no data_dir is given
COUNTABLE_BYTES = 2**34  # larger splits are not counted: that would read in every part of them
HELD_OUT = 10  # one in so many files is for validation, another for testing

FRAME = (600, 960)  # rows and columns
TOPS = {"pixels/basket_front_left": 71, "pixels/basket_front_right": 91}  # of the parts used
LEFT, HEIGHT, WIDTH, CROP = 144, 448, 672, 352  # of these parts, and the side of the small crops
# Row and column within the part, and side, of the images of a view.
CROPS = (
  (0, (WIDTH - HEIGHT) // 2, HEIGHT),
  *(
    (row, column, CROP)
    for row in (0, HEIGHT - CROP)
    for column in (0, (WIDTH - CROP) // 2, WIDTH - CROP)
  ),
)
# Per image of a record: feature and (row, column, side) in the frame.
IMAGES = tuple(
  (view, (top + row, LEFT + column, side))
  for view, top in TOPS.items()
  for row, column, side in CROPS
)
MARGIN = 2  # colours of a JPEG are interpolated: so many pixels beyond a crop decide on its edge

_EPISODE = re.compile(r"\d+_[0-9a-f-]{36}|[^.].*\.tfrecords?(-.*)?")


def _help(folder: Path) -> str:
  episode = "10000313341320364033_b615a417-ce34-41a8-8411-2a1ce3f3bd07"
  fetching = command("sketchy", "default", folder)
  return f"expected episodes such as {folder / episode}, or *.tfrecord(s); fetch them: {fetching}"


def _found(root: Path) -> tuple[list[Path], int]:
  """Episodes in a folder, in the order that decides on splits, and how many more are empty."""
  named = root.iterdir() if root.is_dir() else ()
  found = [path for path in named if _EPISODE.fullmatch(path.name) and path.is_file()]
  paths = [path for path in found if not is_empty(path)]
  return sorted(paths), len(found) - len(paths)


def _files(root: Path) -> list[Path]:
  return _found(root)[0]


def _left_out(root: Path) -> str:
  folders = [root, root.parent] if root.name == "records" else [root]
  return left_out(folders, empty=_found(root)[1])


def _folders(folder: Path) -> list[Path]:
  """Where in a folder the episodes may be."""
  return [root / name for root in (folder, folder / "sketchy") for name in ("records", "")]


def find(folder: Path, config) -> Path | None:
  """The folder with the episodes."""
  del config
  return next((root for root in _folders(folder) if _files(root)), None)


def missing(folder: Path, config) -> tuple[str, str]:
  """What is wrong with a folder without episodes, and the cure."""
  del config
  beside = next(filter(None, map(_left_out, _folders(folder))), "")
  return f"has no Sketchy episodes{beside}", _help(folder / "records")


def describe(config, root: Path, notes: dict | None) -> Source:
  """What is in a folder."""
  files = _files(root)
  if notes:
    description = (
      f"sketchy: RENDERED STAND-IN, not the published images ({notes['num_frames']} frames, "
      f"{len(IMAGES)} images each) in {root}"
    )
  else:
    description = f"sketchy: {len(files)} episode files in {root}{_left_out(root)}"
  found, parts = {"all": len(files)}, tuple(path.name for path in files)
  return Source(config.name, config.variant, root, bool(notes), description, found, parts=parts)


def _between(paths: list[Path], counts: list[int], first: int, end: int) -> list[Range]:
  """The records from number `first` to before `end`, counted through all files."""
  ranges, start = [], 0
  for path, count in zip(paths, counts, strict=True):
    begin, stop = max(first - start, 0), min(end - start, count)
    if begin < stop:
      ranges.append(Range(path, begin, stop - begin))
    start += count
  return ranges


def _ranges(root: Path, split: str) -> list[Range]:
  """The records of a split (see the module's docstring)."""
  paths = _files(root)
  counts = [1] * len(paths) if len(paths) > 2 else [Range(path).num_records() for path in paths]
  total = sum(counts)
  if total < 3:
    raise DataError(
      f"{root} has {total} records in {len(paths)} files: too few for the splits train, val and "
      f"test; {_help(root)}"
    )
  held_out = max(1, total // HELD_OUT)
  first, end = {
    "val": (0, held_out),
    "test": (held_out, 2 * held_out),
    "train": (2 * held_out, total),
  }[split]
  if len(paths) > 2:
    return [Range(path) for path in paths[first:end]]
  return _between(paths, counts, first, end)


def _compact(record: bytes, *, names: tuple[str, ...]) -> bytes:
  """A record with nothing but the features that are used, a fifth of the bytes."""
  try:
    features = example_features(record)
  except ValueError:  # `_unpack` meets it again, where damage is counted
    return record
  kept = {name: features[name] for name in names if name in features}
  return tf.train.Example(features=tf.train.Features(feature=kept)).SerializeToString()


def _view(features, name: str) -> bytes:
  """The encoded frame of a camera, sure to be of the right size."""
  (frame,) = bytes_feature(features, name, 1)
  try:
    size = jpeg_size(frame)
  except ValueError as error:
    raise ValueError(f"`{name}` {error}") from None
  if size != FRAME:
    found, wanted = ("{}x{}".format(*pair) for pair in (size, FRAME))
    raise ValueError(f"`{name}` is {found} pixels instead of {wanted}")
  return frame


def _unpack(record: bytes, *, instances: bool) -> list[tuple[bytes, ...]]:
  """(frame, window) or (frame, window, ids) of each image; the window is int32 [3] as bytes."""
  features = example_features(record)
  frames = {name: _view(features, name) for name in TOPS}
  images = [(frames[name], np.array(window, np.int32).tobytes()) for name, window in IMAGES]
  if not instances:
    return images
  maps = bytes_feature(features, "instances", len(IMAGES))
  for number, (ids, (_, window)) in enumerate(zip(maps, IMAGES, strict=True)):
    header, side = png_header(ids), window[2]
    if header is None or header[:2] != (side, side):
      raise ValueError(f"`instances` {number} is not a PNG of {side}x{side} pixels")
  return [(*image, ids) for image, ids in zip(images, maps, strict=True)]


def _crop(frame: tf.Tensor, row: tf.Tensor, column: tf.Tensor, side: int) -> tf.Tensor:
  """A square of a frame, to the bit as if all of it were decoded, at about half the cost."""
  window = tf.stack([row - MARGIN, column - MARGIN, side + 2 * MARGIN, side + 2 * MARGIN])
  pixels = tf.io.decode_and_crop_jpeg(frame, window, channels=3)
  return tf.ensure_shape(pixels[MARGIN:-MARGIN, MARGIN:-MARGIN], [side, side, 3])


def _decode(frames, windows, *ids, size: int, resize: str) -> dict[str, tf.Tensor]:
  """Strings [B] as image uint8 [B, size, size, 3] and perhaps instances int32 [B, size, size]."""

  def decode_as(side, frame, row, column, *ids):
    image = resize_images(_crop(frame, row, column, side)[None], size, resize)[0]
    maps = [tf.ensure_shape(tf.io.decode_png(one, channels=1), [side, side, 1]) for one in ids]
    return image, *(resize_ids(one[None, ..., 0], size, resize)[0] for one in maps)

  def decode(inputs):
    frame, window, *ids = inputs
    row, column, side = tf.unstack(window)
    arguments = frame, row, column, *ids
    # Two sizes of crops, each with shapes that are known beforehand.
    return tf.cond(
      side == HEIGHT, lambda: decode_as(HEIGHT, *arguments), lambda: decode_as(CROP, *arguments)
    )

  windows = tf.ensure_shape(tf.io.decode_raw(windows, tf.int32), [None, 3])
  inputs, types = (frames, windows, *ids), (tf.uint8,) * (1 + len(ids))
  image, *maps = tf.map_fn(decode, inputs, fn_output_signature=types, parallel_iterations=1)
  batch = {"image": tf.ensure_shape(image, [None, size, size, 3])}
  if maps:
    batch["instances"] = tf.cast(tf.ensure_shape(maps[0], [None, size, size]), tf.int32)
  return batch


def split_records(config, source: Source, split: str) -> Records:
  """The records of a split.

  Raises:
    DataError: there are no records for the split.
  """
  ranges = _ranges(source.root, split)
  check_not_empty(
    ranges,
    f"the {split} split is empty: {len(ranges)} files without a record in {source.root}; "
    f"{_help(source.root)}",
  )
  names = (*TOPS, "instances") if source.stand_in else tuple(TOPS)
  return Records(
    ranges=tuple(ranges),
    views=len(IMAGES),
    unpack=partial(_unpack, instances=source.stand_in),
    num_features=3 if source.stand_in else 2,
    decode=partial(_decode, size=config.image_size, resize=config.resize),
    cure="fetch the file again, or leave such records out with --config.data.on_corrupt=skip",
    compact=partial(_compact, names=names),
  )


def images_per_scene(config) -> int:
  """How many images in a row are of one moment."""
  del config
  return len(IMAGES)
