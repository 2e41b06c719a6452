"""Your own images: the pictures below a folder, perhaps with masks of instances.

    source = describe(config, root, None)  # what lies in the folder that data_dir names
    images = split_records(config, source, "train")

The short side is resized to S, then the middle is cropped; masks always take the nearest pixel.

Splits are folders named train, val and test, or lists train.txt, val.txt and test.txt, or else
follow from a hash of each image's path, see `splits`.

Masks are found by what their folders or names say (`masks/`, `x_mask.png`), by equal names in
parallel folders, or in JSON files of COCO or labelme, see `pairs`. Values of grey and
palette masks are instances, 0 is background; in masks of colours each colour is one, black is
background; `background_ids` and `ignore_ids` name other values. Ids are numbered from 1 in each
image, in the order of the values (R, G, B). Of a split with masks, images without one are left out
of "val" and "test"; in "train" all their pixels are to be ignored (-1).

Files that begin with a dot do not count. Of 16 bits the upper 8 count; transparent parts lie on
black; of an animation the first picture counts; a noted orientation of the camera is heeded.
"""

from functools import partial
from pathlib import Path

import numpy as np

from data_pipelines.datasets.image_folder.contents import HELP, Contents, contents_of
from data_pipelines.datasets.image_folder.layers import Example
from data_pipelines.datasets.image_folder.masks import mask_values
from data_pipelines.datasets.mask_values import Ids, numbered
from data_pipelines.reading.file_trees import Folder
from data_pipelines.reading.images import (
  ALL_FORMATS,
  decode_batch,
  encode,
  fitted_ids,
  fitted_rgb,
  read_rgb,
)
from data_pipelines.reading.indexed import Indexed
from data_pipelines.sources import DataError, Source

VARIANTS = ("default",)


def find(folder: Path, config) -> Path | None:
  """The folder itself; whether there are images in it tells `describe`."""
  del config
  return folder if folder.is_dir() else None


def missing(folder: Path, config) -> tuple[str, str]:
  """What is wrong where there is no folder, and the cure."""
  del folder, config
  return "is no folder", HELP


def describe(config, root: Path, notes: dict | None) -> Source:
  """Looks through a folder.

  Raises:
    DataError: it has no images, or it is not clear which masks are whose.
    ValueError: a field of `config` has an impossible value.
  """
  contents = contents_of(root, config)
  found = {split: len(examples) for split, examples in contents.examples.items()}
  counts = ", ".join(f"{count} {split}" for split, count in found.items())
  what = "image_folder: " + ("RENDERED STAND-IN, nobody's images, " if notes else "")
  description = f"{what}{counts} images in {root}; {contents.description}"
  return Source(config.name, config.variant, root, bool(notes), description, found)


def _load(
  number: int,
  *,
  tree: Folder,
  examples: list[Example],
  contents: Contents,
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
  """The images of a split, in the order of their paths.

  Raises:
    DataError: there are none.
  """
  contents = contents_of(source.root, config)
  examples = contents.examples[split]
  if not examples:
    total = sum(map(len, contents.examples.values()))
    raise DataError(
      f"the {split} split is empty: none of the {total} images in {source.root} falls in it; "
      "divide them yourself into folders train, val and test, or add more"
    )
  tree, has_ids = Folder(source.root), any(example.masks for example in examples)
  load = dict(tree=tree, examples=examples, contents=contents)
  return Indexed(
    num=len(examples),
    load=partial(_load, **load, size=config.image_size, resize=config.resize, has_ids=has_ids),
    num_features=1 + has_ids,
    decode=partial(decode_batch, size=config.image_size, has_ids=has_ids, labels=()),
    describe=lambda number: tree.describe(examples[number].image),
    cure="mend or remove it, or leave such images out with --config.data.on_corrupt=skip",
    files=lambda number: tuple(map(tree.read, _decoded_files(examples[number]))),
    paths=lambda number: tuple(map(tree.describe, _decoded_files(examples[number]))),
  )


def _decoded_files(example: Example) -> tuple[str, ...]:
  """Paths of the pictures that loading decodes."""
  return (example.image, *(path for path in example.masks if not path.endswith(".json")))
