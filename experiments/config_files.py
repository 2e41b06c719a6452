"""A configuration file and overrides as a configuration, for programs beside the training program.

config = load_config("configs/experiment.py:genesis,gqn", ["--config.batch_size=64"])
"""

import json
import pathlib

import ml_collections

from data_pipelines import config_files
from experiments.console.errors import UserError


def load_config(path: str, overrides: list[str]) -> ml_collections.ConfigDict:
  """What `--config=<path>` and the overrides, each "--config.<field>=<value>", say together.

  Raises:
    UserError: if the file cannot be read, or an override does not fit it.
  """
  try:
    return config_files.load_config(path, overrides)
  except config_files.ConfigError as error:
    raise UserError(str(error)) from error


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
