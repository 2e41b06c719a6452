"""Makes a small copy of a run to pass on: weights as float16, labels, curves and scores.

  python -m experiments.export --workdir=runs/genesis_gqn --out=pretrained/genesis_gqn

The copy is a run's folder like any other for `genesis_jax.load` and for the programs that evaluate,
visualise and report; but training cannot resume from it.
"""

import argparse
import pathlib
import shutil

from data_pipelines.command_line import Parser, path_name, place
from experiments.console import program, startup
from experiments.console.errors import UserError, explained

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.

# What is copied as it is: small, and read by the report.
COPIED = (
  "config.json",
  "run.json",
  "imported.json",
  "metrics.json",
  "metrics.jsonl",
  "evaluation",
)


def parse(argv: list[str] | None) -> argparse.Namespace:
  """Options; a mistake ends the program with status 2."""
  parser = Parser("experiments.export", __doc__)
  parser.add_argument("--workdir", type=place, required=True, help="folder of the run")
  parser.add_argument("--out", type=path_name, required=True, help="folder to make")
  parser.add_argument("--step", type=int, help="which checkpoint; default: the newest")
  return parser.parse_args(argv)


def export(workdir: pathlib.Path, step: int | None, out: pathlib.Path) -> pathlib.Path:
  """Makes the copy; returns the file with the weights.

  Raises:
    UserError: there is no such checkpoint, `out` is in use, or the weights do not fit.
  """
  import numpy as np

  from data_pipelines import durable
  from experiments.runs.checkpoints import read_checkpoint
  from genesis_jax import runs

  in_use = UserError(f"--out={out} exists and is not empty; choose another")
  if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
    raise in_use
  steps = runs.checkpoint_steps(workdir)
  if not steps or step not in (None, *steps):
    raise UserError(f"the checkpoints of {workdir} are {steps or 'none'}; --step={step}")
  step = steps[-1] if step is None else step
  state, origin = read_checkpoint(workdir, step)
  with explained():
    arrays = runs.packed_weights(state, origin)
  try:
    with durable.partial_folder(out) as partial:
      file = runs.weights_file(partial, step)
      file.parent.mkdir()
      np.savez_compressed(file, **arrays)
      for name in COPIED:
        if (workdir / name).is_dir():
          shutil.copytree(workdir / name, partial / name, ignore=shutil.ignore_patterns(".*"))
        elif (workdir / name).exists():
          shutil.copy(workdir / name, partial / name)
  except durable.NameTaken:
    raise in_use from None
  return runs.weights_file(out, step)


@program.entry
def main(argv: list[str]) -> None:
  """Exports, and says how to load the copy."""
  options = parse(argv)
  startup.prepare()
  from experiments.stores.reading import brought

  with brought(options.workdir, options.step) as workdir:
    file = export(workdir, options.step, options.out)
  print(f"weights    {file}: {file.stat().st_size / 2**20:.2f} MiB")
  print(f'load       model, variables, config = genesis_jax.load("{options.out}")')


if __name__ == "__main__":
  program.run(main)
