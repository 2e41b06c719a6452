"""Makes a small copy of a run to pass on: weights as float16, labels, curves and scores.

  python -m experiments.export --workdir=runs/genesis_gqn --out=pretrained/genesis_gqn
  python -m experiments.export --workdir=runs/genesis_gqn --out=elsewhere --with_optimizer

The copy is a run's folder like any other for `genesis_jax.load` and for the programs that evaluate,
visualise and report. Training cannot resume from it; with --with_optimizer it can, on any machine
and bit for bit: all that it needs is copied as it is, in files of at most 15 MB.
"""

import argparse
import pathlib
import shutil

from data_pipelines.command_line import Parser, place
from experiments.console import program, startup
from experiments.console.errors import UserError, explained

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.

# What is copied as it is: small, and read by the report.
COPIED = (
  "config.json",
  "run.json",
  "imported.json",
  "beginning.json",
  "metrics.json",
  "metrics.jsonl",
  "evaluation",
)


def parse(argv: list[str] | None) -> argparse.Namespace:
  """Options; a mistake ends the program with status 2."""
  parser = Parser("experiments.export", __doc__)
  parser.add_argument("--workdir", type=place, required=True, help="folder of the run")
  parser.add_argument("--out", type=place, required=True, help="folder to make")
  parser.add_argument("--step", type=int, help="which checkpoint; default: the newest")
  parser.add_argument("--with_optimizer", action="store_true", help="all that training needs")
  parser.add_argument(
    "--raw_weights", action="store_true", help="not their average, where the run keeps one"
  )
  options = parser.parse_args(argv)
  if options.with_optimizer and options.raw_weights:
    parser.error("--with_optimizer copies the weights and their average: leave out --raw_weights")
  return options


def export(
  workdir: pathlib.Path,
  step: int | None,
  out: pathlib.Path,
  with_optimizer: bool = False,
  raw_weights: bool = False,
) -> list[pathlib.Path]:
  """Makes the copy; returns the files of its checkpoint.

  Args:
    workdir: of the run.
    step: of the checkpoint; None: the newest.
    out: folder to make.
    with_optimizer: all that training needs, not the weights alone.
    raw_weights: not their moving average, where the run keeps one.

  Raises:
    UserError: there is no such checkpoint, `out` is in use, or the weights do not fit.
  """
  from data_pipelines import durable
  from experiments.runs.checkpoints import read_checkpoint
  from experiments.runs.folder import DATA_FILES
  from genesis_jax import packing, runs

  in_use = UserError(f"--out={out} exists and is not empty; choose another")
  if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
    raise in_use
  steps = runs.checkpoint_steps(workdir)
  if not steps or step not in (None, *steps):
    raise UserError(f"the checkpoints of {workdir} are {steps or 'none'}; --step={step}")
  step = steps[-1] if step is None else step
  state, origin = read_checkpoint(workdir, step)
  if with_optimizer and "opt_state" not in state:
    raise UserError(f"checkpoint {step} of {workdir} has weights only: leave out --with_optimizer")
  with explained():
    if with_optimizer:
      contents = packing.whole_state(state, origin, step)
    else:
      contents = packing.weights(runs.variables(state, raw_weights), origin, step)
  try:
    with durable.partial_folder(out) as partial:
      (partial / runs.FOLDER).mkdir()
      for name, content in contents.items():
        (partial / runs.FOLDER / name).write_bytes(content)
      for name in (*COPIED, *[DATA_FILES] * with_optimizer):
        if (workdir / name).is_dir():
          shutil.copytree(workdir / name, partial / name, ignore=shutil.ignore_patterns(".*"))
        elif (workdir / name).exists():
          shutil.copy(workdir / name, partial / name)
  except durable.NameTaken:
    raise in_use from None
  return packing.files(out / runs.FOLDER, step)


@program.entry
def main(argv: list[str]) -> None:
  """Exports, and says how to load the copy."""
  options = parse(argv)
  startup.prepare()
  from experiments.stores.addresses import name_of
  from experiments.stores.reading import brought
  from experiments.stores.writing import folder_made

  kind = "state" if options.with_optimizer else "weights"
  with brought(options.workdir, options.step) as workdir, folder_made(options.out) as out:
    for file in export(workdir, options.step, out, options.with_optimizer, options.raw_weights):
      print(f"{kind:<10} {name_of(file)}: {file.stat().st_size / 2**20:.2f} MiB")
  if isinstance(options.out, pathlib.Path):
    print(f'load       model, variables, config = genesis_jax.load("{options.out}")')
  if options.with_optimizer:
    words = program.command("main", options.out, f"--config=configs/of_run.py:{options.out}")
    print(f"train      {words}")


if __name__ == "__main__":
  program.run(main)
