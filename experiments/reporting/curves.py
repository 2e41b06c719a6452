"""The curves of a report, each with few enough points.

  panels = curves(record.rows, goal=0.5655, num_elements=3 * 64**2)    # plain values, for JSON

A run of 500,000 steps has thousands of rows; of each stretch of a curve the lowest and the highest
point are kept, so that spikes stay visible.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from experiments.figures.panels import PALETTE
from experiments.scoring import scores
from experiments.scoring.scores import definition, label, score

MAX_POINTS = 800  # of a curve
DIGITS = 5  # more than a screen resolves


@dataclasses.dataclass(frozen=True)
class Panel:
  """One plot.

  Attributes:
    group: heading that it stands under.
    title: of the plot, with the unit.
    names: values of metrics.jsonl, without "train/" or "val/"; "kl_*" are all KLs, and a name that
      ends in "/" stands for the values of all slots.
    about: what it shows, for people.
    log: whether the axis starts out logarithmic.
  """

  group: str
  title: str
  names: tuple[str, ...]
  about: str
  log: bool = False


# What is logged beside scores.
LABELS = {
  "err_ema": "error, moving average", "err_ema_element": "error per pixel, moving average",
  "loss": "loss",
  "grad_norm": "gradient norm", "step_time": "step time", "num_corrupt": "damaged records",
  "images_per_second": "images per second",
}  # fmt: skip

_LOSSES, _SLOTS, _RUN = "Objective", "Segmentation and slots", "Training"
ERROR, ELBO = "Error per pixel and channel, nats", "Negative ELBO, loss and error, nats per image"
PANELS = (
  Panel(_LOSSES, ERROR, ("err_element", "err_ema_element"),
        f"{definition('err_element')}. With GECO its moving average is held at the goal."),
  Panel(_LOSSES, ELBO, ("elbo", "loss", "err", "err_ema"),
        f"{label('elbo')}: {definition('elbo')}. loss: err + beta * kl."),
  Panel(_LOSSES, "KL, nats per image", ("kl", "kl_*"), definition("kl")),
  Panel(_LOSSES, "beta", ("beta",), "Weight of the KL in the loss.", log=True),
  Panel(_LOSSES, "MSE of the reconstruction", ("mse",), definition("mse"), log=True),
  Panel(_LOSSES, "RMSE of the reconstruction", ("rmse",), definition("rmse")),
  Panel(_SLOTS, "ARI and ARI-FG in validation", ("ari", "ari_fg", "ari_r", "ari_fg_r"),
        f"{definition('ari')}. {definition('ari_fg')}."),
  Panel(_SLOTS, "MSC and MSC-FG in validation", ("msc", "msc_fg", "msc_r", "msc_fg_r"),
        f"{definition('msc')}. {definition('msc_fg')}."),
  Panel(_SLOTS, "Slots used", ("slots_used",), f"Mean number of {definition('slots_used')}."),
  Panel(_SLOTS, "Largest slot, share of pixels", ("largest_slot",),
        f"{definition('largest_slot')}; near 1 the run has collapsed."),
  Panel(_SLOTS, "Entropy of masks, nats", ("mask_entropy",),
        f"{definition('mask_entropy')}; log K if undecided."),
  Panel(_RUN, "Step time, seconds", ("step_time",), "Mean since the row before, without pauses."),
  Panel(_RUN, "Gradient norm", ("grad_norm",), "L2 norm over all parameters.", log=True),
  Panel(_RUN, "Damaged records left out", ("num_corrupt",), "Count since the program began."),
)  # fmt: skip


def label_of(name: str) -> str:
  """Of a logged value, for people."""
  return LABELS.get(name) or label(name)


def _panels(rows: Sequence[dict]) -> list[Panel]:
  """All panels for what was logged: those of every KL, and of scores that no panel has yet."""
  names = {key.partition("/")[2] for row in rows for key in row}
  kls = sorted(name for name in names if name.startswith("kl_"))
  whole = [name for name in kls if "/" not in name]
  panels = [
    dataclasses.replace(panel, names=("kl", *whole)) if "kl_*" in panel.names else panel
    for panel in PANELS
  ]
  for name in dict.fromkeys(name.partition("/")[0] for name in kls if "/" in name):
    latent = name.removeprefix("kl_")
    about = f"KL of the {latent} latents, slot by slot, in the colours of the pictures."
    title = f"KL of each slot's {latent}, nats"
    panels.insert(4, Panel(_LOSSES, title, (f"{name}/",), about))
  shown = {name for panel in panels for name in panel.names}
  for row in scores.ROWS:
    if row.name in names - shown:
      title = f"{row.label}, {row.unit}" if row.unit else row.label
      panels.append(Panel(_SLOTS, title, (row.name,), definition(row.name)))
  return panels


def values(rows: Sequence[dict]) -> list[Panel]:
  """A panel for each value that was logged, but those of single slots, in the report's order."""
  known = {name for row in rows for key, x in row.items() if x and (name := key.partition("/")[2])}
  found = {}
  for panel in _panels(rows):
    for name in panel.names:
      if name in known and "/" not in name:
        row = score(name)
        unit = row.unit.partition(" ")[0]
        title = f"{row.label}, {unit}" if unit else label_of(name)
        about = definition(name) if row.label != name else panel.about
        found.setdefault(name, dataclasses.replace(panel, names=(name,), title=title, about=about))
  return list(found.values())


