"""Trains a model: the command line.

  python -m experiments.main --config=configs/genesis_gqn.py
  python -m experiments.main --config=configs/experiment.py:genesis_v2,clevr --config.batch_size=64

The same command again resumes. Exit status: 0 when done, and after SIGTERM or Ctrl-C with
everything saved; 1 when something went wrong; 2 for a mistake on the command line.
With several hosts: the same on each, with --multihost (see docs/many_hosts.md).
"""

import os
import pathlib
import re
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from data_pipelines.config_files import MISTAKES, one_line
from experiments.console import startup

CONFIG = config_flags.DEFINE_config_file("config", None, "Path of the configuration.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; default: runs/<configuration>.")
ACCEPT_DATA_CHANGE = flags.DEFINE_bool(
  "accept_data_change", False, "Resume though the data is not what it was."
)
CHANGE = flags.DEFINE_list(
  "change",
  [],
  "Fields of the configuration that a resumed run may change, such as optimizer.learning_rate.",
)


class _Multihost(flags.ArgumentParser):
  """Accepts the flag alone, and with a value."""

  syntactic_help = "nothing, or ADDRESS:PORT,INDEX,COUNT"

  def parse(self, argument: str) -> str | None:
    """None, "auto" or "address:port,index,count"."""
    plain = {"true": "auto", "auto": "auto", "false": None, "": None}
    if argument in plain:
      return plain[argument]
    if not re.fullmatch(r"[^,\s]+:\d+,\d+,\d+", argument):
      raise ValueError("it takes nothing, or ADDRESS:PORT,INDEX,COUNT, as in 10.0.0.1:1234,0,2")
    _, index, count = argument.split(",")
    if int(index) >= int(count):
      raise ValueError(f"index {index} of {count} hosts: the first host has index 0")
    return argument


MULTIHOST = flags.DEFINE_flag(
  flags.Flag(
    _Multihost(),
    flags.ArgumentSerializer(),
    "multihost",
    None,
    "Train on several hosts, which a TPU pod, Slurm, MPI or Kubernetes makes known; anywhere else "
    "--multihost=ADDRESS:PORT,INDEX,COUNT: the first host's address, this one's index from 0.",
    boolean=True,  # needs no value
  )
)


def default_workdir(config_path: str) -> str:
  """`configs/demo.py` -> runs/demo, `configs/experiment.py:genesis,gqn` -> runs/genesis_gqn."""
  path, _, spec = config_path.partition(":")
  name = pathlib.Path(path).stem
  parts = [] if spec and name == "experiment" else [name]
  return str(pathlib.Path("runs", "_".join(parts + spec.split(",") if spec else parts)))


def _check_config_file(argv: list[str]) -> None:
  """Raises flags.Error unless --config names a file that can be read."""
  pairs = [*zip(argv, [*argv[1:], ""], strict=True)]
  paths = [word.partition("=")[2] for word in argv if word.startswith(("--config=", "-config="))]
  paths += [following for word, following in pairs if word in ("--config", "-config")]
  for path in (path.partition(":")[0] for path in paths):
    if not os.path.isfile(path) or not os.access(path, os.R_OK):
      raise flags.Error(f"--config: {path!r} is not a file that can be read")


def parse_flags(argv: list[str]) -> list[str]:
  """Parses the command line; a mistake on it ends the program with one line and status 2."""
  if {"--help", "-help", "-h"} & set(argv):
    app.usage(shorthelp=True, writeto_stdout=True, exitcode=0)
  try:
    _check_config_file(argv)
    rest = flags.FLAGS(argv)
    if len(rest) > 1:
      raise flags.Error(f"unexpected argument {rest[1]!r}; options begin with --")
    if not flags.FLAGS["config"].present:
      raise flags.Error(
        "--config is missing; for example --config=configs/genesis_gqn.py, "
        "or --config=configs/experiment.py:genesis,gqn"
      )
    return rest
  except MISTAKES as error:
    print(f"error: {one_line(error)}", file=sys.stderr)
    sys.exit(2)


def main(argv: list[str]) -> None:
  """Trains; mistakes that a person can mend end as one line and status 1."""
  del argv
  # Everything that imports JAX or TensorFlow is imported here, after the settings that they read
  # when imported, and only once the command line is known to be right.
  if CONFIG.value.deterministic:
    startup.ask_for_determinism()
  startup.prepare()
  if flags.FLAGS["verbosity"].present:
    logging.set_verbosity(flags.FLAGS.verbosity)

  import data_pipelines
  from experiments.console.errors import UserError
  from experiments.hardware import hosts
  from experiments.training.loop import train

  try:
    config_path = config_flags.get_config_filename(flags.FLAGS["config"])
    with hosts.joined(MULTIHOST.value):
      workdir = WORKDIR.value or default_workdir(config_path)
      train(
        CONFIG.value,
        os.path.expanduser(workdir),
        accept_data_change=ACCEPT_DATA_CHANGE.value,
        told=CHANGE.value,
      )
  except (UserError, data_pipelines.DataError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
  startup.use_huge_pages()
  app.run(main, flags_parser=parse_flags)
