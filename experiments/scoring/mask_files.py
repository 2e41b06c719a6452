"""Masks of any model, read from `.npz` files, and their scores under every protocol.

truth, predictions = read(Path("T.npz"), Path("P.npz"))
show(score(truth, predictions, background=1, num_bootstrap=1000, seed=0))
"""

import io
import pathlib

import numpy as np

from data_pipelines.stores.files import is_remote, open_store
from experiments.console.errors import DAMAGED_NPZ, UserError, explained
from experiments.scoring.protocols import PROTOCOLS
from experiments.scoring.summaries import bootstrap, number, resample, summary, text_table
from experiments.stores import transfers
from genesis_jax.contingency import contingency_tables

MAX_SEGMENTS = 256  # in one image; more are no segments
KEY = "masks"


def _source(path: pathlib.Path | str) -> pathlib.Path | io.BytesIO:
  """What NumPy reads: a file's path, or the content of one in a store."""
  if not is_remote(path):
    return path
  with transfers.explained(path):
    system, inner = open_store(path)
    return io.BytesIO(system.cat_file(inner))


def read_array(path: pathlib.Path | str) -> np.ndarray:
  """The array in a `.npz` file, or the one named "masks".

  Raises:
    UserError: if it is not such a file, or which array is meant is unclear.
  """
  try:
    file = np.load(_source(path), allow_pickle=False)
    if not isinstance(file, np.lib.npyio.NpzFile):
      raise ValueError(f"it holds a bare array; write it with np.savez(..., {KEY}=array)")
    with file:
      if not file.files or (len(file.files) > 1 and KEY not in file.files):
        raise ValueError(f"it has the arrays {file.files}; one of them must be named {KEY!r}")
      return file[KEY if KEY in file.files else file.files[0]]
  except OSError as error:
    raise UserError(f"cannot read {path}: {error.strerror or error}") from error
  except DAMAGED_NPZ as error:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    reason = "damaged, or not an .npz file" if "pickle" in reason else reason
    raise UserError(f"{path} cannot be used as a .npz file: {reason}") from error


def true_ids(array: np.ndarray, path: pathlib.Path) -> np.ndarray:
  """Integer ids `[N,H,W]`; an axis of channels of length 1 is dropped.

  Raises:
    UserError: for anything else.
  """
  if array.ndim == 4 and 1 in (array.shape[1], array.shape[3]):
    array = array.squeeze(1 if array.shape[1] == 1 else 3)
  if array.ndim != 3 or 0 in array.shape:
    raise UserError(f"{path} has shape {array.shape}; ids of the truth must be [N, H, W]")
  if not np.issubdtype(array.dtype, np.integer):
    raise UserError(
      f"{path} has type {array.dtype}; ids of the truth must be integers: astype(np.int32)"
    )
  return array


def _slot_axis(shape: tuple[int, ...], truth: tuple[int, ...], path, chosen: int | None) -> int:
  fits = [axis for axis in (1, -1) if np.delete(shape, axis).tolist() == list(truth)]
  if chosen is not None and chosen in fits:
    return chosen
  n, h, w = truth
  if not fits or chosen is not None:
    given = "" if chosen is None else f" with --slot_axis={chosen}"
    raise UserError(
      f"{path} has shape {shape}{given}, but the truth is {truth}: predictions must be ids "
      f"[{n}, {h}, {w}] or masks [{n}, K, {h}, {w}] or [{n}, {h}, {w}, K]"
    )
  if len(fits) == 2:
    raise UserError(
      f"{path} has shape {shape}, in which either axis can be that of slots; say which with "
      "--slot_axis=1 or --slot_axis=-1"
    )
  return fits[0]


def predicted_ids(
  array: np.ndarray, truth: tuple[int, ...], path: pathlib.Path, slot_axis: int | None = None
) -> np.ndarray:
  """Ids `[N,H,W]` of predictions, which are ids or masks with an axis of slots.

  Args:
    array: ids, or masks; of masks `[N,K,1,H,W]` and `[N,K,H,W,1]` the axis of length 1 is dropped.
    truth: shape of the true ids.
    path: of the file, for messages.
    slot_axis: 1 or -1 where the shape does not tell.

  Raises:
    UserError: if the shape does not fit, or values are no ids and no masks.
  """
  if array.ndim == 5 and 1 in (array.shape[2], array.shape[4]):
    array = array.squeeze(2 if array.shape[2] == 1 else 4)
  if array.shape == truth:
    if not np.issubdtype(array.dtype, np.integer):
      raise UserError(
        f"{path} has type {array.dtype} and no axis of slots; predicted ids must be integers: "
        "astype(np.int32)"
      )
    if array.min() < 0:
      raise UserError(
        f"{path} has the id {array.min()}; predicted ids must be from 0 on (only the truth can "
        "ignore pixels)"
      )
    return array
  axis = _slot_axis(array.shape, truth, path, slot_axis)
  if array.shape[axis] > MAX_SEGMENTS:
    raise UserError(f"{path} has {array.shape[axis]} slots; at most {MAX_SEGMENTS} can be scored")
  if array.dtype.kind not in "biuf":
    raise UserError(f"{path} has type {array.dtype}; masks must be numbers")
  if array.dtype.kind == "f" and np.isnan(array).any():
    bad = np.unique(np.argwhere(np.isnan(array))[:, 0])
    raise UserError(f"{path} has NaNs in {len(bad)} of {len(array)} images, first in {bad[0]}")
  return array.argmax(axis)


