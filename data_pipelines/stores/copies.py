"""Copies of files in stores on this disk: whole and checked, or not there under their names.

    copy(file, Path("data/gqn/jaco/train/0001-of-3600.tfrecord"))
    copy(file, Path("objects_room_train.tfrecords"), limit=10**9)      # its beginning

What is under way lies beside the final place, under a hidden name that tells which version of the
file it is of; the next copy of the same goes on where this one was.
"""

import fcntl
import glob
import os
from collections.abc import Callable
from pathlib import Path

from data_pipelines.durable import NO_LOCKS, sync
from data_pipelines.stores import remote
from data_pipelines.stores.files import AGAIN, StoreError, explained, retried
from data_pipelines.stores.remote import Changed, Remote

UNDER_WAY = ".fetching"
_AFTER_NAME = len("00000000" + UNDER_WAY)  # what follows the name of a file
_PIECE = 2**22  # bytes that are read again to go on


def under_way(file: Remote, final: Path) -> Path:
  """Where a copy lies until it is whole."""
  return final.with_name(f".{final.name[:100]}.{file.stamp:08x}{UNDER_WAY}")


def copy(
  file: Remote,
  final: Path,
  *,
  limit: int | None = None,
  told: Callable[[int], None] = lambda position: None,
) -> None:
  """Copies a file, or its first `limit` bytes; in place of any other of this name.

  Args:
    file: in a store.
    final: of the copy.
    limit: bytes; None: all.
    told: is called with the number of bytes that are there, time and again; it falls where they
      have to come once more.

  Raises:
    Changed: it is not the file any more that was looked at.
    StoreError: it cannot be had, does not match the store's checksum, or another program copies it.
  """
  final.parent.mkdir(parents=True, exist_ok=True)
  partial = under_way(file, final)
  for other in final.parent.glob(f"{glob.escape(partial.name[:-_AFTER_NAME])}*{UNDER_WAY}"):
    if other != partial:
      other.unlink(missing_ok=True)  # of another version of the file
  try:
    with open(partial, "ab+") as out:
      _lock(out, file.url)
      for is_last in (False, True):
        if retried(lambda: _filled(out, file, limit, told), file.url):
          break
        out.truncate(0)  # nothing in it can be trusted
        if is_last:
          partial.unlink()
          raise StoreError(
            f"{file.url} arrived damaged twice: its {file.checksum[0]} is not what the store says; "
            "something on the way changes it, or what is in the store is damaged"
          )
      os.fsync(out.fileno())
      os.replace(partial, final)
    sync(final.parent)
  except Changed:
    partial.unlink(missing_ok=True)
    raise
  except StoreError:
    raise
  except OSError as error:
    raise StoreError(explained(error, file.url)) from error


def _lock(out, url: str) -> None:
  """Keeps other programs from writing to the same partial file; it is free again when closed."""
  try:
    fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    raise StoreError(f"{url} is being copied here by another program; wait for it") from None
  except OSError as error:
    if error.errno not in NO_LOCKS:
      raise


def _filled(out, file: Remote, limit: int | None, told: Callable[[int], None]) -> bool:
  """Brings a partial file to its full length; whether it is what the store has."""
  end = file.size if limit is None else min(limit, file.size or limit)
  is_whole = limit is None or end == file.size
  sums = remote.checker(file.checksum[0]) if file.checksum and is_whole else None
  out.truncate(min(os.fstat(out.fileno()).st_size, end or 0) if file.has_ranges else 0)
  out.seek(0)
  while data := out.read(_PIECE):
    told(out.tell())
    if sums:
      sums.update(data)
  for data in file.pieces(out.tell(), end):
    data = data if end is None else data[: end - out.tell()]
    out.write(data)
    told(out.tell())
    if sums:
      sums.update(data)
  out.flush()
  if end is not None and out.tell() != end:
    raise StoreError(f"{file.url} ended after {out.tell()} of {end} bytes; {AGAIN}")
  return sums is None or sums.digest() == file.checksum[1]
