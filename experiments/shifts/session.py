"""All of `robustness`, from a run's folder to the files."""

import argparse
import pathlib
import time

from data_pipelines.reading.progress import telling, with_progress
from experiments.console.errors import UserError
from experiments.hardware import devices
from experiments.runs.opening import opened
from experiments.scoring import scores
from experiments.scoring.files import check_writable
from experiments.scoring.measure import absence
from experiments.shifts import drawing, files
from experiments.shifts.dials import Dial, chosen
from experiments.shifts.measuring import Bench, Measured, Settings
from experiments.stores.addresses import name_of

FOLDER = "robustness"  # within a run's folder


def _possible(bench: Bench, dials: list[Dial], left_out: dict[str, str]) -> list[Dial]:
  """The dials without numbers of slots that the model cannot have, which are noted."""
  kept = []
  for dial in dials:
    levels = []
    for level in dial.levels:
      try:
        bench.model(level.num_slots)
        levels.append(level)
      except UserError as error:
        left_out[f"{dial.name} {level.label}"] = str(error)
    if len(levels) > 1:
      kept.append(Dial(dial.name, levels))
  return kept


def _measured(bench: Bench, dials: list[Dial]) -> drawing.Found:
  """What all levels led to; says how far it is."""
  todo = [(dial, level) for dial in dials for level in dial.levels]
  results = []
  with telling():
    for _, level in with_progress(todo, len(todo), "measuring", "level"):
      results.append(bench.measured(level))
  found, first = [], 0
  for dial in dials:
    found.append((dial, results[first : first + len(dial.levels)]))
    first += len(dial.levels)
  return found


def _described(config, settings: Settings, source, usual: Measured) -> dict:
  """What the result says of what was measured; `usual` is the level of training."""
  return dict(
    model=config.model.name,
    split=settings.split,
    images=usual.images,
    num_images=usual.num_images,
    seed=settings.seed,
    sample_seed=settings.sample_seed,
    data=source.metadata(),
    stand_in=source.stand_in,
    device=devices.description(),
    intervals=files.INTERVALS,
    definitions={name: scores.definition(name) for name in usual.scores},
  )


def measure_run(workdir: pathlib.Path, options: argparse.Namespace) -> tuple[dict, list]:
  """Measures a checkpoint of a run, and writes what was found.

  Args:
    workdir: of the run.
    options: of experiments.robustness.

  Returns:
    The result as written to JSON, and the files.

  Raises:
    UserError, DataError: in one line.
  """
  start = time.monotonic()
  folder = options.out or workdir / FOLDER
  check_writable(folder)
  step, model, variables, config = opened(
    workdir, options.step, options.data_dir, options.raw_weights
  )
  if options.source:
    with config.unlocked():
      config.data.source = options.source
  settings = Settings(
    split=options.split,
    num_images=options.num_images,
    batch_size=min(options.batch_size, options.num_images or options.batch_size),
    seed=options.seed,
    sample_seed=options.sample_seed,
    worst=options.worst,
  )
  bench = Bench(model, variables, config, settings)
  dials, left_out = chosen(config, options.dials, options.data)
  source = bench.check(dials)
  dials = _possible(bench, dials, left_out)
  if not dials:
    raise UserError(f"there is nothing to measure: {'; '.join(left_out.values())}")
  for name, reason in left_out.items():
    print(f"left out   {name}: {reason}", flush=True)
  found = _measured(bench, dials)
  usual = next(one for dial, ones in found for level, one in zip(dial.levels, ones, strict=True)
               if level.is_training)  # fmt: skip
  names = scores.named(usual.scores, scores.SHIFTS)
  if reason := absence(usual.scores, source, config.model.name):
    left_out["segmentation"] = reason
    print(f"left out   {reason}", flush=True)
  title = f"{config.model.name} on {config.data.name} {config.data.variant}, step {step}"
  result = dict(title=title, workdir=name_of(workdir), step=step)
  result |= _described(config, settings, source, usual) | dict(
    raw_weights=options.raw_weights,
    dials=files.levels(found),
    left_out=left_out,
    finished=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
  )
  words = f"{title}: means over {usual.num_images} images a level, 95% intervals"
  figure = drawing.curves(found, names, words)
  worst = drawing.worst_images(bench, found, settings.seed)
  result["seconds"] = round(time.monotonic() - start, 1)
  return result, files.write(folder, result, names, figure, worst)
