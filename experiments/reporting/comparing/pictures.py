"""The same test images through the models of all groups, below each other.

sheet, notes = side_by_side(groups, num_images=4, data_dir=None)
"""

from collections.abc import Sequence

import numpy as np

from data_pipelines.sources import DataError
from experiments.console.errors import UserError, explained
from experiments.figures.galleries import segments
from experiments.figures.panels import coloured_instances, to_uint8
from experiments.figures.sheets import Row, Sheet, table
from experiments.figures.view import Network, View
from experiments.reporting.comparing.checkpoints import data_of, open_run
from experiments.reporting.comparing.groups import Group
from experiments.runs.records import Record
from experiments.scoring import drawing
from genesis_jax.runs import checkpoint_steps

SEED = 0  # of the draw, as of the images that are scored


def _shown(group: Group) -> Record | None:
  """The first run of a group with a checkpoint; in a store, with a step."""
  return next((r for r in group.runs if r.steps_done or checkpoint_steps(r.workdir)), None)


def _tiles(run: Record, batch: dict[str, np.ndarray], data_dir: str | None) -> tuple[str, list]:
  """Step of a run, and for each image its reconstruction and its segments.

  Raises:
    UserError, DataError, ValueError: it cannot be opened, or its images have another size.
  """
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


def _batch(run: Record, num_images: int, data_dir: str | None) -> dict[str, np.ndarray]:
  """Images of the test split, those that evaluate draws first."""
  config = data_of(run, data_dir)
  options = dict(seed=SEED, batch_size=num_images)
  batch = next(iter(drawing.drawn(config, "test", None, num_images, **options)))
  return {name: batch[name] for name in batch.keys() & {"image", "instances"}}


def side_by_side(
  groups: Sequence[Group], num_images: int, data_dir: str | None
) -> tuple[Sheet | None, list[str]]:
  """A row for the images, and one for each group's first run; and what is missing, in words."""
  trained = {group.label: run for group in groups if (run := _shown(group))}
  missing = [group.label for group in groups if group.label not in trained]
  notes = [f"{label} is not shown: it has no checkpoint yet." for label in missing]
  if not trained:
    return None, notes
  try:
    with explained():
      batch = _batch(next(iter(trained.values())), num_images, data_dir)
  except (DataError, UserError, OSError) as error:
    return None, [f"No images: {error}"]
  truth = coloured_instances(batch["instances"]) if "instances" in batch else None
  rows = [Row("images", _side_by_side(batch["image"], truth))]
  for label, run in trained.items():
    try:
      with explained():
        step, tiles = _tiles(run, batch, data_dir)
    except (DataError, UserError, OSError) as error:
      notes.append(f"{label} is not shown: {error}")
      continue
    rows.append(Row(label, tiles, step, apart=len(rows) == 1))
  if len(rows) == 1:
    return None, notes
  count = len(batch["image"])
  headings = ["image", "segments"] * count
  return table(rows, headings, {2 * i: f"test image {i + 1}" for i in range(count)}), notes
