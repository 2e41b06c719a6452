"""Runs of the original PyTorch code as ours: flags to a configuration, a checkpoint to a state.

checkpoint = load_torch("model.ckpt-FINAL")
config = config_from_flags(flags)
state = train_state(config, checkpoint)
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import ml_collections
import numpy as np
import optax

import genesis_jax
from configs.experiment import compose
from genesis_jax import objective, optimizers, torch_names, training
from genesis_jax.models import MODELS
from genesis_jax.models.options import ORIGINAL_NAMES

# Flags of the original's training program -> our fields.
TRAINING = {
  "seed": "seed",
  "batch_size": "batch_size",
  "optimiser": "optimizer.name",
  "learning_rate": "optimizer.learning_rate",
  "geco": "objective.geco",
  "g_goal": "objective.goal",
  "g_lr": "objective.step_size",
  "g_alpha": "objective.alpha",
  "g_init": "objective.beta_init",
  "g_min": "objective.beta_min",
  "g_speedup": "objective.speedup",
  "beta": "objective.beta",
  "beta_warmup": "objective.beta_warmup",
}

# Its files datasets/<name>_config.py, and what --dataset chooses within the last one.
DATA_CONFIGS = {
  "gqn": "gqn",
  "multid": "multi_dsprites",
  "shapestacks": "shapestacks",
  "sketchy": "sketchy",
  "apc": "apc",
}
MULTI_OBJECT = {
  "objects_room": "objects_room",
  "clevr": "clevr",
  "tetrominoes": "tetrominoes",
  "multi_dsprites": "multi_dsprites_colored",
}

# Name of the rule -> its state in optax, and field of it -> PyTorch's name.
RULES = {
  "adam": (optax.ScaleByAdamState, {"mu": "exp_avg", "nu": "exp_avg_sq"}),
  "rmsprop": (optax.ScaleByRmsState, {"nu": "square_avg"}),
  "sgd": (optax.TraceState, {"trace": "momentum_buffer"}),
}


def _stem(path: str) -> str:
  return path.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".py").removesuffix("_config")


def _data_set(flags: Mapping[str, Any]) -> str:
  name = _stem(str(flags.get("data_config")))
  if name == "multi_object":
    chosen = flags.get("dataset", "objects_room")
    if chosen in MULTI_OBJECT:
      return MULTI_OBJECT[chosen]
    raise ValueError(f"flag dataset is {chosen!r}; known: {sorted(MULTI_OBJECT)}")
  if name not in DATA_CONFIGS:
    known = sorted([*DATA_CONFIGS, "multi_object"])
    raise ValueError(f"flag data_config is {flags.get('data_config')!r}; known: {known}")
  return DATA_CONFIGS[name]


def _model_settings(flags: Mapping[str, Any], config) -> dict[str, Any]:
  """Our fields of the model that the flags describe."""
  model = genesis_jax.build_model(flags)
  left_to_data = {
    field
    for field, flag in (("image_size", "img_size"), ("num_slots", "K_steps"))
    if flag not in flags
  }
  fields = set(config.model) - {"name", "dtype"} - left_to_data
  return {f"model.{field}": getattr(model, field) for field in fields}


def config_from_flags(flags: Mapping[str, Any]) -> ml_collections.ConfigDict:
  """Our configuration of a run, from the original's `flags.json`.

  Where the data is remains open, as does everything that does not change the results.

  Raises:
    ValueError: for a model, data set or value that we do not have.
  """
  try:
    return _config_from_flags(flags)
  except (TypeError, KeyError, AttributeError, OverflowError) as error:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    raise ValueError(f"flags cannot be used ({reason})") from error


def _config_from_flags(flags: Mapping[str, Any]) -> ml_collections.ConfigDict:
  # The original says -1 for a size or number of slots that its data set decides.
  flags = {k: v for k, v in flags.items() if k not in ("img_size", "K_steps") or v != -1}
  kind = type(genesis_jax.build_model(flags))
  config = compose(next(name for name in MODELS if MODELS[name] is kind), _data_set(flags))
  settings = _model_settings(flags, config)
  settings |= {field: flags[flag] for flag, field in TRAINING.items() if flag in flags}
  if "train_iter" in flags:
    settings["num_steps"] = flags["train_iter"] + 1  # its loop counts from 0 to train_iter
  if config.data.name == "multi_dsprites" and flags.get("unique_colours"):
    settings["data.variant"] = "unique"
  if config.data.name == "shapestacks" and "split_name" in flags:
    settings["data.variant"] = flags["split_name"]
  config.update_from_flattened_dict(settings)
  return config


def ignored_flags(flags: Mapping[str, Any], config) -> list[str]:
  """The flags that say nothing of a run's configuration: paths, logs, devices, other models' own.

  Args:
    flags: the original's.
    config: what `config_from_flags` made of them.
  """
  used = {"model_config", "data_config", "dataset", "unique_colours", "split_name", "train_iter"}
  used |= set(TRAINING)
  fields = {flag: ORIGINAL_NAMES.get(flag, flag) for flag in flags if flag not in used}
  options = MODELS[config.model.name].__dataclass_fields__
  return sorted(flag for flag, field in fields.items() if field not in options)


def updates_done(checkpoint: Mapping[str, Any], num_steps: float = math.inf) -> int:
  """Training steps behind a checkpoint: what its optimizer counted, or else what its loop did.

  The original counts iterations from 0. Its periodic checkpoints and the latest one are written
  before the counter goes up, the final one after.

  Args:
    checkpoint: of the original.
    num_steps: of the whole run.

  Raises:
    ValueError: for an impossible count.
  """
  slots = checkpoint["optimiser_state_dict"]["state"].values()
  counted = [int(slot["step"]) for slot in slots if "step" in slot]  # SGD counts nothing
  steps = max(counted, default=min(int(checkpoint["iter_idx"]) + 1, num_steps))
  if not 0 <= steps <= np.iinfo(np.int32).max:
    raise ValueError(f"the checkpoint claims to be after {steps} steps")
  return steps


def _rule_state(state, name: str, model, checkpoint: Mapping[str, Any]):
  """An optax state with PyTorch's numbers in it; zeros for what never had a gradient."""
  kind, fields = RULES[name]
  optimiser = checkpoint["optimiser_state_dict"]
  weights = torch_names.present_names(checkpoint["model_state_dict"])
  names = torch_names.parameter_names(model, weights)
  # Numbers of parameters, or in old versions of PyTorch addresses; in the order of `names`.
  numbers = [number for group in optimiser["param_groups"] for number in group["params"]]
  if len(numbers) != len(names):
    raise ValueError(f"optimizer has {len(numbers)} parameters, but the model {len(names)}")
  slots = {name: optimiser["state"].get(i, {}) for name, i in zip(names, numbers, strict=True)}
  if not any(theirs in slot for slot in slots.values() for theirs in fields.values()):
    raise ValueError(f"optimizer.name is {name!r}, but the checkpoint has no state for it")
  values = {
    ours: torch_names.params_from_torch(
      model, {n: slot.get(theirs, np.zeros_like(weights[n])) for n, slot in slots.items()}
    )
    for ours, theirs in fields.items()
  }
  if name == "adam":
    values["count"] = np.int32(updates_done(checkpoint))
  is_rule = lambda x: isinstance(x, kind)  # noqa: E731
  return jax.tree.map(lambda x: x._replace(**values) if is_rule(x) else x, state, is_leaf=is_rule)


