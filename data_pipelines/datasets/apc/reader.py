"""Amazon Picking Challenge 2016, object segmentation training set (Zeng et al. 2017).

    source = describe(config, root, None)  # which scenes there are
    images = split_records(config, source, "train")

    training/<a>/<b>/scene-*/frame-*.color.png               640x480 pixels
    training/<a>/<b>/scene-*/masks/frame-*.mask.png          not 0 on the one object of the scene

in a folder, or in `training.zip` as it was downloaded. Images of a `scene-empty` have no masks: all
is background. The short side is resized to S with antialiasing (masks: nearest), then the middle is
cropped, as for the GENESIS-V2 paper; a tree `processed/` that its code wrote is read as well.

Splits are by scene, as in that paper: all scenes, sorted and shuffled with Python's `random` seeded
0; the first tenth is "val", the next "test". Where scenes are missing, others are drawn.
"""

import random
import re
from functools import partial
from pathlib import Path

from data_pipelines.reading.file_trees import Archive, Folder, open_tree
from data_pipelines.reading.images import (
  decode_batch,
  encode,
  fitted_ids,
  fitted_rgb,
  read_map,
  read_rgb,
)
from data_pipelines.reading.indexed import Indexed
from data_pipelines.sources import DataError, Source
from data_pipelines.stores.published import command

VARIANTS = ("default",)
FOLDERS = ("training", "processed")
ARCHIVE = "training.zip"
PLACES = ("data/apc", "data")  # searched when no data_dir is given
PART = 10  # one in so many scenes is for validation, another for testing
_FRAME = re.compile(r"((?:training|processed)/[^/]+/[^/]+/scene-[^/]*)/frame-[^/]*\.color\.png")


def _help(folder: Path) -> str:
  return (
    "expected training/*/*/scene-*/frame-*.color.png or training.zip in it; fetch them: "
    f"{command('apc', 'default', folder)}"
  )


def find(folder: Path, config) -> Path | None:
  """The archive, or the folder with the scenes."""
  del config
  if folder.is_file():
    return folder
  for root in (folder, folder / "apc", *([folder.parent] if folder.name in FOLDERS else [])):
    if any((root / name).is_dir() for name in FOLDERS):
      return root
    if (root / ARCHIVE).is_file():
      return root / ARCHIVE
  return None


def missing(folder: Path, config) -> tuple[str, str]:
  """What is wrong with a folder without scenes, and the cure."""
  del config
  return "has no scenes", _help(folder)


def _scenes(tree: Folder | Archive) -> dict[str, list[str]]:
  """Scene -> its frames, from the unpacked set or, where that is missing, the processed one."""
  for folder in FOLDERS:
    scenes: dict[str, list[str]] = {}
    for path in tree.paths(f"{folder}/"):
      parts = path.split("/")
      if len(parts) > 4 and parts[3].startswith("scene-"):
        frames = scenes.setdefault("/".join(parts[:4]), [])
        if _FRAME.fullmatch(path):
          frames.append(path)
    if any(scenes.values()):
      return scenes
  raise DataError(f"{tree.root} has no scenes; {_help(tree.root)}")


def split_scenes(scenes: list[str]) -> dict[str, list[str]]:
  """Scenes by split, as the original code draws them."""
  shuffled, held_out = sorted(scenes), len(scenes) // PART
  random.Random(0).shuffle(shuffled)
  return {
    "train": shuffled[2 * held_out :],
    "val": shuffled[:held_out],
    "test": shuffled[held_out : 2 * held_out],
  }


def describe(config, root: Path, notes: dict | None) -> Source:
  """What is in a folder or archive; a DataError if there are no scenes."""
  scenes = _scenes(open_tree(root))
  stand_in = "RENDERED STAND-IN, not the published images " if notes else ""
  counts = f"{sum(map(len, scenes.values()))} images of {len(scenes)} scenes"
  description = f"apc: {stand_in}{f'({counts})' if notes else counts} in {root}"
  found = {split: len(names) for split, names in split_scenes(list(scenes)).items()}
  return Source(config.name, config.variant, root, bool(notes), description, found)


def _mask_path(path: str) -> str:
  """Where the mask of a frame is."""
  scene, _, frame = path.rpartition("/")
  return f"{scene}/masks/{frame.removesuffix('.color.png')}.mask.png"


def _load(
  number: int, *, tree: Folder | Archive, paths: list[str], size: int, resize: str
) -> tuple[bytes, ...]:
  path = paths[number]
  image, mask_path = read_rgb(tree.read(path)), _mask_path(path)
  small = fitted_rgb(image, size, resize)
  if "scene-empty" in path:
    return encode(small, small[..., 0] * 0)
  try:
    mask = read_map(tree.read(mask_path))
  except ValueError as error:
    raise ValueError(f"its mask {mask_path}: {error}") from None
  if mask.shape[:2] != (image.height, image.width):
    raise ValueError(
      f"its mask {mask_path} is {mask.shape[1]}x{mask.shape[0]} pixels instead of "
      f"{image.width}x{image.height}"
    )
  mask = fitted_ids(mask, size, resize)
  return encode(small, mask[..., :3].any(-1) if mask.ndim == 3 else mask > 0)


def _files(number: int, *, tree: Folder | Archive, paths: list[str]) -> tuple[bytes, ...]:
  return tuple(map(tree.read, _names(paths[number])))


def _names(path: str) -> list[str]:
  """A frame, and its mask if it has one."""
  return [path] if "scene-empty" in path else [path, _mask_path(path)]


def split_records(config, source: Source, split: str) -> Indexed:
  """The images of a split.

  Raises:
    DataError: no scene falls in the split.
  """
  tree = open_tree(source.root)
  scenes = _scenes(tree)
  chosen = split_scenes(list(scenes))[split]
  paths = sorted(path for scene in chosen for path in scenes[scene])
  if not paths:
    raise DataError(
      f"the {split} split is empty: it gets {len(chosen)} of the {len(scenes)} scenes in "
      f"{source.root}, and they have no frames; {PART} scenes make all splits, and "
      f"{_help(source.root)}"
    )
  return Indexed(
    num=len(paths),
    load=partial(_load, tree=tree, paths=paths, size=config.image_size, resize=config.resize),
    num_features=2,
    decode=partial(decode_batch, size=config.image_size, has_ids=True, labels=()),
    describe=lambda number: tree.describe(paths[number]),
    cure="fetch it again, or leave such images out with --config.data.on_corrupt=skip",
    files=partial(_files, tree=tree, paths=paths),
    paths=lambda number: tuple(map(tree.describe, _names(paths[number]))),
  )
