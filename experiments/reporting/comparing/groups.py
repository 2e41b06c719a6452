"""Runs that differ in their seeds alone, and the settings in which the others differ.

for group in grouped([records.read(workdir) for workdir in workdirs]):
  group.label, len(group.runs), group.settings["model.num_slots"]
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Sequence

from data_pipelines.stores.files import is_remote
from experiments.reporting.scores import IRRELEVANT, relevant
from experiments.runs.records import Record
from experiments.stores.addresses import name_of
from genesis_jax.models import MODELS
from genesis_jax.runs import AS_BEFORE

NOTHING = "–"  # a setting that a model does not have
SEED_FOLDER = re.compile(r"seed[_-]?\d+")


@dataclasses.dataclass(frozen=True)
class Group:
  """Runs of one experiment.

  Attributes:
    label: short, and unlike those of the other groups.
    runs: with different seeds.
    settings: those in which groups differ: name -> value, `NOTHING` where there is none.
  """

  label: str
  runs: list[Record]
  settings: dict[str, object]

  @property
  def seeds(self) -> list[int]:
    """Of the runs."""
    return [run.config["seed"] for run in self.runs]


def settings_of(record: Record) -> dict[str, object]:
  """What a run was trained with; earlier versions did not write down all of it."""
  known = relevant(record.config)
  model = MODELS.get(record.config["model"]["name"])
  before = {
    name: value
    for name, value in AS_BEFORE.items()
    if name not in IRRELEVANT
    and (not name.startswith("model.") or hasattr(model, name.partition(".")[2]))
  }
  return before | known


def path_of(record: Record) -> str:
  """A run's whole path or address."""
  name = name_of(record.workdir)
  return name if is_remote(name) else os.path.abspath(name)


def _own_name(record: Record) -> str:
  """Of a run's folder; of the one above where the folder is named for the seed."""
  path = pathlib.PurePosixPath(path_of(record))
  return path.parent.name if SEED_FOLDER.fullmatch(path.name) else path.name


def _common_name(runs: Sequence[Record]) -> str:
  """What the names of some runs have in common, without the beginning of a seed."""
  names = sorted({_own_name(run) for run in runs})
  if len(names) == 1:
    return names[0]
  common = re.sub(r"[\W_]*(seed|s)?[\W_]*\d*$", "", os.path.commonprefix(names))
  return common or names[0]


def _unlike(labels: list[str]) -> list[str]:
  """Labels with a number behind those that another has too."""
  seen, found = {}, []
  for label in labels:
    seen[label] = seen.get(label, 0) + 1
    found.append(label if labels.count(label) == 1 else f"{label} ({seen[label]})")
  return found


def in_order(names: Sequence[str]) -> list[str]:
  """Names sorted as people do: numbers in them by their size."""

  def parts(name):
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]

  return sorted(names, key=parts)


def grouped(runs: Sequence[Record], labels: Sequence[str] | None = None) -> list[Group]:
  """The groups, in the order of their first runs.

  Args:
    runs: all of them.
    labels: one for each group; None: made from the names of folders.

  Raises:
    ValueError: there are other than as many labels.
  """
  together: dict[str, list[Record]] = {}
  for run in runs:
    together.setdefault(repr(sorted(settings_of(run).items())), []).append(run)
  members = list(together.values())
  made = _unlike([_common_name(group) for group in members])
  if labels is not None and len(labels) != len(made):
    raise ValueError(f"--labels has {len(labels)} names for {len(made)} groups: {', '.join(made)}")
  all_settings = [settings_of(group[0]) for group in members]
  names = sorted({name for settings in all_settings for name in settings})
  differing = [
    name for name in names
    if len({repr(settings.get(name, NOTHING)) for settings in all_settings}) > 1
  ]  # fmt: skip
  return [
    Group(label, group, {name: settings.get(name, NOTHING) for name in differing})
    for label, group, settings in zip(labels or made, members, all_settings, strict=True)
  ]


def warnings(groups: Sequence[Group]) -> list[str]:
  """What must be known of the groups before any number is read."""
  lines = []
  for group in groups:
    if twice := sorted({seed for seed in group.seeds if group.seeds.count(seed) > 1}):
      lines.append(f"{group.label} has runs with the same seed, {twice[0]}: no independent ones.")
  return lines