def _geco_state(state, step: int, checkpoint: Mapping[str, Any]):
  """An optax state with the checkpoint's GECO in it, where it has one."""
  if objective.geco_state(state) is None:
    return state
  if checkpoint.get("beta") is None:
    raise ValueError("objective.geco is on, but the checkpoint has no beta")
  if checkpoint.get("err_ema") is None:  # before May 2020: the average restarts, as it did there
    step, err_ema = 0, 0.0
  else:
    err_ema = checkpoint["err_ema"]
  geco = objective.GecoState(np.int32(step), np.float32(checkpoint["beta"]), np.float32(err_ema))
  is_geco = lambda x: isinstance(x, objective.GecoState)  # noqa: E731
  return jax.tree.map(lambda x: geco if is_geco(x) else x, state, is_leaf=is_geco)


def train_state(config, checkpoint: Mapping[str, Any]) -> training.TrainState:
  """The state from which training continues as in the original, except for random numbers.

  Args:
    config: of the experiment.
    checkpoint: what `load_torch` read: model_state_dict, optimiser_state_dict, iter_idx, and with
      GECO beta and, in newer versions, err_ema.

  Raises:
    ValueError: if the checkpoint lacks something or does not fit the configuration.
  """
  try:
    return _train_state(config, checkpoint)
  except (TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    raise ValueError(f"not a checkpoint of the original code ({reason})") from error


def _train_state(config, checkpoint: Mapping[str, Any]) -> training.TrainState:
  if missing := {"model_state_dict", "optimiser_state_dict", "iter_idx"} - set(checkpoint):
    raise ValueError(f"not a checkpoint of the original code: it lacks {sorted(missing)}")
  model, tx = genesis_jax.build_model(config.model), objective.optimizer(config)
  variables = genesis_jax.from_torch(model, checkpoint["model_state_dict"])
  step = updates_done(checkpoint, config.num_steps)
  opt_state = jax.tree.map(np.asarray, optimizers.initial_state(tx, variables))
  opt_state = _rule_state(opt_state, config.optimizer.name, model, checkpoint)
  return training.TrainState(
    step=np.int32(step),
    params=variables["params"],
    batch_stats=variables.get("batch_stats", {}),
    opt_state=_geco_state(opt_state, step, checkpoint),
    key=np.asarray(jax.random.key_data(jax.random.key(config.seed))),
    diverged_at=np.int32(-1),
  )
