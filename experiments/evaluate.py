"""Losses and segmentation scores of a run's checkpoints, image by image.

  python -m experiments.evaluate --workdir=runs/genesis_v2_clevr
  python -m experiments.evaluate --workdir=runs/seed_0 --workdir=runs/seed_1 --num_repeats=5
  python -m experiments.evaluate --workdir=runs/genesis_v2_clevr --step=all --split=val

The images are drawn at random from the whole split: --sample_seed decides which. Inference draws
latents (and GENESIS-V2 its seed pixels): the noise is fixed by --seed, and --num_repeats shows
the spread over draws. Results go to RUN/evaluation/segmentation_step_N_SPLIT.json and .csv (one
line for each image and repeat, with its place in the split); several checkpoints or runs also get a
table, segmentation_table_SPLIT, in the folder of the first run. Every number comes with its
definition.
"""

import argparse

from data_pipelines.command_line import Parser, place, seed_number, whole_number
from experiments.console import program, startup

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
    "--workdir", type=place, action="append", required=True, help="of a run; may be repeated"
  )
  parser.add_argument("--step", type=step, help="checkpoint, or all; default: the newest")
  parser.add_argument("--split", default="test", help="train, val or test; default: test")
  parser.add_argument(
    "--num_images", type=whole_number(1), help="default: 320, or all where there are fewer"
  )
  parser.add_argument("--num_repeats", type=whole_number(1), default=1, help="draws of the noise")
  parser.add_argument("--batch_size", type=whole_number(1), default=32, help="default: 32")
  parser.add_argument("--seed", type=seed_number, default=0, help="of the noise; default: 0")
  parser.add_argument("--sample_seed", type=seed_number, default=0, help="of the choice of images")
  parser.add_argument("--out", type=place, metavar="DIR", help="default: RUN/evaluation")
  parser.add_argument("--data_dir", help="where the data is now, if it has moved since training")
  parser.add_argument(
    "--raw_weights", action="store_true", help="not their average, where the run keeps one"
  )
  return parser.parse_args(argv)


@program.entry
def main(argv: list[str]) -> None:
  """Evaluates, and shows the scores."""
  options = parse(argv)
  # What JAX and TensorFlow read when they are imported.
  startup.prepare()
  from experiments.scoring import files, measure
  from experiments.stores.addresses import name_of
  from experiments.stores.reading import all_brought, folder_brought

  settings = measure.Settings(
    split=options.split,
    num_images=options.num_images,
    num_repeats=options.num_repeats,
    batch_size=min(options.batch_size, options.num_images or options.batch_size),
    seed=options.seed,
    sample_seed=options.sample_seed,
    raw_weights=options.raw_weights,
  )
  with all_brought(options.workdir, options.step) as workdirs, folder_brought(options.out) as out:
    results, paths = measure.measure_runs(workdirs, options.step, settings, out, options.data_dir)
    files.show(results)
    for path in paths:
      print(f"results    {name_of(path)}", flush=True)


if __name__ == "__main__":
  program.run(main)
