"""What is asked of Slurm: to run jobs, through submitit, which there are, and to cancel them."""

import contextlib
import dataclasses
import io
import os
import pathlib
import subprocess
import tomllib

from experiments.console.errors import UserError
from experiments.scheduling.array_task import Task

SIGNAL_SECONDS = 120  # before a job's time is over, for saving
FOR_EVER = 10**6  # times that a job may reach its limit and go on
DEFAULT_TIME = "24:00:00"


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


def submitted(tasks: list[Task], logs: pathlib.Path, name: str, options: dict) -> list[str]:
  """Submits tasks as one array of jobs; returns the jobs.

  Args:
    tasks: to run.
    logs: folder, on a disk that the nodes share.
    name: of the jobs.
    options: see `parameters`.

  Raises:
    UserError: submitit is not installed, or Slurm refuses.
  """
  submitit = _submitit()
  executor = submitit.SlurmExecutor(logs, max_num_timeout=FOR_EVER)
  executor.update_parameters(
    job_name=name,
    signal_delay_s=SIGNAL_SECONDS,
    array_parallelism=len(tasks),  # it is Slurm that knows how many
    additional_parameters={"requeue": True, **options},
  )
  try:
    with contextlib.redirect_stderr(io.StringIO()), executor.batch():  # it says errors twice
      jobs = [executor.submit(task) for task in tasks]
  except submitit.core.utils.FailedJobError as error:
    reason = "; ".join(str(error).replace("sbatch: error: ", "").splitlines())
    raise UserError(
      f"Slurm refuses the {len(tasks)} runs: {reason}; nothing was submitted: change --partition, "
      "--time, --gpus, --account or --slurm, or, if the queue is full, give the same command "
      "again later"
    ) from error
  return [job.job_id for job in jobs]


def jobs_named(name: str) -> dict[str, Job]:
  """Jobs of this name that have not ended, whoever submitted them.

  Raises:
    UserError: Slurm does not answer.
  """
  command = ["squeue", "-h", "-r", f"--name={name}", "-o", "%i|%u|%T|%r|%N"]
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  if done.returncode:
    reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    raise UserError(f"Slurm does not answer: {reason}")
  lines = (line.split("|") for line in done.stdout.splitlines())
  return {number: Job(*rest) for number, *rest in lines}


def cancel(numbers: list[str]) -> None:
  """Takes jobs from the queue, and asks those that run to save and end."""
  for words in (["--state=PENDING"], ["--state=RUNNING", "--signal=TERM"]):
    subprocess.run(["scancel", *words, *numbers], capture_output=True, check=False)


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
