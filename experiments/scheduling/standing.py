"""How far a run is, read from its own files.

look(run).is_done, look(run).words                        # done, new, resumes from step 3
Reader().progress(run, here=True).step                    # and its speed, newest scores ...
"""

import dataclasses
import json
import pathlib
import time

from data_pipelines.stores.files import is_remote
from experiments.console.errors import UserError
from experiments.runs import changes
from experiments.runs.records import rows_in
from experiments.scheduling.plan import Run
from experiments.stores import glance

DONE, NEW = "done", "new"
STORE_SECONDS = 30  # between two looks at what a run in a store has logged
SPEED = "train/steps_per_second"


@dataclasses.dataclass(frozen=True)
class Standing:
  """Whether a run can go on, and from where.

  Attributes:
    words: done, new, "resumes from step <n>", or "another experiment: <difference>".
    step: of its newest checkpoint; -1 without any.
    is_foreign: whether its folder holds another experiment.
  """

  words: str
  step: int = -1
  is_foreign: bool = False

  @property
  def is_done(self) -> bool:
    """Whether its final numbers are there."""
    return self.words == DONE


def look(run: Run) -> Standing:
  """How a run stands.

  Raises:
    UserError: its files are damaged, or the store cannot be read.
  """
  saved = glance.dictionary(run.workdir, "config.json")
  steps = glance.checkpoint_steps(run.workdir)
  step = steps[-1] if steps else -1
  final = glance.dictionary(run.workdir, "metrics.json") if saved else {}
  if saved and (steps or final):
    wanted = json.loads(run.config.to_json_best_effort())
    for name, values in changes.differences_of_settings(saved, wanted).items():
      return Standing(f"another experiment: {name}: {values}", step, is_foreign=True)
    if final.get("step", -1) >= run.config.num_steps:
      return Standing(DONE, step)
  return Standing(f"resumes from step {step}" if steps else NEW, step)


@dataclasses.dataclass(frozen=True)
class Progress:
  """What a run has logged.

  Attributes:
    step: the last one.
    steps_per_second: None before that is known.
    seconds_left: of training, at that speed; None where it is not known, or has ended.
    scores: newest numbers of a validation.
  """

  step: int = 0
  steps_per_second: float | None = None
  seconds_left: float | None = None
  scores: dict[str, float] = dataclasses.field(default_factory=dict)

  @classmethod
  def of(cls, num_steps: int, rows: list[dict], final: dict) -> "Progress":
    """From the rows of metrics.jsonl, and from metrics.json where training has ended."""
    if final.get("step", -1) >= num_steps:
      return cls(final["step"], scores=final.get("val", {}))
    if not rows:
      return cls()
    step = rows[-1]["step"]
    speed = next((row[SPEED] for row in reversed(rows) if row.get(SPEED)), None)
    scores = next((found for row in reversed(rows) if (found := _validation(row))), {})
    return cls(step, speed, (num_steps - step) / speed if speed else None, scores)


def _validation(row: dict) -> dict[str, float]:
  return {
    name.removeprefix("val/"): value
    for name, value in row.items()
    if name.startswith("val/") and value is not None
  }


class Reader:
  """Reads the progress of runs again and again; what has not changed is not read twice."""

  def __init__(self):
    self._known: dict[Run, tuple] = {}  # run -> what its files looked like, and its progress

  def progress(self, run: Run, here: bool, is_done: bool = False) -> Progress:
    """The newest progress of a run that can be read.

    Args:
      run: which.
      here: whether it trains on this machine.
      is_done: whether it will not change any more.
    """
    place = glance.folder_of(run.workdir) if here else run.workdir
    looks = (DONE,) if is_done else _looks_of(place)
    if self._known.get(run, (None,))[0] != looks:
      try:
        rows, _ = rows_in(glance.text(place, "metrics.jsonl") or "")
        final = glance.dictionary(place, "metrics.json")
        progress = Progress.of(run.config.num_steps, rows, final)
      except (OSError, UserError):  # nothing that concerns training
        progress = self._known.get(run, (None, Progress()))[1]
      self._known[run] = looks, progress
    return self._known[run][1]


def _looks_of(place: glance.Place) -> tuple:
  """What changes when a run logs something; of stores, which are not asked so often, the time."""
  if is_remote(place):
    return (int(time.monotonic() / STORE_SECONDS),)
  return tuple(_stamp(pathlib.Path(place) / name) for name in ("metrics.jsonl", "metrics.json"))


def _stamp(path: pathlib.Path) -> tuple[int, int] | None:
  try:
    status = path.stat()
  except OSError:
    return None
  return status.st_mtime_ns, status.st_size
