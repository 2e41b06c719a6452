"""Turns a checkpoint of the original PyTorch code into a run: weights, optimizer, GECO and step.

  python -m experiments.import_torch --checkpoint=model.ckpt-FINAL --workdir=runs/released

The configuration comes from the flags.json beside the checkpoint (or `--flags`), or else from
`--config=configs/experiment.py:genesis,gqn` with overrides such as `--config.model.num_slots=5`.
PyTorch is not needed. Random numbers do not continue the original's: a resumed run draws its own,
and the order of the data is ours.
"""

import argparse
import os
import pathlib
import shlex
import shutil
import tempfile

import data_pipelines
from configs import loading
from data_pipelines.command_line import Parser, path_name
from experiments.console import program, startup
from experiments.console.errors import UserError, explained

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
  """Options, and overrides of the configuration; a mistake ends the program with status 2."""
  parser = Parser("experiments.import_torch", __doc__)
  parser.add_argument("--checkpoint", type=path_name, required=True, help="model.ckpt-...")
  parser.add_argument("--flags", type=path_name, help="default: flags.json beside it")
  parser.add_argument("--workdir", type=path_name, required=True, help="folder to make")
  options, overrides = loading.parse(parser, argv, required=False)
  if options.config and options.flags:
    parser.error("give --config or --flags, not both")
  return options, overrides


def configuration(options: argparse.Namespace, overrides: list[str]):
  """The configuration, where it comes from, and the names of the flags that it leaves out.

  Raises:
    UserError: if there is none or it cannot be used.
  """
  from experiments.runs.folder import dictionary_in
  from experiments.runs.original_runs import config_from_flags, ignored_flags

  if options.config:
    return loading.load_config(options.config, overrides), options.config, []
  path = options.flags or options.checkpoint.with_name("flags.json")
  if not path.is_file():
    raise UserError(
      f"{path} does not exist; give --flags, or the run's configuration, for example "
      "--config=configs/experiment.py:genesis,gqn"
    )
  try:
    flags = dictionary_in(path)
  except (OSError, ValueError) as error:
    raise UserError(f"{path} cannot be read as JSON: {error}") from error
  with explained():
    try:
      config = config_from_flags(flags)
      return config, str(path), ignored_flags(flags, config)
    except ValueError as error:
      raise ValueError(f"{path}: {error}") from error


def _check_workdir(workdir: pathlib.Path) -> None:
  if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
    raise UserError(f"--workdir {workdir} exists and is not empty; choose another")


def published_source(config):
  """The data of an imported run: the published set, which need not be on this machine."""
  return data_pipelines.Source(
    name=config.data.name,
    variant=config.data.variant,
    root=pathlib.Path(),
    stand_in=False,  # the original knows no stand-ins
    description="not looked for when importing",
    num_files={},
  )


def write_run(workdir: pathlib.Path, config, state, origin: dict) -> None:
  """Makes the run's folder, whole or not at all, in a hidden folder of this import alone.

  Args:
    workdir: to make; may be there if it is empty.
    config: of the experiment.
    state: TrainState to start from, not replicated.
    origin: content of imported.json.

  Raises:
    UserError: the folder is no longer empty.
  """
  import jax
  import numpy as np

  from experiments.hardware import devices
  from experiments.runs import checkpoints, folder

  source = published_source(config)
  workdir.parent.mkdir(parents=True, exist_ok=True)
  partial = pathlib.Path(tempfile.mkdtemp(prefix=f".{workdir.name}.partial-", dir=workdir.parent))
  try:
    partial.chmod(0o755)  # mkdtemp makes folders that only their owner can read
    with checkpoints.Checkpoints(partial, checkpoints.origin_of(config, source), config) as writer:
      writer.restore(state)  # there is nothing yet: opens it for writing
      writer.save(devices.replicate(state))
      writer.wait()
    num_parameters = sum(np.size(x) for x in jax.tree.leaves(state.params))
    folder.write_labels(partial, config, source, num_parameters, int(state.step))
    folder.write_json(partial / "imported.json", origin)
    try:
      os.replace(partial, workdir)
    except OSError:
      _check_workdir(workdir)  # another import was faster
      raise
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
  """Imports, and says what was imported and how to continue."""
  from experiments.runs.original_runs import train_state
  from genesis_jax import objective
  from genesis_jax.torch_files import load_torch

  _check_workdir(options.workdir)
  config, config_source, ignored = configuration(options, overrides)
  with explained():
    checkpoint = load_torch(options.checkpoint)
    if not isinstance(checkpoint, dict):
      raise ValueError(f"{options.checkpoint} does not contain a dictionary")
    try:
      state = train_state(config, checkpoint)
    except ValueError as error:
      raise ValueError(f"{options.checkpoint} with {config_source}: {error}") from error
  step, geco = int(state.step), objective.geco_state(state.opt_state)
  origin = dict(
    checkpoint=str(options.checkpoint.absolute()),
    configuration=config_source,
    iter_idx=int(checkpoint["iter_idx"]),
    step=step,
    ignored_flags=ignored,
  )
  write_run(options.workdir, config, state, origin)
  workdir = options.workdir
  print(f"model      {config.model.name} on {config.data.name}, settings of {config_source}")
  print(f"optimizer  {config.optimizer.name} after {step} of {config.num_steps} steps")
  if geco is not None:
    average = f"err_ema {float(geco.err_ema):.6g} nats" if geco.count else "err_ema restarts"
    print(f"GECO       beta {float(geco.beta):.4g}, {average}")
  if ignored:
    print(f"ignored    flags that have no effect here: {', '.join(ignored)}")
  print(f"results    {workdir}")
  print(f'load       model, variables, config = genesis_jax.load("{workdir}")')
  command = [
    *("python", "-m", "experiments.main", f"--config=configs/of_run.py:{workdir}"),
    *(f"--config.num_steps={max(2 * step, config.num_steps)}", f"--workdir={workdir}"),
  ]
  print(f"train      {shlex.join(command)}")
  print(f"settings   {workdir / 'config.json'}", flush=True)


@program.entry
def main(argv: list[str]) -> None:
  """Imports, and says how to continue."""
  options, overrides = parse(argv)
  startup.stay_on_cpu()
  run(options, overrides)


if __name__ == "__main__":
  program.run(main)
