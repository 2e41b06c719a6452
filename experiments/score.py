"""Scores masks of any model under the definitions of five codebases, side by side.

  python -m experiments.score --predictions=P.npz --truth=T.npz
  python -m experiments.score --predictions=P.npz --truth=T.npz --out=scores.json

Both files hold one array, or one named "masks". The truth has integer ids [N,H,W]: 0 is
background, negative pixels are ignored. Predictions have ids [N,H,W], or masks [N,K,H,W] or
[N,H,W,K] (probabilities or their logarithms), of which each pixel's largest wins: the axis of slots
is the one that is left once [N,H,W] of the truth is found. No model of this project is needed.
"""

import argparse

from data_pipelines.command_line import Parser, file_name, place, seed_number, whole_number
from experiments.console import program

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.


def parse(argv: list[str]) -> argparse.Namespace:
  """Options; a mistake ends the program with status 2."""
  parser = Parser("experiments.score", __doc__)
  parser.add_argument("--predictions", type=place, required=True, metavar="P.npz")
  parser.add_argument("--truth", type=place, required=True, metavar="T.npz")
  parser.add_argument("--out", type=file_name(".json"), metavar="FILE.json",
                      help="also write them here")  # fmt: skip
  parser.add_argument("--num_bootstrap", type=whole_number(1), default=1000, help="default: 1000")
  parser.add_argument("--seed", type=seed_number, default=0, help="of the bootstrap; default: 0")
  parser.add_argument(
    "--slot_axis", type=int, choices=(1, -1), help="of masks whose shape fits both orders"
  )
  parser.add_argument(
    "--background_ids",
    type=whole_number(1),
    default=1,
    help="true ids below are background for the Object-Centric Library; default: 1, id 0",
  )
  return parser.parse_args(argv)


@program.entry
def main(argv: list[str]) -> None:
  """Scores, and shows the table."""
  options = parse(argv)
  from experiments.runs import folder
  from experiments.scoring import mask_files
  from experiments.stores.writing import file_written

  truth, predictions = mask_files.read(
    options.truth, options.predictions, options.slot_axis, options.background_ids
  )
  result = mask_files.score(
    truth, predictions, options.background_ids, options.num_bootstrap, options.seed
  )
  mask_files.show(result)
  if options.out:
    files = dict(predictions=str(options.predictions), truth=str(options.truth))
    with file_written(options.out) as out:
      folder.write_json(out, files | result)
    print(f"\nresults    {options.out}", flush=True)


if __name__ == "__main__":
  program.run(main)
