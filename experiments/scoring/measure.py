"""The scores of checkpoints on images drawn from a split, with all that they depend on.

result = measure(checkpoint, Settings(split="test"), evaluators={})
files.write(result, folder)
"""

import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import data_pipelines
from data_pipelines.reading.progress import telling
from experiments.console.errors import UserError, explained
from experiments.hardware import devices
from experiments.runs.checkpoints import UnreadableError
from experiments.runs.opening import opened
from experiments.scoring import drawing, files, scores, summaries
from experiments.scoring.evaluator import Evaluator
from experiments.scoring.published_numbers import NUM_SEGMENTATION_IMAGES
from experiments.stores.addresses import name_of
from genesis_jax import runs


class Checkpoint(NamedTuple):
  """What is measured: a step of a run, its model and variables, and the run's configuration."""

  workdir: pathlib.Path
  step: int
  model: Any
  variables: dict
  config: Any


class Settings(NamedTuple):
  """What is measured on.

  Attributes:
    split: "train", "val" or "test".
    num_images: drawn from it; None: `usual`, or all where there are fewer.
    num_repeats: draws of the noise.
    batch_size: images at a time.
    seed: of the noise.
    sample_seed: of the draw of images.
    usual: see `num_images`.
    raw_weights: not their moving average, where the run keeps one.
  """

  split: str = "test"
  num_images: int | None = None
  num_repeats: int = 1
  batch_size: int = 32
  seed: int = 0
  sample_seed: int = 0
  usual: int = NUM_SEGMENTATION_IMAGES
  raw_weights: bool = False


def absence(values: dict, source, model_name: str) -> str | None:
  """Why there are no segmentation scores; None if there are."""
  if "ari" in values:
    return None
  if "largest_slot" not in values:
    return f"{model_name} has no masks: segmentation scores are absent"
  return f"{source.name} has no masks of instances here: segmentation scores are absent"


def _evaluator(evaluators: dict, checkpoint: Checkpoint, settings: Settings) -> Evaluator:
  key = checkpoint.config.model.to_json_best_effort(sort_keys=True)
  if key not in evaluators:
    evaluators[key] = Evaluator(
      checkpoint.model, settings.batch_size, settings.seed, settings.num_repeats
    )
  return evaluators[key]


def _drawn(data, settings: Settings):
  """Where the images come from, and those that are drawn."""
  with explained():
    data_pipelines.check_choice("--split", settings.split, data_pipelines.SPLITS)
    source = data_pipelines.resolve(data)
    return source, drawing.drawn_as(settings, data, settings.split)


def measure(
  checkpoint: Checkpoint,
  settings: Settings,
  evaluators: dict,
  should_stop: Callable[[], bool] = lambda: False,
) -> dict | None:
  """The result for one checkpoint, as written to JSON; None if it was told to stop.

  Args:
    checkpoint: what to measure.
    settings: on what.
    evaluators: compiled earlier, by model; a new one is added.
    should_stop: asked before each batch.

  Raises:
    UserError, DataError: in one line.
  """
  start = time.monotonic()
  source, sample = _drawn(checkpoint.config.data, settings)
  evaluator = _evaluator(evaluators, checkpoint, settings)
  with telling(), explained():
    batches = drawing.shown(sample, settings.batch_size, f"scoring {settings.split} images")
    index, values = evaluator(checkpoint.variables, batches, should_stop)
  if not values:
    return None
  if settings.num_images and len(index) < settings.num_images:
    raise UserError(
      f"there are {len(index)} whole images, not {settings.num_images}: "
      f"pass --num_images={len(index)}"
    )
  return _described(checkpoint, settings, sample, source) | dict(
    num_images=len(index),
    segmentation_absent=absence(values, source, checkpoint.config.model.name),
    scores={name: summaries.summary(value) for name, value in values.items()},
    definitions={name: f"{scores.definition(name)}; over {sample.words()}" for name in values},
    seconds=round(time.monotonic() - start, 1),
    finished=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    index=index.tolist(),
    per_image=values,
  )


def _described(checkpoint: Checkpoint, settings: Settings, sample, source) -> dict:
  """What a result says of what was measured."""
  return dict(
    workdir=name_of(checkpoint.workdir),
    step=checkpoint.step,
    model=checkpoint.config.model.name,
    training_seed=checkpoint.config.seed,
    split=settings.split,
    images=sample.words(),
    num_available=sample.total,
    sample_seed=settings.sample_seed,
    raw_weights=settings.raw_weights,
    num_repeats=settings.num_repeats,
    seed=settings.seed,
    num_corrupt=sample.num_corrupt,
    data=source.metadata(),
    stand_in=source.stand_in,
    device=devices.description(),
  )


def _checkpoints(
  workdirs: list[pathlib.Path],
  step: int | str | None,
  data_dir: str | None,
  raw_weights: bool,
) -> Iterator[Checkpoint]:
  """The checkpoints of some runs; of all steps those that can be read."""
  for workdir in workdirs:
    steps = [step]
    if step == "all":
      steps = runs.checkpoint_steps(workdir) or [None]  # opening the newest says what is missing
    found = 0
    for one in steps:
      try:
        with explained():
          checkpoint = Checkpoint(workdir, *opened(workdir, one, data_dir, raw_weights))
      except UnreadableError as error:
        if step != "all" or one == steps[-1] and not found:
          raise
        print(f"WARNING: {error}", file=sys.stderr, flush=True)
        continue
      found += 1
      yield checkpoint


def measure_runs(
  workdirs: list[pathlib.Path],
  step: int | str | None,
  settings: Settings,
  out: pathlib.Path | None,
  data_dir: str | None,
) -> tuple[list[dict], list[pathlib.Path]]:
  """Measures checkpoints of runs, and writes what was measured.

  Args:
    workdirs: of the runs.
    step: of the checkpoints; "all", or None for the newest of each run.
    settings: what to measure on.
    out: folder for the results; None: `evaluation` in each run's.
    data_dir: where the data is now, if it has moved since training.

  Returns:
    The results without what they say of single images, and the files with those of the last one, or
    of the table where there are several.

  Raises:
    UserError, DataError: in one line.
  """
  folders = {workdir: out or workdir / "evaluation" for workdir in workdirs}
  if out and len(workdirs) > 1:
    folders = {workdir: out / "_".join(workdir.resolve().parts[1:]) for workdir in workdirs}
  results, evaluators, paths = [], {}, []
  for checkpoint in _checkpoints(workdirs, step, data_dir, settings.raw_weights):
    folder = folders[checkpoint.workdir]
    files.check_writable(folder)
    result = measure(checkpoint, settings, evaluators)
    paths = files.write(result, folder)
    results.append({k: v for k, v in result.items() if k not in ("per_image", "index")})
  if len(results) > 1:
    paths = files.write_table(results, out or folders[workdirs[0]])
  return results, paths