# Lines of one panel: dark enough for white, and light enough for black, once adapted by the page.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
SPLITS = {"train": "training", "val": "validation"}


def downsampled(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """At most about `MAX_POINTS` points that draw the same curve.

  Args:
    values: `[N]`, NaN where there is a gap.

  Returns:
    Their indices `[M]`: the lowest, the highest and the first missing point of each stretch, and
    both ends; and the mean of each one's stretch `[M]`, NaN if it has no value.
  """
  count = len(values)
  width = -(-count // (MAX_POINTS // 3))
  padded = np.full(-(-count // width) * width, np.nan)
  padded[:count] = values
  stretches = padded.reshape(-1, width)
  known = np.isfinite(stretches)
  gap = ~known & (np.arange(padded.size).reshape(-1, width) < count)
  first = width * np.arange(len(stretches))
  kept = [
    (first + np.where(known, stretches, np.inf).argmin(1))[known.any(1)],
    (first + np.where(known, stretches, -np.inf).argmax(1))[known.any(1)],
    (first + gap.argmax(1))[gap.any(1)],
    [0, count - 1],
  ]
  total, number = np.where(known, stretches, 0).sum(1), known.sum(1)
  means = np.where(number > 0, total / np.maximum(number, 1), np.nan)
  indices = np.unique(np.concatenate(kept)).astype(int)
  return indices, means[indices // width]


def shorter(values: np.ndarray) -> list[float | None]:
  """Values for JSON, with the digits that a screen resolves; None for NaN."""
  return [None if x != x else float(f"{x:.{DIGITS}g}") for x in values]


def _line(rows: Sequence[dict], key: str) -> dict | None:
  """Points of a value of metrics.jsonl; None if it has none."""
  there = [row for row in rows if key in row]
  steps = np.array([row["step"] for row in there], np.int64)
  values = np.array([np.nan if row[key] is None else row[key] for row in there], np.float64)
  if not np.isfinite(values).any():
    return None
  if len(values) <= MAX_POINTS:
    return {"x": steps.tolist(), "y": shorter(values)}
  kept, means = downsampled(values)
  return {"x": steps[kept].tolist(), "y": shorter(values[kept]), "mean": shorter(means)}


def _per_slot(rows: Sequence[dict], name: str) -> list[str]:
  """Names such as "kl_mask/0" that were logged, in the order of slots."""
  keys = {key for row in rows for key in row if key.startswith(f"train/{name}")}
  return sorted((k.removeprefix("train/") for k in keys), key=lambda k: int(k.split("/")[1]))


def _lines(rows: Sequence[dict], panel: Panel) -> list[dict]:
  slots = panel.names[0].endswith("/")
  names = _per_slot(rows, panel.names[0]) if slots else panel.names
  lines = []
  for index, name in enumerate(names):
    colour = COLOURS[index % len(COLOURS)]
    words = label_of(name)
    if slots:
      number = int(name.split("/")[1])
      colour = "#{:02x}{:02x}{:02x}".format(*PALETTE[number % len(PALETTE)])
      words = f"slot {number + 1}"
    for split, origin in SPLITS.items():
      if slots and split == "val":
        continue  # as many lines again would hide the others
      if line := _line(rows, f"{split}/{name}"):
        lines.append(line | dict(name=words, split=origin, colour=colour))
  return lines


def curves(rows: Sequence[dict], goal: float | None, num_elements: int) -> list[dict]:
  """The panels for which there are values, as plain values.

  Args:
    rows: of metrics.jsonl.
    goal: of GECO, nats per pixel and channel, or None.
    num_elements: pixels times channels of an image.
  """
  goals = {ERROR: goal, ELBO: goal and goal * num_elements}
  panels = []
  for panel in _panels(rows):
    lines = _lines(rows, panel)
    if panel.names == ("num_corrupt",) and not any(any(line["y"]) for line in lines):
      continue
    if lines:
      values = [y for line in lines for y in line["y"] if y is not None]
      panels.append(
        dict(
          group=panel.group,
          title=panel.title,
          about=panel.about,
          positive=min(values) > 0,
          log=panel.log and min(values) > 0 and max(values) > 3 * min(values),
          goal=goals.get(panel.title),
          lines=lines,
        )
      )
  return panels


def gaps(rows: Sequence[dict]) -> list[tuple[str, int, int]]:
  """Values that are not finite: (name, first step, how many), most frequent first."""
  found = {}
  for row in rows:
    for name in (k for k, v in row.items() if v is None):
      first, count = found.get(name, (row["step"], 0))
      found[name] = first, count + 1
  return sorted(((k, *v) for k, v in found.items()), key=lambda gap: (-gap[2], gap[0]))
