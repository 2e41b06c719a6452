"""SIGTERM, Ctrl-C and a time limit as a stop request honoured between steps."""

import contextlib
import math
import os
import pathlib
import re
import signal
import time
from collections.abc import Iterator

import jax

from experiments.hardware import devices
from experiments.training.progress import RUN_AHEAD

_IMPORTED = time.monotonic()
_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
MARGIN = 2.0  # seconds
SPREAD = 1.2  # times as long as it took the last time something may take the next time
SLOW_DISK = 20e6  # bytes a second
AGREE_EVERY = 20  # calls after which several hosts compare their clocks


def seconds(limit: str | float | None) -> float | None:
  """A `time_limit` in seconds: "90s", "9m", "1h30m", "2h", or a number; None: no limit.

  Raises:
    ValueError: it is something else.
  """
  if limit is None:
    return None
  text = str(limit).replace(" ", "").lower()
  with contextlib.suppress(ValueError):
    if 0 < float(text) < math.inf:
      return float(text)
  match = re.fullmatch("".join(rf"(?:(\d+(?:\.\d+)?){unit})?" for unit in _UNITS), text)
  numbers = match.groups() if match else ()
  total = sum(float(n or 0) * size for n, size in zip(numbers, _UNITS.values(), strict=False))
  if not total:
    raise ValueError(
      f"time_limit is {limit!r}; allowed: seconds as a number above 0, and such as 90s, 9m, 1h30m"
    )
  return total


def program_age() -> float:
  """Seconds since this process began; where the system does not tell, since this import."""
  try:
    fields = pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    if ticks := int(fields[19]):  # see proc(5); some sandboxes say 0
      return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
  except (OSError, AttributeError, IndexError, ValueError):
    pass
  return time.monotonic() - _IMPORTED


class Stop:
  """Context in which SIGTERM and Ctrl-C set `asked`, from `listen` on; a second one ends at once.

  Until then there is nothing to save, and they end the program like any other.

  A time limit sets `asked` while there is still time to save the state. Things are expected to take
  what they took the last time, as far as they were `timed`; the first time as long as the first
  call of steps, which is mostly compilation.

  With several hosts all must stop at the same step. A signal reaches them by way of Orbax, which
  listens to it (see `Checkpoints.preempted`); of the time they agree.

  Args:
    limit: seconds from the start of the program, at which it should have ended; None: for ever.
    steps_per_call: of the training.
  """

  SIGNALS = (signal.SIGTERM, signal.SIGINT)

  def __init__(self, limit: float | None = None, steps_per_call: int = 1):
    self._limit, self._steps_per_call = limit, steps_per_call
    # The end of a program, files closed and threads joined, takes less than its beginning.
    self._closing = MARGIN + program_age() / 2
    self._is_over, self._signalled = False, False
    self._previous = {}
    self._took, self._calls = {}, 0

  def __enter__(self) -> "Stop":
    return self

  @property
  def asked(self) -> bool:
    """Whether to save and end."""
    if jax.process_count() == 1:
      self._is_over |= self._is_short("call")
    return self._signalled or self._is_over

  @property
  def reason(self) -> str:
    """To put behind "stopped": the time limit, where that was it."""
    return ", within its time_limit" if self._is_over and not self._signalled else ""

  @property
  def seconds_left(self) -> float:
    """Until the time limit."""
    return math.inf if self._limit is None else max(0.0, self._limit - program_age())

  def listen(self) -> None:
    """Call it after each call of steps."""
    if jax.process_count() > 1:
      self._calls += 1
      if self._calls % AGREE_EVERY == 0:
        self.has_time_for("call")
    elif not self._previous:
      self._previous = {number: signal.signal(number, self._ask) for number in self.SIGNALS}

  @contextlib.contextmanager
  def timed(self, what: str) -> Iterator[None]:
    """Context that notes how long something takes: "call", "saving", "validation" ..."""
    start = time.monotonic()
    yield
    took = time.monotonic() - start
    if what == "call" and "first call" not in self._took:
      # Of many steps the steps take the time, of one its compilation.
      self._took |= {"first call": took, "call": took * (1 - 1 / self._steps_per_call)}
    else:  # one that was faster than others does not promise that the next one is
      self._took[what] = max(took, 0.9 * self._took.get(what, 0))

  def expect_saving(self, num_bytes: int) -> None:
    """Until it was done once, saving so much is taken to be slow."""
    self._took["saving"] = num_bytes / SLOW_DISK

  def has_time_for(self, what: str) -> bool:
    """Whether something can be done before the state is saved; if not, `asked` is set.

    All hosts must ask, and get the same answer.
    """
    is_short = self._is_short(what)
    if jax.process_count() > 1 and self._limit is not None:
      is_short = any(devices.from_all_hosts(int(is_short)))
    self._is_over |= is_short
    return not self.asked

  def _is_short(self, what: str) -> bool:
    """Whether there is no time left to do something and then to save."""
    if self._limit is None:
      return False
    needed = self._took.get(what, self._took.get("first call", 0))
    needed += RUN_AHEAD * self._took.get("call", 0)  # for which saving waits
    needed += self._took.get("saving", 0)
    return self._limit - program_age() < self._closing + SPREAD * needed

  def _ask(self, number, frame):
    del frame
    self._signalled = True
    signal.signal(number, signal.SIG_DFL)  # ends it at once, also while compiling
    name = signal.Signals(number).name
    # Not print: the signal may have come in the middle of one.
    os.write(
      2, f"\n{name}: finishing this step, saving it, then ending (again: at once)\n".encode()
    )

  def __exit__(self, *exc_info):
    for number, handler in self._previous.items():
      signal.signal(number, handler)
