"""The scores of a report: a run beside what is published, and how the two differ.

comparison(record)       # rows of a table: this run's measurements, then the literature
differences(record)      # sentences: other data, image size, steps, settings ...
measured(record)         # every score of the newest evaluation, with standard errors
"""

import json
from collections.abc import Mapping

from configs.experiment import compose
from experiments.console.program import command
from experiments.runs.changes import flat
from experiments.runs.records import Record
from experiments.scoring import published_numbers, scores
from experiments.scoring.scores import TABLE, label, named
from experiments.scoring.summaries import number

# Settings that change where a run reads, writes and reports, but not what comes out.
IRRELEVANT = (
  "data.image_size",  # the model's is the same
  "data.cache_gb", "data.data_dir", "data.order", "data.shuffle_buffer", "data.on_corrupt",
  "data.standin_scenes",
  "compilation_cache", "matmul_precision", "log_every", "images_every", "validate_every",
  "num_validation_images", "num_segmentation_images", "checkpoint_every", "keep_checkpoints",
  "keep_every", "log_distributions", "log_weights", "seed", "test_images", "test_fid_images",
  "deterministic", "steps_per_call", "time_limit", "data.resident", "data.module", "model.module",
)  # fmt: skip
WITHOUT_GECO = ("objective.beta", "objective.beta_warmup")  # what is read without it, and only then


def definition(name: str, result: Mapping | None = None) -> str:
  """What a score means: in the words of the file it comes from, where there are any."""
  result = result or {}
  said = result.get("definition") if name == "fid" else result.get("definitions", {}).get(name)
  better = scores.score(name).better
  if said and better and "is better" not in said:  # as earlier versions wrote it
    said = f"{said} ({better} is better)"
  return said or scores.definition(name)


def method(config: Mapping) -> str:
  """The model's name in the literature."""
  name = config["model"]["name"]
  if config["model"].get("broadcast_decoder"):
    return "BD-VAE"
  return published_numbers.METHODS.get(name, name)


def relevant(config: Mapping) -> dict[str, object]:
  """The settings that change what comes out of a run: name -> value."""
  geco = config["objective"]["geco"]

  def is_read(name: str) -> bool:
    of_one_kind = name.startswith("objective.") and name != "objective.geco"
    return not of_one_kind or (name in WITHOUT_GECO) != geco

  return {
    name: value for name, value in flat(config).items() if name not in IRRELEVANT and is_read(name)
  }


def _settings(config: Mapping) -> list[str]:
  """How a configuration differs from the defaults for its model and data set."""
  try:
    defaults = compose(config["model"]["name"], config["data"]["name"])
  except ValueError:  # of another version
    return []
  usual = flat(json.loads(defaults.to_json_best_effort()))
  return [
    f"{name} is {value!r}, not {usual[name]!r}"
    for name, value in relevant(config).items()
    if name in usual and value != usual[name]
    and (name != "data.source" or value != "generator")  # told as the source of the data
  ]  # fmt: skip


def differences(record: Record) -> list[str]:
  """Why numbers of this run and published ones may not compare; most important first."""
  config, lines = record.config, []
  if record.labels.get("stand_in"):
    lines.append(f"the data is not the published set: {record.labels['data']['description']}")
  if record.steps_done < config["num_steps"]:
    lines.append(f"training did {record.steps_done:,} of {config['num_steps']:,} steps")
  lines += _settings(config)
  for evaluation in record.evaluations[-1:]:
    if evaluation["split"] != "test":
      lines.append(f"scored on the {evaluation['split']} split, not on test")
    usual = published_numbers.NUM_SEGMENTATION_IMAGES
    if evaluation["num_images"] != usual:
      lines.append(f"scored on {evaluation['num_images']:,} images, not {usual}")
  for fid in record.fids[-1:]:
    usual = published_numbers.NUM_FID_IMAGES
    if fid["num_images"] != usual:
      lines.append(f"FID of {fid['num_images']:,} images, not {usual:,}: fewer make it larger")
    if not fid.get("weights_published", True):
      lines.append("FID with Inception weights that are not the published ones")
    if fid.get("dim", 2048) != 2048:
      lines.append(f"FID of {fid['dim']} features, not 2048")
  return lines


