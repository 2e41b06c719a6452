"""Your own images: the PNG and JPEG files below a folder, perhaps with masks of instances.

    source = resolve(config)               # data_dir names the folder; else renders a stand-in
    images = split_records(config, source, "train")

The short side is resized to S, then the middle is cropped; masks always take the nearest pixel.

Splits: if there are folders train/, val/ and test/, they are the splits. Otherwise a hash of each
image's path decides: about 80% are "train", 10% "val", 10% "test". An image stays in its split
when others are added.

Masks are PNGs beside their images: `a/x.mask.png` belongs with `a/x.jpg`, and folders called
`masks` and `images` do not count, so `masks/a/x.png` and `a/masks/x.png` do as well. Values of grey
and palette masks are instances, 0 is background; in masks of colours each colour is one, black
is background. Ids are numbered from 1 in each image, in the order of the values (R, G, B). In a
split where some images have masks all must have one.

Files that begin with a dot do not count. Of 16 bits the upper 8 count; transparent parts lie on
black; of an animated PNG the first picture counts; a noted orientation of the camera is heeded.
"""

import os
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from data_pipelines.common import (
  STAND_IN_FILE,
  DataError,
  Source,
  check_config,
  nothing_found,
  stand_in_notes,
)
from data_pipelines.file_trees import Folder, stamps
from data_pipelines.image_files import (
  ALL_FORMATS,
  decode_batch,
  encode,
  fitted_ids,
  fitted_rgb,
  read_rgb,
)
from data_pipelines.image_folder_doubts import doubtful_images, doubtful_masks
from data_pipelines.image_folder_ids import Ids, numbered, parse_ids, usual_ids
from data_pipelines.image_folder_masks import mask_values
from data_pipelines.image_folder_pairs import CLASSES, Choices, Example, Found, Layer, find
from data_pipelines.image_folder_splits import divide
from data_pipelines.indexed import Indexed

VARIANTS = ("default",)
STAND_INS = Path("data/stand_ins")
OWN_FIELDS = ("images", "masks", "ignore_ids", "background_ids", "split_by")  # of a configuration
COARSE = 2 * 10**9  # nanoseconds; the times of files may be as coarse as that
_HELP = "put PNG or JPEG files there, masks beside them as NAME.mask.png or in a folder masks/"


def _render_stand_in(config) -> Path:
  """Folder of the stand-in, rendered now unless it was before."""
  from data_pipelines import image_folder_standins as standins  # imports jax

  num = max(standins.MIN_IMAGES, config.standin_scenes)
  root = STAND_INS / f"image_folder_{num}_images_v{standins.VERSION}"
  logging.log_first_n(
    logging.WARNING,
    "NO FOLDER OF IMAGES GIVEN: rendered stand-in scenes in %s are used instead. For your own, "
    "set --config.data.data_dir",
    1,
    root,
  )
  if not (root / STAND_IN_FILE).exists():
    standins.write(root, variant=config.variant, num_scenes=num)
  return root


