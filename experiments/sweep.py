"""Trains every point of a grid, one after another, each in a program and a folder of its own.

  python -m experiments.sweep --config=configs/bottlenecks.py --seeds=0,1,2
  python -m experiments.sweep --config=configs/bottlenecks.py --dry_run

The configuration file has, beside `get_config()`, a function `sweep()`: name of each point -> its
overrides. `--config.<field>=<value>` applies to all points. Finished points are skipped and
interrupted ones resumed, so the same command finishes an interrupted sweep. Exit status: 0 when
done or stopped by SIGTERM or Ctrl-C, 1 if any point failed, 2 for a mistake on the command line.
"""

import argparse
import dataclasses
import json
import pathlib
import shlex
import signal
import subprocess
import sys
from typing import Any

from configs import loading
from data_pipelines.command_line import Parser, path_name, seed_number
from experiments.console import program
from experiments.console.errors import UserError

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.

TRAINING_PROGRAM = [sys.executable, "-m", "experiments.main"]


@dataclasses.dataclass(frozen=True)
class Run:
  """One point of the grid with one seed."""

  point: str
  seed: int
  workdir: pathlib.Path
  config: Any
  command: list[str]  # of the training program
  state: str  # done, new, "resumes from step <n>", or "another experiment: <difference>"

  @property
  def done(self) -> bool:
    """Whether its final numbers are there."""
    return self.state == "done"

  def __str__(self):
    return f"{self.point}, seed {self.seed}"


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
  """Options, and overrides for all points; a mistake ends the program with status 2."""
  parser = Parser("experiments.sweep", __doc__)
  parser.add_argument("--workdir", type=path_name, help="default: runs/<configuration>")
  parser.add_argument("--seeds", help="comma-separated; default: the configuration's")
  parser.add_argument("--dry_run", action="store_true", help="list the points and their state")
  options, overrides = loading.parse(parser, argv)
  try:
    words = options.seeds.split(",") if options.seeds else []
    options.seeds = [seed_number(word) for word in words] or None
  except argparse.ArgumentTypeError as error:
    parser.error(f"--seeds is {options.seeds!r}; expected whole numbers such as 0,1,2: {error}")
  options.workdir = options.workdir or pathlib.Path("runs", pathlib.Path(options.config).stem)
  return options, overrides


def read_grid(config_path: str, overrides: list[str]) -> dict[str, dict[str, Any]]:
  """Name of each point -> its overrides.

  Raises:
    ConfigError: if the file cannot be read.
    UserError: if it describes no grid, or a field is given for all points that one sets.
  """
  path = config_path.partition(":")[0]
  module = loading.read_file(path)
  if not hasattr(module, "sweep"):
    raise UserError(f"{path} has no function sweep(); see configs/bottlenecks.py")
  points = module.sweep()
  if not isinstance(points, dict) or not all(isinstance(p, dict) for p in points.values()):
    raise UserError(f"sweep() of {path} must return a dictionary: point -> its fields")
  given = {word.removeprefix("--config.").partition("=")[0] for word in overrides}
  swept = {field for point in points.values() for field in point}
  if both := sorted(given & swept):
    raise UserError(f"--config.{both[0]} is swept over; it cannot be set for all points")
  return points


def _state(workdir: pathlib.Path, config) -> str:
  from experiments.runs import changes, folder
  from genesis_jax.runs import checkpoint_steps

  saved = folder.read_json(workdir / "config.json")
  steps = checkpoint_steps(workdir)
  if saved and (steps or (workdir / "metrics.json").exists()):
    wanted = json.loads(config.to_json_best_effort())
    both = ({"config": content, "source": {}} for content in (saved, wanted))
    for name, values in changes.differences(*both).items():
      return f"another experiment: {name}: {values}"
    if folder.read_json(workdir / "metrics.json").get("step", -1) >= config.num_steps:
      return "done"
  return f"resumes from step {steps[-1]}" if steps else "new"


