"""Whether the files of a folder look like maps of ids, from a few of them.

look = Look.at(tree, paths)
look.maps, look.grey        # they look like maps; they have one channel
oddities(values)            # "hundreds of ids": what makes a map doubtful
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_pipelines.file_trees import Folder
from data_pipelines.image_files import ALL_FORMATS, decoded
from data_pipelines.image_folder_ids import packed

SAMPLES = 4  # files of a folder that are looked at
MAX_ROWS = 512  # of a file
MOST_COLOURS = 256  # of a map
MANY_IDS = 100  # in one image
EQUAL = 0.6  # so many neighbours are equal in a map; in photographs a third at most
RAMP_VALUES = 16  # fewer are objects, whatever their order
RAMP_STEPS = 32  # of a ramp from its lowest to its highest value: half of the steps are as small


def spread(items: Sequence, count: int = SAMPLES) -> list:
  """Some of the items, from the first to the last."""
  return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, count).astype(int))]


def is_ramp(values: np.ndarray) -> bool:
  """Whether values [H, W] change in small steps, as depth or a soft matte does."""
  values = np.maximum(values.astype(np.int64), 0)
  distinct = np.unique(values)
  steps = np.abs(np.diff(values))
  steps = steps[steps > 0]
  if len(distinct) < RAMP_VALUES or not len(steps):
    return False
  return np.median(steps) <= max(1, (distinct[-1] - distinct[0]) / RAMP_STEPS)


def oddities(values: np.ndarray, colours: bool) -> str | None:
  """What is doubtful about a map [H, W] of ids, or of colours as single numbers."""
  count = len(np.unique(values))
  if not colours and is_ramp(values):
    return f"{count} values in one image that form a ramp, as depth or a soft matte has"
  return f"{count} ids in one image" if count > MANY_IDS else None


class Look(NamedTuple):
  """What files look like.

  Attributes:
    maps: most look like maps of ids.
    grey: all have one channel, or three that are equal.
  """

  maps: bool
  grey: bool

  @classmethod
  def at(cls, tree: Folder, paths: Sequence[str]) -> "Look":
    """Looks at a few of the files; those that cannot be read say nothing."""
    looks = [look for path in spread(paths) if (look := _look(tree, path))]
    if not looks:
      return cls(False, False)
    maps = sum(look.maps for look in looks)
    return cls(2 * maps > len(looks), all(look.grey for look in looks))


def _look(tree: Folder, path: str) -> Look | None:
  try:
    image = decoded(tree.read(path), ALL_FORMATS)
  except (ValueError, OSError):
    return None
  try:
    values, colours = packed(image)
  except ValueError:  # a photograph, by its format
    return Look(False, len(image.getbands()) == 1)
  values = values[:: max(1, len(values) // MAX_ROWS)]
  equal = np.mean(values[:, 1:] == values[:, :-1]) if values.shape[1] > 1 else 0
  flat = equal >= EQUAL and len(np.unique(values)) <= MOST_COLOURS
  return Look(bool(flat and (colours or not is_ramp(values))), not colours)
