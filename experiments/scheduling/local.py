"""Trains runs on this machine, side by side, each in a program of its own.

Nothing is claimed but by training itself, which holds the lock of its run: a run that another
program trains, whoever started it and where, is left to it, and looked at again later.
"""

import dataclasses
import os
import signal
import socket
import subprocess
import time

from data_pipelines.stores.files import is_remote
from experiments.console.errors import TAKEN, UserError
from experiments.scheduling import board
from experiments.scheduling.places import Place
from experiments.scheduling.plan import Run
from experiments.scheduling.standing import Reader, Standing, look
from experiments.stores import glance

POLL_SECONDS = 0.1
HELD_SECONDS = 2  # until a run that another program trains is looked at again
REFUSED_SECONDS = 60  # the same, where only another try can tell


@dataclasses.dataclass(frozen=True)
class Job:
  """A program that trains."""

  run: Run
  process: subprocess.Popen


class Local:
  """Trains runs at places; a context in which signals that end this program reach all of them.

  Args:
    runs: of the sweep, all of them.
    places: where programs train.
    shown: where it is told.

  Attributes:
    failures: runs that failed, and why, a line each.
    stopped: whether a signal has come.
  """

  SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

  def __init__(self, runs: list[Run], places: list[Place], shown: board.Board):
    self._runs, self._free, self._board = runs, list(places), shown
    self._waiting = list(runs)
    self._jobs: dict[Place, Job] = {}
    self._held: dict[Run, str] = {}  # run -> by whom
    self._not_before: dict[Run, float] = {}
    self._ended: dict[Run, str] = {}  # run -> state in which it stays
    self._reader = Reader()
    self.failures: list[str] = []
    self.stopped = False

  def __enter__(self) -> "Local":
    self._previous = {}
    for number in self.SIGNALS:
      if signal.getsignal(number) != signal.SIG_IGN:  # as with nohup
        self._previous[number] = signal.signal(number, self._stop)
    return self

  def __exit__(self, *exc_info):
    for job in self._jobs.values():  # only if something went wrong here
      job.process.terminate()
    for job in self._jobs.values():
      job.process.wait()
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def _stop(self, number, frame) -> None:
    del frame
    self.stopped = True
    for job in list(self._jobs.values()):
      _pass_on(number, job.process)

  def train(self) -> None:
    """Trains what is not done, and waits for what others train; returns early if `stopped`.

    Raises:
      UserError: no device is left.
    """
    while self._go_on():
      if self._board.is_due:
        self._board.show(self._rows())
      time.sleep(POLL_SECONDS)

  def _go_on(self) -> bool:
    """Does what can be done now; returns whether more will come."""
    for place, job in list(self._jobs.items()):
      if job.process.poll() is not None:
        del self._jobs[place]
        if self._settle(job, place):
          self._free.append(place)
    while self._free and not self.stopped and (found := self._next()):
      self._start(self._free.pop(0), *found)
    if self._waiting and not self._free and not self._jobs:
      raise UserError(
        f"all devices are gone; {len(self._waiting)} runs are left: the same command goes on"
      )
    return bool(self._jobs or (self._waiting and not self.stopped))

  def _next(self) -> tuple[Run, Standing] | None:
    """The first run that nobody trains."""
    now = time.monotonic()
    for run in [run for run in self._waiting if self._not_before.get(run, 0) <= now]:
      holder = glance.holder(run.workdir)  # first: who ends after this look has done it
      standing = self._look(run)
      if standing is None:
        continue
      if standing.is_done:
        self._end(run, board.DONE)
      elif standing.is_foreign:
        self._fail(run, f": {run.workdir} holds {standing.words}")
      elif holder:
        self._hold(run, holder, HELD_SECONDS)
      else:
        return run, standing
    return None

  def _look(self, run: Run) -> Standing | None:
    """How a run stands; None if that cannot be read, and the run has failed therefore."""
    try:
      return look(run)
    except (OSError, UserError) as error:
      return self._fail(run, f": {error}")

  def _hold(self, run: Run, holder: str, seconds: float) -> None:
    if run not in self._held:
      self._board.say(f"{run}: another program trains it ({holder}); it is looked at again")
    self._held[run] = holder
    self._not_before[run] = time.monotonic() + seconds

  def _end(self, run: Run, state: str) -> None:
    self._waiting.remove(run)
    self._held.pop(run, None)
    self._ended[run] = state

  def _fail(self, run: Run, reason: str) -> None:
    self._end(run, board.FAILED)
    self.failures.append(f"{run}{reason}")
    self._board.say(f"failed: {run}{reason}")

  def _start(self, place: Place, run: Run, standing: Standing) -> None:
    self._held.pop(run, None)
    where = f" on {place.name}" if place.name else ""
    number = f"[{self._runs.index(run) + 1}/{len(self._runs)}]"
    self._board.say(f"{number} {run}: {standing.words}{where}; output in {run.log}")
    try:
      run.log.parent.mkdir(parents=True, exist_ok=True)
      output = open(run.log, "ab")
    except OSError as error:
      self._fail(run, f": cannot write {run.log}: {error.strerror}")
      self._free.append(place)
      return
    with output, place.on_its_cores():
      # In a session of its own: the terminal's Ctrl-C would reach it twice, which ends it at once.
      process = subprocess.Popen(
        run.command,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=place.environment(os.environ),
        start_new_session=True,
      )
    self._waiting.remove(run)
    self._jobs[place] = Job(run, process)
    if self.stopped:  # between the last look and the start
      process.terminate()

  def _settle(self, job: Job, place: Place) -> bool:
    """Judges how a program ended; returns whether its place can be used again."""
    run, status = job.run, job.process.returncode
    self._waiting.append(run)  # unless it is found to have ended
    if status == 0 or self.stopped:
      self._settle_well(run)
    elif TAKEN in (reason := glance.last_line(run.log)):
      again = REFUSED_SECONDS if is_remote(run.workdir) else HELD_SECONDS
      self._hold(run, glance.holder(run.workdir) or reason, again)
    elif not place.is_there():
      self._board.say(f"{place.name} is gone; {run} goes to another one")
      self._waiting.insert(0, self._waiting.pop())
      return False
    else:
      self._fail(run, f" (status {status}): {reason}; all of it in {run.log}")
    return True

  def _settle_well(self, run: Run) -> None:
    """Notes whether a program that ended without an error has finished its run."""
    if standing := self._look(run):
      self._end(run, board.DONE if standing.is_done else board.STOPPED)
      words = glance.last_line(run.log)
      if standing.is_done:
        words = board.scores_in_words(self._reader.progress(run, here=False, is_done=True))
      self._board.say(f"{self._ended[run]}: {run}: {words}")

  def _rows(self) -> list[board.Row]:
    trains = {job.run: place for place, job in self._jobs.items()}
    rows = []
    for run in self._runs:
      state, host = self._ended.get(run, board.WAITS), ""
      if run in trains:
        state, host = board.TRAINS, f"{socket.gethostname()} {trains[run].name}".strip()
      elif run in self._held:
        state, host = board.ELSEWHERE, self._held[run].rpartition(" on ")[2]
      is_done = state == board.DONE
      here = not is_done and state != board.ELSEWHERE
      progress = self._reader.progress(run, here, is_done)
      rows.append(board.Row(str(run), state, progress, run.config.num_steps, host))
    return rows


def _pass_on(number: int, process: subprocess.Popen) -> None:
  """Asks a program to save and end."""
  if process.poll() is None:
    process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)
