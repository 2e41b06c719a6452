"""Where numbers and pictures of a run go: metrics.jsonl always, CLU's writers, trackers.

CLU's writers make TensorBoard's files, and log lines with `--verbosity=0`.
"""

import contextlib
import importlib.util
import json
import math
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import numpy as np

from data_pipelines.durable import write_atomically
from experiments.console.errors import UserError
from experiments.hardware import devices
from experiments.runs.records import read_rows


def clu_writer(folder: pathlib.Path):
  """CLU's writer of TensorBoard's files, or None where CLU or TensorFlow is not installed.

  Raises:
    UserError: the folder cannot be written.
  """
  if not all(importlib.util.find_spec(name) for name in ("tensorflow", "clu")):
    return None
  # A callback of Keras's in TensorBoard's package, which CLU imports and nobody calls, would import
  # Keras: programs leave it out.
  sys.modules.setdefault("tensorboard.plugins.hparams._keras", SimpleNamespace(Callback=None))
  from clu import metric_writers  # imports TensorFlow

  with _explained(folder):
    return metric_writers.create_default_writer(str(folder), asynchronous=True)


@contextlib.contextmanager
def _explained(folder: pathlib.Path) -> Iterator[None]:
  """Turns the many kinds of errors that CLU's writers and their threads raise into one."""
  try:
    yield
  except Exception as error:
    what = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    raise UserError(f"cannot write for TensorBoard in {folder}: {what}") from error


class Logbook:
  """Writes on the main host, and does nothing on the others.

  Args:
    workdir: of the run.
    first: step that the run resumes from; what was logged after it will be logged again.
    senders: to trackers, of `trackers.following`.
  """

  def __init__(self, workdir: pathlib.Path, first: int, senders: Sequence = ()):
    self.path = workdir / "metrics.jsonl"
    self._active = devices.is_main_host()
    self._writer, self._senders = None, senders
    if self._active:
      self._rows = [row for row in read_rows(self.path)[0] if row["step"] <= first]
      self._rewrite()
      self._writer = clu_writer(workdir / "tensorboard")

  def __enter__(self) -> "Logbook":
    return self

  def __exit__(self, kind, *exc_info):
    try:
      self._for_tensorboard("close")
    except UserError as error:
      if kind is None:
        raise
      print(f"WARNING: {error}")  # what ends the program counts

  def _rewrite(self) -> None:
    with self._explained():
      write_atomically(self.path, "".join(json.dumps(row) + "\n" for row in self._rows))

  def _append(self, row: dict) -> None:
    with self._explained(), open(self.path, "a") as file:
      file.write(json.dumps(row) + "\n")

  @contextlib.contextmanager
  def _explained(self) -> Iterator[None]:
    try:
      yield
    except OSError as error:
      raise UserError(f"cannot write {self.path}: {error.strerror}") from error

  def _for_tensorboard(self, method: str, *args) -> None:
    """Calls the writer, where there is one."""
    if self._writer is not None:
      with _explained(self.path.parent / "tensorboard"):
        getattr(self._writer, method)(*args)

  def _send(self, method: str, *args) -> None:
    """Has all writers but that of metrics.jsonl do something."""
    self._for_tensorboard(method, *args)
    for sender in self._senders:
      sender.send(method, *args)

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

  def lacks(self, step: int, prefix: str) -> bool:
    """Whether a run that was logged before has no such values of a step; on other hosts False."""
    if not self._active or not self._rows:
      return False
    rows = (row for row in self._rows if row["step"] == step)
    return not any(name.startswith(prefix) for row in rows for name in row)

  def scalars(self, step: int, values: dict[str, float]) -> None:
    """Logs some numbers of a step; each step has one line, which later calls add to."""
    if not self._active or not values:
      return
    row = {k: v if math.isfinite(v) else None for k, v in sorted(values.items())}
    if self._rows and self._rows[-1]["step"] == step:
      self._rows[-1] |= row
      self._rewrite()
    else:
      # A clock that is set back stands still here: times of later steps are never earlier.
      now = max([time.time(), *(r["time"] for r in self._rows[-1:] if r.get("time"))])
      self._rows.append({"step": step, "time": now} | row)
      self._append(self._rows[-1])
    self._send("write_scalars", step, values)

  def images(self, step: int, images: dict[str, np.ndarray]) -> None:
    """Logs batches of images: name -> uint8 `[N, H, W, 3]`."""
    self._send("write_images", step, images)
    self._for_tensorboard("flush")

  def histograms(self, step: int, values: dict[str, np.ndarray]) -> None:
    """Logs distributions: name -> array of any shape."""
    if values:
      self._send("write_histograms", step, values)

  def results(self, step: int, scores: dict[str, float], report: pathlib.Path | None) -> None:
    """Sends trackers what is in the run's folder already: the scores of test images, the report."""
    for sender in self._senders:
      sender.send("write_scalars", step, {f"test/{name}": x for name, x in scores.items()})
      if report is not None:
        sender.send("write_report", report)
