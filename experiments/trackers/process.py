"""A tracker in a process of its own.

What a tracker's library does to signals, output and the end of a program it does to its process.
One that hangs is not waited for: calls are put in a queue, are left out where that is full, and at
the end the process is ended when its time is up. The run's folder has all that was logged.
"""

import contextlib
import multiprocessing
import queue
import signal

from experiments.console.errors import UserError, one_line
from experiments.trackers.catalogue import TRACKERS, Tracked

WAITING = 256  # calls that a tracker may be behind
LOGIN_SECONDS = 60
LAST_SECONDS = 60  # to send what is left at the end of training
SOON_SECONDS = 10  # and when it is stopped
LOOK_SECONDS = 10  # between two looks whether the program still runs


class Sender:
  """The way to one tracker; a context, whose end waits for a while.

  Args:
    name: of the tracker.
    run: to be tracked.
    stop: its `asked` and `seconds_left` shorten the end.
  """

  def __init__(self, name: str, run: Tracked, stop):
    self._name, self._stop = name, stop
    context = multiprocessing.get_context("spawn")  # threads of JAX survive no fork
    self._calls = context.Queue(WAITING)
    self._calls.cancel_join_thread()  # at the end of the program nothing waits for a full pipe
    self._login, answer = context.Pipe(duplex=False)
    arguments = (name, run, self._calls, answer)
    self._process = context.Process(target=_track, args=arguments, name=name, daemon=True)
    self._process.start()
    answer.close()
    self._well = True

  def __enter__(self) -> "Sender":
    return self

  def __exit__(self, kind, *exc_info):
    self.send("end", kind is not None)
    seconds = LAST_SECONDS if kind is None and not self._stop.asked else SOON_SECONDS
    seconds = min(seconds, self._stop.seconds_left)
    try:
      self._process.join(seconds)
      if self._process.is_alive():
        self._warn(f"is not done after {seconds:.0f} s, and is ended")
    finally:  # also if somebody cannot wait for that
      self._process.kill()
      self._process.join()
      self._calls.close()

  def wait_for_login(self) -> None:
    """Raises UserError if there is something for the user to do."""
    if not self._login.poll(LOGIN_SECONDS):
      self._warn(f"has not begun after {LOGIN_SECONDS} s")
      return
    try:
      problem = self._login.recv()
    except EOFError:
      problem = "it cannot be started"
    if problem:
      raise UserError(
        f'trackers names {self._name}: {problem}; or train without it, with --config.trackers="()"'
      )

  def send(self, method: str, *args) -> None:
    """Has the tracker call a method, sooner or later or not at all; neither waits nor raises."""
    if not self._process.is_alive():
      if self._process.exitcode:  # else it has said itself why
        self._warn("has died")
      return
    try:
      self._calls.put_nowait((method, args))
    except queue.Full:
      self._warn(f"is {WAITING} calls behind, and what follows is left out until it has caught up")

  def _warn(self, words: str) -> None:
    if self._well:
      self._well = False
      print(f"WARNING: {self._name} {words}; the run's folder has all of it", flush=True)


def _track(name: str, run: Tracked, calls, login) -> None:
  """The tracker's process."""
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)  # training ends first, and then says so
  tracker = TRACKERS[name]()
  try:
    tracker.log_in()
    login.send(None)
  except Exception as error:  # also what a broken library raises when it is imported
    return login.send(one_line(error))
  try:
    print(f"{name:<10} {tracker.begin(run)}", flush=True)
  except Exception as error:
    return print(
      f"WARNING: {name} cannot be used ({one_line(error)}); training goes on", flush=True
    )
  well, method = True, None
  while method != "end":
    method, args = _next(calls)
    try:
      getattr(tracker, method)(*args)
    except Exception as error:
      if well:
        print(f"WARNING: {name} failed ({one_line(error)}); training goes on", flush=True)
      well = False


def _next(calls) -> tuple[str, tuple]:
  """The next call; the last one if the program has died."""
  while multiprocessing.parent_process().is_alive():
    with contextlib.suppress(queue.Empty):
      return calls.get(timeout=LOOK_SECONDS)
  return "end", (True,)
