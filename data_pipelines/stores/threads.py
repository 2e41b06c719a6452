"""What is begun ahead of what is asked for, and calls side by side; no program waits for them.

for data in in_order(read, ranges, ahead=3): ...
"""

import collections
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any


class Call(threading.Thread):
  """A call that has begun; a program ends without waiting for it."""

  def __init__(self, function: Callable, *arguments):
    super().__init__(daemon=True)
    self._function, self._arguments = function, arguments
    self._value, self._error = None, None
    self.start()

  def run(self) -> None:
    try:
      self._value = self._function(*self._arguments)
    except BaseException as error:  # noqa: BLE001, raised where the result is wanted
      self._error = error

  def result(self) -> Any:
    """Waits; returns or raises what the call did."""
    self.join()
    if self._error is not None:
      raise self._error
    return self._value


def made_ahead(items: Iterable, count: int = 1) -> Iterator:
  """Passes items on, each once so many more are made: for what is begun by being made."""
  waiting = collections.deque()
  for item in items:
    waiting.append(item)
    if len(waiting) > count:
      yield waiting.popleft()
  yield from waiting


def in_order(function: Callable, items: Iterable, ahead: int) -> Iterator:
  """`map`, with so many calls side by side."""
  for call in made_ahead((Call(function, item) for item in items), ahead - 1):
    yield call.result()
