"""Files and folders that are complete or absent, even if programs die or write at the same time.

    write_atomically(Path("run/metrics.json"), text)
    with partial_file(Path("weights.npz")) as partial:      # a path to write; then it gets its name
      ...
    with partial_folder(Path("data/mine")) as partial:      # a folder to fill; likewise
      ...
    with locked(Path("run/fid.json"), seconds=60):          # read, change, write
      ...

Unfinished files lie beside their final place, under hidden names. Those of programs that died are
removed when something is written to the same folder.
"""

import contextlib
import errno
import fcntl
import functools
import os
import re
import secrets
import shutil
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

ABANDONED_SECONDS = 7 * 24 * 3600  # untouched, of a machine of which nothing can be known
POLL_SECONDS = 0.05
_PARTIAL = re.compile(r"\..*\.([0-9a-f]{8})-(\d+)-[0-9a-f]+\.partial")  # machine, process
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # of some file systems


@functools.cache
def machine() -> str:
  """Tells apart where the number of a process means something: host, boot, container."""
  words = [socket.gethostname()]
  with contextlib.suppress(OSError):  # Linux
    words += [Path("/proc/sys/kernel/random/boot_id").read_text()]
    words += [os.readlink("/proc/self/ns/pid")]
  return f"{zlib.crc32(' '.join(words).encode()):08x}"


def _is_dead(where: str, process: int, path: Path) -> bool:
  """Whether the program that writes a partial file or holds a lock is gone."""
  if where != machine():
    return time.time() - path.stat().st_mtime > ABANDONED_SECONDS
  return has_ended(process)


def has_ended(process: int) -> bool:
  """Whether a process of this machine is gone."""
  try:
    os.kill(process, 0)
  except ProcessLookupError:
    return True
  except PermissionError:  # somebody else's
    pass
  return False


def _partial(final: Path) -> Path:
  """A name that nobody else uses, beside `final`; removes what dead programs left there."""
  final = Path(os.path.abspath(final))  # also "." has a name
  final.parent.mkdir(parents=True, exist_ok=True)
  for path in final.parent.glob(".*.partial"):
    if found := _PARTIAL.fullmatch(path.name):
      with contextlib.suppress(OSError):  # another program may be removing it
        if _is_dead(found[1], int(found[2]), path):
          _remove(path)
  name = final.name[:40]  # file systems allow 255 bytes
  unique = f"{machine()}-{os.getpid()}-{secrets.token_hex(4)}"
  return final.with_name(f".{name}.{unique}.partial")


def _remove(path: Path) -> None:
  if path.is_dir() and not path.is_symlink():
    shutil.rmtree(path, ignore_errors=True)
  else:
    path.unlink(missing_ok=True)


def sync(path: Path) -> None:
  """Makes a file's content, or the names in a folder, survive a power cut."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  except OSError:
    if not path.is_dir():  # not every file system can do it for folders
      raise
  finally:
    os.close(descriptor)


@contextlib.contextmanager
def partial_file(final: Path) -> Iterator[Path]:
  """A path for the body to write; the file gets the name `final`, in place of any other, after it.

  Raises:
    OSError: it cannot be written.
  """
  partial = _partial(final)
  try:
    yield partial
    sync(partial)
    os.replace(partial, final)
    sync(final.parent)
  finally:
    partial.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes | str) -> None:
  """Writes a file: if the program dies, it is either complete or as it was."""
  with partial_file(path) as partial:
    partial.write_bytes(content.encode() if isinstance(content, str) else content)


def local_path(address: str | os.PathLike) -> Path:
  """A path of this machine.

  Raises:
    ValueError: it is an address elsewhere, such as gs://bucket/run.
  """
  # A path of "gs://bucket" has one slash left. One letter is a drive.
  if found := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", str(address)):
    raise ValueError(
      f"{address} is not a folder or file on this machine: addresses that begin with {found[1]}:// "
      "are not supported; mount what is there, or copy it"
    )
  return Path(address)


def own_cache() -> Path:
  """The folder for what can be had again."""
  cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute()
  return cache / "genesis_jax"


class NameTaken(FileExistsError):
  """A folder cannot get its name, which another one has."""


@contextlib.contextmanager
def partial_folder(final: Path, *, replace: bool = False) -> Iterator[Path]:
  """A folder for the body to fill; it gets the name `final` after it.

  Args:
    final: may be there if it is an empty folder.
    replace: whether to replace another folder of that name.

  Raises:
    NameTaken: another folder or file has that name, and `replace` is False.
    OSError: it cannot be written.
  """
  partial = _partial(final)
  partial.mkdir()
  old = _partial(final)
  try:
    yield partial
    for folder, _, names in os.walk(partial):
      for path in (folder, *(os.path.join(folder, name) for name in names)):
        sync(Path(path))
    while True:
      try:
        os.rename(partial, final)
        break
      except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
          raise
        if not replace:
          raise NameTaken(f"{final} is there already") from None
      with contextlib.suppress(FileNotFoundError):  # another program may have moved it away
        os.rename(final, old)
      _remove(old)
    sync(final.parent)
  finally:
    _remove(partial)
    _remove(old)


class Taken(OSError):
  """A lock is held by another program; the message says which, as far as that is known."""


@contextlib.contextmanager
def locked(path: Path, seconds: float = 0) -> Iterator[None]:
  """Holds the lock file `path` for this program alone.

  The kernel drops it with the process, so that no crash leaves a stale one. Where the file system
  has no locks, a second file that only one program can make takes their place.

  Args:
    path: to make if need be; it stays.
    seconds: to wait for another program.

  Raises:
    Taken: another program holds it for longer.
    OSError: the file cannot be written.
  """
  until = time.monotonic() + seconds
  with contextlib.ExitStack() as stack:
    file = stack.enter_context(open(path, "a+"))
    while not _taken(file, path, stack):
      if time.monotonic() >= until:
        file.seek(0)
        raise Taken(file.read().strip() or "not known which")
      time.sleep(POLL_SECONDS)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    yield


def holder(path: Path) -> str | None:
  """Who holds the lock file `path`, as far as that is known; None: nobody.

  Holds it for a moment itself, so that others should wait a little before they give up.
  """
  with contextlib.ExitStack() as stack:
    try:
      file = stack.enter_context(open(path, "r+"))
      return None if _taken(file, path, stack) else file.read().strip() or "another program"
    except OSError:  # there is none, or it is not for this program to touch
      return None


def _taken(file, path: Path, stack: contextlib.ExitStack) -> bool:
  """Whether this program has the lock now; `stack` gives it back."""
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True
  except BlockingIOError:
    return False
  except OSError as error:
    if error.errno not in NO_LOCKS:
      raise
  held, mine = path.with_name(f"{path.name}.held"), _partial(path)
  mine.write_text(f"{machine()} {os.getpid()}")
  try:
    os.link(mine, held)  # only one program can
  except FileExistsError:
    with contextlib.suppress(OSError):  # given back at this moment
      where, process = held.read_text().split()
      if _is_dead(where, int(process), held):
        os.rename(held, mine)
    return False
  finally:
    mine.unlink()
  stack.callback(held.unlink, missing_ok=True)
  return True