class _Contents(NamedTuple):
  """What a folder holds, and what would change if it did.

  Attributes:
    examples: per split.
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


_known: dict[tuple, _Contents] = {}  # folders that were looked through, by root and choices


def _contents(root: Path, config) -> _Contents:
  """Looks through a folder, once as long as nothing in it changes."""
  fields = [getattr(config, field, None) for field in OWN_FIELDS]
  key = (os.path.abspath(root), *map(str, fields))
  known = _known.get(key)
  if known is None or not known.is_current():
    known = _known[key] = _look_through(root, dict(zip(OWN_FIELDS, fields, strict=True)))
    for doubt in known.doubts:
      logging.warning("%s: %s", root, doubt)
  return known


def _look_through(root: Path, own: dict) -> _Contents:
  seen = time.time_ns()
  tree = Folder(root)
  listing = tree.listing()
  found = find(tree, listing.paths, Choices(own["images"], own["masks"]))
  if not found.examples:
    raise DataError(f"{root} has no images; {_HELP}")
  images = [example.image for example in found.examples]
  splits = divide(tree, listing.paths, images, own["split_by"])
  by_path = {example.image: example for example in found.examples}
  left_out = listing.left_out + found.left_out + splits.left_out
  for path in splits.files:
    left_out[f"{os.path.splitext(path)[1]} files"] -= 1
  examples, without = {}, 0
  for split, paths in splits.images.items():
    examples[split] = [by_path[path] for path in paths]
    if split != "train" and any(example.masks for example in examples[split]):
      masked = [example for example in examples[split] if example.masks]
      without += len(examples[split]) - len(masked)
      examples[split] = masked
  left_out["images without a mask, of val and test"] += without
  ids = _ids(own, found.layers)
  doubts = [*doubtful_masks(tree, found.layers, ids), *doubtful_images(tree, images)]
  looked_into = [*splits.files, *(layer.title for layer in found.layers if layer.kind == "coco")]
  marks = listing.stamps | stamps(root / path for path in looked_into)
  texts = _masks_text(found, ids), splits.how, _left_out_text(left_out)
  description = "; ".join(filter(None, texts))
  return _Contents(examples, found, ids, description, doubts, marks, seen)


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
  return f"masks of {masked} images from {', '.join(titles)}{meaning}"


def _left_out_text(left_out: Counter[str]) -> str:
  parts = [f"{count} {reason}" for reason, count in left_out.most_common() if count > 0]
  return f"left out: {', '.join(parts)}" if parts else ""


def resolve(config) -> Source:
  """Looks through the folder (or renders a stand-in when no data_dir is given).

  Raises:
    DataError: data_dir does not exist, has no images, or it is not clear which masks are whose.
    ValueError: a field of `config` has an impossible value.
  """
  check_config(config, VARIANTS)
  if config.data_dir is None:
    root = _render_stand_in(config)
  else:
    root = Path(config.data_dir).expanduser()
    if not root.is_dir():
      raise nothing_found(root, "is no folder", _HELP)
  contents, notes = _contents(root, config), stand_in_notes(root)
  found = {split: len(examples) for split, examples in contents.examples.items()}
  counts = ", ".join(f"{count} {split}" for split, count in found.items())
  what = "image_folder: " + ("RENDERED STAND-IN, nobody's images, " if notes else "")
  description = f"{what}{counts} images in {root}; {contents.description}"
  logging.info("%s", description)
  return Source("image_folder", config.variant, root, bool(notes), description, found)


def _load(
  number: int,
  *,
  tree: Folder,
  examples: list[Example],
  contents: _Contents,
  size: int,
  resize: str,
  has_ids: bool,
) -> tuple[bytes, ...]:
  example = examples[number]
  image = read_rgb(tree.read(example.image), ALL_FORMATS)
  small = fitted_rgb(image, size, resize)
  if not has_ids:
    return encode(small)
  if not example.masks:  # of a training image; nothing is known of its pixels
    return encode(small, np.full((size, size), -1))
  values = mask_values(tree, example, image.size, contents.found.outlines)
  ids = contents.ids if example.kind == "map" else Ids()
  return encode(small, numbered(fitted_ids(values, size, resize), ids))


def split_records(config, source: Source, split: str) -> Indexed:
  """The images of a split, at most `config.limit` of them, in the order of their paths.

  Raises:
    DataError: there are none.
  """
  contents = _contents(source.root, config)
  examples = contents.examples[split]
  if not examples:
    total = sum(map(len, contents.examples.values()))
    raise DataError(
      f"the {split} split is empty: none of the {total} images in {source.root} falls in it; "
      "divide them yourself into folders train, val and test, or add more"
    )
  tree, has_ids = Folder(source.root), any(example.masks for example in examples)
  load = dict(tree=tree, examples=examples, contents=contents)
  images = Indexed(
    num=len(examples),
    load=partial(_load, **load, size=config.image_size, resize=config.resize, has_ids=has_ids),
    num_features=1 + has_ids,
    decode=partial(decode_batch, size=config.image_size, has_ids=has_ids, labels=()),
    describe=lambda number: tree.describe(examples[number].image),
    cure="mend or remove it, or leave such images out with --config.data.on_corrupt=skip",
    files=lambda number: tuple(map(tree.read, _decoded_files(examples[number]))),
  )
  return images.limited(config.limit) if config.limit else images


def _decoded_files(example: Example) -> tuple[str, ...]:
  """Paths of the pictures that loading decodes."""
  return (example.image, *(path for path in example.masks if not path.endswith(".json")))


def num_examples(config, source: Source, split: str) -> int:
  """Images of a split."""
  return split_records(config, source, split).num_images()
