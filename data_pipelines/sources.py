"""What every data set needs: errors, checked choices, a data set's address, resizing.

images = resize_images(images, 64, "bilinear")     # uint8 [B, H, W, 3] -> [B, 64, 64, 3]
"""

import dataclasses
import difflib
import functools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from absl import logging

if TYPE_CHECKING:
  import tensorflow as tf

SPLITS = ("train", "val", "test")
RESIZE = ("nearest", "bilinear", "area")
ON_CORRUPT = ("error", "skip")
ORDERS = ("lanes", "buffer")
# Of every data configuration, or, as the protocol, known here; others are a data set's own.
SHARED_FIELDS = frozenset(
  {
    "name", "module", "variant", "protocol", "image_size", "num_slots", "source", "data_dir",
    "resize", "on_corrupt", "limit", "order", "shuffle_buffer", "resident", "num_val", "num_test",
    "standin_scenes", "cache_gb",
  }
)  # fmt: skip
# Smallest numbers in a data configuration, for all data sets.
LEAST = {"image_size": 1, "limit": 0, "shuffle_buffer": 1, "standin_scenes": 1}


class DataError(ValueError):
  """Data that is missing, empty or damaged; the message is one line with cause and cure."""


@dataclasses.dataclass(frozen=True)
class Source:
  """Where the images of a run came from.

  Attributes:
    name: data set, as in the configuration.
    variant: which of its published versions.
    root: folder of that variant; None where scenes are generated.
    stand_in: whether these are rendered scenes in place of the published ones.
    description: one line for people, with how many files of how many.
    num_files: per split that is there, how many files.
    protocol: whose preparation of the images, for data sets with several.
    parts: files and folders below `root` that the images are in.
  """

  name: str
  variant: str
  root: Path | None
  stand_in: bool
  description: str
  num_files: dict[str, int]
  protocol: str | None = None
  parts: tuple[str, ...] = ("",)

  def metadata(self) -> dict:
    """Plain values for the record of a run."""
    fields = dataclasses.asdict(self) | {"root": self.root and str(self.root)}
    del fields["parts"]  # how the data is looked at, and no fact about it
    return fields


@functools.cache
def warn_once(message: str) -> None:
  """Logs a warning, unless it was logged before."""
  logging.warning("%s", message)


def check_choice(field: str, value: object, allowed: Iterable[str]) -> None:
  """Raises a ValueError that names field, value and what is allowed, unless value is allowed."""
  allowed = sorted(allowed)
  if value in allowed:
    return
  close = difflib.get_close_matches(str(value), allowed, n=1)
  hint = f'. Did you mean "{close[0]}"?' if close else ""
  raise ValueError(f"{field} is {value!r}; allowed: {', '.join(allowed)}{hint}")


def shard_rows(batch_size: int, shard_index: int, shard_count: int) -> slice:
  """A shard's rows of every batch, also of an incomplete one, where the last shards get fewer.

  Raises:
    ValueError: there is no such shard, or a batch cannot be shared out among so many.
  """
  if not 0 <= shard_index < shard_count:
    raise ValueError(f"shard_index is {shard_index}; it must be from 0 to {shard_count - 1}")
  if batch_size < 1 or batch_size % shard_count:
    raise ValueError(f"batch_size {batch_size} is not a multiple of {shard_count} shards")
  rows = batch_size // shard_count
  return slice(rows * shard_index, rows * (shard_index + 1))


def check_config(
  config, variants: Iterable[str], resize: Iterable[str] = RESIZE, **least: int
) -> None:
  """Raises a ValueError for the first field of a data configuration with an impossible value.

  Args:
    config: fields of a data set.
    variants: allowed values of `config.variant`.
    resize: allowed values of `config.resize`.
    least: smallest numbers in fields that only some data sets use.
  """
  check_choice("data.variant", config.variant, variants)
  check_choice("data.resize", config.resize, resize)
  check_reading(config, **least)


def check_reading(config, **least: int) -> None:
  """As `check_config`, of the fields that matter even where images were prepared before."""
  check_choice("data.on_corrupt", config.on_corrupt, ON_CORRUPT)
  check_choice("data.order", getattr(config, "order", "buffer"), ORDERS)
  for field, smallest in (LEAST | least).items():
    if getattr(config, field) < smallest:
      raise ValueError(f"data.{field} is {getattr(config, field)}; it must be at least {smallest}")


def check_seed(seed: int) -> None:
  """Raises a ValueError unless JAX makes a key of its own from a seed."""
  if not 0 <= seed < 2**32:
    raise ValueError(f"seed is {seed}; it must be from 0 to {2**32 - 1}")


def nothing_found(given: Path, what: str, cure: str) -> DataError:
  """The error for a data_dir where nothing of a data set is found.

  Args:
    given: what the configuration names.
    what: what is wrong with it, if it is a folder.
    cure: what to do about it, unless it is a file.
  """
  if given.exists() and not given.is_dir():
    return DataError(f"data.data_dir {given} is a file; name the folder that it is in")
  return DataError(f"data.data_dir {given} {what if given.exists() else 'does not exist'}; {cure}")


def _nearest(images: "tf.Tensor", size: int, *, centred: bool) -> "tf.Tensor":
  """[B, H, W, ...] -> [B, size, size, ...]; takes pixel floor((i + offset) * H / size)."""
  import tensorflow as tf  # not above: there may be none where nothing is read from files

  offset = 0.5 if centred else 0.0
  for axis in (1, 2):
    scale = images.shape[axis] / size
    images = tf.gather(images, [int((i + offset) * scale) for i in range(size)], axis=axis)
  return images


def resize_images(images: "tf.Tensor", size: int, method: str) -> "tf.Tensor":
  """Resizes uint8 images [B, H, W, 3] to [B, size, size, 3], uint8.

  "nearest" takes pixel floor(i * H / size), as PyTorch's interpolate and so the original GENESIS
  code does (halving keeps the even rows and columns); "bilinear" is antialiased; "area" averages.
  """
  if images.shape[1:3] == (size, size):
    return images
  if method == "nearest":
    return _nearest(images, size, centred=False)
  import tensorflow as tf

  resized = tf.image.resize(images, (size, size), method=method, antialias=method == "bilinear")
  return tf.saturate_cast(tf.round(resized), tf.uint8)


def resize_ids(ids: "tf.Tensor", size: int, method: str) -> "tf.Tensor":
  """Resizes integer maps [B, H, W] to [B, size, size] so that they lie over the resized images.

  Always takes one pixel each, since ids cannot be mixed; which one depends on the images' method.
  """
  if ids.shape[1:3] == (size, size):
    return ids
  return _nearest(ids, size, centred=method != "nearest")


STAND_IN_FILE = "STAND_IN.json"  # marks rendered scenes and says how they were made


def stand_in_notes(root: Path) -> dict | None:
  """What the stand-in in a folder says of itself; None for a folder of published records.

  Raises:
    DataError: it is a stand-in, but what it says cannot be read.
  """
  path = root / STAND_IN_FILE
  if not path.exists():
    return None
  try:
    notes = json.loads(path.read_text())
  except ValueError as error:
    what = str(error)
  else:
    if notes and isinstance(notes, dict):
      return notes
    what = f"it holds {notes!r:.40}"
  raise DataError(
    f"{path} is damaged ({what}); remove the folder {root}: stand-ins in data/stand_ins are "
    "rendered again when needed, others by python -m data_pipelines.generate"
  )
