"""What a job of Slurm does: one run, through preemptions and time limits, until it is done."""

import json
import os
import pathlib
import signal
import subprocess
import time

from experiments.console.errors import TAKEN
from experiments.stores import glance

POLL_SECONDS = 0.2
SIGNALS = {signal.SIGUSR1, signal.SIGUSR2}  # Slurm's warnings, which reach all programs of a job


class Task:
  """Trains a run; submitit calls it within the job.

  Args:
    command: of the training program.
    workdir: of the run.
    log: file for what it says.
    num_steps: of the training.
  """

  def __init__(self, command: list[str], workdir: glance.Place, log: pathlib.Path, num_steps: int):
    self._arguments = command, workdir, log, num_steps
    self._command, self._workdir, self._log, self._num_steps = self._arguments
    self._process: subprocess.Popen | None = None
    self._stopped = False

  def __call__(self) -> str:
    """Trains; returns how that ended, in a word.

    Raises:
      RuntimeError: training failed; its last line is in the log.
    """
    # Slurm sends it to the training program too, which a second one would end at once.
    signal.signal(signal.SIGTERM, self._note_stop)
    while not self._is_done():
      before = glance.text(self._workdir, "metrics.jsonl")
      status = self._train()
      if self._stopped:
        return "stopped"
      said = glance.last_line(self._log)
      if status:
        if TAKEN in said:
          return "taken"
        raise RuntimeError(f"status {status}: {said}")
      # Its own time limit is over, but not this job's.
      if not self._is_done() and glance.text(self._workdir, "metrics.jsonl") == before:
        raise RuntimeError(f"it ended without a step: {said}")
    return "done"

  def checkpoint(self):
    """Has training save and end; returns what goes on when the job is queued again.

    submitit calls it before a preemption or the job's time limit, in a handler of a signal.
    """
    from submitit.helpers import DelayedSubmission  # whoever has none has no such jobs

    if self._process is not None and self._process.returncode is None:
      if not self._stopped:
        self._process.terminate()
      self._stopped = True
      os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
    return DelayedSubmission(Task(*self._arguments))

  def _note_stop(self, number, frame) -> None:
    del number, frame
    self._stopped = True

  def _is_done(self) -> bool:
    try:
      return json.loads(glance.text(self._workdir, "metrics.json"))["step"] >= self._num_steps
    except (KeyError, TypeError, ValueError):  # not there, or damaged
      return False

  def _train(self) -> int:
    self._log.parent.mkdir(parents=True, exist_ok=True)
    with open(self._log, "ab") as output:
      signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # which the program keeps
      self._process = subprocess.Popen(self._command, stdout=output, stderr=subprocess.STDOUT)
      signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    while self._process.poll() is None:  # a handler may ask meanwhile, which `wait` does not allow
      time.sleep(POLL_SECONDS)
    return self._process.returncode
