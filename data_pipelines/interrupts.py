"""One rule for Ctrl-C in all programs: they end at once, with one line and status 130.

Packages with programs import this before anything else, so that `python -m` follows the rule from
the first import on. During imports there is nothing to clean up, and the program just ends; inside
`Working` it is interrupted, so that files and locks are released, and then ends.

Python handles a signal only when running C++ code returns, and compiling takes minutes: a thread
listens too, and ends a program that does not end by itself. Code with a handler of its own, such
as training, is left alone.
"""

import os  # no module here that takes time
import signal
import sys
import threading
import time

STATUS = 130  # as shells have it
GRACE_SECONDS = 1.0  # to release what is held

_is_working = False
_ending = threading.Lock()


def install() -> None:
  """Makes Ctrl-C end this program, unless it was started ignoring it, as with nohup."""
  if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
    return
  reading, writing = os.pipe()
  os.set_blocking(writing, False)
  signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
  signal.signal(signal.SIGINT, _interrupt)
  threading.Thread(target=_listen, args=(reading,), daemon=True, name="interrupts").start()


class Working:
  """Context in which Ctrl-C raises KeyboardInterrupt, which ends the program where it leaves it."""

  def __enter__(self) -> None:
    global _is_working
    _is_working = True

  def __exit__(self, kind, error, traceback) -> None:
    global _is_working
    _is_working = False
    if isinstance(error, KeyboardInterrupt):
      end()


def _interrupt(number, frame) -> None:
  del number, frame
  if not _is_working:
    end()
  sys.unraisablehook = lambda _: None  # a callback that is interrupted has nobody to tell
  raise KeyboardInterrupt


def _listen(reading: int) -> None:
  while number := os.read(reading, 1):
    if number[0] == signal.SIGINT and signal.getsignal(signal.SIGINT) is _interrupt:
      time.sleep(GRACE_SECONDS if _is_working else 0)
      end()


def end() -> None:
  """Ends the program with one line, without waiting for its threads."""
  if _ending.acquire(blocking=False):
    # Not print: the signal may have come in the middle of one.
    os.write(2, b"interrupted\n")
  else:
    time.sleep(0.1)  # another thread, or what this interrupts, is at it
  os._exit(STATUS)


if sys.argv[:1] == ["-m"]:  # so while Python imports the package of a program that it will run
  install()
