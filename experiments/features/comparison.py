"""Targets probed in folders of features: every probe with every seed, as one result.

path, content = run(options)               # of experiments.probe
print(table(content["results"], options.probes))
"""

import argparse
import pathlib
import statistics
import time
from collections.abc import Iterator

from data_pipelines.reading.progress import telling, with_progress
from experiments.console.errors import UserError
from experiments.features import probes
from experiments.features.files import FeatureFolder
from experiments.runs.folder import write_json
from experiments.scoring.summaries import mean_and_spread, text_table


def check_same_model(train, test) -> None:
  """Raises UserError unless both folders are of one model, and of different images."""
  a, b = train.index, test.index
  if a["run"]["weights_sha256"] != b["run"]["weights_sha256"]:
    raise UserError(
      f"--features and --test_features are of different models: {a['workdir']} checkpoint "
      f"{a['run']['step']}, and {b['workdir']} checkpoint {b['run']['step']}; a probe reads one"
    )
  if a["data"] == b["data"]:
    raise UserError(
      f"--features and --test_features are both of the {a['data']['split']} split of the same "
      "data; leave --test_features out, and a part of the images is held out"
    )


def examples_of(folder, target: str, representation: str | None):
  """The examples of one folder of features; UserError if they cannot be had."""
  if not probes.is_of_objects(folder, target):
    return probes.scene_examples(folder, target, representation or "features")
  if representation == "features":
    raise UserError(
      f"{target} is of objects, but --representation=features is of whole images; choose mean or "
      "sample"
    )
  return probes.slot_examples(folder, target, representation or "mean")


def parts(train, test, num_train: int | None, seed: int):
  """Training and test examples of one seed."""
  if test is None:
    train, test = probes.split(train, seed)
  return (probes.subset(train, num_train, seed) if num_train else train), test


def fits(train, test, options) -> Iterator[tuple[str, dict]]:
  """For every seed the baseline and each probe: (name, its score and the sizes it depends on)."""
  for seed in range(options.num_seeds):
    some, others = parts(train, test, options.num_train, seed)
    for name, score in probes.compare(some, others, seed, options.probes):
      sizes = dict(num_train=len(some.values), num_test=len(others.values))
      yield name, score._asdict() | sizes


def summary(values: list[float]) -> dict:
  """Mean and sample standard deviation (n - 1; None of one value)."""
  mean, spread = mean_and_spread(values)
  return dict(mean=mean, std=spread, values=values)


def measure(folder, test_folder, target: str, options) -> dict:
  """All scores of one target, and what they depend on.

  Raises:
    UserError: in one line.
  """
  train = examples_of(folder, target, options.representation)
  test = test_folder and examples_of(test_folder, target, options.representation)
  total, runs = options.num_seeds * (1 + len(options.probes)), {}
  with telling():
    for name, run in with_progress(fits(train, test, options), total, target, "fit"):
      runs.setdefault(name, []).append(run)
  scores = {}
  for name, of_seeds in runs.items():
    scores[name] = summary([run["score"] for run in of_seeds])
    scores[name]["converged"] = all(run["converged"] for run in of_seeds)
    if of_seeds[0]["columns"]:
      columns = zip(*(run["columns"] for run in of_seeds), strict=True)
      scores[name]["columns"] = [summary(list(column)) for column in columns]
  of_objects = train.matching is not None
  return dict(
    target=target,
    of="objects" if of_objects else "images",
    metric="accuracy" if train.are_classes else "r2",
    representation=options.representation or ("mean" if of_objects else "features"),
    num_features=train.inputs.shape[1],
    num_classes=len(set(train.values.tolist())) if train.are_classes else None,
    num_train=round(statistics.fmean(run["num_train"] for run in runs["baseline"])),
    num_test=round(statistics.fmean(run["num_test"] for run in runs["baseline"])),
    matching=train.matching,
    test_matching=test and test.matching,
    scores=scores,
  )


def table(results: list[dict], probes: tuple[str, ...]) -> str:
  """For people: a row for each target."""
  header = ["target", "of", "train", "test", "metric", "guess", *probes]
  rows = [header]
  for result in results:
    guess = "majority" if result["metric"] == "accuracy" else "mean"
    row = [result["target"], result["of"], str(result["num_train"]), str(result["num_test"])]
    row += [
      result["metric"].replace("r2", "R²"),
      f"{_cell(result['scores']['baseline'])} ({guess})",
    ]
    rows.append(row + [_cell(result["scores"][probe]) for probe in probes])
  return text_table(rows)


def _cell(score: dict) -> str:
  spread = "" if score["std"] is None else f" ± {score['std']:.3f}"
  return f"{score['mean']:.3f}{spread}"


def notes(results: list[dict], index: dict, has_test: bool) -> list[str]:
  """What a reader of the numbers must know; one line each."""
  lines = []
  if index["stand_in"]:
    lines.append("the data is a STAND-IN: not comparable with any published value")
  if not has_test:
    lines.append("tested on held-out images of the same split: too easy where a scene has several "
                 "images; --test_features avoids that")  # fmt: skip
  for result in results:
    if matching := result["test_matching"] or result["matching"]:
      lines.append(f"{result['target']}: {matching['matched']} of {matching['objects']} visible "
                   f"objects have a slot, with mean IoU {matching['mean_iou']:.2f}; the others do "
                   "not count")  # fmt: skip
    for name, score in result["scores"].items():
      if not score["converged"]:
        lines.append(f"{result['target']}: the {name} probe had not converged when it was stopped")
  return lines


def run(options: argparse.Namespace) -> tuple[pathlib.Path, dict]:
  """Probes all targets; returns the file of results, and its content.

  Raises:
    UserError: in one line.
  """
  folder = FeatureFolder(options.features)
  test_folder = options.test_features and FeatureFolder(options.test_features)
  if test_folder:
    check_same_model(folder, test_folder)
  for target in options.targets:  # before the first of many fits
    probes.is_of_objects(folder, target)
  results = [measure(folder, test_folder, target, options) for target in options.targets]
  used = ("workdir", "run", "data", "noise_seed", "num_images")
  content = dict(
    results=results,
    features={name: folder.index[name] for name in used},
    test_features=test_folder and {name: test_folder.index[name] for name in used},
    num_seeds=options.num_seeds,
    notes=notes(results, folder.index, test_folder is not None),
    finished=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
  )
  path = options.out or options.features / f"probe_{'_'.join(options.targets)}.json"
  write_json(path, content)
  return path, content
