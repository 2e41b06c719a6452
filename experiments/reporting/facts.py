"""What a report says of a run in words: what was trained, on what, where, and how far it came.

facts(record)          # heading -> [(name, text), ...]
status(record)         # ("good", "Finished: 500,000 of 500,000 steps")
warnings(record)       # what must be known before any number is read
"""

import shlex

import ml_collections

from experiments.reporting import scores
from experiments.runs.records import Record
from experiments.training.progress import duration
from genesis_jax import objective

DATA = {
  "gqn": "GQN", "multi_dsprites": "Multi-dSprites", "objects_room": "Objects Room",
  "clevr": "CLEVR", "tetrominoes": "Tetrominoes", "shapestacks": "ShapeStacks",
  "multi_dsprites_colored": "Multi-dSprites (coloured)", "sketchy": "Sketchy", "apc": "APC",
}  # fmt: skip


def title(record: Record) -> str:
  """Model and data set, as in the literature."""
  name = record.config["data"]["name"]
  return f"{scores.method(record.config)} on {DATA.get(name, name)}"


def goal(config: dict) -> float | None:
  """Of GECO in nats per pixel and channel; None without GECO."""
  config = ml_collections.ConfigDict(config)
  if not config.objective.geco:
    return None
  return objective.goal_per_element(config.objective, config.model)


def status(record: Record) -> tuple[str, str]:
  """How the run ended: "good", "bad" or "open", and in words."""
  done, planned = record.steps_done, record.config["num_steps"]
  if (step := record.diverged_at) is not None:
    return "bad", f"Diverged at step {step:,} of {planned:,}"
  if done >= planned:
    return "good", f"Finished: {done:,} of {planned:,} steps"
  if not done:
    return "open", f"No step of {planned:,} was logged or saved yet"
  return "open", f"Stopped or still running: {done:,} of {planned:,} steps"


def warnings(record: Record) -> list[str]:
  """Loud lines for the top of the page."""
  lines = []
  if record.labels.get("stand_in"):
    description = record.labels["data"]["description"]
    generated = record.config["data"].get("source") == "generator"
    kind = "GENERATED SCENES" if generated else "STAND-IN DATA"
    lines.append(f"{kind}: numbers compare with nothing published. {description}")
  if (step := record.diverged_at) is not None:
    lines.append(f"Training diverged at step {step:,}; the state before it is saved.")
  if record.imported:
    file, step = (record.imported.get(name, "unknown") for name in ("checkpoint", "step"))
    lines.append(f"Imported from a checkpoint of the original code at step {step}: {file}")
  return lines + record.problems


def _time(record: Record) -> str:
  """How long it took, from the rows; the time between programs does not count."""
  rows = [row for row in record.rows if row.get("train/step_time") is not None]
  if not rows:
    return "unknown: no step was logged"
  before, seconds = record.imported.get("step", 0), 0.0
  for row in rows:
    seconds += row["train/step_time"] * (row["step"] - before)
    before = row["step"]
  text = f"{duration(seconds)} in training steps"
  times = [row["time"] for row in record.rows if row.get("time")]
  if len(times) > 1:
    text += f"; {duration(times[-1] - times[0])} from the first logged step to the last"
  return text


def _objective(config: dict) -> str:
  value = goal(config)
  if value is not None:
    return f"GECO, goal {value:.4f} nats per pixel and channel"
  if config["objective"]["beta_warmup"]:
    return f"beta from 0 to {config['objective']['beta']} over the first fifth of training"
  return f"constant beta {config['objective']['beta']}"


def _model(record: Record) -> str:
  model = record.config["model"]
  slots = f", {model['num_slots']} slots" if "num_slots" in model else ""
  return f"{scores.method(record.config)}{slots}, {model['image_size']}x{model['image_size']}"


def _hardware(hardware: dict) -> str:
  devices = hardware.get("devices", [])
  counts = {kind: devices.count(kind) for kind in dict.fromkeys(devices)}
  text = ", ".join(f"{count} x {kind}" for kind, count in counts.items()) or "unknown devices"
  hosts = hardware.get("hosts", 1)
  return f"{text}; {hosts} host{'s' * (hosts != 1)} with {hardware.get('host_cpus', '?')} CPU cores"


