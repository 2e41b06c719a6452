"""Turns a checkpoint of the original PyTorch code into a run: weights, optimizer, GECO and step.

  python -m experiments.import_torch --checkpoint=model.ckpt-FINAL --workdir=runs/released

The configuration comes from the flags.json beside the checkpoint (or `--flags`), or else from
`--config=configs/experiment.py:genesis,gqn` with overrides such as `--config.model.num_slots=5`.
All of them may be addresses, such as gs://bucket/model.ckpt-FINAL, those that are read also of web
servers. PyTorch is not needed. Random numbers do not continue the original's: a resumed run draws
its own, and the order of the data is ours.
"""

import argparse
import pathlib
import shlex

from configs import loading
from data_pipelines.command_line import Parser, place
from experiments.console import program, startup

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
  """Options, and overrides of the configuration; a mistake ends the program with status 2."""
  parser = Parser("experiments.import_torch", __doc__)
  parser.add_argument("--checkpoint", type=place, required=True, help="model.ckpt-...")
  parser.add_argument("--flags", type=place, help="default: flags.json beside it")
  parser.add_argument("--workdir", type=place, required=True, help="folder to make")
  options, overrides = loading.parse(parser, argv, required=False)
  if options.config and options.flags:
    parser.error("give --config or --flags, not both")
  return options, overrides


@program.entry
def main(argv: list[str]) -> None:
  """Imports, and says what was imported and how to continue."""
  options, overrides = parse(argv)
  startup.stay_on_cpu()
  from experiments.runs import importing
  from experiments.stores.writing import folder_made
  from genesis_jax.objective import geco_state

  workdir = options.workdir
  with folder_made(workdir, "--workdir") as made:
    importing.check_workdir(made)
    settings = importing.configuration(options.checkpoint, options.flags, options.config, overrides)
    config, source, ignored = settings
    state = importing.import_run(options.checkpoint, made, settings)
  step, geco = int(state.step), geco_state(state.opt_state)
  print(f"model      {config.model.name} on {config.data.name}, settings of {source}")
  print(f"optimizer  {config.optimizer.name} after {step} of {config.num_steps} steps")
  if geco is not None:
    average = f"err_ema {float(geco.err_ema):.6g} nats" if geco.count else "err_ema restarts"
    print(f"GECO       beta {float(geco.beta):.4g}, {average}")
  if ignored:
    print(f"ignored    flags that have no effect here: {', '.join(ignored)}")
  print(f"results    {workdir}")
  if isinstance(workdir, pathlib.Path):
    print(f'load       model, variables, config = genesis_jax.load("{workdir}")')
  command = [
    *("python", "-m", "experiments.main", f"--config=configs/of_run.py:{workdir}"),
    *(f"--config.num_steps={max(2 * step, config.num_steps)}", f"--workdir={workdir}"),
  ]
  print(f"train      {shlex.join(command)}")
  print(f"settings   {workdir}/config.json", flush=True)


if __name__ == "__main__":
  program.run(main)
