"""Trains a model: the command line.

  python -m experiments.main --config=configs/genesis_gqn.py
  python -m experiments.main --config=configs/experiment.py:genesis_v2,clevr --config.batch_size=64

The same command again resumes. Exit status: 0 when done, and after SIGTERM or Ctrl-C with
everything saved; 1 when something went wrong; 2 for a mistake on the command line.
"""

import importlib.util
import os
import pathlib
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from experiments import accelerate_cpu

CONFIG = config_flags.DEFINE_config_file("config", help_string="Path of the configuration.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; default: runs/<configuration>.")
DISTRIBUTED = flags.DEFINE_string(
  "distributed", None, "With several hosts: auto, or address:port,index,count."
)


def default_workdir(config_path: str) -> str:
  """`configs/demo.py` -> runs/demo, `configs/experiment.py:genesis,gqn` -> runs/genesis_gqn."""
  path, _, spec = config_path.partition(":")
  name = pathlib.Path(path).stem
  parts = [] if spec and name == "experiment" else [name]
  return str(pathlib.Path("runs", "_".join(parts + spec.split(",") if spec else parts)))


def _one_line(error: BaseException) -> str:
  """What went wrong with a command line; a traceback only for a fault in the config file."""
  # A KeyError's or AttributeError's text may be quoted twice, with escaped line ends.
  text = str(error.args[0] if error.args else error).strip("'\"").replace("\\n", "\n")
  lines = [line for line in text.strip().splitlines() if line]
  if "Traceback" in text and not lines[-1].startswith("ValueError: "):
    return text
  if "Traceback" in text:
    return lines[-1].removeprefix("ValueError: ")
  return " ".join(line.strip("'\"\\ ") for line in lines)


def parse_flags(argv: list[str]) -> list[str]:
  """Parses the command line; a mistake on it ends the program with one line and status 2."""
  try:
    rest = flags.FLAGS(argv)
    if len(rest) > 1:
      raise flags.Error(f"unexpected argument {rest[1]!r}; options begin with --")
    if not flags.FLAGS["config"].present:
      raise flags.Error(
        "--config is missing; for example --config=configs/genesis_gqn.py, "
        "or --config=configs/experiment.py:genesis,gqn"
      )
    _ = CONFIG.value  # reads the file
    return rest
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
    print(f"error: {_one_line(error)}", file=sys.stderr)
    sys.exit(2)


def main(argv: list[str]) -> None:
  """Trains; mistakes that a person can mend end as one line and status 1."""
  del argv
  # Everything that imports JAX or TensorFlow is imported here, after the settings that they read
  # when imported, and only once the command line is known to be right.
  accelerate_cpu.set_flags()
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)  # Orbax and CLU log at length
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  if importlib.util.find_spec("tensorflow"):
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # it only reads data: the memory is JAX's

  import data_pipelines
  from experiments import devices
  from experiments.errors import UserError
  from experiments.train import train

  try:
    if DISTRIBUTED.value:
      devices.connect(DISTRIBUTED.value)
    config_path = config_flags.get_config_filename(flags.FLAGS["config"])
    train(CONFIG.value, WORKDIR.value or default_workdir(config_path))
  except (UserError, data_pipelines.DataError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
  app.run(main, flags_parser=parse_flags)
