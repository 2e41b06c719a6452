"""The right to train a run in a store, which one program has at a time.

  with Lease(system, "bucket/runs/name/.stored/lease", "gs://bucket/runs/name", on_loss):
    ...

A lease is an object that its holder writes anew every RENEW_SECONDS. Another program that finds one
watches it: if it changes, the holder lives, and the program is refused. If it stays as it is for
EXPIRE_SECONDS, or the holder was a process of this machine that is no more, the holder is dead and
the program takes over. Nobody compares clocks, which differ between machines.

Leases are numbered. Who takes over makes the next one, which the store allows one program only
(a precondition of GCS and S3); the highest counts. A holder that was frozen finds out when it
renews.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable

from data_pipelines import durable
from experiments.console.errors import TAKEN, UserError

RENEW_SECONDS = 10
EXPIRE_SECONDS = 60


class Lease:
  """A context that holds the lease.

  Args:
    system: of the store.
    folder: path in it of leases.
    address: of the run, for messages.
    on_loss: called, from another thread, with who has it, if another program took the lease.

  Raises:
    UserError: another program trains the run.
  """

  def __init__(self, system, folder: str, address: str, on_loss: Callable[[str], None]):
    self._system, self._folder, self._address, self._on_loss = system, folder, address, on_loss
    self._me = {
      "holder": f"process {os.getpid()} on {socket.gethostname()}",
      "machine": durable.machine(),
      "process": os.getpid(),
      "token": secrets.token_hex(8),
    }
    self._number, self._beat = 0, 0
    self._ended = threading.Event()
    self._thread = threading.Thread(target=self._renew_for_ever, name="lease", daemon=True)

  def __enter__(self) -> "Lease":
    while not self._take():
      pass
    self._thread.start()
    return self

  def __exit__(self, *exc_info):
    self._ended.set()
    self._thread.join()
    with contextlib.suppress(Exception):  # it expires by itself
      if self._is_mine(self._read(self._number)):
        self._system.rm_file(self._path(self._number))

  def _path(self, number: int) -> str:
    return f"{self._folder}/{number:06d}"

  def _numbers(self) -> list[int]:
    """Leases that there are, in order."""
    return sorted(int(path.rpartition("/")[2]) for path in self._system.find(self._folder))

  def _read(self, number: int) -> dict | None:
    try:
      return json.loads(self._system.cat_file(self._path(number)))
    except FileNotFoundError:
      return None

  def _content(self) -> bytes:
    self._beat += 1
    return json.dumps(self._me | {"beat": self._beat}).encode()

  def _is_mine(self, lease: dict | None) -> bool:
    return lease is not None and lease["token"] == self._me["token"]

  def _take(self) -> bool:
    """Takes the lease if nobody has it; returns False if others were faster or let go of it."""
    numbers = self._numbers()
    if numbers and not self._is_abandoned(numbers[-1]):
      return False
    self._number = max(numbers, default=0) + 1
    with contextlib.suppress(FileExistsError):
      self._system.pipe_file(self._path(self._number), self._content(), mode="create")
    if not self._is_mine(self._read(self._number)):
      return False
    for number in numbers:
      with contextlib.suppress(FileNotFoundError):
        self._system.rm_file(self._path(number))
    return True

  def _is_abandoned(self, number: int) -> bool:
    """Whether the holder of a lease is dead; False if the lease is gone.

    Raises:
      UserError: the holder lives.
    """
    first = self._read(number)
    if first is None:
      return False
    if first["machine"] == durable.machine() and durable.has_ended(first["process"]):
      return True
    print(
      f"waiting    for up to {EXPIRE_SECONDS} s, to see whether {first['holder']}, which trained "
      f"{self._address}, still does",
      flush=True,
    )
    until = time.monotonic() + EXPIRE_SECONDS
    while time.monotonic() < until:
      time.sleep(RENEW_SECONDS / 10)
      now = self._read(number)
      if now is None:
        return False
      if now != first:
        raise UserError(
          f"{TAKEN} {self._address} ({now['holder']}); wait for it, stop it, or "
          "choose another --workdir"
        )
    return True

  def _renew_for_ever(self) -> None:
    while not self._ended.wait(RENEW_SECONDS):
      # A store that is away: the mirror, which writes to it too, says so.
      with contextlib.suppress(Exception):
        if holder := self.other_holder():
          return self._on_loss(holder)
        self._system.pipe_file(self._path(self._number), self._content())

  def other_holder(self) -> str | None:
    """Which program has taken the lease from this one; None: it has it still."""
    newest = self._read(max([self._number, *self._numbers()]))
    if newest is None:  # who takes over removes what was there before
      return "a program that has ended since"
    return None if self._is_mine(newest) else newest["holder"]
