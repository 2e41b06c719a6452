"""Scores against each dial, and the worst images: what is looked at.

figure = curves(result, title)                     # of matplotlib
sheet = worst_images(bench, found, rows=2)         # of figures.sheets
"""

import re
from collections.abc import Sequence
from types import SimpleNamespace

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter

from experiments.figures.galleries import whole_images
from experiments.figures.sheets import Row, Sheet, arranged, table
from experiments.figures.view import plain_labels
from experiments.reporting.curves import COLOURS
from experiments.scoring import scores
from experiments.scoring.evaluator import noise_key
from experiments.shifts.dials import Dial
from experiments.shifts.measuring import Bench, Measured
from genesis_jax.noise import draw_noise
from genesis_jax.slot_matching import matched_labels
from genesis_jax.training import to_float

NUM_COLUMNS = 5
WIDTH, HEIGHT = 2.6, 2.7  # of a dial's panels, inches
MARKERS = "osD^v"
LINE = 14  # characters of a label's line
SHEET_COLUMNS = 2

Found = Sequence[tuple[Dial, list[Measured]]]


def _lines(names: Sequence[str]) -> list[list[str]]:
  """Names of scores that share axes: all of segments, and each of the others by itself."""
  segments = [name for name in names if scores.is_segmentation(name)]
  return ([segments] if segments else []) + [[name] for name in names if name not in segments]


def _fill(axes, dial: Dial, measured: list[Measured], names: list[str], styles: dict) -> None:
  """Draws some scores of a dial, with intervals, beside their value on the training level."""
  usual = [level.is_training for level in dial.levels].index(True)
  axes.axvspan(usual - 0.3, usual + 0.3, color="0.9", lw=0)
  for name in names:
    known = [(x, one.scores[name]) for x, one in enumerate(measured) if name in one.scores]
    known = [(x, score) for x, score in known if score["mean"] is not None]
    if not known:
      continue
    places, values = zip(*known, strict=True)
    mean, low, high = (np.array([v[end] for v in values]) for end in ("mean", "low", "high"))
    colour, marker = styles[name]
    axes.errorbar(
      places, mean, [mean - low, high - mean], color=colour, marker=marker, markersize=3.5,
      lw=1.2, elinewidth=0.9, capsize=2,
    )  # fmt: skip
    at_usual = dict(known).get(usual)
    if at_usual:
      axes.axhline(at_usual["mean"], color=colour, lw=0.7, ls=":")
  axes.set_xlim(-0.45, len(dial.levels) - 0.55)
  axes.grid(axis="y", alpha=0.3)
  axes.tick_params(labelsize=7)


def _broken(label: str) -> str:
  """A long name in short lines, as of a data set and its variant."""
  lines = [""]
  for part in re.findall(r"[^:_]*[:_]?", label):
    if lines[-1] and (len(lines[-1] + part) > LINE or lines[-1].endswith(":")):
      lines.append("")
    lines[-1] += part
  return "\n".join(lines)


def _scale(axes, found: Found, name: str) -> None:
  """The same axis of values for all dials: from 0 to 1 for segments, else what there is."""
  if scores.is_segmentation(name):
    axes.set_ylim(-0.03, 1.03)
    return
  known = [one.scores[name] for _, measured in found for one in measured if name in one.scores]
  ends = [score[end] for score in known for end in ("low", "high") if score[end] is not None]
  if ends and min(ends) > 0:
    axes.set_yscale("log")
    axes.yaxis.set_minor_formatter(NullFormatter())  # its labels would touch
    axes.set_ylim(min(ends) / 1.5, max(ends) * 1.5)


