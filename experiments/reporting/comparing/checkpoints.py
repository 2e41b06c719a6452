"""Opening the checkpoints of compared runs, and scoring all of them on the same images.

measured = score_all(runs, data_dir=None)    # folder of a run -> result of scoring.measure
"""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence

import ml_collections

from experiments.console.errors import UserError, explained
from experiments.runs.opening import opened
from experiments.runs.records import Record
from experiments.scoring import measure
from experiments.stores.addresses import name_of
from experiments.stores.reading import brought


def data_of(record: Record, data_dir: str | None) -> ml_collections.ConfigDict:
  """The configuration of a run's data."""
  config = ml_collections.ConfigDict(record.config["data"])
  if data_dir:
    config.data_dir = data_dir
  return config


@contextlib.contextmanager
def open_run(record: Record, data_dir: str | None) -> Iterator[measure.Checkpoint]:
  """The newest checkpoint of a run, which is brought from its store if need be.

  Raises:
    UserError: there is none, or it cannot be read.
  """
  with brought(name_of(record.workdir)) as workdir, explained():
    yield measure.Checkpoint(workdir, *opened(workdir, None, data_dir))


def score_all(
  runs: Sequence[Record], num_images: int | None, data_dir: str | None
) -> tuple[dict[pathlib.Path, dict], list[str]]:
  """Scores the newest checkpoint of every run on test images of the first run's data.

  Args:
    runs: to score.
    num_images: as of `scoring.measure.Settings`.
    data_dir: where the data is now, if it has moved since training.

  Returns:
    Folder of a run -> result of `scoring.measure`; and which runs could not be scored, in words.

  Raises:
    UserError, DataError: the data cannot be read.
  """
  results, notes, evaluators = {}, [], {}
  settings, data = measure.Settings(num_images=num_images), data_of(runs[0], data_dir)
  size = runs[0].config["model"]["image_size"]
  for run in runs:
    name, own = name_of(run.workdir), run.config["model"]["image_size"]
    if own != size:
      notes.append(f"{name} was not scored: its images are {own}x{own}, not {size}x{size}.")
      continue
    print(f"scoring    {name}", flush=True)
    try:
      with open_run(run, data_dir) as checkpoint:
        checkpoint.config.data = data
        result = measure.measure(checkpoint, settings, evaluators)
    except UserError as error:
      notes.append(f"{name} was not scored: {error}")
      continue
    kept = {key: value.mean(0).tolist() for key, value in result["per_image"].items()}
    results[run.workdir] = result | {"per_image": kept}
  return results, notes
