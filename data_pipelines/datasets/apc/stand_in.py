"""Renders shelf bins in the format of the APC training set, for when that is not at hand.

    write("data/mine", variant="default", num_scenes=2000)

A set appears under its name only once it is complete; `STAND_IN.json` says what it is.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from data_pipelines.datasets import planned_images
from data_pipelines.datasets.apc.reader import PART, VARIANTS
from data_pipelines.datasets.stand_ins import beside, check_least, check_request, render, save
from genesis_jax.scenes.raycast import SHAPES
from genesis_jax.scenes.shelf import shelf_frame

VERSION = 1  # of the pictures; raise it when they change
SIZE = (640, 480)  # width and height as published
RENDERED_WIDTH = 320  # and enlarged: models see 128 pixels
FRAMES = 10  # of a scene
MIN_IMAGES = PART * FRAMES  # a scene each for validation and testing


def _save(scene_dir: Path, frame: int, scene: dict) -> None:
  image = Image.fromarray(scene["image"]).resize(SIZE, Image.Resampling.BILINEAR)
  save(scene_dir / f"frame-{frame:06d}.color.png", image)
  if scene_dir.name != "scene-empty":
    mask = Image.fromarray((scene["instances"] * 255).astype(np.uint8))
    mask = mask.resize(SIZE, Image.Resampling.NEAREST)
    save(scene_dir / "masks" / f"frame-{frame:06d}.mask.png", mask)


def _jobs(folder: Path, num_scenes: int, seed: int) -> Iterator[Callable[[], None]]:
  """Renders scene by scene, frame by frame."""
  draw, key = jax.jit(partial(shelf_frame, width=RENDERED_WIDTH)), jax.random.key(seed)
  for number in range(num_scenes):
    for frame in range(FRAMES):
      scene = jax.device_get(draw(jax.random.fold_in(key, number), frame))
      factors = scene["factors"]
      item = f"{SHAPES[factors['shape'][0]]}-{number:04d}"
      name = "scene-0000" if factors["exists"][0] else "scene-empty"
      yield partial(_save, folder / "training" / "shelf" / item / name, frame, scene)


planned = partial(planned_images, least=MIN_IMAGES, version=VERSION)


def write(out_dir: str | Path, *, variant: str, num_scenes: int, seed: int = 0) -> Path:
  """Renders `num_scenes` images, ten of a scene, into `out_dir`/training.

  Returns:
    `out_dir`. A complete set that is there already is left as it is.

  Raises:
    ValueError: unknown variant, impossible seed, or too few images for ten scenes, as splits need.
    FileExistsError: `out_dir` is in use for something else.
  """
  check_request(variant, VARIANTS, seed)
  check_least(num_scenes, MIN_IMAGES, f"ten scenes need at least {MIN_IMAGES} images")
  scenes = num_scenes // FRAMES
  notes = dict(
    what="shelf bins rendered in place of the published images of the Amazon Picking Challenge",
    variant=variant,
    num_images=scenes * FRAMES,
    num_scenes=scenes,
    image_size=SIZE,
    seed=seed,
    renderer="genesis_jax.scenes.shelf_frame, enlarged",
    version=VERSION,
  )

  def steps(folder):
    return beside(_jobs(folder, scenes, seed))

  return render(Path(out_dir), notes, steps, scenes * FRAMES, "image")
