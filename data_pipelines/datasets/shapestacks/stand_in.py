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

from data_pipelines.datasets.publishing import published, with_progress
from data_pipelines.datasets.shapestacks.reader import ID_STEP, LISTS, VARIANTS
from data_pipelines.datasets.stand_ins import beside, save
from data_pipelines.sources import STAND_IN_FILE, check_choice, check_seed
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
  folder: Path, names: list[str], variant: str, num_towers: int, key: jax.Array
) -> Iterator[Callable[[], None]]:
  """Renders tower by tower, view by view; notes the scenarios' names."""
  render = jax.jit(partial(stacks_view, image_size=SIDE, variant=variant))
  for number in range(num_towers):
    for camera in range(NUM_VIEWS):
      scene = jax.device_get(render(jax.random.fold_in(key, number), camera))
      if camera == 0:
        names.append(_name(number, scene["factors"]))
      view = f"w=0-f=0-l=0-c=original-cam_{camera + 1}-mono-0"
      yield partial(_save, folder, names[-1], view, scene)


def write(out_dir: str | Path, *, variant: str, num_scenes: int, seed: int = 0) -> Path:
  """Renders `num_scenes` images, sixteen of a tower, into `out_dir`, with maps and split lists.

  A tenth of the towers each is for validation and testing.

  Returns:
    `out_dir`. A complete set that is there already is left as it is.

  Raises:
    ValueError: unknown variant, impossible seed, or too few images for three towers.
    FileExistsError: `out_dir` is in use for something else.
  """
  check_choice("variant", variant, VARIANTS)
  check_seed(seed)
  if num_scenes < MIN_IMAGES:
    raise ValueError(f"num_scenes is {num_scenes}; three towers need at least {MIN_IMAGES} images")
  final, num_towers = Path(out_dir), num_scenes // NUM_VIEWS
  if (final / STAND_IN_FILE).exists():
    return final
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
  with published(final, notes) as folder:
    names: list[str] = []
    jobs = beside(_jobs(folder, names, variant, num_towers, jax.random.key(seed)))
    for _ in with_progress(jobs, num_images, f"rendering {final}", "image"):
      pass
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
  return final
