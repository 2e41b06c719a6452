"""ShapeStacks (Groth et al. 2018): towers of blocks, in 224x224 PNGs, sixteen views each.

    source = describe(config, root, None)  # which recordings there are
    images = split_records(config, source, "train")

    splits/<variant>/{train,eval,test}.txt                   names of scenarios, eval is "val"
    recordings/<scenario>/rgb-*-mono-0.png                   every one is an image, in sorted order
    iseg/<scenario>/iseg-w=0-f=0-l=0-c=original-cam_<c>-mono-0.map      PNG, first channel 32 * id

As in the GENESIS papers, images are cropped to the central 196 pixels and resized with
antialiasing; ids are resized by nearest neighbour (pixel floor(i * 196 / S), as PyTorch does).
There are instances where there is a folder `iseg`. Labels come from a scenario's name: `stable`
is 1 where neither the centre of mass (vcom=0) nor a surface (vpsf=0) is at fault, `height` is the
number of blocks. Scenarios that are listed but not there are left out and counted.
"""

import re
from functools import partial
from pathlib import Path

import numpy as np

from data_pipelines.reading.file_trees import Folder
from data_pipelines.reading.images import (
  centre_cropped,
  decode_batch,
  encode,
  read_map,
  read_rgb,
  resize_ids,
  resize_rgb,
)
from data_pipelines.reading.indexed import Indexed
from data_pipelines.sources import (
  DataError,
  Source,
)
from data_pipelines.stores.cache import here
from data_pipelines.stores.published import command

VARIANTS = ("default", "blocks_all", "ccs_all")
LISTS = {"train": "train.txt", "val": "eval.txt", "test": "test.txt"}
PLACES = ("data/shapestacks", "data/shapestacks_v1", "data")  # searched when there is no data_dir
CROP = 196  # pixels of 224 (GENESIS, ICLR 2020)
ID_STEP = 32  # between ids in a map
_IMAGE = re.compile(r"rgb-.*-(cam_\d+)-mono-0\.png")
_SCENARIO = re.compile(r"[^/\\]*h=(\d+)[^/\\]*")


def _help(variant: str, folder: Path) -> str:
  return (
    f"expected recordings/<scenario>/rgb-*-mono-0.png and splits/{variant}/train.txt in it; fetch "
    f"them: {command('shapestacks', 'default', folder)}"
  )


def find(folder: Path, config) -> Path | None:
  """The folder with `recordings`."""
  del config
  for root in (folder, folder / "shapestacks"):
    if (root / "recordings").is_dir():
      return root
  return None


def missing(folder: Path, config) -> tuple[str, str]:
  """What is wrong with a folder without recordings, and the cure."""
  return "has no folder recordings", _help(config.variant, folder)


def _listed(root: Path, variant: str, split: str) -> list[str]:
  """Names of a split's scenarios as published."""
  path = root / "splits" / variant / LISTS[split]
  if not path.is_file():
    raise DataError(
      f"{root} has recordings but no {path.relative_to(root)}, which says what is in the {split} "
      "split; it is part of the published splits archive: unpack that there"
    )
  names = here(path).read_text().split()
  for line, name in enumerate(names, start=1):
    if not _SCENARIO.fullmatch(name):
      raise DataError(
        f"{path} line {line}: {name!r} is no name of a scenario; fetch the list again"
      )
  return names


def _present(root: Path, names: list[str]) -> list[str]:
  """Those of the scenarios that have a folder."""
  there = {entry.name for entry in (root / "recordings").iterdir()}
  return [name for name in names if name in there]


