"""What the programs of this package share: options, and mistakes that end as one line.

    parser = Parser("data_pipelines.prepare", __doc__)
    parser.add_argument("name")
    arguments = parser.parse_args()
    with one_line_errors():
      work(arguments)

Exit status: 0 when done, 1 when something went wrong, 2 for a mistake on the command line, 130
after Ctrl-C.
"""

import argparse
import contextlib
import logging
import pathlib
import re
import sys
from collections.abc import Iterator
from typing import NoReturn

import absl.logging

from data_pipelines.common import DataError
from data_pipelines.durable import local_path


class Parser(argparse.ArgumentParser):
  """Says what is wrong in one line; `--help` shows a module's docstring as it is."""

  def __init__(self, module: str, doc: str):
    super().__init__(
      prog=f"python -m {module}",
      description=doc,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
    )

  def error(self, message: str) -> NoReturn:
    """Prints one line and exits with status 2."""
    self.exit(2, f"error: {message}; see {self.prog} --help\n")


def path_name(text: str) -> pathlib.Path:
  """A type of argument: a file or folder; `~` is the home folder, also where no shell sees it."""
  try:
    return local_path(text).expanduser()
  except (RuntimeError, ValueError) as error:
    raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def file_name(*endings: str):
  """A type of argument: a file whose name has one of these endings, such as ".png"."""

  def parse(text: str) -> pathlib.Path:
    if path_name(text).suffix.lower() not in endings:
      raise argparse.ArgumentTypeError(f"{text!r}; allowed endings: {', '.join(endings)}")
    return path_name(text)

  return parse


def seed_number(text: str) -> int:
  """A type of argument: what JAX makes keys from."""
  value = whole_number(0)(text)
  if value >= 2**32:
    raise argparse.ArgumentTypeError(f"{value} is too large; it must be below 2^32")
  return value


def whole_number(least: int):
  """A type of argument: integers from `least` on."""

  def parse(text: str) -> int:
    try:
      value = int(text)
    except ValueError:
      raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if value < least:
      raise argparse.ArgumentTypeError(f"{value} is too small; it must be at least {least}")
    return value

  return parse


def _fail(error: Exception, status: int) -> NoReturn:
  """Prints one line that speaks of options where readers speak of fields of a configuration."""
  text = re.sub(r"^data\.", "--", str(error)).replace("--config.data.", "--")
  text = re.sub(r"^num_scenes ", "--num ", text)
  print(f"error: {text.replace('--data_dir', '--source')}", file=sys.stderr)
  sys.exit(status)


@contextlib.contextmanager
def checked_arguments() -> Iterator[None]:
  """Treats ValueErrors of checks on settings as mistakes on the command line."""
  try:
    yield
  except DataError:
    raise
  except ValueError as error:
    _fail(error, 2)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
  """Ends the program with one line for what a person can mend; shows lines of progress."""
  logging.basicConfig(format="%(message)s")
  absl.logging.set_verbosity(absl.logging.INFO)
  try:
    yield
  except (DataError, OSError) as error:
    _fail(error, 1)
  except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
    sys.exit(130)
