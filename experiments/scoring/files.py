"""What evaluate.py writes and prints: one checkpoint image by image, several side by side.

write(result, folder)           # FOLDER/segmentation_step_N_SPLIT.json and .csv
write_table(results, folder)    # of several checkpoints or runs
show(results)
"""

import pathlib
import tempfile

from experiments.console.errors import UserError
from experiments.runs.folder import write_atomically, write_json
from experiments.scoring.scores import TABLE, named
from experiments.scoring.summaries import csv_text, mean_and_spread, number, text_table

STAND_IN = "STAND-IN DATA: these numbers are not comparable with published results"


def json_path(
  folder: pathlib.Path, step: int, split: str, raw_weights: bool = False
) -> pathlib.Path:
  """The file of one checkpoint's result; beside it lies a .csv."""
  return folder / f"segmentation{'_raw' * raw_weights}_step_{step}_{split}.json"


def check_writable(folder: pathlib.Path) -> None:
  """Makes a folder if need be; to be asked before what takes long.

  Raises:
    UserError: nothing can be written there.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as error:
    raise UserError(f"cannot write to {folder} ({error.strerror}); choose another --out") from error


def write(result: dict, folder: pathlib.Path) -> list[pathlib.Path]:
  """Writes one checkpoint's result, with the values of each image; returns the files."""
  values = result["per_image"]
  # Means over the repeats; NaN, which JSON does not have, becomes null.
  per_image = {
    name: [None if x != x else x for x in value.mean(0).tolist()] for name, value in values.items()
  }
  path = json_path(folder, result["step"], result["split"], result.get("raw_weights", False))
  write_json(path, result | {"per_image": per_image})
  rows = [
    [index, repeat, *(float(value[repeat, image]) for value in values.values())]
    for image, index in enumerate(result["index"])
    for repeat in range(result["num_repeats"])
  ]
  table = csv_text(["image", "repeat", *values], rows)
  write_atomically(path.with_suffix(".csv"), table)
  return [path, path.with_suffix(".csv")]


def _columns(results: list[dict]) -> list[str]:
  return named({name for result in results for name in result["scores"]}, TABLE)


def _groups(results: list[dict]) -> dict[str, list[dict]]:
  """What to take means over, of each model on each data set: see `_groups_of_one`."""
  kinds = {}
  for result in results:
    kinds.setdefault((result["model"], result["data"]["description"]), []).append(result)
  if len(kinds) == 1:
    return _groups_of_one(results)
  return {
    f"{words}: {model}, {description}": group
    for (model, description), part in kinds.items()
    for words, group in _groups_of_one(part).items()
    if len(group) > 1
  }


def _groups_of_one(results: list[dict]) -> dict[str, list[dict]]:
  """The runs at each step they share, or else all there is."""
  runs = {result["workdir"] for result in results}
  by_step = {}
  for result in results:
    by_step.setdefault(result["step"], []).append(result)
  if len(runs) == 1:
    return {f"{len(results)} checkpoints": results}
  if len(runs) == len(results):
    return {f"{len(runs)} runs": results}
  return {
    f"{len(group)} runs, step {step}": group
    for step, group in sorted(by_step.items())
    if len(group) > 1
  }


def means(results: list[dict]) -> dict[str, dict[str, tuple[float | None, float | None]]]:
  """Group -> score -> mean and sample standard deviation over the group's checkpoints."""

  def spread(group, name):
    known = [r["scores"][name]["mean"] for r in group if name in r["scores"]]
    return mean_and_spread([x for x in known if x is not None])

  columns = _columns(results)
  return {
    words: {name: spread(group, name) for name in columns}
    for words, group in _groups(results).items()
  }


def all_definitions(results: list[dict]) -> dict[str, str]:
  """Name -> definition of each score; of runs on different data it names the images of all."""
  definitions = {}
  for result in results:
    for name, words in result["definitions"].items():
      known, images = definitions.setdefault(name, words), words.rpartition("; over ")[2]
      if images not in known:
        definitions[name] = f"{known}, or {images}"
  return definitions


def write_table(results: list[dict], folder: pathlib.Path) -> list[pathlib.Path]:
  """Writes all checkpoints side by side, with mean and std over them; returns the files."""
  columns = _columns(results)
  raw = "_raw" * results[0].get("raw_weights", False)
  stem = folder / f"segmentation{raw}_table_{results[0]['split']}"
  rows = [
    [r["workdir"], r["step"], *(r["scores"].get(name, {}).get("mean") for name in columns)]
    for r in results
  ]
  summaries = means(results)
  for words, scores in summaries.items():
    rows.append([f"mean of {words}", None, *(scores[name][0] for name in columns)])
    rows.append([f"std of {words}", None, *(scores[name][1] for name in columns)])
  named = {
    words: {name: dict(mean=mean, std=std) for name, (mean, std) in scores.items()}
    for words, scores in summaries.items()
  }
  content = dict(
    std="sample standard deviation (n - 1) over checkpoints of their means over images",
    summaries=named,
    definitions=all_definitions(results),
    results=[{k: v for k, v in r.items() if k != "definitions"} for r in results],
  )
  write_json(stem.with_suffix(".json"), content)
  write_atomically(stem.with_suffix(".csv"), csv_text(["run", "step", *columns], rows))
  return [stem.with_suffix(".json"), stem.with_suffix(".csv")]


def _one(result: dict) -> str:
  """A line for each score of one checkpoint."""
  head = ["score", "mean", "± standard error", "± noise", "definition"]
  rows = [head]
  for name in _columns([result]):
    s = result["scores"][name]
    error, noise = number(s["standard_error"], 2), number(s["std_noise"], 2)
    rows.append([name, number(s["mean"]), error, noise, result["definitions"][name]])
  if result["num_repeats"] == 1:
    rows = [row[:3] + row[4:] for row in rows]
  return text_table(rows)


def _several(results: list[dict]) -> str:
  """A line for each checkpoint, mean ± std over them, and what the columns are."""
  columns = _columns(results)
  rows = [["run", "step", *columns]]
  for r in results:
    values = (number(r["scores"].get(name, {}).get("mean")) for name in columns)
    rows.append([r["workdir"], str(r["step"]), *values])
  for words, scores in means(results).items():
    cells = (f"{number(mean)} ± {number(std, 2)}" for mean, std in scores.values())
    rows.append([f"mean ± std of {words}", "", *cells])
  definitions = all_definitions(results)
  legend = [[f"{name}:", definitions[name]] for name in columns]
  return text_table(rows) + "\n\n" + text_table(legend)


def show(results: list[dict]) -> None:
  """Prints the scores, and what a reader of them must know."""
  first = results[0]
  repeats = first["num_repeats"]
  draws = "one draw of the noise" if repeats == 1 else f"{repeats} draws of the noise"
  where = first["workdir"] if len(results) == 1 else f"{len(results)} checkpoints"
  step = f", checkpoint {first['step']}" if len(results) == 1 else ""
  print(f"model      {', '.join(sorted({r['model'] for r in results}))}: {where}{step}")
  for words in dict.fromkeys(r["images"] for r in results):
    print(f"images     {words}; {draws}, seed {first['seed']}")
  for description in sorted({r["data"]["description"] for r in results}):
    print(f"data       {description}")
  if any(r["stand_in"] for r in results):
    print(f"note       {STAND_IN}")
  for reason in sorted({r["segmentation_absent"] for r in results} - {None}):
    print(f"note       {reason}")
  if corrupt := sum(r["num_corrupt"] for r in results):
    print(f"note       {corrupt} damaged records were left out")
  print()
  print(_one(first) if len(results) == 1 else _several(results))
  print(flush=True)
