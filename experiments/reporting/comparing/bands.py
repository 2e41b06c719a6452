"""Curves of groups of runs: the mean over seeds, with a band around it.

band([record, record], "val/ari_fg", "steps").mean       # [M]
panels(groups)                                       # for the page's script
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from experiments.reporting import curves
from experiments.reporting.comparing.groups import Group
from experiments.reporting.curves import COLOURS
from experiments.runs.records import Record

MAX_POINTS = 400  # of a curve on the page
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")  # once all colours are used


@dataclasses.dataclass(frozen=True)
class Band:
  """A curve.

  Attributes:
    x: steps or images `[M]`.
    mean: over the seeds that have a value there `[M]`.
    low, high: mean - and + the sample standard deviation `[M]`; NaN where there is one seed.
  """

  x: np.ndarray
  mean: np.ndarray
  low: np.ndarray
  high: np.ndarray


def look(index: int) -> tuple[str, str]:
  """Colour and dash of the line of a group."""
  return COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS) % len(DASHES)]


def split_of(runs: Sequence[Record], name: str) -> str:
  """Where all runs of a plot have a value from: "val" if as many validated it as trained with it.

  Values of training beside values of validation would not compare.
  """

  def count(split: str) -> int:
    key = f"{split}/{name}"
    return sum(any(row.get(key) is not None for row in run.rows) for run in runs)

  return max(("val", "train"), key=count)  # the first of equal ones


def band(runs: Sequence[Record], key: str, x: str = "steps", most: int | None = None) -> Band:
  """The curve of a group; empty where none of its runs logged the value.

  Args:
    runs: with different seeds.
    key: as in metrics.jsonl, such as "val/ari_fg".
    x: "steps" or "images".
    most: points; of more, neighbours are averaged.
  """
  found = [_logged(run, key, x) for run in runs]
  places = np.array(sorted(set().union(*found)), np.int64)
  values = np.array([[one.get(place, np.nan) for place in places.tolist()] for one in found])
  values = values.reshape(len(runs), len(places))
  if most and len(places) > most:
    parts = np.array_split(np.arange(len(places)), most)
    values = np.stack([_mean(values[:, part], 1) for part in parts], 1)
    places = np.array([places[part[-1]] for part in parts])
  number = np.isfinite(values).sum(0)
  mean = _mean(values, 0)
  squares = np.where(np.isfinite(values), (values - mean) ** 2, 0).sum(0)
  std = np.where(number > 1, np.sqrt(squares / np.maximum(number - 1, 1)), np.nan)
  return Band(places, mean, mean - std, mean + std)


def _logged(record: Record, key: str, x: str) -> dict[int, float]:
  """Step (or images) -> value of one run."""
  scale = record.config["batch_size"] if x == "images" else 1
  return {row["step"] * scale: row[key] for row in record.rows if row.get(key) is not None}


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
  """Of those that are there; NaN where none is."""
  known = np.isfinite(values)
  total, number = np.where(known, values, 0).sum(axis), known.sum(axis)
  return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def line(band: Band, label: str, split: str, index: int) -> dict:
  """A curve as plain values for the page's script."""
  colour, dash = look(index)
  plain = dict(x=band.x.tolist(), y=curves.shorter(band.mean), name=label, split=split, key=index)
  if np.isfinite(band.low).any():
    plain |= dict(low=curves.shorter(band.low), high=curves.shorter(band.high))
  return plain | dict(colour=colour, dash=dash)


def panel(group: str, title: str, about: str, lines: list[dict], log: bool = False, **more) -> dict:
  """A plot as plain values for the page's script."""
  values = [y for line in lines for y in line["y"] + line.get("low", []) if y is not None]
  positive = min(values) > 0
  return dict(group=group, title=title, about=about, positive=positive, goal=None, lines=lines,
              log=log and positive and max(values) > 3 * min(values)) | more  # fmt: skip


def panels(groups: Sequence[Group]) -> list[dict]:
  """A plot for each value that some run logged."""
  runs = [run for group in groups for run in group.runs]
  found = []
  for value in curves.values([row for run in runs for row in run.rows]):
    (name,) = value.names
    split = split_of(runs, name)
    bands = [band(group.runs, f"{split}/{name}", most=MAX_POINTS) for group in groups]
    lines = [
      line(one, group.label, curves.SPLITS[split], index)
      for index, (one, group) in enumerate(zip(bands, groups, strict=True))
      if one.x.size
    ]
    if lines:
      about = f"In {curves.SPLITS[split]}: {value.about}"
      found.append(panel(value.group, value.title, about, lines, value.log))
  return found
