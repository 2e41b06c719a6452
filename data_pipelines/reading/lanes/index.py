"""Where the records of a file lie: found once, from their headers, and kept for later programs.

    frames(path).offsets[17]           # of the data of record 17

What was found is kept in the user's cache folder, 4 bytes a record, for files that are not small or
lie in a store: looking through ten million headers takes a minute, reading their index a second.
"""

import contextlib
import functools
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipelines.reading import tfrecords
from data_pipelines.reading.records import Range
from data_pipelines.reading.tfrecords import FOOTER, HEADER
from data_pipelines.stores.cache import is_of_store

KEPT_BYTES = 2**24  # the headers of a smaller file on a disk are found in no time


class Frames(NamedTuple):
  """Where the data of each record lies, int64 `[N]` both, and what ends the list too early."""

  offsets: np.ndarray
  lengths: np.ndarray
  damage: tfrecords.Damage | None
  are_packed: bool  # with GZIP: they lie there once it is unpacked


def frames(path: Path, most: int | None = None, *, sparing: bool = False) -> Frames:
  """The records of a file, at most `most`; an OSError if it is gone.

  `sparing` is as of `tfrecords.framing`.
  """
  stat = os.stat(path)
  return _frames(path, most, stat.st_size, stat.st_mtime_ns, sparing)


def frames_of(part: Range) -> Frames:
  """The records of a range."""
  found = frames(part.path, None if part.count is None else part.first + part.count)
  return found._replace(offsets=found.offsets[part.first :], lengths=found.lengths[part.first :])


@functools.lru_cache(maxsize=4096)  # each validation asks again
def _frames(path: Path, most: int | None, size: int, changed: int, sparing: bool) -> Frames:
  if (lengths := _kept(path, size, changed)) is not None:
    lengths = lengths[:most].astype(np.int64)
    return Frames(_offsets(lengths), lengths, None, False)
  offsets, lengths, damage = tfrecords.framing(path, most, sparing)
  packed = bool(tfrecords.compression(path))
  if not packed:
    keep(path, lengths)
  return Frames(np.array(offsets, np.int64), np.array(lengths, np.int64), damage, packed)


def _offsets(lengths: np.ndarray) -> np.ndarray:
  """Of plain records of these lengths, from the start of their file on."""
  return np.cumsum(lengths + HEADER + FOOTER) - lengths - FOOTER


def _place(path: Path, size: int, changed: int) -> Path:
  """Where the lengths of a file's records are kept; another one, once it has changed."""
  cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
  key = hashlib.sha256(f"{os.path.abspath(path)} {size} {changed}".encode()).hexdigest()
  return cache / "genesis_jax" / "records" / key[:2] / f"{key[:32]}.npy"


def _is_worth_it(path: Path, size: int) -> bool:
  return size >= KEPT_BYTES or is_of_store(path)


def _kept(path: Path, size: int, changed: int) -> np.ndarray | None:
  """Lengths of all records of a file as far as they are known from before."""
  if not _is_worth_it(path, size):
    return None
  with contextlib.suppress(OSError, ValueError):
    lengths = np.load(_place(path, size, changed), allow_pickle=False)
    if lengths.sum(dtype=np.int64) + len(lengths) * (HEADER + FOOTER) == size:
      return lengths
  return None


def keep(path: Path, lengths: list[int]) -> None:
  """Keeps the lengths of the records of a plain file, if it is large, or of a store, and whole."""
  stat = os.stat(path)
  total = sum(lengths) + len(lengths) * (HEADER + FOOTER)
  if total != stat.st_size or not _is_worth_it(path, total):
    return
  final = _place(path, stat.st_size, stat.st_mtime_ns)
  with contextlib.suppress(OSError):  # a full disk is no reason to stop reading
    if final.exists():
      return
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_suffix(f".{os.getpid()}.partial")
    with open(partial, "wb") as file:  # half of one is noticed when it is read
      np.save(file, np.array(lengths, np.uint32))
    os.replace(partial, final)
