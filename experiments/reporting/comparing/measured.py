"""The scores of groups of runs side by side, and which of them do not compare.

  found = compared(groups, measured={})
  found.means["ari_fg"]        # (mean, standard deviation, number of seeds) of each group
  found.pairs["ari_fg"][0, 1]  # by how much the second group is above the first, with an interval
  found.refused                # [(["elbo"], "pixel stds: 0.3 (one); 0.7 (two)"), ...]

Differences are taken image by image, between means over seeds, and their intervals are bootstrapped
over images: they tell of these trained models, and not of what other seeds would give.
"""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.console.errors import UserError
from experiments.reporting.comparing.groups import Group
from experiments.reporting.scores import images_of, relevant
from experiments.runs import folder
from experiments.runs.records import Record
from experiments.scoring import scores
from experiments.scoring.scores import PUBLISHED, TABLE, named
from experiments.scoring.summaries import bootstrap, mean_and_spread, number, resample

NUM_BOOTSTRAP = 2000
SPLIT = "test"
LIKELIHOOD = "pixel_std"  # fields of a model that begin so are of its likelihood


Measured = Mapping[pathlib.Path, dict]


@dataclasses.dataclass(frozen=True)
class Value:
  """A score of one run.

  Attributes:
    mean: over images.
    basis: what must be alike for two of them to compare: what it is -> in words.
    images: place in the split -> value of that image; None where it was not kept.
  """

  mean: float
  basis: dict[str, str]
  images: Mapping[int, float] | None = None


@dataclasses.dataclass(frozen=True)
class Difference:
  """By how much one group is above another: mean over images, and its 95% interval."""

  mean: float
  low: float
  high: float
  num_images: int


@dataclasses.dataclass(frozen=True)
class Comparison:
  """What `compared` finds.

  Attributes:
    names: of the scores that compare, in the order of tables.
    means: score -> for each group mean, standard deviation (None for one seed), and seeds.
    pairs: score -> (first, second) with first < second -> the second one minus the first.
    refused: scores that do not compare, and why.
    unscored: runs without any score.
    unpaired: runs that did not keep the values of single images.
    source: what was scored, in words.
  """

  names: list[str]
  means: dict[str, list[tuple[float | None, float | None, int]]]
  pairs: dict[str, dict[tuple[int, int], Difference]]
  refused: list[tuple[list[str], str]]
  unscored: list[Record]
  unpaired: list[Record]
  source: str


def _data(record: Record) -> dict[str, str]:
  """What says of which data a run's images are; what matters most first."""
  settings = relevant(record.config).items()
  data = {setting: str(x) for setting, x in settings if setting.startswith("data.")}
  data = {
    "data": data.pop("data.name"),
    "variant": data.pop("data.variant", "default"),
    "stand-in data": "yes" if record.labels.get("stand_in") else "no",
  } | data
  try:
    files = folder.read_json(record.workdir / folder.DATA_FILES)
  except UserError:  # damaged: as unknown as of a run from before there was such a file
    files = {}
  if "digest" in files:
    data["files of the data"] = f"{files['files']:,} with digest {files['digest'][:8]}"
  return data


def _basis(
  record: Record, name: str, data: dict[str, str], images: str, definition: str
) -> dict[str, str]:
  """What must be alike: of the data, the images, the score's definition and the likelihood."""
  size = record.config["model"]["image_size"]
  basis = {"image size": f"{size}x{size}", **data, "images": images, "definition": definition}
  if scores.score(name).of_likelihood:
    model = record.config["model"].items()
    stds = sorted({x for field, x in model if field.startswith(LIKELIHOOD)})
    basis["pixel stds of the likelihood"] = " and ".join(f"{x:g}" for x in stds)
  return basis


def _of_evaluation(record: Record, found: dict, data: dict[str, str]) -> dict[str, Value]:
  per_image, places = found.get("per_image", {}), found.get("index")
  values = {}
  for name, summary in found["scores"].items():
    if summary.get("mean") is None:
      continue
    definition = found["definitions"].get(name, "").rpartition("; over ")[0]
    definition = definition or scores.definition(name)
    basis = _basis(record, name, data, images_of(found), definition)
    kept = None
    if places is not None and len(per_image.get(name, ())) == len(places):
      numbers = (math.nan if x is None else x for x in per_image[name])
      kept = dict(zip(places, numbers, strict=True))
    values[name] = Value(summary["mean"], basis, kept)
  return values


def _of_fid(record: Record, found: dict, data: dict[str, str]) -> Value:
  keys = ("num_images", "dim", "weights_sha256", "resize", "original_prior_mean")
  images = ", ".join(f"{key}={found[key]}" for key in keys if key in found)
  definition = found.get("definition", "").partition(";")[0] or scores.definition("fid")
  return Value(found["fid"], _basis(record, "fid", data, images, definition))


def _of_validation(record: Record) -> dict[str, Value]:
  _, found = record.validation()
  images, data = f"validation of {found.get('num_images', 0):,.0f} images", _data(record)
  return {
    name: Value(value, _basis(record, name, data, images, scores.definition(name)))
    for name, value in found.items()
    if value is not None and "/" not in name
  }