def check_number_of_segments(ids: np.ndarray, path: pathlib.Path) -> None:
  """Raises UserError if an image has too many segments for them to be segments."""
  if ids.max() < MAX_SEGMENTS:
    return
  distinct = (np.diff(np.sort(ids.reshape(len(ids), -1), 1), axis=1) != 0).sum(1) + 1
  if distinct.max() > MAX_SEGMENTS:
    raise UserError(
      f"{path} has {distinct.max()} different ids in image {distinct.argmax()}; at most "
      f"{MAX_SEGMENTS} segments can be scored: are these ids of segments?"
    )


def read(
  truth: pathlib.Path, predictions: pathlib.Path, slot_axis: int | None = None, background: int = 1
) -> tuple[np.ndarray, np.ndarray]:
  """True and predicted ids `[N,H,W]` from two files.

  Args:
    truth, predictions: the files.
    slot_axis: see `predicted_ids`.
    background: how many of the true ids, from 0 on, are background.

  Raises:
    UserError: in one line, if a file cannot be used.
  """
  true = true_ids(read_array(truth), truth)
  predicted = predicted_ids(read_array(predictions), true.shape, predictions, slot_axis)
  check_number_of_segments(true, truth)
  # Ids as large as this are renumbered, but here their values matter.
  if background > 1 and true.max() >= MAX_SEGMENTS:
    raise UserError(
      f"{truth} has the id {true.max()}; with --background_ids={background} true ids must be below "
      f"{MAX_SEGMENTS}"
    )
  check_number_of_segments(predicted, predictions)
  return true, predicted


def score(
  truth: np.ndarray, predictions: np.ndarray, background: int, num_bootstrap: int, seed: int
) -> dict:
  """Scores of ids `[N,H,W]` under every protocol, as written to JSON.

  Args:
    truth, predictions: from `read`.
    background: as for `read`.
    num_bootstrap, seed: of the draws of images for intervals.

  Raises:
    UserError: an id is too large.
  """
  with explained():
    counts = contingency_tables(truth, predictions).astype(np.float64)
  resamples = resample(len(truth), num_bootstrap, seed)
  protocols = {}
  for protocol in PROTOCOLS:
    scores = {}
    for name, values in protocol.scores(counts, background).items():
      low, high = bootstrap(values, resamples)
      interval = dict(interval_low=low, interval_high=high)
      scores[name] = summary(values[None]) | interval
      scores[name]["definition"] = protocol.definitions[name]
    protocols[protocol.name] = dict(
      source=protocol.source, difference=protocol.difference, scores=scores
    )
  return dict(
    num_images=len(truth),
    image_shape=truth.shape[1:],
    num_ignored_pixels=int((truth < 0).sum()),
    num_bootstrap=num_bootstrap,
    seed=seed,
    background_ids=background,
    interval="95% percentile bootstrap over images",
    protocols=protocols,
  )


def show(result: dict) -> None:
  """Prints the table, and why its numbers differ."""
  height, width = result["image_shape"]
  ignored = result["num_ignored_pixels"] / (result["num_images"] * height * width)
  print(
    f"images     {result['num_images']} of {height}x{width}, {ignored:.1%} of the pixels ignored"
  )
  print(f"intervals  95%, bootstrap over images ({result['num_bootstrap']} samples, seed "
        f"{result['seed']})\n")  # fmt: skip
  rows = [["protocol", "score", "mean", "95% interval", "images", "definition"]]
  for protocol, entry in result["protocols"].items():
    for name, s in entry["scores"].items():
      interval = f"{number(s['interval_low'], 3)} .. {number(s['interval_high'], 3)}"
      count = str(s["num_images"])
      rows.append([protocol, name, number(s["mean"]), interval, count, s["definition"]])
  print(text_table(rows) + "\n\nWhy they differ:")
  sources = [[f"{name}:", entry["difference"]] for name, entry in result["protocols"].items()]
  print(text_table(sources, "  "), flush=True)
