"""Calls side by side, in threads that no program waits for when it ends.

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


def in_order(function: Callable, items: Iterable, ahead: int) -> Iterator:
  """`map`, with so many calls side by side."""
  waiting = collections.deque()
  for item in items:
    waiting.append(Call(function, item))
    if len(waiting) == ahead:
      yield waiting.popleft().result()
  while waiting:
    yield waiting.popleft().result()
