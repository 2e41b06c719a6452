"""Where numbers and pictures of a run go: metrics.jsonl always, CLU's writers with TensorFlow.

CLU's writers make TensorBoard's files, and log lines with `--verbosity=0`.
"""

import contextlib
import importlib.util
import json
import math
import pathlib
import time

import numpy as np

from experiments import devices
from experiments.workdirs import write_atomically


def clu_writer(folder: pathlib.Path):
  """CLU's writer of TensorBoard's files, or None where TensorFlow is not installed."""
  if importlib.util.find_spec("tensorflow") is None:
    return None
  from clu import metric_writers  # imports TensorFlow

  return metric_writers.create_default_writer(str(folder), asynchronous=True)


def _rows(path: pathlib.Path) -> list[dict]:
  """All lines of a metrics.jsonl; one that a crash cut short is left out."""
  rows = []
  for line in path.read_text().splitlines() if path.exists() else ():
    with contextlib.suppress(json.JSONDecodeError):
      rows.append(json.loads(line))
  return rows


class Logbook:
  """Writes on the main host, and does nothing on the others.

  Args:
    workdir: of the run.
    first: step that the run is taken up at; what was logged beyond it will be logged again.
  """

  def __init__(self, workdir: pathlib.Path, first: int):
    self.path = workdir / "metrics.jsonl"
    self._active = devices.is_main_host()
    self._writer = None
    if self._active:
      self._rows = [row for row in _rows(self.path) if row["step"] <= first]
      self._rewrite()
      self._writer = clu_writer(workdir / "tensorboard")

  def __enter__(self) -> "Logbook":
    return self

  def __exit__(self, *exc_info):
    if self._writer is not None:
      self._writer.close()

  def _rewrite(self) -> None:
    write_atomically(self.path, "".join(json.dumps(row) + "\n" for row in self._rows))

  @property
  def has_tensorboard(self) -> bool:
    """Whether TensorBoard's files are written too: they need TensorFlow."""
    return self._writer is not None

  def newest(self, prefix: str) -> dict[str, float]:
    """The last logged values whose names begin with `prefix`, without it."""
    for row in reversed(self._rows):
      if found := {k.removeprefix(prefix): v for k, v in row.items() if k.startswith(prefix)}:
        return found
    return {}

  def scalars(self, step: int, values: dict[str, float]) -> None:
    """Logs some numbers of a step; each step has one line, which later calls add to."""
    if not self._active or not values:
      return
    row = {k: v if math.isfinite(v) else None for k, v in sorted(values.items())}
    if self._rows and self._rows[-1]["step"] == step:
      self._rows[-1] |= row
      self._rewrite()
    else:
      self._rows.append({"step": step, "time": time.time()} | row)
      with open(self.path, "a") as file:
        file.write(json.dumps(self._rows[-1]) + "\n")
    if self._writer is not None:
      self._writer.write_scalars(step, values)

  def images(self, step: int, images: dict[str, np.ndarray]) -> None:
    """Logs batches of images: name -> uint8 `[N, H, W, 3]`."""
    if self._writer is not None:
      self._writer.write_images(step, images)
      self._writer.flush()

  def histograms(self, step: int, values: dict[str, np.ndarray]) -> None:
    """Logs distributions: name -> array of any shape."""
    if self._writer is not None and values:
      self._writer.write_histograms(step, values)