def describe(config, root: Path, notes: dict | None) -> Source:
  """What is in a folder; a DataError if a list of scenarios is missing."""
  found, counts = {}, []
  for split in LISTS:
    names = _listed(root, config.variant, split)
    found[split] = len(_present(root, names))
    counts.append(f"{found[split]} of {len(names)} {split} scenarios")
  what = f"shapestacks {config.variant}: "
  if notes:
    what += f"RENDERED STAND-IN, not the published images ({notes['num_images']} images), "
  description = f"{what}{', '.join(counts)} in {root}"
  parts = ("recordings", "iseg", "splits")
  return Source(config.name, config.variant, root, bool(notes), description, found, parts=parts)


def labels(scenario: str) -> tuple[int, int]:
  """Whether a tower stands (1 or 0), and its height in blocks, from a scenario's name."""
  return int("vcom=0" in scenario and "vpsf=0" in scenario), int(_SCENARIO.fullmatch(scenario)[1])


def _paths(root: Path, scenarios: list[str]) -> list[str]:
  """Images of the scenarios, scenario by scenario in the order of the list."""
  paths = []
  for scenario in scenarios:
    names = sorted(path.name for path in (root / "recordings" / scenario).iterdir())
    paths += [f"recordings/{scenario}/{name}" for name in names if _IMAGE.fullmatch(name)]
  return paths


def _map_path(path: str) -> str:
  """Where the ids of an image are."""
  _, scenario, name = path.split("/")
  camera = _IMAGE.fullmatch(name)[1]
  return f"iseg/{scenario}/iseg-w=0-f=0-l=0-c=original-{camera}-mono-0.map"


def _read_ids(tree: Folder, path: str, shape: tuple[int, int], size: int) -> np.ndarray:
  try:
    ids = read_map(tree.read(path))
  except ValueError as error:
    raise ValueError(f"its map of instances {path}: {error}") from None
  ids = ids if ids.ndim == 2 else ids[..., 0]
  if ids.shape != shape:
    raise ValueError(f"its map {path} is {ids.shape[1]}x{ids.shape[0]} pixels, not of its size")
  top, left = ((side - CROP) // 2 for side in ids.shape)
  return resize_ids(ids[top : top + CROP, left : left + CROP], size, centred=False) // ID_STEP


def _load(
  number: int, *, tree: Folder, paths: list[str], size: int, resize: str, has_ids: bool
) -> tuple[bytes, ...]:
  path = paths[number]
  image, ids = read_rgb(tree.read(path)), None
  small = resize_rgb(centre_cropped(image, CROP), size, resize)
  if has_ids:
    ids = _read_ids(tree, _map_path(path), (image.height, image.width), size)
  return encode(small, ids, *labels(path.split("/")[1]))


def _names(number: int, *, paths: list[str], has_ids: bool) -> list[str]:
  return [paths[number], *([_map_path(paths[number])] if has_ids else [])]


def split_records(config, source: Source, split: str) -> Indexed:
  """The images of a split.

  Raises:
    DataError: none of the split's scenarios is there, or they have no images.
  """
  names = _listed(source.root, config.variant, split)
  paths = _paths(source.root, _present(source.root, names))
  if not paths:
    raise DataError(
      f"the {split} split is empty: {source.root / 'recordings'} has no images of its "
      f"{len(names)} scenarios; {_help(config.variant, source.root)}"
    )
  tree, has_ids = Folder(source.root), (source.root / "iseg").is_dir()
  labels, names = ("stable", "height"), partial(_names, paths=paths, has_ids=has_ids)
  load = dict(tree=tree, paths=paths, size=config.image_size, resize=config.resize)
  return Indexed(
    num=len(paths),
    load=partial(_load, **load, has_ids=has_ids),
    num_features=1 + has_ids + len(labels),
    decode=partial(decode_batch, size=config.image_size, has_ids=has_ids, labels=labels),
    describe=lambda number: tree.describe(paths[number]),
    cure="fetch it again, leave such images out with --config.data.on_corrupt=skip, or remove the "
    "folder iseg to do without instances",
    files=lambda number: tuple(map(tree.read, names(number))),
    paths=lambda number: tuple(map(tree.describe, names(number))),
  )