def plan(options: argparse.Namespace, overrides: list[str]) -> list[Run]:
  """All runs of a sweep, checked as far as can be before the first one trains.

  Raises:
    UserError: for a point that cannot be trained.
  """
  import genesis_jax
  from genesis_jax import objective

  points = read_grid(options.config, overrides)
  if options.seeds and any(word.startswith("--config.seed=") for word in overrides):
    raise UserError("give --seeds or --config.seed, not both")
  seeds = options.seeds or [loading.load_config(options.config, overrides).seed]
  runs = []
  for name, fields in points.items():
    for seed in seeds:
      mine = [
        *overrides,
        *(f"--config.{k}={v}" for k, v in fields.items()),
        f"--config.seed={seed}",
      ]
      try:
        config = loading.load_config(options.config, mine)
        genesis_jax.build_model(config.model)
        objective.check(config)
      except ValueError as error:
        raise UserError(f"point {name}: {error}") from error
      workdir = options.workdir / name / f"seed_{seed}"
      command = [*TRAINING_PROGRAM, f"--config={options.config}", *mine, f"--workdir={workdir}"]
      runs.append(Run(name, seed, workdir, config, command, _state(workdir, config)))
  return runs


class Child:
  """Runs one training program at a time and passes SIGTERM and Ctrl-C on to it."""

  SIGNALS = (signal.SIGTERM, signal.SIGINT)

  def __init__(self):
    self.stopped = False
    self._process = None

  def __enter__(self) -> "Child":
    self._previous = {number: signal.signal(number, self._pass_on) for number in self.SIGNALS}
    return self

  def __exit__(self, *exc_info):
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def _pass_on(self, number, frame):
    del frame
    self.stopped = True
    if self._process is not None and self._process.poll() is None:
      self._process.send_signal(number)

  def run(self, command: list[str], log: pathlib.Path) -> int:
    """Exit status of the command; its output is appended to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
      # In a session of its own: the terminal's Ctrl-C would reach it twice, which ends it at once.
      self._process = subprocess.Popen(
        command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
      )
      if self.stopped:  # between the last look and the start
        self._process.terminate()
      return self._process.wait()


def _last_line(log: pathlib.Path) -> str:
  lines = log.read_text(errors="replace").strip().splitlines()
  return lines[-1][:300] if lines else "no output"


def train_all(runs: list[Run], child: Child) -> list[str]:
  """Trains what is not done; returns what failed, one line each."""
  failures = []
  for index, run in enumerate(runs, 1):
    if run.done:
      continue
    log = run.workdir / "output.log"
    print(f"[{index}/{len(runs)}] {run}: {run.state}; output in {log}", flush=True)
    status = child.run(run.command, log)
    if child.stopped:
      break
    if status or not (run.workdir / "metrics.json").exists():
      failures.append(f"{run} (status {status}): {_last_line(log)}")
      print(f"  failed: {_last_line(log)}", flush=True)
  return failures


def report(options: argparse.Namespace, runs: list[Run], points: dict[str, dict]) -> None:
  """Writes and prints the table of what is done."""
  from experiments.runs import folder
  from experiments.scoring import sweep_results

  rows = []
  for name, fields in points.items():
    finished = {
      run.seed: folder.read_json(run.workdir / "metrics.json")
      for run in runs
      if run.point == name and _state(run.workdir, run.config) == "done"
    }
    rows.append(sweep_results.Row(name, fields, finished))
  sweep_results.write(options.workdir, rows, f"Sweep of {options.config}")
  print(sweep_results.as_text(rows))
  if sweep_results.has_stand_ins(rows):
    print(sweep_results.STAND_IN)
  print(f"table      {options.workdir / 'sweep.md'}, sweep.csv, sweep.json", flush=True)


def sweep(options: argparse.Namespace, overrides: list[str]) -> int:
  """Runs a sweep, or lists it; returns the exit status."""
  from experiments.runs import folder

  runs = plan(options, overrides)
  if options.dry_run:
    for run in runs:
      print(f"{run}: {run.state}\n  {shlex.join(run.command[1:])}")
    print(f"{sum(run.done for run in runs)} of {len(runs)} runs are done")
    return 0
  if foreign := [run for run in runs if run.state.startswith("another")]:
    raise UserError(f"{foreign[0].workdir} holds {foreign[0].state}; choose another --workdir")
  with folder.exclusive(options.workdir), Child() as child:
    failures = train_all(runs, child)
    report(options, runs, read_grid(options.config, overrides))
  if child.stopped:
    print("stopped; the same command continues where this one stopped", flush=True)
    return 0
  for failure in failures:
    print(f"failed: {failure}", file=sys.stderr)
  return 1 if failures else 0


@program.entry
def main(argv: list[str]) -> int:
  """Exit status: see the module."""
  return sweep(*parse(argv))


if __name__ == "__main__":
  program.run(main)