def newest(record: Record) -> dict | None:
  """The newest evaluation on test images."""
  return next((e for e in reversed(record.evaluations) if e["split"] == SPLIT), None)


def _values(runs: Sequence[Record], measured: Measured) -> tuple[list[dict[str, Value]], str]:
  """For each run score -> `Value`, and what was scored, in words."""
  evaluations = [measured.get(run.workdir) or newest(run) for run in runs]
  if not any(evaluations):
    words = "the last validation during training: no test images were scored"
    return [_of_validation(run) for run in runs], words
  values, first = [], _data(runs[0])
  for run, found in zip(runs, evaluations, strict=True):
    data = _data(run)
    mine = _of_evaluation(run, found, first if run.workdir in measured else data) if found else {}
    if run.fids:
      mine["fid"] = _of_fid(run, run.fids[-1], data)
    values.append(mine)
  return values, ", or ".join(dict.fromkeys(images_of(found) for found in evaluations if found))


def _disagreement(labels: Sequence[str], values: Sequence[Value]) -> str | None:
  """Why some values do not compare; None if they do."""
  for kind in dict.fromkeys(kind for value in values for kind in value.basis):
    found: dict[str, list[str]] = {}
    for label, value in zip(labels, values, strict=True):
      if kind in value.basis:  # runs of earlier versions say less
        found.setdefault(value.basis[kind], []).append(label)
    if len(found) > 1:
      parts = (f"{words} ({', '.join(dict.fromkeys(who))})" for words, who in found.items())
      return f"{kind}: {'; '.join(parts)}"
  return None


def _common_images(values: Sequence[Value]) -> list[int]:
  """Places of the images that all runs were scored on; none where one did not keep them."""
  if any(value.images is None for value in values):
    return []
  return sorted(set.intersection(*(set(value.images) for value in values)))


def _differences(per_group: Sequence[np.ndarray | None]) -> dict[tuple[int, int], Difference]:
  """Of all pairs of groups; `per_group` has `[N]` values of the same images, or None."""
  known = [values for values in per_group if values is not None]
  if len(known) < 2 or not known[0].size:
    return {}
  resamples, found = resample(known[0].size, NUM_BOOTSTRAP, 0), {}
  for i, first in enumerate(per_group):
    for j, second in enumerate(per_group[i + 1 :], start=i + 1):
      if first is None or second is None:
        continue
      difference = second - first
      there = np.isfinite(difference)
      if there.any():
        interval = bootstrap(difference, resamples)
        found[i, j] = Difference(float(difference[there].mean()), *interval, int(there.sum()))
  return found


def _paired(groups: list[list[Value]]) -> dict[tuple[int, int], Difference]:
  """Differences between groups of runs, on the images that all of them share."""
  everything = [value for group in groups for value in group if value.images is not None]
  if not everything:
    return {}
  places = _common_images(everything)
  per_group = [
    np.mean([[value.images[place] for place in places] for value in group], axis=0)
    if group and all(value.images is not None for value in group)
    else None
    for group in groups
  ]
  return _differences(per_group)


def compared(groups: Sequence[Group], measured: Measured) -> Comparison:
  """The scores of some groups.

  Args:
    groups: of the runs.
    measured: results of `scoring.measure` on the data of the first run, which stand in place of
      what evaluate left; by the folder of the run.
  """
  runs = [run for group in groups for run in group.runs]
  owner = [group.label for group in groups for _ in group.runs]
  values, source = _values(runs, measured)
  names, means, pairs, refused = [], {}, {}, {}
  for name in named({name for found in values for name in found}, TABLE, PUBLISHED):
    having = [i for i, found in enumerate(values) if name in found]
    reason = _disagreement([owner[i] for i in having], [values[i][name] for i in having])
    if reason:
      refused.setdefault(reason, []).append(name)
      continue
    names.append(name)
    of_groups = [[values[i][name] for i in having if owner[i] == group.label] for group in groups]
    means[name] = [
      (*mean_and_spread([value.mean for value in group]), len(group)) for group in of_groups
    ]
    pairs[name] = _paired(of_groups)
  return Comparison(
    names=names,
    means=means,
    pairs={name: found for name, found in pairs.items() if found},
    refused=[(names, reason) for reason, names in refused.items()],
    unscored=[run for run, found in zip(runs, values, strict=True) if not found],
    unpaired=[
      run for run, found in zip(runs, values, strict=True)
      if found and all(value.images is None for value in found.values())
    ],
    source=source,
  )  # fmt: skip


def best(name: str, means: Sequence[tuple]) -> set[int]:
  """Groups with the best mean, as printed; none where no way is better, or all are alike."""
  better = scores.score(name).better
  known = [mean for mean, _, _ in means if mean is not None]
  if not better or len(set(map(number, known))) < 2:
    return set()
  first = number(max(known) if better == "higher" else min(known))
  return {index for index, (mean, _, _) in enumerate(means) if number(mean) == first}


def verdict(name: str, difference: Difference) -> str:
  """Whether the second group is "better" or "worse" beyond the interval; "" where it is neither."""
  better = scores.score(name).better
  if not better or difference.low <= 0 <= difference.high:
    return ""
  return "better" if (difference.mean > 0) == (better == "higher") else "worse"
