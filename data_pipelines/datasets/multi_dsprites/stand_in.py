"""Draws Multi-dSprites without the dSprites archive, in the files of the original's generator.

    write("data/mine", variant="default", num_scenes=2000)

Every image is made from the published draws: the same number of sprites, with the same factors and
colours as in the published image of that number. Only the outlines of the sprites are our own.
"""

import itertools
from functools import partial
from pathlib import Path

import jax
import numpy as np

from data_pipelines.datasets.multi_dsprites.draws import (
  MAX_SPRITES,
  SIDE,
  SIZES,
  VARIANTS,
  Draw,
  draws,
)
from data_pipelines.datasets.multi_dsprites.reader import array_path
from data_pipelines.datasets.publishing import published, with_progress
from data_pipelines.sources import STAND_IN_FILE, check_choice
from genesis_jax.scenes.sprites import paint_sprites, sprite_factors

VERSION = 1  # of the pictures; raise it when they change
MIN_IMAGES = 3
BATCH = 200  # images that are drawn at once


def _split_sizes(num_images: int) -> dict[str, int]:
  """A tenth of the images each for val and test; more where train would be beyond what is drawn."""
  part = max(1, num_images // 10, -((SIZES["train"] - num_images) // 2))
  return {"train": num_images - 2 * part, "val": part, "test": part}


def _paint(background, index, exists, color):
  factors = {"exists": exists, "color": color} | sprite_factors(index)
  return paint_sprites(background, factors, image_size=SIDE)


def _arrays(images: list[Draw]) -> tuple[np.ndarray, ...]:
  """Draws as arguments of `_paint`, filled up to a full batch."""
  index = np.zeros((BATCH, MAX_SPRITES), np.int32)
  exists = np.zeros((BATCH, MAX_SPRITES), bool)
  color = np.zeros((BATCH, MAX_SPRITES, 3), np.uint8)
  background = np.zeros((BATCH, 3), np.uint8)
  for n, draw in enumerate(images):
    background[n], count = draw.background, len(draw.sprites)
    exists[n, :count] = True
    index[n, :count] = [sprite.index for sprite in draw.sprites]
    color[n, :count] = [sprite.color for sprite in draw.sprites]
  return background, index, exists, color


def _write_split(folder: Path, variant: str, split: str, images: list[Draw], paint) -> None:
  """Two .npy files: images float32 [N, 64, 64, 3], and masks float64 [N, 64, 64, 1]."""
  create = partial(np.lib.format.open_memmap, mode="w+")
  shape = (len(images), SIDE, SIDE)
  pixels = create(array_path(folder, variant, split, "images"), dtype="<f4", shape=(*shape, 3))
  masks = create(array_path(folder, variant, split, "masks"), dtype="<f8", shape=(*shape, 1))
  starts = range(0, len(images), BATCH)
  for first in with_progress(starts, len(starts), f"rendering {split}", "batch"):
    batch = images[first : first + BATCH]
    scenes = jax.device_get(paint(*_arrays(batch)))
    rows = slice(first, first + len(batch))
    pixels[rows] = scenes["image"][: len(batch)].astype(np.float32) / np.float32(255)
    masks[rows] = scenes["instances"][: len(batch), ..., None]
  pixels.flush()
  masks.flush()


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
    ValueError: unknown variant, or an impossible number of images.
    FileExistsError: the variant's folder is in use for something else.
  """
  check_choice("variant", variant, VARIANTS)
  if not MIN_IMAGES <= num_scenes <= sum(SIZES.values()):
    most = sum(SIZES.values())
    raise ValueError(f"num_scenes is {num_scenes}; it must be from {MIN_IMAGES} to {most:,}")
  final, sizes = Path(out_dir) / variant, _split_sizes(num_scenes)
  if (final / STAND_IN_FILE).exists():
    return final
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
  paint = jax.jit(jax.vmap(_paint))
  with published(final, notes) as folder:
    for split, size in sizes.items():
      images = list(itertools.islice(draws(variant, split, seed=seed), size))
      _write_split(folder, variant, split, images, paint)
  return final
