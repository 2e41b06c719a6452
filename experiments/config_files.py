"""A configuration file and overrides as a configuration, for programs beside the training program.

config = load_config("configs/experiment.py:genesis,gqn", ["--config.batch_size=64"])
"""

import json
import os
import pathlib

import ml_collections
from absl import flags
from ml_collections import config_flags

from experiments.errors import UserError


def load_config(path: str, overrides: list[str]) -> ml_collections.ConfigDict:
  """What `--config=<path>` and the overrides, each "--config.<field>=<value>", say together.

  Raises:
    UserError: if the file cannot be read, or an override does not fit it.
  """
  file = path.partition(":")[0]
  if not os.path.isfile(file):
    raise UserError(f"--config: {file!r} is not a file that can be read")
  argv = ["", f"--config={path}", *overrides]
  values = flags.FlagValues()  # its own: several configurations may be read in one program
  config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
  try:
    values(argv)
    return values["config"].value
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
    lines = str(error).strip().splitlines()
    text = lines[-1] if "Traceback" in str(error) else " ".join(lines)
    raise UserError(f"--config: {text}") from error


def load_json(path: pathlib.Path) -> dict:
  """The dictionary in a JSON file.

  Raises:
    UserError: if it cannot be read or holds something else.
  """
  try:
    content = json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise UserError(f"{path} cannot be read as JSON: {error}") from error
  if not isinstance(content, dict):
    raise UserError(f"{path} holds no dictionary")
  return content
