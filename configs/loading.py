"""A configuration file and overrides as a configuration, for all programs.

    options, overrides = parse(parser, argv)       # adds --config to a parser of argparse
    config = load_config("configs/experiment.py:genesis,gqn", ["--config.batch_size=64"])

The file is a program with a function `get_config`, ours or the user's; what follows the colon is
its argument. Overrides have the types of the fields that they set; "None" unsets a placeholder.
"""

import argparse
import inspect
import os
import pathlib
import re
import sys
import traceback
import types

import ml_collections
from absl import flags
from ml_collections import config_dict, config_flags

from configs import ConfigError as ConfigError

# What absl and ml_collections raise for overrides that do not fit.
_MISFITS = (flags.Error, AttributeError, IndexError, KeyError, TypeError, ValueError)
_OURS = pathlib.Path(__file__).parent


def parse(
  parser: argparse.ArgumentParser, argv: list[str] | None, *, required: bool = True
) -> tuple[argparse.Namespace, list[str]]:
  """Options of a program, to which --config is added, and overrides of the configuration."""
  parser.add_argument(
    "--config",
    help="configuration file, such as configs/genesis_gqn.py or configs/experiment.py:genesis,gqn; "
    "--config.<field>=<value> changes it",
  )
  options, overrides = parser.parse_known_args(argv)
  check_overrides(parser, overrides)
  if options.config is None and required:
    parser.error(
      "--config is missing; for example --config=configs/genesis_gqn.py, "
      "or --config=configs/experiment.py:genesis,gqn"
    )
  if options.config is None and overrides:
    parser.error("overrides of the configuration need --config")
  return options, overrides


def check_overrides(parser: argparse.ArgumentParser, words: list[str]) -> None:
  """Ends the program, in one line, unless these words of its command line are overrides."""
  for before, word in zip(["", *words], words, strict=False):
    is_value = before.startswith("--config.") and "=" not in before
    if not is_value and not word.startswith(("--config.", "--noconfig.")):
      parser.error(f"unexpected argument {word!r}")


def load_config(path: str, overrides: list[str]) -> ml_collections.ConfigDict:
  """What `--config=<path>` and the overrides, each "--config.<field>=<value>", say together.

  Args:
    path: of the file, perhaps with a colon and the argument of its get_config.
    overrides: the value may also be a word of its own; "--noconfig.<field>" sets False.

  Returns:
    The configuration, locked.

  Raises:
    ConfigError: if the file cannot be read, or an override does not fit it.
  """
  file, colon, argument = path.partition(":")
  config = _called(read_file(file), file, argument if colon else None)
  try:
    return _overridden(config, overrides)
  except _MISFITS as error:
    raise ConfigError(f"--config: {_misfit(error)}") from error


def read_file(path: str) -> types.ModuleType:
  """A configuration file as a module.

  Raises:
    ConfigError: if it cannot be read; for an error inside it, the message names its line.
  """
  if not os.path.isfile(path) or not os.access(path, os.R_OK):
    raise ConfigError(f"--config: {path!r} is not a file that can be read")
  # Under a name that no import finds; classes that the file defines look themselves up there.
  module = types.ModuleType(f"configuration {os.path.abspath(path)}")
  module.__file__ = os.path.abspath(path)  # a run made with it may be read from elsewhere
  sys.modules[module.__name__] = module
  try:
    with open(path, "rb") as file:
      exec(compile(file.read(), path, "exec"), module.__dict__)
  except Exception as error:
    raise ConfigError(_located(error, path)) from error
  return module


def _called(module: types.ModuleType, path: str, argument: str | None) -> ml_collections.ConfigDict:
  """What the `get_config` of a file at `path` returns."""
  get_config = getattr(module, "get_config", None)
  if not callable(get_config):
    raise ConfigError(f"--config: {path} has no function get_config")
  parameters = list(inspect.signature(get_config).parameters.values())
  if argument is not None and not parameters:
    raise ConfigError(
      "--config: this configuration has no variants: leave out the : and what follows"
    )
  if argument is None and parameters and parameters[0].default is inspect.Parameter.empty:
    raise ConfigError(
      f"--config: this configuration needs a value, --config=FILE:VALUE, its {parameters[0].name!r}"
    )
  try:
    config = get_config() if argument is None else get_config(argument)
  except Exception as error:
    # In our own files a ValueError is a choice that does not exist, and says which do.
    if isinstance(error, ValueError) and _OURS in pathlib.Path(path).resolve().parents:
      raise ConfigError(f"--config: {' '.join(str(error).split())}") from error
    raise ConfigError(_located(error, path)) from error
  if not isinstance(config, ml_collections.ConfigDict):
    raise ConfigError(f"{path}: get_config returns a {type(config).__name__}, not a ConfigDict")
  return config


def _located(error: Exception, path: str) -> str:
  """What went wrong in a configuration file, and in which of its lines."""
  lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
  if isinstance(error, SyntaxError) and error.filename == path:
    lines = [error.lineno]
  where = f"{path}, line {lines[-1]}" if lines else path
  words = error.msg if isinstance(error, SyntaxError) else str(error)
  words = " ".join(words.replace("\\n", " ").split())
  return f"{where}: {type(error).__name__}: {words}"


def _overridden(config: ml_collections.ConfigDict, overrides: list[str]):
  """The configuration with the overrides, locked."""
  unset, given = _unset(config, overrides)
  values, argv = flags.FlagValues(), ["", *given]
  # The flags of its own let one program read several configurations.
  config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
  values(argv)
  config = values["config"].value
  for node, name in unset:
    node[name] = None
  return config


def _unset(config, overrides: list[str]) -> tuple[list[tuple], list[str]]:
  """Placeholders that get no value, as (parent, name), and the other overrides."""
  unset, given = [], []
  for word in overrides:
    field, _, value = word.removeprefix("--config.").partition("=")
    *parents, name = field.split(".")
    if value == "None" and (node := _placeholders(config, parents)) and name in node[1]:
      unset.append((node[0], name))
    else:
      given.append(word)
  return unset, given


def _placeholders(config, parents: list[str]) -> tuple | None:
  """(The node at the end of `parents`, its fields that may be None); None if there is none."""
  for parent in parents:
    config = config.get(parent) if isinstance(config, ml_collections.ConfigDict) else None
  if not isinstance(config, ml_collections.ConfigDict):
    return None
  fields = config.items(preserve_field_references=True)
  references = {n: f for n, f in fields if isinstance(f, config_dict.FieldReference)}
  return config, {n for n, f in references.items() if f.get() is None or f.get_type() is not int}


def _misfit(error: Exception) -> str:
  """What is wrong with an override."""
  text = str(error).strip()
  if isinstance(error, (AttributeError, KeyError)):
    # ml_collections quotes the name and its suggestion twice, with escaped line ends.
    words = str(error.args[0]).replace("\\n", " ").replace("\n", " ").split()
    text = " ".join(re.sub(r"\"'|'\"", "", word.strip("'\\")) for word in words)
    return f"the configuration has no field {text.replace(' Did you', '. Did you')}"
  if isinstance(error, IndexError):  # an index of a value that has none; the field comes last
    return f"the configuration has no field {text.rpartition(': ')[2]}"
  return " ".join(text.split())
