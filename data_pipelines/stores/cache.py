"""A folder in a store as a folder of this disk, whose files come when, or before, they are read.

    root = folder("gs://gqn-dataset", ("jaco",), limit=50 * 10**9)       # of this machine
    ahead([root / "jaco/train/0002-of-3600.tfrecord", ...])              # will be read, in order
    with open(here(root / "jaco/train/0001-of-3600.tfrecord"), "rb") as file: ...
    read(root / "jaco/train/0003-of-3600.tfrecord", 0, 12)              # these bytes alone

All files of the folder are there at once under their names and with their sizes, so that whoever
lists them sees what is in the store; but those that nobody has read are empty inside: they take no
room on the disk and cannot be opened. `here` brings a file, checked, and keeps it from being
removed until others of about as many bytes have been asked for; of any other path it returns the
path. If all take more than `limit` bytes, those that nobody used for longest are emptied again.

A file itself says what it is, for all programs that share the cache: its rights, whether it is
empty; its time of change, of which version; its time of access, when it was last asked for; locks,
that it is being read, or brought.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from absl import logging

from data_pipelines.durable import NO_LOCKS, locked, own_cache
from data_pipelines.sources import DataError
from data_pipelines.stores import remote
from data_pipelines.stores.copies import UNDER_WAY, copy
from data_pipelines.stores.files import AGAIN, StoreError, address, is_remote
from data_pipelines.stores.remote import Changed, Remote
from data_pipelines.stores.threads import Call

EMPTY, WHOLE = 0o200, 0o644  # rights of files
STATE = ".state"  # folder of locks and of what is under way
SIDE_BY_SIDE = 16  # files that come ahead of the reader
AHEAD = 2 * 10**9  # bytes of these at most, and a quarter of the cache
HELD = 64  # files that are kept for their readers at most, and half of the cache
LOUD_BYTES = 10**9  # of a file, from which on it is told that it comes
ABANDONED_SECONDS = 24 * 3600  # after which nobody goes on with a copy
SPARE = 10**9  # bytes of the disk that are left to others
FULL = 0.9  # of the limit is left when files were removed
RECOUNT_SECONDS = 1  # after which others may have added to the cache
STRIPES = 4096  # locks of files that come
AT_ONCE = ("STAND_IN.json", "prepared.json")  # files that say what others are
COMMON_NAMES = {"default", "train"}  # of variants, and of folders that are none
WAIT_SECONDS = 24 * 3600  # for another program that brings the same file


def home() -> Path:
  """Where copies are kept."""
  return own_cache() / "stores"


def _is_whole(path: str | int) -> bool:
  """Whether a file has its content."""
  with contextlib.suppress(FileNotFoundError):
    return os.stat(path).st_mode & 0o777 == WHOLE
  return False


def _time_of(file: Remote) -> int:
  """The time of change of a copy: of all file systems' range."""
  return file.stamp >> 1


def _replace_by_empty(path: str, size: int, changed: int) -> None:
  """Puts a file without content in place of another, or of none; readers keep what they opened."""
  new = Path(home(), STATE, secrets.token_hex(8))
  with open(new, "wb") as file:
    os.chmod(new, EMPTY if size else WHOLE)
    file.truncate(size)
  os.utime(new, (0, changed))
  os.makedirs(os.path.dirname(path), exist_ok=True)
  os.replace(new, path)


