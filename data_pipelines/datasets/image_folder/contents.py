"""What a folder of images holds: looked through once, and described.

contents = contents_of(Path("data/mine"), config)
contents.examples["train"], contents.description
"""

import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from absl import logging

from data_pipelines.datasets.image_folder.layers import CLASSES, Choices, Example, Layer
from data_pipelines.datasets.image_folder.looks import (
  doubtful_files,
  doubtful_images,
  doubtful_masks,
)
from data_pipelines.datasets.image_folder.masks import usual_ids
from data_pipelines.datasets.image_folder.pairs import Found, find
from data_pipelines.datasets.image_folder.splits import divide, doubtful_films
from data_pipelines.datasets.mask_values import Ids, parse_ids
from data_pipelines.reading.file_trees import Folder, stamps
from data_pipelines.sources import STAND_IN_FILE, DataError

# Of a configuration, besides those of all data sets.
FIELDS = ("images", "masks", "ignore_ids", "background_ids", "split_by")
COARSE = 2 * 10**9  # nanoseconds; the times of files may be as coarse as that
HELP = "put PNG or JPEG files there, masks beside them as NAME.mask.png or in a folder masks/"


class Contents(NamedTuple):
  """What a folder holds.

  Attributes:
    examples: per split.
    found: of all splits, and what is only there to understand them.
    ids: which values in masks are no instances.
    description: for people: by which convention masks and splits were found, what is left out.
    doubts: what is worth a warning.
    stamps: of folders and of files that were looked into.
    seen: when, in nanoseconds.
  """

  examples: dict[str, list[Example]]
  found: Found
  ids: Ids
  description: str
  doubts: list[str]
  stamps: dict[str, tuple]
  seen: int

  def is_current(self) -> bool:
    """Whether nothing has changed since, or may have: times of files are coarse."""
    latest = max((stamp[0] for stamp in self.stamps.values() if stamp), default=0)
    return latest < self.seen - COARSE and stamps(self.stamps) == self.stamps


_known: dict[tuple, Contents] = {}  # folders that were looked through, by root and choices


def contents_of(root: Path, config) -> Contents:
  """Looks through a folder, once as long as nothing in it changes.

  Raises:
    DataError: there are no images, or it is not clear which masks or splits are meant.
    ValueError: a field of `config` has an impossible value.
  """
  fields = [getattr(config, field, None) for field in FIELDS]
  key = (os.path.abspath(root), *map(str, fields))
  known = _known.get(key)
  if known is None or not known.is_current():
    said = known.doubts if known else ()
    known = _known[key] = _look_through(root, dict(zip(FIELDS, fields, strict=True)))
    for doubt in known.doubts:
      if doubt not in said:
        logging.warning("%s: %s", root, doubt)
  return known


def _look_through(root: Path, own: dict) -> Contents:
  seen = time.time_ns()
  tree = Folder(root)
  listing = tree.listing()
  paths = [path for path in listing.paths if path != STAND_IN_FILE]
  found = find(tree, paths, Choices(own["images"], own["masks"]))
  if not found.examples:
    raise DataError(f"{root} has no images; {HELP}")
  images = [example.image for example in found.examples]
  splits = divide(tree, paths, images, own["split_by"])
  by_path = {example.image: example for example in found.examples}
  left_out = listing.left_out + found.left_out + splits.left_out
  left_out[".txt files"] -= len(splits.files)
  examples = {split: [by_path[path] for path in paths] for split, paths in splits.images.items()}
  for split in ("val", "test"):  # where masks are scored
    masked = [example for example in examples[split] if example.masks]
    if masked:
      left_out[f"{split} images without a mask"] += len(examples[split]) - len(masked)
      examples[split] = masked
  ids = _ids(own, found.layers)
  doubts = [
    *doubtful_masks(tree, found.layers, ids),
    *doubtful_images(tree, images),
    *doubtful_files(paths, images),
    *doubtful_films(splits),
  ]
  jsons = {path for example in found.examples for path in example.masks if example.kind == "coco"}
  looked_into = [*splits.files, *jsons]
  marks = listing.stamps | stamps(root / path for path in looked_into)
  texts = _masks_text(found, ids), splits.how, _left_out_text(left_out)
  description = "; ".join(filter(None, texts))
  return Contents(examples, found, ids, description, doubts, marks, seen)


def _ids(own: dict, layers: Sequence[Layer]) -> Ids:
  """Which values are background or void: as configured, or as usual for the convention."""
  usual = usual_ids(" ".join(layer.title for layer in layers))
  given = {
    field: parse_ids(f"data.{field}_ids", value)
    for field in ("background", "ignore")
    if (value := own[f"{field}_ids"]) is not None
  }
  return usual._replace(**given)


def _masks_text(found: Found, ids: Ids) -> str:
  """Which convention was recognised."""
  if not found.layers:
    return "no masks"
  masked = sum(bool(example.masks) for example in found.examples)
  titles = [
    layer.title + (" (classes, not instances)" if layer.rank == CLASSES else "")
    for layer in found.layers
  ]
  meaning = "" if ids == Ids() else f" ({ids})"
  return f"masks of {masked} of {len(found.examples)} images from {', '.join(titles)}{meaning}"


def _left_out_text(left_out: Counter[str]) -> str:
  parts = [f"{count} {reason}" for reason, count in left_out.most_common() if count > 0]
  return f"left out: {', '.join(parts)}" if parts else ""
