"""The scores of test images that end a training, as evaluate and compute_fid measure them.

  if final_scores.measure(run, state):          # False: someone asked to stop
    print(final_scores.words(run.workdir, step))

What is there already is not measured again, so that the same command finishes what was interrupted.
"""

import pathlib
from collections.abc import Callable

import jax
from absl import logging

import data_pipelines
from experiments.console.errors import UserError
from experiments.console.program import command
from experiments.hardware import devices
from experiments.runs import folder
from experiments.scoring import files, scores
from experiments.scoring import measure as scoring
from experiments.scoring.fid import distance, weights
from experiments.scoring.fid.network import Stopped

CPU_FID_IMAGES = 1000  # more take half an hour on CPUs; then it is left to compute_fid


def measure(run, state) -> bool:
  """Measures what is not there yet, and writes it; returns False if it was asked to stop.

  Every host measures on its own devices, since none may wait for another, and the first one writes.
  Whatever cannot be measured is a warning: the run has ended well.

  Args:
    run: a `loop.Run`, trained to its end.
    state: a replicated TrainState.
  """
  state = devices.to_host(state)
  checkpoint = scoring.Checkpoint(
    run.workdir, int(state.step), run.model, state.variables, run.config
  )
  return _tried(_segmentation, run, checkpoint, "evaluate") and _tried(
    _fid, run, checkpoint, "compute_fid"
  )


def _tried(measured: Callable, run, checkpoint: scoring.Checkpoint, program: str) -> bool:
  try:
    measured(checkpoint, lambda: run.stop.asked)
  except Stopped:
    pass
  except (UserError, data_pipelines.DataError, OSError) as error:
    again = command(program, run.workdir)
    logging.warning("test images were not scored (%s); try again with %s", error, again)
  return not run.stop.asked


def _segmentation(checkpoint: scoring.Checkpoint, should_stop: Callable[[], bool]) -> None:
  """Losses and segmentation scores."""
  place, usual = _folder(checkpoint.workdir), checkpoint.config.test_images
  if not usual or _read(files.json_path(place, checkpoint.step, "test")).get("scores"):
    return
  settings = scoring.Settings(usual=usual, batch_size=min(32, usual))
  result = scoring.measure(checkpoint, settings, {}, should_stop)
  if result and devices.is_main_host():
    files.write(result, place)


def _fid(checkpoint: scoring.Checkpoint, should_stop: Callable[[], bool]) -> None:
  """FID, where nothing has to be downloaded for it and it does not take too long."""
  config, file = checkpoint.config, weights.at_hand()
  usual, path = config.test_fid_images, _folder(checkpoint.workdir) / "fid.json"
  is_possible = file and jax.process_count() == 1 and hasattr(checkpoint.model, "sample")
  if not config.test_images or not usual or not is_possible:
    return
  if any(old["step"] == checkpoint.step for old in _read(path).get("results", [])):
    return
  there = data_pipelines.num_examples(config.data, "test")
  count = usual if there is None else min(usual, there)
  if count < 2 or jax.default_backend() == "cpu" and count > CPU_FID_IMAGES:
    return
  result = distance.measure(checkpoint, distance.Settings(usual=usual), should_stop)
  distance.record(path, result)


def _path(workdir: pathlib.Path, step: int) -> pathlib.Path:
  """The file of segmentation scores."""
  return files.json_path(_folder(workdir), step, "test")


def _folder(workdir: pathlib.Path) -> pathlib.Path:
  return workdir / "evaluation"


def _read(path: pathlib.Path) -> dict:
  """What a file of results says; nothing where it is missing or damaged."""
  try:
    return folder.read_json(path)
  except UserError:
    return {}


def found(workdir: pathlib.Path, step: int) -> dict[str, float]:
  """Name -> each score of test images that there is of a step."""
  result = _read(_path(workdir, step)).get("scores", {})
  means = {name: summary["mean"] for name, summary in result.items()}
  fids = _read(_folder(workdir) / "fid.json").get("results", [])
  if fids and fids[-1]["step"] == step:
    means["fid"] = fids[-1]["fid"]
  return {name: mean for name, mean in means.items() if mean is not None}


def words(workdir: pathlib.Path, step: int) -> str:
  """The test scores of a step in a line; empty where there are none."""
  means = found(workdir, step)
  shown = [*scores.named(means, scores.LINE), *({"fid"} & means.keys())]
  images = _read(_path(workdir, step)).get("images", "test images")
  parts = ", ".join(f"{name} {means[name]:.4g}" for name in shown)
  return f"test: {parts} on {images}" if parts else ""
