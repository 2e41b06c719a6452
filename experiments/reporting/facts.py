"""What a report says of a run in words: what was trained, on what, where, and how far it came.

facts(record)          # heading -> [(name, text), ...]
status(record)         # ("good", "Trained for 500,000 steps")
warnings(record)       # what must be known before any number is read
"""

import math

import ml_collections

from experiments.console.durations import duration
from experiments.console.program import command
from experiments.reporting import scores
from experiments.runs.records import Record
from genesis_jax import objective

DATA = {
  "gqn": "GQN", "multi_dsprites": "Multi-dSprites", "objects_room": "Objects Room",
  "clevr": "CLEVR", "tetrominoes": "Tetrominoes", "shapestacks": "ShapeStacks",
  "multi_dsprites_colored": "Multi-dSprites (coloured)", "sketchy": "Sketchy", "apc": "APC",
  "clevrtex": "ClevrTex",
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
    return "good", f"Trained for {done:,} steps"
  if not done:
    return "open", f"No step of {planned:,} was logged or saved yet"
  return "open", f"Trained for {done:,} steps, of {planned:,} planned"


def warnings(record: Record) -> list[str]:
  """Loud lines for the top of the page."""
  lines = []
  if record.labels.get("stand_in"):
    description = record.labels["data"]["description"]
    generated = record.config["data"].get("source") == "generator"
    kind = "GENERATED SCENES" if generated else "STAND-IN DATA"
    lines.append(f"{kind}: numbers are not comparable with published results. {description}")
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
  if config.get("init_from"):
    run.append(("first weights", f"of {config['init_from']}"))
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


def _psnr(values: dict) -> str | None:
  """PSNR of the mean squared error, colours in [0, 1]."""
  mse = values.get("mse")
  return f"{-10 * math.log10(mse):.1f} dB" if mse else None


def headline(record: Record) -> list[dict]:
  """The few numbers that are looked at first: {"label", "value", "note", "good"}.

  Test images come before validation, and validation before a batch of training.
  """
  step, values = record.validation()
  where = f"validation, step {step:,}"
  if not values:
    step, values = record.newest("train/")
    where = f"a batch of training, step {step:,}"
  for evaluation in record.evaluations[-1:]:
    values = {name: score.get("mean") for name, score in evaluation["scores"].items()}
    where = (
      f"{evaluation['num_images']:,} {evaluation['split']} images, step {evaluation['step']:,}"
    )
  fid = record.fids[-1] if record.fids else None
  found = [
    ("PSNR", _psnr(values), f"{where}; MSE {values.get('mse') or 0:.2g}",
     "higher is better; from 30 dB a reconstruction looks like its image"),
    ("ARI-FG", _text(values.get("ari_fg"), ".3f"), where,
     "higher is better; 1: objects divided as in the true masks, 0: as by chance"),
    ("FID", fid and f"{fid['fid']:.1f}",
     fid and f"{fid['num_images']:,} images, step {fid['step']:,}",
     "lower is better; of samples, 0: like the images"),
    ("negative ELBO", _text(values.get("elbo"), ",.1f"), f"{where}; nats per image",
     "lower is better; compares models of one likelihood only"),
    ("parameters", f"{record.labels['num_parameters']:,}", _model(record), ""),
  ]  # fmt: skip
  keys = ("label", "value", "note", "good")
  return [dict(zip(keys, row, strict=True)) for row in found if row[1] is not None]


def _text(value: float | None, form: str) -> str | None:
  return None if value is None else f"{value:{form}}"


def commands(record: Record) -> list[dict]:
  """How to get this run again and measure it: {"about", "command"}."""
  commit = (record.labels.get("git_commit") or "").removesuffix("-dirty")
  setup = [f"git checkout {commit}"] if commit else []
  setup.append("python -m pip install -r requirements.txt")
  programs = ("evaluate", "compute_fid", "visualise", "report")
  measure = "\n".join(command(name, record.workdir) for name in programs)
  return [
    dict(about="The same code and versions", command="\n".join(setup)),
    dict(about="The command that was last run", command=record.labels.get("command", "unknown")),
    dict(about="Measure it, and write this page again", command=measure),
  ]
