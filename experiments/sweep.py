"""Trains every point of a grid with every seed, each in a program and a folder of its own.

  python -m experiments.sweep --config=configs/bottlenecks.py --seeds=0,1,2
  python -m experiments.sweep --config=configs/genesis_gqn.py --seeds=0,1,2
  python -m experiments.sweep --config=configs/bottlenecks.py --dry_run
  python -m experiments.sweep --config=configs/bottlenecks.py --launcher=slurm --gpus=1

The configuration file may have, beside `get_config()`, a function `sweep()`: name of each point ->
its overrides. `--config.<field>=<value>` applies to all points. As many programs train side by side
as there are accelerators, or, on a CPU, as cores allow. Finished runs are skipped, interrupted and
failed ones go on, and runs that another program trains are left to it: the same command, given
again or by several people at once, finishes a sweep. Exit status: 0 when done or stopped by SIGTERM
or Ctrl-C, 1 if any run failed, 2 for a mistake on the command line.
"""

import argparse
import pathlib
import shlex
import sys

from configs import loading
from data_pipelines.command_line import Parser, path_name, place, seed_number, whole_number
from experiments.console import program
from experiments.console.errors import UserError

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.


def _jobs(text: str) -> int | None:
  return None if text == "auto" else whole_number(1)(text)


def _setting(text: str) -> tuple[str, str]:
  name, equals, value = text.partition("=")
  if not name or not equals:
    raise argparse.ArgumentTypeError(f"{text!r}; expected OPTION=VALUE, such as qos=high")
  return name, value


def _add_slurm(parser: Parser) -> None:
  group = parser.add_argument_group("with --launcher=slurm")
  group.add_argument("--partition", help="of Slurm; default: the cluster's")
  group.add_argument("--time", help="limit of a job, after which it goes on; default: 24:00:00")
  group.add_argument("--gpus", type=whole_number(0), help="of a job; default: the cluster's")
  group.add_argument("--account", help="that is charged")
  group.add_argument(
    "--slurm",
    type=_setting,
    action="append",
    default=[],
    metavar="OPTION=VALUE",
    help="any other option of sbatch, such as cpus_per_task=8; may be repeated",
  )
  group.add_argument(
    "--slurm_file",
    type=path_name,
    help='options of sbatch in TOML: lines such as partition = "gpu"',
  )
  group.add_argument("--detach", action="store_true", help="submit, and do not watch")


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
  """Options, and overrides for all points; a mistake ends the program with status 2."""
  parser = Parser("experiments.sweep", __doc__)
  parser.add_argument(
    "--workdir", type=place, help="folder, or address in a store; default: runs/<configuration>"
  )
  parser.add_argument("--seeds", help="comma-separated; default: the configuration's")
  parser.add_argument("--dry_run", action="store_true", help="list the runs and their state")
  parser.add_argument(
    "--launcher",
    choices=("local", "slurm", "print"),
    default="local",
    help="train here (default), submit to Slurm, or print the commands",
  )
  parser.add_argument(
    "--jobs",
    type=_jobs,
    metavar="N",
    help="programs side by side; default, auto: one per accelerator; on a CPU, as cores allow",
  )
  parser.add_argument(
    "--per_device", type=whole_number(1), default=1, help="programs on one accelerator"
  )
  _add_slurm(parser)
  options, overrides = loading.parse(parser, argv)
  try:
    words = options.seeds.split(",") if options.seeds else []
    options.seeds = list(dict.fromkeys(map(seed_number, words))) or None
  except argparse.ArgumentTypeError as error:
    parser.error(f"--seeds is {options.seeds!r}; expected whole numbers such as 0,1,2: {error}")
  of_slurm = ("partition", "time", "gpus", "account", "slurm", "slurm_file", "detach")
  given = [name for name in of_slurm if getattr(options, name) not in (None, [], False)]
  if given and options.launcher != "slurm":
    parser.error(f"--{given[0]} needs --launcher=slurm")
  if options.launcher != "local" and (options.jobs or options.per_device > 1):
    parser.error("--jobs and --per_device are for --launcher=local")
  return options, overrides


def _listed(runs: list, options: argparse.Namespace) -> None:
  """Prints the commands of what is to be done, and how much that is."""
  from experiments.scheduling.standing import look
  from experiments.stores.transfers import side_by_side

  standings = side_by_side(look, runs)
  num_done = sum(standing.is_done for standing in standings)
  if options.dry_run:
    for run, standing in zip(runs, standings, strict=True):
      print(f"{run}: {standing.words}\n  {shlex.join(run.command[1:])}")
    print(f"{num_done} of {len(runs)} runs are done")
    return
  left = [run for run, standing in zip(runs, standings, strict=True) if not standing.is_done]
  for run in left:
    print(shlex.join(run.command))
  steps = sum(run.config.num_steps for run in left)
  print(f"# {len(left)} commands, {steps:,} steps; {num_done} of {len(runs)} runs are done")


def _trained(options: argparse.Namespace, runs: list):
  """Has the runs trained; returns the launcher."""
  from experiments.scheduling import places, slurm, slurm_queue
  from experiments.scheduling.board import Board
  from experiments.scheduling.local import Local

  if options.launcher == "local":
    with Local(runs, places.found(options.jobs, options.per_device), Board()) as launcher:
      launcher.train()
    return launcher
  name = pathlib.Path(program.default_workdir(options.config)).name
  launcher = slurm.Slurm(options.workdir, name, runs, Board())
  launcher.submit(slurm_queue.parameters(options))
  if not options.detach:
    launcher.watch()
  return launcher


def sweep(options: argparse.Namespace, overrides: list[str]) -> int:
  """Runs a sweep, or lists it; returns the exit status."""
  import jax

  jax.config.update("jax_platforms", "cpu")  # accelerators are for the programs that train
  from experiments.scheduling import beginning, plan, results
  from experiments.scheduling.standing import look
  from experiments.stores.transfers import side_by_side

  options.workdir = plan.workdir_of(options)
  runs = plan.plan(options, overrides)
  lists = options.dry_run or options.launcher == "print"
  beginning.check(options.workdir, runs, note=not lists)
  if lists:
    _listed(runs, options)
    return 0
  standings = side_by_side(look, runs)
  for run, standing in zip(runs, standings, strict=True):
    if standing.is_foreign:
      raise UserError(f"{run.workdir} holds {standing.words}; choose another --workdir")
  is_done = all(standing.is_done for standing in standings)
  launcher = None if is_done else _trained(options, runs)
  points = plan.read_grid(options.config, overrides, options.seeds)
  results.report(options.workdir, f"Sweep of {options.config}", runs, points)
  if launcher is None:
    return 0
  if launcher.stopped:
    print("stopped; the same command continues where this one stopped", flush=True)
    return 0
  for failure in launcher.failures:
    print(f"failed: {failure}", file=sys.stderr)
  return 1 if launcher.failures else 0


@program.entry
def main(argv: list[str]) -> int:
  """Exit status: see the module."""
  return sweep(*parse(argv))


if __name__ == "__main__":
  program.run(main)