def _commit(commit: str | None) -> str:
  if not commit:
    return "unknown: the code was not in a git repository"
  clean = commit.removesuffix("-dirty")
  return clean + (", with changes that were not committed" if clean != commit else "")


def facts(record: Record) -> dict[str, list[tuple[str, str]]]:
  """Heading -> names and texts, in the order of the page."""
  config, labels = record.config, record.labels
  optimizer = config["optimizer"]
  files = labels["data"].get("num_files") or {}
  data = [("set", f"{config['data']['name']}, {config['data'].get('variant', 'default')}"),
          ("source", labels["data"]["description"])]  # fmt: skip
  if files:
    data.append(("files", ", ".join(f"{count} {split}" for split, count in files.items())))
  if protocol := labels["data"].get("protocol"):
    data.append(("protocol", protocol))
  run = [("steps", status(record)[1]), ("duration", _time(record)),
         ("last started", labels.get("started", "unknown"))]  # fmt: skip
  if labels.get("resumed_from_step"):
    run.append(("resumed", f"from step {labels['resumed_from_step']:,}"))
  versions = labels.get("versions", {})
  return {
    "Model": [
      ("model", _model(record)),
      ("parameters", f"{labels['num_parameters']:,}"),
      ("objective", _objective(config)),
      ("optimizer", f"{optimizer['name']}, learning rate {optimizer['learning_rate']:g}, "
                    f"batch of {config['batch_size']}"),
      ("seed", str(config["seed"])),
    ],
    "Data": data,
    "Run": run,
    "Machine and code": [
      ("hardware", _hardware(labels.get("hardware", {}))),
      ("system", labels.get("hardware", {}).get("machine", "unknown")),
      ("commit", _commit(labels.get("git_commit"))),
      ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ],
  }  # fmt: skip


def headline(record: Record) -> list[dict]:
  """The few numbers that are looked at first: {"label", "value", "note"}."""
  config, numbers = record.config, []
  planned = config["num_steps"]
  numbers.append(dict(label="steps", value=f"{record.steps_done:,}", note=f"of {planned:,}"))
  numbers.append(
    dict(label="parameters", value=f"{record.labels['num_parameters']:,}", note=_model(record))
  )
  step, values = record.validation()
  where = f"validation, step {step:,}"
  aim = goal(config)
  if values.get("err_element") is not None:
    note = where if aim is None else f"{where}; goal {aim:.4f}"
    value = f"{values['err_element']:.4f}"
    numbers.append(dict(label="error per element", value=value, note=note))
  score, source = values.get("ari_fg"), where
  for evaluation in record.evaluations[-1:]:
    score = evaluation["scores"].get("ari_fg", {}).get("mean")
    source = f"{evaluation['split']}, step {evaluation['step']:,}"
  if score is not None:
    numbers.append(dict(label="ARI-FG", value=f"{score:.3f}", note=source))
  for fid in record.fids[-1:]:
    note = f"{fid['num_images']:,} images, step {fid['step']:,}"
    numbers.append(dict(label="FID", value=f"{fid['fid']:.1f}", note=note))
  return numbers


def commands(record: Record) -> list[dict]:
  """How to get this run again and measure it: {"about", "command"}."""
  commit = (record.labels.get("git_commit") or "").removesuffix("-dirty")
  setup = [f"git checkout {commit}"] if commit else []
  setup.append("python -m pip install -r requirements.txt")
  run = shlex.quote(str(record.workdir))
  programs = ("evaluate", "compute_fid", "visualise", "report")
  measure = "\n".join(f"python -m experiments.{name} --workdir={run}" for name in programs)
  return [
    dict(about="The same code and versions", command="\n".join(setup)),
    dict(about="The command that was last run", command=record.labels.get("command", "unknown")),
    dict(about="Measure it, and write this page again", command=measure),
  ]