class _Cache:
  """What this program knows of the folder that all share; threads may call its methods."""

  def __init__(self):
    self.files: dict[str, Remote] = {}  # by path
    self._limit = 0
    self._roots: dict[tuple, Path] = {}
    self._held: OrderedDict[str, int] = OrderedDict()  # path -> descriptor with a lock
    self._wanted: dict[str, None] = {}  # in order
    self._coming: dict[str, Call] = {}
    self._lock, self._laying_out = threading.RLock(), threading.Lock()
    self._used, self._counted = 0, -1e9  # bytes of all copies, and when they were counted

  def lay_out(self, url: str, within: tuple[str, ...], limit: int) -> Path:
    """See `folder`."""
    with self._laying_out:
      self._limit = limit
      if (url, within) not in self._roots:
        logging.info("looking through %s", url)
        (home() / STATE).mkdir(parents=True, exist_ok=True)
        names = [name for name in remote.folders(url) if name in within] if within else []
        top = home() / url.replace("://", "/", 1)
        for part in names or [""]:
          self._lay_out_part(top, f"{url}/{part}".rstrip("/"), top / part)
        self._roots[url, within] = top
      return self._roots[url, within]

  def _lay_out_part(self, top: Path, url: str, below: Path) -> None:
    """Makes what is below a folder what the store has there."""
    gone = {os.path.join(folder, name) for folder, _, names in os.walk(below) for name in names}
    for file in remote.listed(url):
      path = os.path.join(below, file.name) if file.url != url else str(below)
      if file.size is None or ".." in path.split("/"):
        raise StoreError(f"{file.url} has no size, or a name that is none here; copy it by hand")
      self.files[path] = file
      gone.discard(path)
      with contextlib.suppress(FileNotFoundError):
        stat = os.stat(path)
        if (stat.st_size, int(stat.st_mtime)) == (file.size, _time_of(file)):
          continue
      _replace_by_empty(path, file.size, _time_of(file))
    for path in map(Path, gone):
      path.unlink(missing_ok=True)
    for path in self.files:
      if os.path.basename(path) in AT_ONCE and path.startswith(str(top)):
        self.bring(path)

  def bring(self, path: str) -> None:
    """Copies a file unless it is there; waits where another program does it."""
    if _is_whole(path):
      return
    state, file = home() / STATE, self.files[path]
    with locked(state / f"{zlib.crc32(path.encode()) % STRIPES}.lock", WAIT_SECONDS):
      if _is_whole(path):
        return
      self._make_room(file)
      if file.size > LOUD_BYTES:
        logging.info("copying %s, %.3g GB, to %s", file.url, file.size / 1e9, home())
      arrived = state / f"{zlib.crc32(path.encode()):08x}-{os.path.basename(path)[-80:]}"
      try:
        copy(file, arrived)
        os.chmod(arrived, WHOLE)
        os.utime(arrived, (time.time(), _time_of(file)))
        os.replace(arrived, path)
      except Changed:
        raise StoreError(
          f"{file.url} is not the file any more that it was when this program began; {AGAIN}"
        ) from None

  def hold(self, path: str) -> None:
    """Brings a file, and keeps it for a reader."""
    while True:
      with self._lock:
        if path in self._held and _is_whole(path):
          self._held.move_to_end(path)
          return
        coming = self._coming.get(path)
        self._wanted.pop(path, None)
      if coming:
        coming.join()
      self.bring(path)
      with contextlib.suppress(FileNotFoundError, PermissionError):  # emptied at this moment
        descriptor = os.open(path, os.O_RDONLY)
        if self._keep(path, descriptor):
          return
        os.close(descriptor)

  def _keep(self, path: str, descriptor: int) -> bool:
    """Locks a file for reading; False where it was replaced meanwhile, or is about to be."""
    try:
      fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
      if error.errno not in NO_LOCKS:
        return False
    if not _is_whole(descriptor) or not os.path.samestat(os.fstat(descriptor), os.stat(path)):
      return False
    os.utime(descriptor, (time.time(), _time_of(self.files[path])))
    with self._lock:
      if (other := self._held.pop(path, None)) is not None:  # of another thread, or outdated
        os.close(other)
      self._held[path] = descriptor
      most, size = self._limit // 2, sum(self.files[held].size for held in self._held)
      while len(self._held) > 1 and (len(self._held) > HELD or size > most):
        oldest, lock = self._held.popitem(last=False)
        size -= self.files[oldest].size
        os.close(lock)
    return True

  def expect(self, paths: Iterable[str]) -> None:
    """See `ahead`."""
    left = min(AHEAD, self._limit // 4)
    for path in paths:
      if (file := self.files.get(path)) is None:
        continue
      left -= file.size
      if left < 0:
        break
      with self._lock:
        if path not in self._coming and path not in self._wanted and not _is_whole(path):
          self._wanted[path] = None
    with self._lock:
      for _ in range(min(len(self._wanted), SIDE_BY_SIDE - len(self._coming))):
        self._start_next()

  def _start_next(self) -> None:
    path = next(iter(self._wanted))
    del self._wanted[path]
    self._coming[path] = Call(self._bring_ahead, path)

  def _bring_ahead(self, path: str) -> None:
    try:
      with contextlib.suppress(StoreError):  # it is tried again, and said, when it is read
        self.bring(path)
    finally:
      with self._lock:
        del self._coming[path]
        if self._wanted:
          self._start_next()

  def _make_room(self, file: Remote) -> None:
    """Sees that a file may come, and removes others for it."""
    if file.size > self._limit:
      raise StoreError(
        f"{file.url} has {file.size / 1e9:.3g} GB, more than the cache of {self._limit / 1e9:.3g}: "
        "set --config.data.cache_gb, or copy it to a disk by python -m data_pipelines.fetch"
      )
    with locked(home() / STATE / "room.lock", WAIT_SECONDS), self._lock:
      if time.monotonic() - self._counted > RECOUNT_SECONDS:
        self._count()
      self._used += file.size
      if self._used > self._limit or shutil.disk_usage(home()).free < file.size + SPARE:
        self._remove_oldest(file.size)
      if shutil.disk_usage(home()).free < file.size:
        raise StoreError(
          f"the disk of {home()} is full: {file.url} has no room; make some, {AGAIN}"
        )

  def _count(self) -> list[tuple[float, int, int, str]]:
    """Time of access, size, time of change and path of all copies."""
    copies, start = [], time.monotonic()
    for folder, _, names in os.walk(home()):
      for name in names:
        with contextlib.suppress(FileNotFoundError):
          stat = os.stat(path := os.path.join(folder, name))
          if stat.st_mode & 0o400:
            copies.append((stat.st_atime, stat.st_size, int(stat.st_mtime), path))
    self._used, self._counted = sum(size for _, size, _, _ in copies), time.monotonic()
    self._counted += 20 * (self._counted - start)  # of a million files it takes long
    return copies

  def _remove_oldest(self, coming: int) -> None:
    """Empties the files that nobody used for longest, but those that somebody reads."""
    copies = [found for found in self._count() if f"/{STATE}/" not in found[-1]]
    for path in (home() / STATE).glob(f".*{UNDER_WAY}"):
      with contextlib.suppress(FileNotFoundError):
        if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
          path.unlink()
    self._used += coming
    for _, size, changed, path in sorted(copies):
      room = shutil.disk_usage(home()).free
      if self._used <= FULL * self._limit and room >= coming + SPARE:
        break
      with contextlib.suppress(OSError), open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_whole(file.fileno()):
          _replace_by_empty(path, size, changed)
          self._used -= size


_CACHE = _Cache()


def folder(address_of: str, within: tuple[str, ...], limit: int) -> Path:
  """The folder of this machine that stands for one in a store, which is asked once a program.

  Args:
    address_of: such as gs://bucket/folder.
    within: names of folders of which, where there are some in it, only these are needed.
    limit: bytes that all copies may take, of this folder and others.

  Raises:
    StoreError: the store cannot be asked, or has nothing there.
  """
  return _CACHE.lay_out(address(address_of), within, limit)


def given(config) -> Path:
  """Where `config.data_dir` is on this machine, if it is a folder here or in a store.

  Raises:
    DataError: it is a folder of copies.
    StoreError: a store cannot be asked, or has nothing there.
    ValueError: `config.cache_gb` is impossible.
  """
  if not is_remote(config.data_dir):
    path = Path(config.data_dir).expanduser()
    if path.absolute().is_relative_to(home()):
      raise DataError(
        f"data.data_dir {path} is in the cache of addresses, where files are empty until they are "
        f"read; give the address: {_address_of(path.absolute())}"
      )
    return path
  most = getattr(config, "cache_gb", 50)
  if not most > 0:
    raise ValueError(f"data.cache_gb is {most}; it must be more than 0")
  parts = {config.name, config.variant} - COMMON_NAMES
  return folder(config.data_dir, tuple(sorted(parts)), int(most * 1e9))


def _address_of(path: Path) -> str:
  scheme, *rest = path.relative_to(home()).parts or ("gs",)
  return f"{scheme}://{'/'.join(rest)}"


def here(path: str | os.PathLike) -> str | os.PathLike:
  """The same path, once the file can be read; at once where it is of no store.

  Raises:
    StoreError: it cannot be had.
  """
  if os.fspath(path) in _CACHE.files:
    _CACHE.hold(os.fspath(path))
  return path


def is_away(path: str | os.PathLike) -> bool:
  """Whether a file is in a store that gives parts of it, and not on this machine."""
  file = _CACHE.files.get(os.fspath(path))
  return file is not None and file.has_ranges and not _is_whole(os.fspath(path))


def is_of_store(path: str | os.PathLike) -> bool:
  """Whether a path stands for a file in a store, come or not."""
  return os.fspath(path) in _CACHE.files


def read(path: str | os.PathLike, start: int, size: int, soon: int = 0) -> bytes:
  """Bytes of a file, fewer where it ends; of one in a store that has not come, they alone come.

  Args:
    path: of the file.
    start: of the bytes.
    size: how many.
    soon: how many after them will be read next.

  Raises:
    OSError: the file is gone, its disk or its store.
  """
  if is_away(path):
    file = _CACHE.files[os.fspath(path)]
    return file.read(start, min(start + size, file.size))
  descriptor = os.open(here(path), os.O_RDONLY)
  try:
    found = os.pread(descriptor, size, start)
    if soon > 0:
      os.posix_fadvise(descriptor, start + size, soon, os.POSIX_FADV_WILLNEED)
  finally:
    os.close(descriptor)
  return found


def ahead(paths: Iterable[str | os.PathLike]) -> None:
  """Lets files come that will be read in this order, as far as that is not too early."""
  if _CACHE.files:
    _CACHE.expect(map(os.fspath, paths))
