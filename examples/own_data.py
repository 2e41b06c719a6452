"""A data set of your own, looked at, prepared and trained on like those of the library.

  python -m data_pipelines.inspect --config=examples/own_data.py
  python -m experiments.main --config=examples/own_data.py

Its files are train.rgbi, val.rgbi and test.rgbi: images of 32x32 pixels one after the other, and of
each pixel four bytes, red, green, blue and the number of the instance. Where there are none,
squares are rendered in their place. `data_pipelines/datasets/__init__.py` says what each function
is for.
"""

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from configs import datasets
from configs.experiment import compose
from data_pipelines.datasets.stand_ins import check_least, render
from data_pipelines.reading.images import decode_batch, encode, fitted_ids, fitted_rgb
from data_pipelines.reading.indexed import Indexed
from data_pipelines.sources import SPLITS, DataError, Source

PLACES = ("data/squares",)
SIDE = 32  # pixels
MOST = 3  # squares in an image


def _path(root, split):
  return root / f"{split}.rgbi"


def find(folder, config):
  """The folder itself, if it has one of the files."""
  return folder if any(_path(folder, split).is_file() for split in SPLITS) else None


def missing(folder, config):
  """What is wrong with another folder, and the cure."""
  return "has no .rgbi files", "put train.rgbi, val.rgbi and test.rgbi there"


def describe(config, root, notes):
  """Which files there are."""
  found = {split: 1 for split in SPLITS if _path(root, split).is_file()}
  kind = "RENDERED STAND-IN, no squares of yours, " if notes else ""
  description = f"{config.name}: {kind}files for {', '.join(found)} in {root}"
  return Source(config.name, config.variant, root, bool(notes), description, found)


def split_records(config, source, split):
  """The images of a split; which one makes it, `Indexed` asks for by its number."""
  path, size, resize = _path(source.root, split), config.image_size, config.resize
  if not path.is_file():
    raise DataError(f"the {split} split is empty: {path} is not there")
  pixels = np.memmap(path, np.uint8, "r").reshape(-1, SIDE, SIDE, 4)

  def load(number):
    image, ids = pixels[number, ..., :3], pixels[number, ..., 3]
    return encode(fitted_rgb(Image.fromarray(image), size, resize), fitted_ids(ids, size, resize))

  return Indexed(
    num=len(pixels),
    load=load,
    num_features=2,
    decode=partial(decode_batch, size=size, has_ids=True, labels=()),
    describe=lambda number: f"{path}: image {number} (from 0)",
    cure="write the file again",
  )


def write(out_dir, *, variant, num_scenes, seed=0):
  """Renders a stand-in of so many images, a tenth of them each for val and test."""
  check_least(num_scenes, 10, "all splits need at least 10 images")
  notes = dict(what="squares", variant=variant, num_images=num_scenes, seed=seed)
  steps = partial(_squares, num_images=num_scenes, rng=np.random.default_rng(seed))
  return render(Path(out_dir), notes, steps, num_scenes, "image")


def _squares(folder, num_images, rng):
  for number in range(num_images):
    image = np.zeros((SIDE, SIDE, 4), np.uint8)
    for instance in range(1, 1 + rng.integers(1, MOST + 1)):
      row, column = rng.integers(0, SIDE - 8, 2)
      image[row : row + 8, column : column + 8] = *rng.integers(64, 256, 3), instance
    split = {0: "val", 1: "test"}.get(number % 10, "train")
    with _path(folder, split).open("ab") as file:
      yield file.write(image.tobytes())


def get_config():
  """GENESIS on the squares; any other model's name does as well."""
  data = datasets.own(__file__, "squares", image_size=SIDE, num_slots=MOST + 1)
  return compose("genesis", data)
