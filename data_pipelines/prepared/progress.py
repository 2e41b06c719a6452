"""What is known of a set that is being prepared, kept in its folder in case the program is killed.

with only_one(partial):
  progress = Progress(partial, identity, on_corrupt="error")
  progress.damaged["train"] = Damaged(records=2, images=20)
  progress.save()
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from data_pipelines.durable import Taken, locked, write_atomically
from data_pipelines.sources import DataError

FILE = "progress.json"
LOCK_FILE = "lock"
LABEL_TYPES = ("bool", "uint8", "int32", "int64", "float32")


class Damaged(NamedTuple):
  """Damaged records that were left out of a split, and images that it lacks for that."""

  records: int
  images: int


def check_same(found: dict, wanted: dict, what: str) -> None:
  """Raises a DataError that names what differs."""
  differences = [
    f"{field} {found.get(field)!r} instead of {value!r}"
    for field, value in wanted.items()
    if found.get(field) != value
  ]
  if differences:
    raise DataError(
      f"{what} from another source or with other options ({', '.join(differences)}); remove it, "
      "or choose another --out"
    )


@contextmanager
def only_one(partial: Path) -> Iterator[None]:
  """Keeps two runs from writing the same files."""
  try:
    with locked(partial / LOCK_FILE):
      yield
  except Taken as error:
    raise DataError(
      f"another run is preparing in {partial} ({error}); wait for it to end"
    ) from None


class Progress:
  """What is known of a set that is not complete.

  Attributes:
    labels: per label, type and shape of one; None: no image was read yet.
    instances: whether there are ids of instances.
    damaged: per split that is finished, what was left out.
  """

  def __init__(self, partial: Path, identity: dict, *, on_corrupt: str):
    self._path, self._identity = partial / FILE, identity | dict(on_corrupt=on_corrupt)
    self.instances, self.labels, self.damaged = False, None, {}
    if any(partial.glob("*.tfrecord-*")) and self._path.exists():
      self._load(partial)
    self.save()

  def _load(self, partial: Path) -> None:
    try:
      found = json.loads(self._path.read_text())
      # Once, only image_folder had choices, and others did not say so.
      identity, wanted = {"choices": {}} | found["identity"], self._identity
      if identity["on_corrupt"] == "error":  # nothing was left out so far
        wanted = wanted | dict(on_corrupt="error")
      self.instances, self.labels = found["instances"], found["labels"]
      self.damaged = {split: Damaged(*counts) for split, counts in found["damaged"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
      what = f"{type(error).__name__}: {error}"
      raise DataError(
        f"{self._path} is damaged ({what}); remove the folder {partial} and start again"
      ) from None
    check_same(identity, wanted, f"{partial} was begun")
    logging.info("going on in %s", partial)

  def save(self) -> None:
    """Replaces the file at once."""
    fields = dict(identity=self._identity, instances=self.instances, labels=self.labels)
    write_atomically(self._path, json.dumps(fields | dict(damaged=self.damaged)) + "\n")

  def check_layout(self, batch: dict[str, np.ndarray], split: str) -> None:
    """Learns which features there are from the first batch; all others must have the same ones."""
    labels = {
      name: [values.dtype.name, list(values.shape[1:])]
      for name, values in batch.items()
      if name not in ("image", "instances")
    }
    if self.labels is None:
      for name, (dtype, _) in labels.items():
        if dtype not in LABEL_TYPES:
          raise DataError(f"label {name} of the {split} split is of type {dtype}")
      self.instances, self.labels = "instances" in batch, labels
      self.save()
    elif (self.instances, self.labels) != ("instances" in batch, labels):
      raise DataError(
        f"the {split} split has the features {sorted(batch)}, images before it had "
        f"{sorted(['image', *['instances'] * self.instances, *self.labels])}"
      )
