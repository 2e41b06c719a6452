"""The same test images through the models of all groups, below each other.

sheet, notes = side_by_side(groups, num_images=4, data_dir=None)
"""

from collections.abc import Sequence

import numpy as np

from data_pipelines.sources import DataError
from experiments.comparing.checkpoints import data_of, open_run
from experiments.comparing.groups import Group
from experiments.console.errors import UserError, explained
from experiments.figures.galleries import segments
from experiments.figures.panels import coloured_instances, to_uint8
from experiments.figures.sheets import Row, Sheet, table
from experiments.figures.view import Network, View
from experiments.scoring import drawing

SEED = 0  # of the draw, as of the images that are scored


def _tiles(group: Group, batch: dict[str, np.ndarray], data_dir: str | None) -> tuple[str, list]:
  """Step of the first run, and for each image its reconstruction and its segments.

  Raises:
    UserError, DataError, ValueError: it cannot be opened, or its images have another size.
  """
  run = group.runs[0]
  with open_run(run, data_dir) as checkpoint:
    side = checkpoint.config.model.image_size
    if side != batch["image"].shape[1]:
      raise UserError(f"its images are {side}x{side}, not {batch['image'].shape[1]} pixels wide")
    model = checkpoint.model
    match = "instances" in batch and hasattr(model, "num_slots")
    view = View(model, checkpoint.variables, Network(model), batch, match)
    recon, masks = to_uint8(view.out.recon), view.out.log_masks
    colours = None if masks is None else segments(masks, view.labels)
    return f"step {checkpoint.step:,}", _side_by_side(recon, colours)


def _side_by_side(images: np.ndarray, segments: np.ndarray | None) -> list[np.ndarray | None]:
  """The images `[N,S,S,3]`, each with its segments, or nothing, beside it."""
  beside = [None] * len(images) if segments is None else segments
  return [tile for pair in zip(images, beside, strict=True) for tile in pair]


def _batch(group: Group, num_images: int, data_dir: str | None) -> dict[str, np.ndarray]:
  """Images of the test split, those that evaluate draws first."""
  config = data_of(group.runs[0], data_dir)
  options = dict(seed=SEED, batch_size=num_images)
  batch = next(iter(drawing.drawn(config, "test", None, num_images, **options)))
  return {name: batch[name] for name in batch.keys() & {"image", "instances"}}


def side_by_side(
  groups: Sequence[Group], num_images: int, data_dir: str | None
) -> tuple[Sheet | None, list[str]]:
  """A row for the images, and one for each group's first run; and what is missing, in words."""
  try:
    with explained():
      batch = _batch(groups[0], num_images, data_dir)
  except (DataError, UserError, OSError) as error:
    return None, [f"No images: {error}"]
  truth = coloured_instances(batch["instances"]) if "instances" in batch else None
  rows, notes = [Row("images", _side_by_side(batch["image"], truth))], []
  for group in groups:
    try:
      with explained():
        step, tiles = _tiles(group, batch, data_dir)
    except (DataError, UserError, OSError) as error:
      notes.append(f"{group.label} is not shown: {error}")
      continue
    rows.append(Row(group.label, tiles, step, apart=len(rows) == 1))
  count = len(batch["image"])
  headings = ["image", "segments"] * count
  return table(rows, headings, {2 * i: f"test image {i + 1}" for i in range(count)}), notes
