"""Errors that the user can act on: they end as one line, without a traceback."""

import contextlib
import tokenize
import zipfile
import zlib

# What NumPy raises while it reads a .npz file that is damaged, depending on where.
DAMAGED_NPZ = (
  OSError,
  EOFError,
  LookupError,
  TypeError,
  ValueError,
  RuntimeError,  # also NotImplementedError
  MemoryError,
  tokenize.TokenError,
  zipfile.BadZipFile,
  zlib.error,
)

TAKEN = "another program trains"  # how errors begin of programs that find a run in use


def one_line(error: BaseException, most: int | None = 300) -> str:
  """What an error says, in one line of at most so many characters; its kind if it says nothing."""
  return " ".join(str(error).split())[:most] or type(error).__name__


class UserError(Exception):
  """Something the user can fix; the message says what and how."""


@contextlib.contextmanager
def explained():
  """Turns the `ValueError`s of checks on a configuration into `UserError`s."""
  try:
    yield
  except ValueError as error:
    raise UserError(str(error)) from error
