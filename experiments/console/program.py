"""What every program in this package starts and ends with.

@program.entry
def main(argv):
  work(parse(argv))

if __name__ == "__main__":
  program.run(main)
"""

import pathlib
import shlex

from configs import ConfigError
from data_pipelines import command_line
from data_pipelines.command_line import run as run
from experiments.console.errors import UserError
from experiments.stores.addresses import name_of

entry = command_line.entry({UserError: 1, ConfigError: 2} | command_line.STATUS)


def command(name: str, workdir: pathlib.Path, *words: str) -> str:
  """A program's command line for a run, to paste into a shell."""
  words = ["python", "-m", f"experiments.{name}", *words, f"--workdir={name_of(workdir)}"]
  return shlex.join(words)


def default_workdir(config_path: str) -> str:
  """`configs/demo.py` -> runs/demo, `configs/experiment.py:genesis,gqn` -> runs/genesis_gqn."""
  path, _, spec = config_path.partition(":")
  name = pathlib.Path(path).stem
  parts = [] if spec and name == "experiment" else [name]
  return str(pathlib.Path("runs", "_".join(parts + spec.split(",") if spec else parts)))
