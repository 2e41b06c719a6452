"""What a run's folder says of the run: its labels, its curves, what was measured and published.

  record = read(Path("runs/genesis_gqn"))
  record.config["model"]["name"], record.steps_done, record.rows[-1]["train/elbo"]

Reads only small files: no checkpoint and no data are opened.
"""

import dataclasses
import functools
import json
import math
import pathlib

from experiments.console.errors import UserError
from experiments.runs.folder import dictionary_in
from genesis_jax import runs


@dataclasses.dataclass(frozen=True)
class Record:
  """A run.

  Attributes:
    workdir: its folder.
    labels: what training wrote to run.json when it began.
    rows: of metrics.jsonl in the order of steps; values that are not finite are None.
    num_unreadable: lines of metrics.jsonl that are not rows.
    final: metrics.json, written at the end of training; else empty.
    imported: imported.json of a run imported from the original code; else empty.
    evaluations: of evaluate.py, by step and split.
    fids: of compute_fid.py, by step.
    steps_done: last step that was logged or saved.
    problems: files that are there but cannot be used, and why.
  """

  workdir: pathlib.Path
  labels: dict
  rows: list[dict]
  num_unreadable: int
  final: dict
  imported: dict
  evaluations: list[dict]
  fids: list[dict]
  steps_done: int
  problems: list[str]

  @property
  def config(self) -> dict:
    """The experiment's configuration."""
    return self.labels["config"]

  @property
  def diverged_at(self) -> int | None:
    """The step that diverged, or None."""
    for row in self.rows:
      value = row.get("train/diverged_at")
      if value is not None and value >= 0:
        return row["step"]
    return None

  def newest(self, prefix: str) -> tuple[int, dict[str, float]]:
    """Step and values of the last row with names that begin with `prefix`; (0, {}) if none."""
    for row in reversed(self.rows):
      found = {k.removeprefix(prefix): v for k, v in row.items() if k.startswith(prefix)}
      if any(value is not None for value in found.values()):
        return row["step"], found
    return 0, {}

  def validation(self) -> tuple[int, dict[str, float]]:
    """Step and values of the last validation; (0, {}) if there was none."""
    step, values = self.newest("val/")
    # metrics.json is older if a finished run is trained further.
    if self.final.get("val") and self.final["step"] >= step:
      return self.final["step"], self.final["val"]
    return step, values


NEEDED = (
  "data.description", "num_parameters", "config.seed", "config.num_steps", "config.batch_size",
  "config.model.name", "config.model.image_size", "config.data.name", "config.objective.geco",
  "config.optimizer.name",
)  # fmt: skip


def _labels(workdir: pathlib.Path) -> dict:
  if not workdir.is_dir():
    raise UserError(f"--workdir {workdir} does not exist; pass the --workdir used in training")
  path = workdir / "run.json"
  if not path.is_file():
    raise UserError(f"{workdir} holds no run: there is no {path.name}, which training writes")
  try:
    labels = dictionary_in(path)
    for entry in NEEDED:
      functools.reduce(lambda tree, name: tree[name], entry.split("."), labels)
  except (KeyError, TypeError, ValueError) as error:
    reason = f"it has no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
    raise UserError(
      f"{path} cannot be used ({reason}); resuming the run writes it again"
    ) from error
  return labels


def _finite(value):
  number = isinstance(value, (int, float)) and not isinstance(value, bool)
  return value if number and math.isfinite(value) else None


def read_rows(path: pathlib.Path) -> tuple[list[dict], int]:
  """Rows of a metrics.jsonl in the order of steps, and how many lines are not rows.

  A killed program may leave half a line at the end. Of lines with the same step the last counts.
  """
  return rows_in(path.read_text(errors="replace") if path.is_file() else "")


def rows_in(text: str) -> tuple[list[dict], int]:
  """`read_rows` of the content of a file."""
  by_step, unreadable = {}, 0
  for line in text.splitlines():
    try:
      row = json.loads(line)
      step = int(row["step"])
      by_step[step] = {name: _finite(value) for name, value in row.items()}
    except (KeyError, OverflowError, TypeError, ValueError):
      unreadable += 1
  return [by_step[step] for step in sorted(by_step)], unreadable


class _Files:
  """Reads files that may be missing, and notes which are damaged."""

  def __init__(self):
    self.problems = []

  def read(self, path: pathlib.Path, *needed: str) -> dict:
    """The dictionary in a file that has these keys; empty if it is missing or damaged."""
    if not path.is_file():
      return {}
    try:
      content = dictionary_in(path)
      if missing := [key for key in needed if key not in content]:
        raise ValueError(f"it has no {', '.join(missing)}")
      return content
    except (OSError, ValueError) as error:
      self.problems.append(f"{path} cannot be used: {str(error).splitlines()[0]}")
      return {}


EVALUATION = ("step", "split", "num_images", "stand_in", "scores", "definitions")


def read(workdir: pathlib.Path) -> Record:
  """Everything a run's folder says.

  Raises:
    UserError: it is missing, or not a run's.
  """
  labels = _labels(workdir)
  rows, unreadable = read_rows(workdir / "metrics.jsonl")
  files, folder = _Files(), workdir / "evaluation"
  paths = sorted(folder.glob("segmentation_step_*.json"))
  evaluations = [found for path in paths if (found := files.read(path, *EVALUATION))]
  fids = files.read(folder / "fid.json", "results").get("results", [])
  steps = [*runs.checkpoint_steps(workdir)[-1:], *(row["step"] for row in rows[-1:]), 0]
  return Record(
    workdir=workdir,
    labels=labels,
    rows=rows,
    num_unreadable=unreadable,
    final=files.read(workdir / "metrics.json", "step", "val"),
    imported=files.read(workdir / "imported.json"),
    evaluations=sorted(evaluations, key=lambda e: (e["step"], e["split"])),
    fids=sorted((f for f in fids if not f.get("raw_weights")), key=lambda f: f["step"]),
    steps_done=max(steps),
    problems=files.problems,
  )
