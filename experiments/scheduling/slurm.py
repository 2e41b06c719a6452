"""Trains runs as a job array of Slurm, by way of submitit.

Jobs of a sweep have its name, so that whoever gives the same command finds those that are queued,
and only what is in no job is submitted. Should one run be in two jobs, training itself holds its
lock, and the second job ends.
"""

import contextlib
import dataclasses
import getpass
import hashlib
import io
import os
import pathlib
import shutil
import signal
import subprocess
import time
import tomllib

from data_pipelines.stores.files import is_remote
from experiments.console.errors import UserError
from experiments.runs import folder
from experiments.scheduling import board
from experiments.scheduling.array_task import Task
from experiments.scheduling.local import last_line
from experiments.scheduling.plan import Run
from experiments.scheduling.standing import Reader, look
from experiments.stores import glance

POLL_SECONDS = 10.0  # between two questions to Slurm
SIGNAL_SECONDS = 120  # before a job's time is over, for saving
FOR_EVER = 10**6  # times that a job may reach its limit and go on
DEFAULT_TIME = "24:00:00"
JOBS = "jobs.json"  # job -> name of its run


def parameters(options) -> dict[str, str]:
  """Options of sbatch: those of a file, over them the flags.

  Raises:
    UserError: the file cannot be read.
  """
  found = {"time": DEFAULT_TIME}
  if options.slurm_file:
    try:
      content = tomllib.loads(options.slurm_file.read_text())
    except (OSError, ValueError) as error:
      raise UserError(
        f"--slurm_file: {options.slurm_file} cannot be read ({error}); it has lines such as "
        'partition = "gpu"'
      ) from error
    found |= {name.replace("_", "-"): value for name, value in content.items()}
  flags = {"partition": options.partition, "time": options.time, "account": options.account}
  flags["gpus-per-node"] = options.gpus
  found |= {name: value for name, value in flags.items() if value is not None}
  return found | {name.replace("_", "-"): value for name, value in options.slurm}


@dataclasses.dataclass(frozen=True)
class Job:
  """A job in Slurm's queue: whose it is; PENDING, RUNNING ...; why it waits; where it runs."""

  user: str
  state: str
  reason: str
  node: str


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
    submitit = _submitit()
    self._known = folder.read_json(self._folder / JOBS)
    taken = {self._known.get(number) for number in self._queue()}
    runs = [run for run in self._runs if str(run) not in taken and not look(run).is_done]
    if not runs:
      return 0
    executor = submitit.SlurmExecutor(self._folder, max_num_timeout=FOR_EVER)
    executor.update_parameters(
      job_name=self._name,
      signal_delay_s=SIGNAL_SECONDS,
      array_parallelism=len(runs),  # it is Slurm that knows how many
      additional_parameters={"requeue": True, **options},
    )
    tasks = [Task(run.command, run.workdir, self._log(run), run.config.num_steps) for run in runs]
    try:
      with contextlib.redirect_stderr(io.StringIO()), executor.batch():  # it says errors twice
        jobs = [executor.submit(task) for task in tasks]
    except submitit.core.utils.FailedJobError as error:
      reason = " ".join(str(error).replace("sbatch: error: ", "").split())
      raise UserError(
        f"Slurm refuses the {len(runs)} runs: {reason}; nothing was submitted: change --partition, "
        "--time, --gpus, --account or --slurm, or, if the queue is full, give the same command "
        "again later"
      ) from error
    numbers = [job.job_id for job in jobs]
    self._known |= dict(zip(numbers, map(str, runs), strict=True))
    folder.write_json(self._folder / JOBS, self._known)
    array = numbers[0].partition("_")[0]
    self._board.say(f"submitted  {len(runs)} runs as job {array}; logs in {self._folder}")
    return len(runs)

  def _log(self, run: Run) -> pathlib.Path:
    if not is_remote(run.workdir):
      return run.log.absolute()
    return self._folder / f"{run.point}_seed_{run.seed}.log"

  def _queue(self) -> dict[str, Job]:
    """Jobs of this sweep that have not ended, whoever submitted them.

    Raises:
      UserError: Slurm does not answer.
    """
    words = ["-h", "-r", f"--name={self._name}", "-o", "%i|%u|%T|%r|%N"]
    lines = _asked(["squeue", *words]).splitlines()
    return {number: Job(*rest) for number, *rest in (line.split("|") for line in lines)}

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
    for words in (["--state=PENDING"], ["--state=RUNNING", "--signal=TERM"]):
      subprocess.run(["scancel", *words, *numbers], capture_output=True, check=False)
    self._board.say(f"cancelled  {len(numbers)} jobs; waiting for what runs to save and end")

  def _has_more(self) -> bool:
    try:
      queue = self._queue()
    except UserError as error:
      self._board.say(f"WARNING: {error}; trying again")
      return True
    self._known = folder.read_json(self._folder / JOBS)
    me = getpass.getuser()
    mine = [number for number, job in queue.items() if job.user == me]
    if self.stopped and not self._is_cancelled and mine:
      self._cancel(mine)
    self._is_cancelled = self.stopped
    jobs = {self._known.get(number): job for number, job in queue.items()}
    rows = [self._row(run, jobs.get(str(run))) for run in self._runs]
    if self._board.is_due:
      self._board.show(rows)
    if self.stopped:
      return bool(mine)
    return any(row.kind in (board.TRAINS, board.QUEUED, board.ELSEWHERE) for row in rows)

  def _row(self, run: Run, job: Job | None) -> board.Row:
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
    return last_line(self._log(run))

  def _tell(self, run: Run, state: str) -> None:
    """Notes the state in which a run stays."""
    self._ended[run] = state
    words = f"{self._reason(run)}; all of it in {self._log(run)}"
    if state == board.DONE:
      words = board.scores_in_words(self._reader.progress(run, here=False, is_done=True))
    elif state == board.FAILED:
      self.failures.append(f"{run}: {words}")
    self._board.say(f"{state}: {run}: {words}")


def _submitit():
  """The package, an extra, without its configuration of logs, which closes the handlers of others.

  Raises:
    UserError: it is not installed.
  """
  before = os.environ.get("SUBMITIT_LOG_LEVEL")
  os.environ["SUBMITIT_LOG_LEVEL"] = "NOCONFIG"
  try:
    import submitit
  except ImportError:
    raise UserError("--launcher=slurm needs submitit: pip install submitit") from None
  finally:
    del os.environ["SUBMITIT_LOG_LEVEL"]
    if before is not None:
      os.environ["SUBMITIT_LOG_LEVEL"] = before  # jobs have it too
  return submitit


def _asked(command: list[str]) -> str:
  """What a program of Slurm says.

  Raises:
    UserError: it fails.
  """
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  if done.returncode:
    reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    raise UserError(f"Slurm does not answer: {reason.removeprefix('error: ')}")
  return done.stdout
