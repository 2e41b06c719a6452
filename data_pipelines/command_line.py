"""What programs share: options, errors in one line, tables, exit status, Ctrl-C.

    @entry()
    def main(argv):
      parser = Parser("data_pipelines.prepare", __doc__)
      parser.add_argument("name")
      work(parser.parse_args(argv))

    run(main)     # in the program that is started

Exit status: 0 when done, 1 when something went wrong, 2 for a mistake on the command line, 130
after Ctrl-C.
"""

import argparse
import contextlib
import functools
import gc
import logging
import os
import pathlib
import re
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

import absl.logging

from data_pipelines import interrupts
from data_pipelines.durable import local_path
from data_pipelines.sources import DataError
from data_pipelines.stores.files import address, is_remote


def as_options(line: str) -> str:
  """Speaks of options where readers speak of fields of a configuration."""
  line = re.sub(r"^data\.", "--", line).replace("--config.data.", "--")
  return re.sub(r"^num_scenes ", "--num ", line).replace("--data_dir", "--source")


class Misuse(Exception):
  """A mistake on the command line that is found after its options were read."""


# What the user can fix -> exit status; the first match counts.
STATUS = {Misuse: 2, DataError: 1, OSError: 1}


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


def place(text: str) -> pathlib.Path | str:
  """A type of argument: a file or folder as `path_name` has it, or its address in a store."""
  return address(text) if is_remote(text) else path_name(text)


def file_name(*endings: str):
  """A type of argument: a file, or its address, that has one of these endings, such as ".png"."""

  def parse(text: str) -> pathlib.Path | str:
    if pathlib.PurePath(text).suffix.lower() not in endings:
      raise argparse.ArgumentTypeError(f"{text!r}; allowed endings: {', '.join(endings)}")
    return place(text)

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


def entry(mendable: dict[type[Exception], int] = STATUS, words: Callable[[str], str] = str):
  """Decorates a program's `main(argv)`, so that what the user can fix ends as one line.

  Args:
    mendable: exceptions, and the exit status that each stands for.
    words: changes the line.

  Returns:
    A decorator. `main` then takes the words of the command line (default: this program's), and
    returns the exit status: its own, or 0 for None.
  """

  def decorate(main: Callable[[list[str]], int | None]) -> Callable[..., int]:
    @functools.wraps(main)
    def in_one_line(argv: list[str] | None = None) -> int:
      try:
        return main(sys.argv[1:] if argv is None else argv) or 0
      except tuple(mendable) as error:
        line = " ".join(str(error).splitlines())
        print(f"error: {words(line)}", file=sys.stderr)
        return next(status for kind, status in mendable.items() if isinstance(error, kind))

    return in_one_line

  return decorate


def run(main: Callable[[], int]) -> NoReturn:
  """Runs this process's program to its exit; Ctrl-C ends it at once, with one line."""
  with interrupts.Working():
    status = main()
  # Nobody needs what refers to itself to be found before the end: among the 400,000 objects of the
  # libraries that takes two seconds, after the last line was printed.
  gc.freeze()
  sys.exit(status)


def quieten_tensorflow() -> None:
  """Silences TensorFlow's greeting, and leaves Keras out; call it before it is imported."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
  # Keras 3, which nothing here uses, would be imported with TensorFlow, for two seconds; Keras 2
  # is only when it is used.
  os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")


def log_to_terminal(form: str) -> None:
  """Shows what is logged on the terminal, in this form; each warning once.

  Call it before libraries that log are imported: the first handler wins.
  """
  told = set()

  def is_new(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    repeated = record.levelno >= logging.WARNING and text in told
    told.add(text)
    return not repeated

  handler = logging.StreamHandler()
  handler.addFilter(is_new)
  logging.basicConfig(format=form, handlers=[handler])


def show_progress() -> None:
  """Shows lines of progress, which are logged."""
  log_to_terminal("%(message)s")
  absl.logging.set_verbosity(absl.logging.INFO)


def text_table(rows: list[list[str]], indent: str = "") -> str:
  """Columns of equal width; the first row is the head."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = [
    indent + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
    for row in rows
  ]
  return "\n".join(lines)


@contextlib.contextmanager
def checked_arguments() -> Iterator[None]:
  """Treats ValueErrors of checks on settings as mistakes on the command line."""
  try:
    yield
  except DataError:
    raise
  except ValueError as error:
    raise Misuse(str(error)) from error