def _cell(mean: float | None, spread: float | None = None, kind: str = "", digits: int = 3):
  """A score for the table; FIDs have one digit after the point, others `digits`."""
  if mean is None:
    return None
  text = f"{mean:.1f}" if abs(mean) >= 10 else f"{mean:.{digits}f}"
  return dict(text=text, spread=None if spread is None else f"{spread:.2g}", kind=kind)


def _of_evaluation(evaluation: dict) -> dict:
  scores = {
    name: _cell(score["mean"], score["standard_error"], "standard error over images")
    for name, score in evaluation["scores"].items()
    if name in published_numbers.metrics()
  }
  return dict(step=evaluation["step"], source=images_of(evaluation), scores=scores)


def images_of(evaluation: dict) -> str:
  """Which images were scored; evaluations of earlier versions took the first ones."""
  first = f"the first {evaluation['num_images']:,} {evaluation['split']} images"
  return evaluation.get("images", first)


def _own_rows(record: Record) -> list[dict]:
  """This run's measurements: a row for each evaluated checkpoint, else the last validation."""
  rows = [_of_evaluation(evaluation) for evaluation in record.evaluations]
  for fid in record.fids:
    same = [row for row in rows if row["step"] == fid["step"] and "fid" not in row["scores"]]
    note = f"FID of {fid['num_images']:,} images"
    if same:
      same[0]["source"] += f"; {note}"
    else:
      same = [dict(step=fid["step"], source=note, scores={})]
      rows += same
    same[0]["scores"]["fid"] = _cell(fid["fid"])
  step, values = record.validation()
  scores = {name: _cell(values[name]) for name in published_numbers.metrics() if name in values}
  if scores:
    count = values.get("num_images")
    images = f"up to {count:,.0f} validation images" if count else "validation images"
    rows.append(dict(step=step, source=f"{images}, during training", scores=scores))
  return sorted(rows, key=lambda row: row["step"])


def _published_rows(record: Record) -> list[dict]:
  data = record.config["data"]
  mine = method(record.config)
  rows = published_numbers.on(data["name"], data.get("variant"))
  return [
    dict(
      method=row.method,
      source=f"{row.source}: {row.note}",
      scores={k: _cell(*v, "standard deviation over runs", 2) for k, v in row.scores.items()},
      same=row.method == mine,
    )
    for row in sorted(rows, key=lambda row: row.method != mine)
  ]


def comparison(record: Record) -> dict:
  """The table of this run beside the literature.

  Returns:
    columns: metric, label and definition of each.
    own, published: rows with source and scores; a score that nobody measured is missing.
  """
  newest = {"fid": record.fids[-1:]}
  columns = [
    dict(name=name, label=label(name),
         about=definition(name, next(iter(newest.get(name, record.evaluations[-1:])), None)))
    for name in published_numbers.metrics()
  ]  # fmt: skip
  return dict(columns=columns, own=_own_rows(record), published=_published_rows(record))


def measured(record: Record) -> dict | None:
  """All scores of the newest evaluation; without one, those of the last validation, or None."""
  if record.evaluations:
    found = record.evaluations[-1]
    title = f"step {found['step']:,}, {images_of(found)}"
    values = found["scores"]
  else:
    found, (step, values) = None, record.validation()
    if not values:
      return None
    title = f"step {step:,}, validation during training"
    values = {name: {"mean": value} for name, value in values.items()}
  rows = [
    dict(
      label=label(name),
      about=definition(name, found),
      mean=number(values[name]["mean"]),
      error=number(values[name].get("standard_error"), 2),
      noise=number(values[name].get("std_noise"), 2),
    )
    for name in named(values, TABLE)
  ]
  return dict(title=title, rows=rows, evaluated=found is not None,
              repeats=(found or {}).get("num_repeats", 1))  # fmt: skip


def missing(record: Record) -> list[dict]:
  """What was not measured, with the command that does: {"text", "command"}."""
  lines = []
  if not record.evaluations:
    again = command("evaluate", record.workdir)
    lines.append(dict(text="No test images were scored; run", command=again))
  elif reason := record.evaluations[-1].get("segmentation_absent"):
    lines.append(dict(text=f"{reason}.", command=None))
  if not record.fids:
    again = command("compute_fid", record.workdir)
    lines.append(dict(text="No FID was computed; run", command=again))
  return lines
