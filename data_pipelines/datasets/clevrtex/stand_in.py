"""Renders textured objects in the format of ClevrTex, for when that is not at hand.

    write("data/mine", variant="camo", num_scenes=500)

Names of materials are the published ones, in place of which procedural patterns are seen, and of
some shapes solids of our own. A set appears under its name only once it is complete;
`STAND_IN.json` says what it is.
"""

import functools
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from data_pipelines.datasets import Planned
from data_pipelines.datasets.clevrtex import names
from data_pipelines.datasets.clevrtex.reader import VARIANTS, folder_name
from data_pipelines.datasets.stand_ins import beside, check_least, check_request, render, save
from genesis_jax.scenes.clevrtex import clevrtex_scene

VERSION = 1  # of the pictures; raise it when they change
WIDTH = 320  # pixels; the height is 240, as published
BATCH = 4  # scenes rendered at once
MIN_SCENES = 10  # so that a tenth is one
FOLDER_IMAGES = 1000


@functools.cache  # compiled once
def _drawing(variant: str) -> Callable:
  def draw(key, number):
    key = jax.random.fold_in(key, number)
    return clevrtex_scene(key, image_size=WIDTH, wide=True, variant=variant)

  return jax.jit(jax.vmap(draw, (None, 0)))


def _objects(factors: dict[str, np.ndarray]) -> list[dict]:
  """What the published files say of each object; ids are their places in the list, from 1."""
  objects = []
  for number in np.flatnonzero(factors["exists"]).tolist():
    one = {key: int(factors[key][number]) for key in ("shape", "size", "color", "material")}
    objects.append(
      dict(
        index=1 + number,
        shape=names.SHAPES[one["shape"]],
        size=names.SIZES[one["size"]],
        color=names.COLORS[one["color"]],
        material=names.published_name(names.MATERIALS[one["material"]]),
        rotation=float(np.degrees(factors["rotation"][number])),
      )
    )
  return objects


def _save(folder: Path, variant: str, number: int, scene: dict) -> None:
  stem = f"CLEVRTEX_{variant}_{number:06d}"
  place, factors = folder / str(number // FOLDER_IMAGES), scene["factors"]
  save(place / f"{stem}.png", np.pad(scene["image"], ((0, 0), (0, 0), (0, 1)), constant_values=255))
  flat = Image.fromarray(scene["instances"].astype(np.uint8)).convert("P")
  save(place / f"{stem}_flat.png", flat)
  ground = names.published_name(names.MATERIALS[int(factors["ground_material"])])
  objects = _objects(factors)
  notes = dict(num_objects=len(objects), split=variant, image_index=number, objects=objects)
  (place / f"{stem}.json").write_text(json.dumps(notes | dict(ground_material=ground), indent=2))


def _jobs(folder: Path, variant: str, total: int, seed: int) -> Iterator[Callable[[], None]]:
  """Renders a few scenes at a time."""
  draw, key = _drawing(variant), jax.random.key(seed)
  for first in range(0, total, BATCH):
    scenes = jax.device_get(draw(key, np.arange(first, first + BATCH)))
    for n in range(min(BATCH, total - first)):
      yield partial(
        _save, folder, variant, first + n, jax.tree.map(lambda values, n=n: values[n], scenes)
      )


def planned(config) -> Planned:
  """The stand-in that a configuration asks for."""
  scenes = max(MIN_SCENES, config.standin_scenes)
  out = f"clevrtex_{scenes}_scenes_v{VERSION}"
  return Planned(out, folder_name(config.variant), dict(num_scenes=scenes))


def write(out_dir: str | Path, *, variant: str, num_scenes: int, seed: int = 0) -> Path:
  """Renders `num_scenes` images into `out_dir`/clevrtex_<variant>, with ids and factors.

  Returns:
    The folder of the variant. A complete set that is there already is left as it is.

  Raises:
    ValueError: unknown variant, impossible seed, or too few scenes for all splits.
    FileExistsError: the folder is in use for something else.
  """
  check_request(variant, VARIANTS, seed)
  check_least(num_scenes, MIN_SCENES, f"train, val and test need at least {MIN_SCENES}")
  notes = dict(
    what="scenes rendered in place of the published images of ClevrTex",
    materials="procedural patterns under the published names; so are monkey, torus and teapot",
    variant=variant,
    num_images=num_scenes,
    image_size=[WIDTH * 3 // 4, WIDTH],
    seed=seed,
    renderer="genesis_jax.scenes.clevrtex_scene",
    version=VERSION,
  )

  def steps(folder):
    return beside(_jobs(folder, variant, num_scenes, seed))

  return render(Path(out_dir) / folder_name(variant), notes, steps, num_scenes, "image")
