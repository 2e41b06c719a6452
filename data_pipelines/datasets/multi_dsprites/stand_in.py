"""Draws Multi-dSprites without the dSprites archive, in the files of the original's generator.

    write("data/mine", variant="default", num_scenes=2000)

Every image is made from the published draws: the same number of sprites, with the same factors and
colours as in the published image of that number. Only the outlines of the sprites are our own.
"""

import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jax
import numpy as np

from data_pipelines.datasets import Planned
from data_pipelines.datasets.multi_dsprites.draws import (
  MAX_SPRITES,
  SIDE,
  SIZES,
  VARIANTS,
  Draw,
  draws,
)
from data_pipelines.datasets.multi_dsprites.reader import array_path
from data_pipelines.datasets.stand_ins import check_request, render
from genesis_jax.scenes.sprites import paint_sprites, sprite_factors

VERSION = 1  # of the pictures; raise it when they change
MIN_IMAGES = 3
BATCH = 200  # images that are drawn at once, at most


def _split_sizes(num_images: int) -> dict[str, int]:
  """A tenth of the images each for val and test; more where train would be beyond what is drawn."""
  part = max(1, num_images // 10, -((SIZES["train"] - num_images) // 2))
  return {"train": num_images - 2 * part, "val": part, "test": part}


def _paint(background, index, exists, color):
  factors = {"exists": exists, "color": color} | sprite_factors(index)
  return paint_sprites(background, factors, image_size=SIDE)


def _arrays(images: list[Draw], size: int) -> tuple[np.ndarray, ...]:
  """Draws as arguments of `_paint`, filled up to a full batch of this size."""
  index = np.zeros((size, MAX_SPRITES), np.int32)
  exists = np.zeros((size, MAX_SPRITES), bool)
  color = np.zeros((size, MAX_SPRITES, 3), np.uint8)
  background = np.zeros((size, 3), np.uint8)
  for n, draw in enumerate(images):
    background[n], count = draw.background, len(draw.sprites)
    exists[n, :count] = True
    index[n, :count] = [sprite.index for sprite in draw.sprites]
    color[n, :count] = [sprite.color for sprite in draw.sprites]
  return background, index, exists, color


def _write_split(folder: Path, variant: str, split: str, images: list[Draw], paint, size: int):
  """Two .npy files: images float32 [N, 64, 64, 3], masks float64 [N, 64, 64, 1]; by batches."""
  create = partial(np.lib.format.open_memmap, mode="w+")
  shape = (len(images), SIDE, SIDE)
  pixels = create(array_path(folder, variant, split, "images"), dtype="<f4", shape=(*shape, 3))
  masks = create(array_path(folder, variant, split, "masks"), dtype="<f8", shape=(*shape, 1))
  for first in range(0, len(images), size):
    batch = images[first : first + size]
    scenes = jax.device_get(paint(*_arrays(batch, size)))
    rows = slice(first, first + len(batch))
    pixels[rows] = scenes["image"][: len(batch)].astype(np.float32) / np.float32(255)
    masks[rows] = scenes["instances"][: len(batch), ..., None]
    yield
  pixels.flush()
  masks.flush()


def _steps(folder: Path, variant: str, sizes: dict[str, int], seed: int) -> Iterator[None]:
  """Draws split by split, batch by batch."""
  paint, batch = jax.jit(jax.vmap(_paint)), min(BATCH, max(sizes.values()))
  for split, size in sizes.items():
    images = list(itertools.islice(draws(variant, split, seed=seed), size))
    yield from _write_split(folder, variant, split, images, paint, batch)


def planned(config) -> Planned:
  """The stand-in that a configuration asks for."""
  num = max(MIN_IMAGES, config.standin_scenes)
  out = f"multi_dsprites_{SIDE}px_{num}_images_v{VERSION}"
  return Planned(out, config.variant, dict(num_scenes=num))


def write(out_dir: str | Path, *, variant: str, num_scenes: int, seed: int = 0) -> Path:
  """Renders `out_dir`/`variant`, a tenth of the images each for val and test.

  Args:
    out_dir: folder, made if need be.
    variant: "default" or "unique".
    num_scenes: images of all splits together, from 3 to 70,000.
    seed: decides every image; 0: the published draws.

  Returns:
    The variant's folder. A complete set that is there already is left as it is.

  Raises:
    ValueError: unknown variant, impossible seed, or an impossible number of images.
    FileExistsError: the variant's folder is in use for something else.
  """
  check_request(variant, VARIANTS, seed)
  if not MIN_IMAGES <= num_scenes <= sum(SIZES.values()):
    most = sum(SIZES.values())
    raise ValueError(f"num_scenes is {num_scenes}; it must be from {MIN_IMAGES} to {most:,}")
  sizes = _split_sizes(num_scenes)
  notes = dict(
    what="sprites drawn in place of those of the dSprites archive",
    draws="as published" if seed == 0 else "with another seed than the published ones",
    variant=variant,
    num_images=num_scenes,
    image_size=SIDE,
    images=sizes,
    seed=seed,
    renderer="genesis_jax.scenes.sprites",
    version=VERSION,
  )
  steps = partial(_steps, variant=variant, sizes=sizes, seed=seed)
  batches = sum(-(-size // BATCH) for size in sizes.values())
  return render(Path(out_dir) / variant, notes, steps, batches, "batch")
