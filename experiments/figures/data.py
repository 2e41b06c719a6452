"""Images of a data set, each beside its instances."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import data_pipelines
from data_pipelines.sources import DataError
from experiments.console.errors import UserError
from experiments.figures.panels import coloured_instances
from experiments.figures.sheets import GAP, MARGIN, TILE, TITLE

POOL = 240  # leading images to choose from, since neighbours look alike
SHUFFLE_BUFFER = 256  # records; a picture need not wait for as many as training mixes
WIDTH = 1600  # pixels of the picture, about
LINE = 16  # pixels of a line of text


def read(config, split: str, num: int, seed: int) -> dict[str, np.ndarray]:
  """The first `num` images that a split gives, or all where there are fewer, in one batch.

  Raises:
    DataError: see `data_pipelines.batches`; or there are no images.
  """
  with config.unlocked():
    config.shuffle_buffer = min(config.shuffle_buffer, SHUFFLE_BUFFER)
  stream = data_pipelines.batches(config, split=split, batch_size=num, seed=seed, epochs=1)
  batch = next(stream, None)
  if batch is None or not len(batch["image"]):
    raise DataError(f"the {split} split has no images")
  return batch


def chosen(config, split: str, num: int, seed: int) -> dict[str, np.ndarray]:
  """Some images of a split, drawn from its beginning; "image" and maybe "instances".

  The first ones are the same however many are asked for.

  Raises:
    UserError: the split has fewer.
    DataError: it cannot be read.
  """
  batch = read(config, split, max(POOL, num), seed)
  count = len(batch["image"])
  if count < num:
    raise UserError(f"--num={num}, but the {split} split has {count} images")
  rows = np.random.default_rng(seed).permutation(count)[:num]
  return {name: np.asarray(batch[name])[rows] for name in batch.keys() & {"image", "instances"}}


def captions(batch: dict[str, np.ndarray]) -> list[str]:
  """Per image its labels, of those with one number for each image."""
  count = len(batch["image"])
  labels = {name: value for name, value in sorted(batch.items()) if value.shape == (count,)}
  return [
    ", ".join(f"{name} {value[i]:.3g}" for name, value in labels.items()) for i in range(count)
  ]


def picture(batch: dict[str, np.ndarray], title: str):
  """A `PIL.Image` of all images, each beside its instances where there are any."""
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
