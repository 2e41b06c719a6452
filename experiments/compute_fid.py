"""Fréchet inception distance between a run's test images and samples of its model.

  python -m experiments.compute_fid --workdir=runs/genesis_gqn
  python -m experiments.compute_fid --workdir=runs/genesis_gqn --inception_weights=weights.npz

The test images are drawn at random from the whole split: --sample_seed decides which. FID depends
on the number of images, their size and how they were resized: compare only values where all of
these agree. Results go to RUN/evaluation/fid.json, one for each checkpoint and setting. Without
--inception_weights the published ones are downloaded once (experiments.inception_weights).
"""

import argparse

from data_pipelines.command_line import Parser, file_name, place, seed_number, whole_number
from experiments.console import program, startup

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.

DIMS = (64, 192, 768, 2048)  # as genesis_jax.fid.DIMS, which is imported once the options are right


def parse(argv: list[str]) -> argparse.Namespace:
  """Options; a mistake ends the program with status 2."""
  parser = Parser("experiments.compute_fid", __doc__)
  parser.add_argument("--workdir", type=place, required=True, help="folder of the run")
  parser.add_argument("--step", type=int, help="checkpoint; default: the newest")
  parser.add_argument(
    "--num_images", type=whole_number(1), help="default: 10000, or all where there are fewer"
  )
  parser.add_argument("--inception_weights", metavar="FILE", help="pytorch-fid's file or a .npz")
  parser.add_argument("--reference_stats", metavar="FILE.npz", help="in place of test images")
  parser.add_argument("--data_dir", help="where the data is now, if it has moved since training")
  parser.add_argument("--dim", type=int, choices=DIMS, default=2048, help="papers: 2048")
  parser.add_argument("--batch_size", type=whole_number(1), default=64, help="default: 64")
  parser.add_argument("--seed", type=seed_number, default=0, help="of the samples")
  parser.add_argument("--sample_seed", type=seed_number, default=0, help="of the choice of images")
  parser.add_argument(
    "--out", type=file_name(".json"), metavar="FILE.json", help="default: RUN/evaluation/fid.json"
  )
  parser.add_argument(
    "--raw_weights", action="store_true", help="not their average, where the run keeps one"
  )
  parser.add_argument(
    "--original_prior_mean",
    action="store_true",
    help="sample as the original code of GENESIS does, without the tanh on the mask prior's mean",
  )
  options = parser.parse_args(argv)
  if options.num_images == 1:
    parser.error("--num_images must be at least 2: a covariance needs two")
  options.batch_size = min(options.batch_size, options.num_images or options.batch_size)
  return options


@program.entry
def main(argv: list[str]) -> None:
  """Measures, and shows the distance."""
  options = parse(argv)
  startup.prepare()
  # JAX and TensorFlow read what `prepare` sets.
  from experiments.scoring.fid import distance
  from experiments.stores.addresses import name_of
  from experiments.stores.reading import brought
  from experiments.stores.writing import file_written

  fields = {k: v for k, v in vars(options).items() if k in distance.Settings._fields}
  settings = distance.Settings(**fields)
  with brought(options.workdir, options.step) as workdir, file_written(options.out) as out:
    path = out or workdir / "evaluation" / "fid.json"
    result = distance.measure_run(workdir, options.step, settings, path, options.data_dir)
    place = name_of(path)
  print(f"FID        {result['fid']:.4g}  ({result['model']}, checkpoint {result['step']})")
  print(f"means      {result['definition']}")
  print(f"images     {result['num_images']} samples, {result['dim']} features, seed "
        f"{result['seed']}")  # fmt: skip
  print(f"data       {result['data']['description']}")
  for line in distance.notes(result):
    print(f"note       {line}")
  print(f"results    {place}", flush=True)


if __name__ == "__main__":
  program.run(main)
