"""Draws images of a data set beside their instances, to look at before training on them.

  python -m experiments.visualise_data --config=configs/genesis_gqn.py
  python -m experiments.visualise_data --config=configs/genesis_apc.py --split=val --num=16

Writes a PNG and says where: `data_<split>.png` in --workdir, or what --out names. Instances have
colours that all kinds of colour vision tell apart, on dark grey; labels stand below. Exit status: 0
when done, 1 when something went wrong, 2 for a mistake on the command line.
"""

import argparse
import os
import pathlib
import sys

import numpy as np

from data_pipelines.command_line import Parser, file_name, path_name, seed_number, whole_number
from data_pipelines.common import SPLITS, DataError
from data_pipelines.config_files import ConfigError, load_config, parse

SHUFFLE_BUFFER = 256  # records; a picture need not wait for as many as training mixes
WIDTH = 1600  # pixels of the picture, about
LINE = 16  # pixels of a line of text


def _parser() -> argparse.ArgumentParser:
  parser = Parser("experiments.visualise_data", __doc__)
  parser.add_argument("--split", choices=SPLITS, default="train")
  parser.add_argument("--num", type=whole_number(1), default=32, help="images; default: 32")
  parser.add_argument("--seed", type=seed_number, default=0, help="which images of train")
  parser.add_argument("--workdir", type=path_name, help="default: runs/data_<name>_<variant>")
  parser.add_argument("--out", type=file_name(".png"), metavar="FILE.png",
                      help="instead of --workdir")  # fmt: skip
  return parser


def read(config, split: str, num: int, seed: int) -> dict[str, np.ndarray]:
  """The first `num` images that a split gives, or all where there are fewer, in one batch.

  Raises:
    DataError: see `data_pipelines.batches`; or there are no images.
  """
  import data_pipelines

  with config.unlocked():
    config.shuffle_buffer = min(config.shuffle_buffer, SHUFFLE_BUFFER)
  stream = data_pipelines.batches(config, split=split, batch_size=num, seed=seed, epochs=1)
  batch = next(stream, None)
  if batch is None or not len(batch["image"]):
    raise DataError(f"the {split} split has no images")
  return batch


def captions(batch: dict[str, np.ndarray]) -> list[str]:
  """Per image its labels, of those with one number for each image."""
  count = len(batch["image"])
  labels = {name: value for name, value in sorted(batch.items()) if value.shape == (count,)}
  return [
    ", ".join(f"{name} {value[i]:.3g}" for name, value in labels.items()) for i in range(count)
  ]


def picture(batch: dict[str, np.ndarray], title: str):
  """A `PIL.Image` of all images, each beside its instances where there are any."""
  from PIL import Image, ImageDraw, ImageFont

  from experiments.pictures import coloured_instances
  from experiments.sheets import GAP, MARGIN, TILE, TITLE

  panels = [batch["image"]]
  if "instances" in batch:
    panels.append(coloured_instances(batch["instances"]))
  count, side = panels[0].shape[:2]
  tile = side * max(1, -(-TILE // side))
  lines, font = captions(batch), ImageFont.load_default(13)
  width, height = len(panels) * tile + 3 * GAP, tile + GAP + (LINE if any(lines) else 0)
  columns = min(count, max(1, WIDTH // width))
  rows = -(-count // columns)
  size = (
    int(max(columns * width, font.getlength(title))) + 2 * MARGIN,
    TITLE + rows * height + 2 * MARGIN,
  )
  canvas = Image.new("RGB", size, "white")
  draw = ImageDraw.Draw(canvas)
  draw.text((MARGIN, MARGIN), title, fill="black", font=font)
  for i in range(count):
    left, top = MARGIN + i % columns * width, MARGIN + TITLE + i // columns * height
    for k, panel in enumerate(panels):
      big = Image.fromarray(panel[i]).resize((tile, tile), Image.Resampling.NEAREST)
      canvas.paste(big, (left + k * tile, top))
    draw.text((left, top + tile), lines[i], fill="black", font=font)
  return canvas


def _draw(options: argparse.Namespace, overrides: list[str]) -> pathlib.Path:
  """Writes the picture and returns where it is."""
  config = load_config(options.config, overrides).data
  import data_pipelines

  source = data_pipelines.resolve(config)
  batch = read(config, options.split, options.num, options.seed)
  title = f"{options.split} split of {source.description}"
  folder = options.workdir or pathlib.Path("runs", f"data_{config.name}_{config.variant}")
  path = options.out or folder / f"data_{options.split}.png"
  path.parent.mkdir(parents=True, exist_ok=True)
  picture(batch, title).save(path, "PNG")
  return path


def main(argv: list[str] | None = None) -> int:
  """Draws; returns the exit status."""
  # TensorFlow greets at length without these two.
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
  options, overrides = parse(_parser(), argv)
  try:
    print(f"wrote {_draw(options, overrides)}")
  except ConfigError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  except (ValueError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  return 0


if __name__ == "__main__":
  sys.exit(main())
