"""Renders a folder of images with masks, as an example of what `image_folder` reads.

    write("data/mine", variant="default", num_scenes=2000)

Half of the images are flat sprites, half are rooms; both kinds of files and places of masks occur.
A folder appears under its name only once it is complete; `STAND_IN.json` says what it is.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from data_pipelines.datasets import planned_images
from data_pipelines.datasets.image_folder.reader import VARIANTS
from data_pipelines.datasets.stand_ins import beside, check_least, check_request, render, save
from genesis_jax.scenes import room_scene, sprites_scene

VERSION = 1  # of the pictures; raise it when they change
SIDE = 96  # pixels
PART = 10  # one in so many images is for validation, another for testing
MIN_IMAGES = 10  # so that each split has one


def _split(number: int) -> str:
  return {0: "val", 1: "test"}.get(number % PART, "train")


def _save_sprites(folder: Path, number: int, image: np.ndarray, ids: np.ndarray) -> None:
  """A PNG, and grey values in a folder `masks`."""
  save(folder / "sprites" / f"{number:05d}.png", image)
  save(folder / "sprites" / "masks" / f"{number:05d}.png", ids)


def _save_room(folder: Path, number: int, image: np.ndarray, ids: np.ndarray) -> None:
  """A JPEG, and a palette beside it."""
  save(folder / "rooms" / f"{number:05d}.jpg", image)
  mask = Image.fromarray(ids).convert("P")
  mask.putpalette([0, 0, 0, 230, 60, 50, 60, 180, 75, 0, 110, 220, 255, 210, 20])
  save(folder / "rooms" / f"{number:05d}.mask.png", mask)


def _jobs(folder: Path, num_images: int, seed: int) -> Iterator[Callable[[], None]]:
  """Renders sprites and rooms in turns of ten, so that all splits have both."""
  sprites = jax.jit(partial(sprites_scene, image_size=SIDE))
  rooms = jax.jit(partial(room_scene, image_size=SIDE, num_views=1))
  key = jax.random.key(seed)
  for number in range(num_images):
    is_room = number // PART % 2
    scene = jax.device_get((rooms if is_room else sprites)(jax.random.fold_in(key, number)))
    image, ids = scene["image"], scene["instances"].astype(np.uint8)
    if is_room:
      image, ids = image[0], ids[0]
    yield partial(
      _save_room if is_room else _save_sprites, folder / _split(number), number, image, ids
    )


planned = partial(planned_images, least=MIN_IMAGES, version=VERSION)


def write(out_dir: str | Path, *, variant: str, num_scenes: int, seed: int = 0) -> Path:
  """Renders `num_scenes` images into `out_dir`/{train,val,test}, with masks.

  Returns:
    `out_dir`. A complete set that is there already is left as it is.

  Raises:
    ValueError: unknown variant, impossible seed, or too few images for all splits.
    FileExistsError: `out_dir` is in use for something else.
  """
  check_request(variant, VARIANTS, seed)
  check_least(num_scenes, MIN_IMAGES, f"all splits need at least {MIN_IMAGES} images")
  notes = dict(
    what="scenes rendered in place of somebody's images",
    variant=variant,
    num_images=num_scenes,
    image_size=SIDE,
    seed=seed,
    renderer="genesis_jax.scenes.sprites_scene and room_scene",
    version=VERSION,
  )

  def steps(folder):
    return beside(_jobs(folder, num_scenes, seed))

  return render(Path(out_dir), notes, steps, num_scenes, "image")
