"""What hosts tell one another of their files, and a program those that go on after it.

told = Told(board)
told.put("train/0001-of-3600.tfrecord 25000000 0-all", 1000)      # records of a part of a file
told.all_of(names)                                                # waits for the others
"""

import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from data_pipelines.stores.files import StoreError

POLL_SECONDS = 0.5  # between looks at the board
ASKED = "asked"  # a name on the board: somebody waits for what the others have
FAILED = "failed"  # and cannot have it


class Board(Protocol):
  """Words that all hosts of a run can read; threads may use it."""

  def put(self, name: str, words: str) -> None:
    """Writes some words under a name; the same ones perhaps again."""

  def has(self, name: str) -> bool:
    """Whether there are any under a name."""

  def everything(self) -> dict[str, str]:
    """All words that hosts of this run, and maybe programs before them, have written, by name."""


class Told:
  """Numbers of records by the name of a part of a file; safe to use from several threads."""

  def __init__(self, board: Board):
    self._board, self._closed, self._known = board, threading.Event(), {}
    self._look()

  def _look(self) -> str | None:
    """Why numbers will not come, if that is so."""
    words = self._board.everything()
    words.pop(ASKED, None)
    cause = words.pop(FAILED, None)
    self._known.update((name, int(number)) for name, number in words.items())
    return cause

  def get(self, name: str) -> int | None:
    """The number, if it was known when the board was last looked at."""
    return self._known.get(name)

  def put(self, name: str, number: int) -> None:
    """Tells the others."""
    if self._known.get(name) != number:
      self._known[name] = number
      self._board.put(name, str(number))

  def fail(self, error: OSError) -> None:
    """Tells those who wait for numbers that they will not come."""
    self._board.put(FAILED, str(error))

  def all_of(self, names: Iterable[str]) -> list[int]:
    """The numbers of these, once all are there; asks the others for them.

    Raises:
      StoreError: another host cannot have its files.
    """
    names = set(wanted := list(names))
    if not self._known.keys() >= names:
      self._board.put(ASKED, "")
    while not self._known.keys() >= names:
      if cause := self._look():
        raise StoreError(cause)
      if self._closed.wait(POLL_SECONDS):
        raise OSError("reading was ended")
    return [self._known[name] for name in wanted]

  def when_asked(self, tell: Callable[[], None]) -> None:
    """Calls `tell` once somebody waits for numbers; returns at once."""

    def listen():
      while not self._closed.wait(POLL_SECONDS):
        if self._board.has(ASKED):
          return tell()

    threading.Thread(target=listen, daemon=True).start()

  def close(self) -> None:
    """Ends waiting."""
    self._closed.set()
