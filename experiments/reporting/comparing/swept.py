"""Scores against settings that were swept: the figure of "Reconstruction Bottlenecks".

  for axis in axes(groups):
    axis.setting, axis.log
    for line in axis.lines(means["ari_fg"]):
      line.label, line.x, line.mean, line.std

Groups that are alike in all other settings make a line. (Engelcke, Parker Jones, Posner 2020,
arXiv:2007.06245, with the size of the latent on the axis.)
"""

import dataclasses
from collections.abc import Sequence

from experiments.reporting.comparing import bands
from experiments.reporting.comparing.groups import NOTHING, Group
from experiments.reporting.comparing.measured import Comparison
from experiments.scoring.scores import definition, label

WIDE = 8  # largest value over smallest from which on an axis is logarithmic


@dataclasses.dataclass(frozen=True)
class Line:
  """Points at rising values of a setting; `std` is None where there is one seed."""

  label: str
  x: list[float]
  mean: list[float]
  std: list[float | None]


@dataclasses.dataclass(frozen=True)
class Axis:
  """A setting that groups alike in everything else differ in.

  Attributes:
    setting: its name.
    ticks: its values, rising.
    log: whether they are spread over so much that the axis is better logarithmic.
    members: label of a line -> its groups as (value, place in the list of groups), rising.
  """

  setting: str
  ticks: list[float]
  log: bool
  members: dict[str, list[tuple[float, int]]]

  def lines(self, means: Sequence[tuple[float | None, float | None, int]]) -> list[Line]:
    """Of a score, with its mean, standard deviation and number of seeds for each group."""
    found = []
    for words, points in self.members.items():
      there = [(x, *means[i][:2]) for x, i in points if means[i][0] is not None]
      if len(there) > 1:
        found.append(Line(words, *map(list, zip(*there, strict=True))))
    return found


def _is_number(value: object) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool)


def _others(group: Group, setting: str) -> tuple[tuple[str, object], ...]:
  return tuple((name, value) for name, value in group.settings.items() if name != setting)


def short(setting: str) -> str:
  """A setting's name without its section."""
  return setting.rpartition(".")[2]


def _label(others: tuple[tuple[str, object], ...], differing: set[str]) -> str:
  pairs = [f"{short(name)} {value}" for name, value in others if name in differing]
  return ", ".join(pair for pair in pairs if not pair.endswith(NOTHING))


def axes(groups: Sequence[Group]) -> list[Axis]:
  """The settings that scores can be drawn against, those with most values first."""
  found = []
  for setting in groups[0].settings if groups else ():
    members: dict[tuple, list[tuple[float, int]]] = {}
    for index, group in enumerate(groups):
      value = group.settings[setting]
      if _is_number(value):
        members.setdefault(_others(group, setting), []).append((value, index))
    members = {others: sorted(points) for others, points in members.items() if len(points) > 1}
    if not members:
      continue
    values = [dict(others) for others in members]
    differing = {n for n in values[0] if len({repr(one.get(n)) for one in values}) > 1}
    ticks = sorted({x for points in members.values() for x, _ in points})
    log = ticks[0] > 0 and ticks[-1] >= WIDE * ticks[0]
    named = {_label(others, differing): points for others, points in members.items()}
    found.append(Axis(setting, ticks, log, named))
  return sorted(found, key=lambda axis: -len(axis.ticks))


def panels(axes: Sequence[Axis], found: Comparison) -> list[dict]:
  """A plot for each setting and score, as plain values for the page's script."""
  plots = []
  for axis in axes:
    scale = dict(title=axis.setting, ticks=axis.ticks, log=axis.log)
    for name in found.names:
      lines = []
      for index, line in enumerate(axis.lines(found.means[name])):
        colour, dash = bands.look(index)
        spread = [std or 0 for std in line.std]
        ends = {
          end: [mean + sign * std for mean, std in zip(line.mean, spread, strict=True)]
          for end, sign in (("low", -1), ("high", 1))
        }
        plain = dict(x=line.x, y=line.mean, name=line.label or label(name), split="")
        lines.append(plain | (ends if any(spread) else {}) | dict(colour=colour, dash=dash))
      if lines:
        about = f"{definition(name)}. Bars: standard deviation over seeds."
        title = f"Against {axis.setting}"
        plots.append(bands.panel(title, label(name), about, lines, axis=scale))
  return plots
