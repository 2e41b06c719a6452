"""Losses and segmentation scores of a run's checkpoints, image by image.

  python -m experiments.evaluate --workdir=runs/genesis_v2_clevr
  python -m experiments.evaluate --workdir=runs/seed_0 --workdir=runs/seed_1 --num_repeats=5
  python -m experiments.evaluate --workdir=runs/genesis_v2_clevr --step=all --split=val

Inference draws latents (and GENESIS-V2 its seed pixels): the noise is fixed by --seed, and with
--num_repeats the spread over draws is told. Results go to RUN/evaluation/segmentation_step_N_SPLIT
.json and .csv (one line for each image and repeat); several checkpoints or runs also get a table,
segmentation_table_SPLIT, in the folder of the first run. Every number comes with its definition.
"""

import argparse
import pathlib
import sys
import time

import data_pipelines
from data_pipelines.command_line import Parser, path_name, seed_number, whole_number
from experiments.console import program, startup
from experiments.console.errors import UserError, explained

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.


def parse(argv: list[str]) -> argparse.Namespace:
  """Options; a mistake ends the program with status 2."""

  def step(text: str) -> int | str:
    if text == "all":
      return text
    try:
      return whole_number(0)(text)
    except argparse.ArgumentTypeError as error:
      raise argparse.ArgumentTypeError(f"{error}, and not 'all'") from None

  parser = Parser("experiments.evaluate", __doc__)
  parser.add_argument(
    "--workdir", type=path_name, action="append", required=True, help="of a run; may be repeated"
  )
  parser.add_argument("--step", type=step, help="checkpoint, or all; default: the newest")
  parser.add_argument("--split", default="test", help="train, val or test; default: test")
  parser.add_argument("--num_images", type=whole_number(1), default=320, help="default: 320")
  parser.add_argument("--num_repeats", type=whole_number(1), default=1, help="draws of the noise")
  parser.add_argument("--batch_size", type=whole_number(1), default=32, help="default: 32")
  parser.add_argument("--seed", type=seed_number, default=0, help="of the noise; default: 0")
  parser.add_argument("--data_dir", help="where the data lies now, if not where the run found it")
  options = parser.parse_args(argv)
  options.batch_size = min(options.batch_size, options.num_images)
  return options


def check_enough(config, source, options) -> None:
  """Raises UserError if it is known without reading them that there are fewer images."""
  there = data_pipelines.num_examples(config, options.split)
  if there is not None and there < options.num_images:
    cure = f"pass --num_images={there}" if there else "choose another --split"
    raise UserError(
      f"{source.description} has {there} {options.split} images, not {options.num_images}; {cure}"
    )


def absence(values: dict, has_masks: bool, source, model_name: str) -> str | None:
  """Why there are no segmentation scores; None if there are."""
  if "ari" in values:
    return None
  if not has_masks:
    return f"{model_name} has no masks: segmentation scores are absent"
  return f"{source.name} has no masks of instances here: segmentation scores are absent"


def measure(workdir: pathlib.Path, step: int | None, options, evaluators: dict) -> dict:
  """The result for one checkpoint, as written to JSON.

  Args:
    workdir: of the run.
    step: of the checkpoint; None: the newest.
    options: from `parse`.
    evaluators: compiled earlier, by model; a new one is added.

  Raises:
    UserError, DataError: in one line.
  """
  from experiments.hardware import devices
  from experiments.runs.opening import opened
  from experiments.scoring import evaluator, summaries

  start = time.monotonic()
  with explained():
    data_pipelines.check_choice("--split", options.split, data_pipelines.SPLITS)
    step, model, variables, config = opened(workdir, step)
    devices.configure(config)
    if options.data_dir:
      config.data.data_dir = options.data_dir
    source = data_pipelines.resolve(config.data)
    check_enough(config.data, source, options)
    batches = data_pipelines.batches(
      config.data, split=options.split, batch_size=options.batch_size, seed=0, epochs=1
    )
  key = config.model.to_json_best_effort(sort_keys=True)
  if key not in evaluators:
    evaluators[key] = evaluator.Evaluator(
      model, options.batch_size, options.seed, options.num_repeats
    )
  with startup.telling():
    stream = evaluator.with_lines(batches, options.num_images, options.batch_size)
    values = evaluators[key](variables, stream, options.num_images)
  scores = {name: summaries.summary(value) for name, value in values.items()}
  reason = absence(values, "largest_slot" in values, source, config.model.name)
  return dict(
    workdir=str(workdir),
    step=step,
    model=config.model.name,
    training_seed=config.seed,
    split=options.split,
    num_images=options.num_images,
    num_repeats=options.num_repeats,
    seed=options.seed,
    num_corrupt=batches.num_corrupt,
    data=source.metadata(),
    stand_in=source.stand_in,
    segmentation_absent=reason,
    scores=scores,
    definitions={name: evaluator.DEFINITIONS[name] for name in values},
    device=devices.description(),
    seconds=round(time.monotonic() - start, 1),
    finished=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    per_image=values,
  )


@program.entry
def main(argv: list[str]) -> None:
  """Evaluates, and shows the scores."""
  options = parse(argv)
  # What JAX and TensorFlow read when they are imported.
  startup.prepare()
  from experiments.runs.checkpoints import UnreadableError
  from experiments.scoring import files
  from genesis_jax import runs

  results, evaluators = [], {}
  for workdir in options.workdir:
    steps = [options.step]
    if options.step == "all":
      steps = runs.checkpoint_steps(workdir) or [None]  # opening the newest says what is missing
    for step in steps:
      try:
        result = measure(workdir, step, options, evaluators)
      except UnreadableError as error:
        if options.step != "all" or step == steps[-1] and not results:
          raise
        print(f"WARNING: {error}", file=sys.stderr, flush=True)
        continue
      paths = files.write(result)
      results.append({k: v for k, v in result.items() if k != "per_image"})
  if len(results) > 1:
    paths = files.write_table(results)
  files.show(results)
  for path in paths:
    print(f"results    {path}", flush=True)


if __name__ == "__main__":
  program.run(main)