def curves(found: Found, names: Sequence[str], title: str) -> Figure:
  """A figure with panels for each dial, all on the same scales.

  Args:
    found: dials, and what their levels led to.
    names: of scores.
    title: above.
  """
  groups = _lines(names)
  columns = min(NUM_COLUMNS, len(found))
  rows = -(-len(found) // columns)
  figure = Figure(figsize=(WIDTH * columns, HEIGHT * rows + 0.9), layout="constrained")
  blocks = figure.subfigures(rows, columns, squeeze=False)
  styles = {n: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, n in enumerate(names)}
  heights = [2.2 if scores.is_segmentation(group[0]) else 1.0 for group in groups]
  for block, (dial, measured) in zip(blocks.flat, found, strict=False):
    panels = block.subplots(len(groups), 1, sharex=True, squeeze=False, height_ratios=heights)
    for group, axes in zip(groups, panels[:, 0], strict=True):
      _fill(axes, dial, measured, group, styles)
      _scale(axes, found, group[0])
    panels[0, 0].set_title(dial.name, fontsize=9, fontweight="bold")
    labels = [_broken(level.label) for level in dial.levels]
    small = dict(fontsize=5.5) if any("\n" in label for label in labels) else {}
    panels[-1, 0].set_xticks(range(len(labels)), labels, **small)
    panels[-1, 0].set_xlabel(dial.about, fontsize=7.5)
  figure.suptitle(title, fontsize=10)
  handles = [
    Line2D([], [], color=colour, marker=marker, ms=4, label=scores.label(name))
    for name, (colour, marker) in styles.items()
  ]
  handles.append(Patch(color="0.9", label="training distribution"))
  figure.legend(
    handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9, frameon=False
  )
  return figure


def _looked_at(bench: Bench, num_slots: int | None, seed: int):
  """A function of images and their places: outputs with the noise that they were scored with."""
  model, key = bench.model(num_slots), jax.random.wrap_key_data(noise_key(seed))

  @jax.jit
  def look(variables, images, index):
    noise = draw_noise(key, model.noise_spec(), index)
    return model.apply(variables, to_float(images), train=False, noise=noise)

  return lambda batch: jax.device_get(
    look(bench.variables, batch["image"], batch["index"].astype(np.uint32))
  )


def worst_images(bench: Bench, found: Found, seed: int) -> Sheet:
  """Of each dial's worst level the worst images: what the model is given, and makes of it.

  Beside them stands what they are ranked by.
  """
  looks, sheets = {}, []
  for dial, measured in found:
    number = int(np.argmin([one.quality.mean() for one in measured]))
    level, one = dial.levels[number], measured[number]
    batch = one.worst
    if level.num_slots not in looks:
      looks[level.num_slots] = _looked_at(bench, level.num_slots, seed)
    out = looks[level.num_slots](batch)
    labels = _labels(out, batch)
    panels = whole_images(SimpleNamespace(out=out, batch=batch, labels=labels))
    values = np.abs(np.sort(one.quality))
    lines = [
      Row(
        f"{dial.name} {level.label}" if i == 0 else "",
        [panel[i] for panel in panels.values()],
        f"{values[i]:.2g}",
        apart=i == 0,
      )
      for i in range(len(batch["image"]))
    ]
    sheets.append((lines, list(panels)))
  return _beside(sheets)


def _labels(out, batch: dict[str, np.ndarray]) -> np.ndarray | None:
  """Slots have the colours of the instances that they overlap with, where there are any."""
  if out.log_masks is None:
    return None
  if "instances" in batch:
    return matched_labels(out.log_masks, batch["instances"])
  return plain_labels(*out.log_masks.shape[:2])


def _beside(sheets: list[tuple[list[Row], list[str]]]) -> Sheet:
  """All rows in two columns, under headings."""
  headings = max((names for _, names in sheets), key=len)
  half = -(-len(sheets) // SHEET_COLUMNS)
  columns = []
  for first in range(0, len(sheets), half):
    rows = [row for lines, _ in sheets[first : first + half] for row in lines]
    missing = [len(headings) - len(row.tiles) for row in rows]
    rows = [
      Row(row.label, [*row.tiles, *[None] * gap], row.right, row.apart)
      for row, gap in zip(rows, missing, strict=True)
    ]
    columns.append(table(rows, headings))
  return arranged(columns, SHEET_COLUMNS)
