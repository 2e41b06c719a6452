"""A configuration file and overrides as a configuration, for programs that look at data.

    options, overrides = parse(parser, argv)      # a parser of command_line, with --config
    config = load_config(options.config, overrides)

The file is a program of the user's, who names it: this package imports no configurations. It lies
here, and not with the experiments, since these may import this package and not the other way round.
"""

import argparse
import os
import re

import ml_collections
from absl import flags
from ml_collections import config_flags

# What absl and ml_collections raise for mistakes on the command line.
MISTAKES = (flags.Error, AttributeError, IndexError, KeyError, TypeError, ValueError)


class ConfigError(ValueError):
  """A configuration that cannot be read or does not fit; the message is one line."""


def one_line(error: Exception) -> str:
  """What is wrong with a configuration; the traceback only for a fault in its file."""
  text = str(error).strip()
  if isinstance(error, (AttributeError, KeyError)):
    # ml_collections quotes the name and its suggestion twice, with escaped line ends.
    if "get_config" in text:
      return "the file of --config has no function get_config"
    words = str(error.args[0]).replace("\\n", " ").replace("\n", " ").split()
    text = " ".join(re.sub(r"\"'|'\"", "", word.strip("'\\")) for word in words)
    return f"the configuration has no field {text.replace(' Did you', '. Did you')}"
  if isinstance(error, IndexError):  # an index of a value that has none; the field comes last
    return f"the configuration has no field {text.rpartition(': ')[2]}"
  if "Traceback" not in text:
    return text
  last = text.splitlines()[-1]
  if last.startswith("TypeError: get_config() takes 0 "):
    return "this configuration has no variants: leave out the : in --config and what follows"
  if last.startswith("TypeError: get_config() missing 1 "):
    return f"this configuration needs a value, --config=FILE:VALUE, its {last.rpartition(' ')[2]}"
  # In a config file a ValueError is a choice that does not exist, and says which do.
  return last.removeprefix("ValueError: ") if last.startswith("ValueError: ") else text


def load_config(path: str, overrides: list[str]) -> ml_collections.ConfigDict:
  """What `--config=<path>` and the overrides, each "--config.<field>=<value>", say together.

  Raises:
    ConfigError: if the file cannot be read, or an override does not fit it.
  """
  file = path.partition(":")[0]
  if not os.path.isfile(file) or not os.access(file, os.R_OK):
    raise ConfigError(f"--config: {file!r} is not a file that can be read")
  argv = ["", f"--config={path}", *overrides]
  values = flags.FlagValues()  # its own: several configurations may be read in one program
  config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
  try:
    values(argv)
    return values["config"].value
  except (*MISTAKES, OSError) as error:
    raise ConfigError(f"--config: {' '.join(one_line(error).split())}") from error


def parse(
  parser: argparse.ArgumentParser, argv: list[str] | None
) -> tuple[argparse.Namespace, list[str]]:
  """Options of a program, to which --config is added, and overrides of the configuration."""
  parser.add_argument(
    "--config",
    required=True,
    help="configuration file, such as configs/genesis_gqn.py; --config.<field>=<value> changes it",
  )
  options, overrides = parser.parse_known_args(argv)
  for before, word in zip(["", *overrides], overrides, strict=False):
    is_value = before.startswith("--config.") and "=" not in before
    if not word.startswith("--config.") and not is_value:
      parser.error(f"unexpected argument {word!r}")
  return options, overrides
