"""Single files on their way to a store and back, and what goes wrong with them, in one line."""

import concurrent.futures
import contextlib
import errno
import pathlib
import tempfile
import zlib
from collections.abc import Callable, Iterator

from data_pipelines.stores import files
from experiments.console.errors import UserError
from experiments.stores.addresses import copy_of

SIDE_BY_SIDE = 8  # files that are copied at once
BLOCK = 2**22  # bytes


class DamagedError(Exception):
  """A file in the store is not what the manifest says."""


@contextlib.contextmanager
def explained(address: str) -> Iterator[None]:
  """Turns whatever libraries of stores raise into UserErrors of one line with a cure."""
  try:
    yield
  except (UserError, DamagedError):
    raise
  except Exception as error:  # each library has kinds of its own
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
      raise UserError(
        f"the disk is full where {address} is copied to, {copy_of(address, 'read').parents[1]}: "
        "make room there, or set XDG_CACHE_HOME to a folder on a larger disk"
      ) from error
    raise UserError(files.explained(error, address)) from error


@contextlib.contextmanager
def file_brought(address: str | pathlib.Path) -> Iterator[pathlib.Path]:
  """A file on this machine while the context lasts.

  Raises:
    UserError: it cannot be had; of this machine's own files the reader may say that.
  """
  if not files.is_remote(address):
    yield pathlib.Path(address)
    return
  address = files.address(address)
  copies = copy_of(address, "read").parent
  copies.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=copies) as folder:
    copy = pathlib.Path(folder, address.rpartition("/")[2])
    with explained(address):
      system, path = files.open_store(address)
      system.get_file(path, str(copy))
    yield copy


def side_by_side(work: Callable, *arguments) -> list:
  """`map`, several at once; raises what the first failing call raises, once all have ended."""
  with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
    return list(pool.map(work, *arguments))


def upload(system, path: pathlib.Path, to: str) -> None:
  """Uploads a file.

  Args:
    system: of the store.
    path: of the file here.
    to: its path in the store.
  """
  if _last_byte(path) != b"\r":
    system.put_file(str(path), to)
    return
  # gcsfs ends small files with "\n--==0==", of which servers take "\r\n" away: the last byte is
  # lost. What is committed by itself is not sent in this way.
  file = system.open(to, "wb", autocommit=False)
  file.write(path.read_bytes())
  file.close()
  file.commit()


def _last_byte(path: pathlib.Path) -> bytes:
  with open(path, "rb") as file:
    file.seek(max(0, path.stat().st_size - 1))
    return file.read(1)


def crc_of(path: pathlib.Path) -> list[int]:
  """[bytes, CRC-32] of a file."""
  size = crc = 0
  with open(path, "rb") as file:
    while block := file.read(BLOCK):
      size, crc = size + len(block), zlib.crc32(block, crc)
  return [size, crc]


def stamp(path: pathlib.Path) -> list[int] | None:
  """What changes when a file does; None where there is none."""
  try:
    status = path.stat()
  except FileNotFoundError:
    return None
  return [status.st_size, status.st_mtime_ns]
