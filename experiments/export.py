"""Makes a small copy of a run to pass on: weights as float16, labels, curves and scores.

  python -m experiments.export --workdir=runs/genesis_gqn --out=pretrained/genesis_gqn

The copy is a run's folder like any other for `genesis_jax.load` and for the programs that evaluate,
visualise and report; but training cannot resume from it.
"""

import argparse

from data_pipelines.command_line import Parser, path_name
from experiments.console import program, startup

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.


def parse(argv: list[str]) -> argparse.Namespace:
  """Options; a mistake ends the program with status 2."""
  parser = Parser("experiments.export", __doc__)
  parser.add_argument("--workdir", type=path_name, required=True, help="folder of the run")
  parser.add_argument("--out", type=path_name, required=True, help="folder to make")
  parser.add_argument("--step", type=int, help="which checkpoint; default: the newest")
  return parser.parse_args(argv)


@program.entry
def main(argv: list[str]) -> None:
  """Exports, and says how to load the copy."""
  options = parse(argv)
  startup.prepare()
  from experiments.runs.exporting import export

  file = export(options.workdir, options.step, options.out)
  print(f"weights    {file}: {file.stat().st_size / 2**20:.2f} MiB")
  print(f'load       model, variables, config = genesis_jax.load("{options.out}")')


if __name__ == "__main__":
  program.run(main)
