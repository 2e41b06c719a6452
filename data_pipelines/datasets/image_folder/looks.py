"""Whether the files of a folder look like maps of ids, from a few of them.

look = Look.at(tree, paths)
look.maps, look.grey        # they look like maps; they have one channel
oddities(values)            # "hundreds of ids": what makes a map doubtful
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_pipelines.datasets.image_folder.layers import Layer
from data_pipelines.datasets.mask_values import Ids, packed, within
from data_pipelines.reading.file_trees import Folder
from data_pipelines.reading.images import ALL_FORMATS, decoded

SAMPLES = 4  # files of a folder that are looked at
MAX_ROWS = 512  # of a file, in its middle
MOST_COLOURS = 256  # of a map
MANY_IDS = 100  # in one image
EQUAL = 0.6  # so many neighbours are equal in a map; in photographs a third at most
RAMP_VALUES = 16  # fewer are objects, whatever their order
UNREAD = (".mat", ".npy", ".npz")  # arrays
FOLDERS = 12  # of images, that are looked at
BORDER = 255  # in masks of grey values: a border, unless ids go up to there
MOST_IDS_BELOW = 200  # for 255 to be none of them
RAMP_STEPS = 32  # of a ramp from its lowest to its highest value: half of the steps are as small


def spread(items: Sequence, count: int = SAMPLES) -> list:
  """Some of the items, from the first to the last."""
  return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, count).astype(int))]


def is_ramp(values: np.ndarray) -> bool:
  """Whether values [H, W] change in small steps, as depth or a soft matte does."""
  values = np.maximum(values.astype(np.int64), 0)
  distinct = np.unique(values)
  steps = _steps(values)
  steps = steps[steps > 0]
  if len(distinct) < RAMP_VALUES or not len(steps):
    return False
  return np.median(steps) <= max(1, (distinct[-1] - distinct[0]) / RAMP_STEPS)


def _steps(values: np.ndarray) -> np.ndarray:
  """By how much neighbours differ, along both axes."""
  return np.abs(np.concatenate([np.diff(values, axis=axis).ravel() for axis in (0, 1)]))


def has_soft_edges(values: np.ndarray) -> bool:
  """Whether most values [H, W] are those of pixels that stand between two others."""
  distinct, numbers = np.unique(values, return_inverse=True)
  if len(distinct) < RAMP_VALUES:
    return False
  numbers = numbers.reshape(values.shape)
  changes = np.pad(numbers[:, 1:] != numbers[:, :-1], ((0, 0), (1, 1)))
  alone = numbers[changes[:, :-1] & changes[:, 1:]]
  counts = np.bincount(numbers.ravel(), minlength=len(distinct))
  return np.mean(2 * np.bincount(alone, minlength=len(distinct)) > counts) > 0.5


def _oddity(values: np.ndarray, colours: bool) -> str | None:
  """What is doubtful about a map [H, W] of ids, or of colours as single numbers."""
  count = len(np.unique(values))
  if not colours and is_ramp(values):
    return f"{count} values in one image that form a ramp, as depth or a soft matte has"
  if has_soft_edges(values):
    return f"{count} values in one image, most of them at edges, as a soft or resized mask has"
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
  first = max(0, len(values) - MAX_ROWS) // 2
  values = values[first : first + MAX_ROWS]
  steps = _steps(values)
  flat = np.sum(steps == 0) >= EQUAL * len(steps) and len(np.unique(values)) <= MOST_COLOURS
  smooth = not colours and (is_ramp(values) or has_soft_edges(values))
  return Look(bool(flat and not smooth), not colours)


def doubtful_masks(tree: Folder, layers: Sequence[Layer], ids: Ids) -> list[str]:
  """What makes maps of ids doubtful, in at most one line each for a layer."""
  doubts = []
  for layer in layers:
    if layer.kind != "map":
      continue
    paths = spread([paths[0] for paths in layer.masks.values()])
    found = filter(None, (_doubt(tree, path, ids) for path in paths))
    if first := next(found, None):
      doubts.append(first)
  return doubts


def _doubt(tree: Folder, path: str, ids: Ids) -> str | None:
  try:
    values, colours = packed(decoded(tree.read(path), ALL_FORMATS))
  except (ValueError, OSError):
    return None  # is reported when it is read
  values = np.where(within(values, ids.ignore + ids.background), 0, values)
  if oddity := _oddity(values, colours):
    return (
      f"the mask {path} has {oddity}; each value counts as an instance: if these are no ids, name "
      "the right masks with --config.data.masks, or none"
    )
  found = np.unique(values[values > 0])
  if not colours and len(found) > 1 and found[-1] == BORDER and found[-2] <= MOST_IDS_BELOW:
    return (
      f"the mask {path} has the values 1 to {found[-2]} and {BORDER}, which counts as an instance; "
      f"if it marks borders, say --config.data.ignore_ids={BORDER}"
    )
  return None


def doubtful_images(tree: Folder, images: Sequence[str]) -> list[str]:
  """Folders whose images look like label maps: grey ones, or coloured ones beside photographs."""
  folders = defaultdict(list)
  for image in images:
    folders[image.rpartition("/")[0], image.rpartition(".")[2]].append(image)
  looks = {key: Look.at(tree, folders[key]) for key in spread(list(folders), FOLDERS)}
  photos = any(not look.maps for look in looks.values())
  return [
    f"the images {f'{folder}/' if folder else ''}*.{ending} look like label maps; if they are "
    f"masks, say --config.data.masks={folder or 'ENDING_OF_NAMES'}"
    for (folder, ending), look in looks.items()
    if look.maps and (look.grey or photos)
  ]


def doubtful_files(paths: Sequence[str], images: Sequence[str]) -> list[str]:
  """Arrays that are named like images, and so may be masks."""
  stems = {image.rpartition("/")[2].rpartition(".")[0] for image in images}
  doubts = []
  for ending in UNREAD:
    named = [path.rpartition("/")[2].rpartition(".")[0] for path in paths if path.endswith(ending)]
    if named and 2 * sum(name in stems for name in named) > len(named):
      doubts.append(
        f"{len(named)} {ending} files are named like images, but not read; if they are masks, save "
        "them as PNGs in a folder masks"
      )
  return doubts
