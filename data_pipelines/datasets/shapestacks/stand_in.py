"""Renders towers in the format of ShapeStacks, for when that is not at hand.

    write("data/mine", variant="default", num_scenes=2000)

The names of scenarios tell the truth about the towers. A set appears under its name only once it is
complete; `STAND_IN.json` says what it is.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import numpy as np

from data_pipelines.datasets import planned_images
from data_pipelines.datasets.shapestacks.reader import ID_STEP, LISTS, VARIANTS
from data_pipelines.datasets.stand_ins import beside, check_least, check_request, render, save
from genesis_jax.scenes.stacks import NUM_VIEWS, stacks_view

VERSION = 1  # of the pictures; raise it when they change
SIDE = 224  # pixels, as published
PART = 10  # one in so many towers is for validation, another for testing
MIN_IMAGES = 3 * NUM_VIEWS  # a tower for each split


def _name(number: int, factors: dict) -> str:
  """Name of a scenario as published."""
  kind = "blocks" if factors["boxes_only"] else "ccs"
  labels = "-".join(f"{name}={int(factors[key])}" for name, key in (
    ("h", "height"), ("vcom", "vcom"), ("vpsf", "vpsf")))  # fmt: skip
  return f"env_{kind}-easy-{labels}-v={number + 1}"


def _save(folder: Path, scenario: str, view: str, scene: dict) -> None:
  save(folder / "recordings" / scenario / f"rgb-{view}.png", scene["image"])
  grey = np.repeat((scene["instances"] * ID_STEP).astype(np.uint8)[..., None], 4, -1)
  grey[..., 3] = 255  # four channels, as published
  save(folder / "iseg" / scenario / f"iseg-{view}.map", grey)


def _jobs(
  folder: Path, names: list[str], variant: str, num_towers: int, seed: int
) -> Iterator[Callable[[], None]]:
  """Renders tower by tower, view by view; notes the scenarios' names."""
  draw = jax.jit(partial(stacks_view, image_size=SIDE, variant=variant))
  key = jax.random.key(seed)
  for number in range(num_towers):
    for camera in range(NUM_VIEWS):
      scene = jax.device_get(draw(jax.random.fold_in(key, number), camera))
      if camera == 0:
        names.append(_name(number, scene["factors"]))
      view = f"w=0-f=0-l=0-c=original-cam_{camera + 1}-mono-0"
      yield partial(_save, folder, names[-1], view, scene)


def _steps(folder: Path, variant: str, num_towers: int, seed: int) -> Iterator[None]:
  """Renders the towers; then writes the lists of splits."""
  names: list[str] = []
  yield from beside(_jobs(folder, names, variant, num_towers, seed))
  held_out = max(1, num_towers // PART)
  parts = {
    "val": names[:held_out],
    "test": names[held_out : 2 * held_out],
    "train": names[2 * held_out :],
  }
  for split, scenarios in parts.items():
    path = folder / "splits" / variant / LISTS[split]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in scenarios))


planned = partial(planned_images, least=MIN_IMAGES, version=VERSION, apart=True)


def write(out_dir: str | Path, *, variant: str, num_scenes: int, seed: int = 0) -> Path:
  """Renders `num_scenes` images, sixteen of a tower, into `out_dir`, with maps and split lists.

  A tenth of the towers each is for validation and testing.

  Returns:
    `out_dir`. A complete set that is there already is left as it is.

  Raises:
    ValueError: unknown variant, impossible seed, or too few images for three towers.
    FileExistsError: `out_dir` is in use for something else.
  """
  check_request(variant, VARIANTS, seed)
  check_least(num_scenes, MIN_IMAGES, f"three towers need at least {MIN_IMAGES} images")
  num_towers = num_scenes // NUM_VIEWS
  num_images = num_towers * NUM_VIEWS
  notes = dict(
    what="towers rendered in place of the published images of ShapeStacks",
    variant=variant,
    num_images=num_images,
    num_towers=num_towers,
    image_size=SIDE,
    seed=seed,
    renderer="genesis_jax.scenes.stacks_view",
    version=VERSION,
  )
  steps = partial(_steps, variant=variant, num_towers=num_towers, seed=seed)
  return render(Path(out_dir), notes, steps, num_images, "image")
