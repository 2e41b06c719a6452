"""Trains runs as a job array of Slurm, by way of submitit.

Jobs of a sweep have its name, so that whoever gives the same command finds those that are queued,
and only what is in no job is submitted. Should one run be in two jobs, training itself holds its
lock, and the second job ends.
"""

import getpass
import hashlib
import pathlib
import shutil
import signal
import time

from data_pipelines.stores.files import is_remote
from experiments.console.errors import UserError
from experiments.runs import folder
from experiments.scheduling import board, slurm_queue
from experiments.scheduling.array_task import Task
from experiments.scheduling.plan import Run
from experiments.scheduling.standing import Reader, look
from experiments.stores import glance

POLL_SECONDS = 10.0  # between two questions to Slurm
JOBS = "jobs.json"  # job -> name of its run


class Slurm:
  """Submits runs, and watches them.

  Args:
    workdir: of the sweep.
    name: of it, for people.
    runs: all of it.
    shown: where it is told.

  Attributes:
    failures: runs that failed, and why, a line each.
    stopped: whether a signal has come.
  """

  def __init__(self, workdir: glance.Place, name: str, runs: list[Run], shown: board.Board):
    # Nodes read it: it lies on a disk that they share.
    base = pathlib.Path("runs", name) if is_remote(workdir) else pathlib.Path(workdir)
    self._folder = (base / "slurm").absolute()
    address = workdir if is_remote(workdir) else pathlib.Path(workdir).absolute()
    self._name = f"{name}-{hashlib.sha256(str(address).encode()).hexdigest()[:8]}"
    self._runs, self._board, self._reader = runs, shown, Reader()
    self._is_cancelled = False
    self._missing: set[Run] = set()  # in no job when last looked at
    self._known: dict[str, str] = {}
    self._ended: dict[Run, str] = {}
    self.failures: list[str] = []
    self.stopped = False

  def submit(self, options: dict) -> int:
    """Submits what is not done and in no job; returns how many runs that are.

    Raises:
      UserError: Slurm is not there, or refuses.
    """
    if missing := [name for name in ("sbatch", "squeue", "scancel") if not shutil.which(name)]:
      raise UserError(
        f"--launcher=slurm needs Slurm, but there is no {missing[0]} on this machine; log in where "
        "jobs are submitted, or use --launcher=local"
      )
    try:
      with folder.alone_with(self._folder / JOBS):
        return self._submit_alone(options)
    except OSError as error:
      raise UserError(f"cannot write {self._folder}: {error.strerror}") from error

  def _submit_alone(self, options: dict) -> int:
    self._known = folder.read_json(self._folder / JOBS)
    taken = {self._known.get(number) for number in slurm_queue.jobs_named(self._name)}
    left = [run for run in self._runs if str(run) not in taken and not look(run).is_done]
    runs = [run for run in left if glance.holder(run.workdir) is None]
    if not runs:
      return 0
    tasks = [Task(run.command, run.workdir, self._log(run), run.config.num_steps) for run in runs]
    numbers = slurm_queue.submitted(tasks, self._folder, self._name, options)
    self._known |= dict(zip(numbers, map(str, runs), strict=True))
    folder.write_json(self._folder / JOBS, self._known)
    array = numbers[0].partition("_")[0]
    self._board.say(f"submitted  {len(runs)} runs as job {array}; logs in {self._folder}")
    return len(runs)

  def _log(self, run: Run) -> pathlib.Path:
    if not is_remote(run.workdir):
      return run.log.absolute()
    return self._folder / f"{run.point}_seed_{run.seed}.log"

  def watch(self) -> None:
    """Returns once no run of the sweep is in a job, or trained otherwise."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    self._previous = {number: signal.signal(number, self._stop) for number in numbers}
    try:
      while self._has_more():
        self._sleep()
    finally:
      for number, handler in self._previous.items():
        signal.signal(number, handler)

  def _sleep(self) -> None:
    until = time.monotonic() + POLL_SECONDS
    while time.monotonic() < until and self.stopped == self._is_cancelled:
      time.sleep(min(0.2, POLL_SECONDS))

  def _stop(self, number, frame) -> None:
    del frame
    self.stopped = True
    signal.signal(number, self._previous[number])  # a second one ends this program alone

  def _cancel(self, numbers: list[str]) -> None:
    """Takes jobs from the queue, and lets those that run save and end."""
    slurm_queue.cancel(numbers)
    self._board.say(f"cancelled  {len(numbers)} jobs; waiting for what runs to save and end")

  def _has_more(self) -> bool:
    try:
      queue = slurm_queue.jobs_named(self._name)
      self._known = folder.read_json(self._folder / JOBS)
      jobs = {self._known.get(number): job for number, job in queue.items()}
      rows = [self._row(run, jobs.get(str(run))) for run in self._runs]
    except UserError as error:  # of Slurm, or of a store: jobs go on
      self._board.say(f"WARNING: {error}; trying again")
      return True
    me = getpass.getuser()
    mine = [number for number, job in queue.items() if job.user == me]
    if self.stopped and not self._is_cancelled and mine:
      self._cancel(mine)
    self._is_cancelled = self.stopped
    if self._board.is_due:
      self._board.show(rows)
    if self.stopped:
      return bool(mine)
    return any(row.kind in (board.TRAINS, board.QUEUED, board.ELSEWHERE) for row in rows)

  def _row(self, run: Run, job: slurm_queue.Job | None) -> board.Row:
    state, host = self._ended.get(run), ""
    if job is not None:
      self._missing.discard(run)
    if state is None and job is not None:
      is_queued = job.state in ("PENDING", "CONFIGURING")
      state = f"{board.QUEUED} ({job.reason})" if is_queued else board.TRAINS
      host = job.node
    elif state is None and look(run).is_done:
      self._tell(run, board.DONE)
      state = board.DONE
    elif state is None and (holder := glance.holder(run.workdir)):
      state, host = board.ELSEWHERE, holder.rpartition(" on ")[2]
    elif state is None and run not in self._missing:
      self._missing.add(run)  # its last files may be on their way here
      state = board.TRAINS
    elif state is None:
      state = board.STOPPED if self.stopped else board.FAILED
      self._tell(run, state)
    progress = self._reader.progress(run, here=False, is_done=state == board.DONE)
    return board.Row(str(run), state, progress, run.config.num_steps, host)

  def _reason(self, run: Run) -> str:
    """Why no job has a run any more, though it is not done: Slurm's words, or the last of its."""
    numbers = [number for number, name in self._known.items() if name == str(run)]
    for number in numbers[-1:]:
      said = self._folder / f"{number}_0_log.err"
      lines = said.read_text(errors="replace").splitlines() if said.exists() else []
      of_slurm = [line for line in lines if line.startswith("slurmstepd") and "REQUEUE" not in line]
      if of_slurm and not any(line.startswith("RuntimeError: ") for line in lines):  # of `Task`
        return of_slurm[-1].partition(": error: ")[2]
    return glance.last_line(self._log(run))

  def _tell(self, run: Run, state: str) -> None:
    """Notes the state in which a run stays."""
    self._ended[run] = state
    words = f"{self._reason(run)}; all of it in {self._log(run)}"
    if state == board.DONE:
      words = board.scores_in_words(self._reader.progress(run, here=False, is_done=True))
    elif state == board.FAILED:
      self.failures.append(f"{run}: {words}")
    self._board.say(f"{state}: {run}: {words}")
