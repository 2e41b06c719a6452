"""The training objective: mean error + beta x mean KL, with beta from GECO or a schedule.

GECO (Rezende & Viola, "Taming VAEs", 2018) minimises the KL subject to the error reaching a goal;
beta is the inverse of the Lagrange multiplier of that constraint. Here it is an optax
transformation that leaves the gradients alone and keeps its state in the optimizer's, so that
checkpoints and replication cover it:

    tx = optax.chain(geco(goal=..., step_size=...), optax.adam(1e-4))
    beta = geco_state(opt_state).beta       # weighs the KL in this step's loss
    updates, opt_state = tx.update(grads, opt_state, params, err=err)
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from genesis_jax import optimizers

AUTO = "auto"  # in place of a goal: it follows the data


class GecoState(NamedTuple):
  """State of `geco`: all scalars."""

  count: chex.Array  # int32, updates so far
  beta: chex.Array  # float32, weight of the KL in the next step
  err_ema: chex.Array  # float32, moving average of the error; nats per image


def geco(
  goal: float,
  step_size: float,
  alpha: float = 0.99,
  init: float = 1.0,
  minimum: float = 1e-10,
  maximum: float = 1e10,
  speedup: float = 10.0,
) -> optax.GradientTransformationExtraArgs:
  """Adapts beta so that the error reaches `goal`; gradients pass through unchanged.

  Args:
    goal: error to reach, nats per image.
    step_size: change of log beta per nat of constraint.
    alpha: weight of the past in the moving average of the error.
    init, minimum, maximum: of beta.
    speedup: multiplies the step size while the average error is below the goal.

  Returns:
    A transformation whose `update` needs the keyword `err`, the batch's mean error in nats.
  """

  def init_fn(params):
    del params
    return GecoState(jnp.zeros([], jnp.int32), jnp.float32(init), jnp.zeros([], jnp.float32))

  def update_fn(updates, state, params=None, *, err, **extra_args):
    del params, extra_args
    err = jax.lax.stop_gradient(jnp.asarray(err, jnp.float32))
    # A counter marks the first step: a NaN as marker would look like divergence.
    err_ema = jnp.where(state.count == 0, err, alpha * state.err_ema + (1 - alpha) * err)
    constraint = goal - err_ema
    rate = jnp.where(constraint > 0, speedup * step_size, step_size)
    beta = jnp.clip(state.beta * jnp.exp(rate * constraint), minimum, maximum)
    return updates, GecoState(state.count + 1, beta, err_ema)

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def geco_state(opt_state) -> GecoState | None:
  """The `GecoState` inside an optimizer state, or None where GECO is not used."""
  leaves = jax.tree.leaves(opt_state, is_leaf=lambda x: isinstance(x, GecoState))
  return next((leaf for leaf in leaves if isinstance(leaf, GecoState)), None)


def error_floor(pixel_std: float) -> float:
  """Least possible error of a perfect reconstruction; nats per pixel and channel."""
  return math.log(pixel_std) + 0.5 * math.log(2 * math.pi)


def follows_data(config) -> bool:
  """Whether GECO's goal is still to be found in the data: `goal` is "auto"."""
  return config.geco and config.target_psnr is None and config.goal == AUTO


def sharpest_std(model_config) -> float:
  """The smallest pixel std of a model's slots, which sets the floor of the error."""
  return min(model_config.pixel_std, getattr(model_config, "pixel_std_first", math.inf))


def goal_of_mse(mse: float, std: float) -> float:
  """The error at a mean squared error in [0, 1]^2, in nats per pixel and channel."""
  return error_floor(std) + mse / (2 * std**2)


def goal_per_element(config, model_config) -> float:
  """The GECO goal in nats per pixel and channel, from `goal` or `target_psnr`.

  Args:
    config: the objective's configuration.
    model_config: the model's; its pixel stds set the floor.

  Raises:
    ValueError: if the goal lies at or below the likelihood's floor, where beta would run to its
      minimum and the KL be ignored; or if it is still to be found in the data.
  """
  std = sharpest_std(model_config)
  floor = error_floor(std)
  if follows_data(config):
    raise ValueError('objective.goal is "auto": experiments.main finds it before it trains')
  if config.target_psnr is not None:
    mse = 10 ** (-config.target_psnr / 10)
    given, goal = f"target_psnr is {config.target_psnr}", goal_of_mse(mse, std)
  else:
    given, goal = f"goal is {config.goal}", config.goal
  if goal is None:
    raise ValueError("objective.goal and objective.target_psnr are both unset; set one")
  if np.float32(goal) <= np.float32(floor):  # in the precision of training
    raise ValueError(
      f"objective.{given}, but with a pixel std of {std} the error cannot fall below "
      f"{floor:.5f} nats per pixel and channel; choose a goal above it, or set "
      "objective.target_psnr (in dB, for example 25) instead"
    )
  return goal


def beta_schedule(config, num_steps: int) -> Callable[[chex.Array], chex.Array] | None:
  """Weight of the KL as a function of the step; None where GECO sets it."""
  if config.geco:
    return None
  if not config.beta_warmup:
    return optax.constant_schedule(config.beta)
  return optax.linear_schedule(0.0, config.beta, max(1, num_steps // 5))


def _is_goal(value) -> bool:
  return value == AUTO or isinstance(value, (int, float)) and math.isfinite(value)


_FROM_ZERO = ("numbers from 0", lambda value: 0 <= value < math.inf)
_ABOVE_ZERO = ("numbers above 0", lambda value: 0 < value < math.inf)
RANGES = {
  "optimizer.learning_rate": _FROM_ZERO,
  "optimizer.warmup_steps": _FROM_ZERO,
  "optimizer.clip_norm": _ABOVE_ZERO,
  "optimizer.ema_decay": ("numbers from 0 to below 1", lambda value: 0 <= value < 1),
  "objective.beta": _FROM_ZERO,
  "objective.goal": ("finite numbers, and auto", _is_goal),
  "objective.target_psnr": ("finite numbers", math.isfinite),
  "objective.step_size": _FROM_ZERO,
  "objective.alpha": ("numbers from 0 to 1", lambda value: 0 <= value <= 1),
  "objective.speedup": _FROM_ZERO,
  "objective.beta_init": _ABOVE_ZERO,
  "objective.beta_min": _FROM_ZERO,
  "objective.beta_max": _ABOVE_ZERO,
}


def _check_numbers(config):
  for field, (allowed, is_allowed) in RANGES.items():
    section, name = field.split(".")
    value = config[section][name]
    if value is not None and not is_allowed(value):
      raise ValueError(f"{field} is {value}; allowed: {allowed}")
  low, high = config.objective.beta_min, config.objective.beta_max
  if low > high:
    raise ValueError(f"objective.beta_min is {low}, above objective.beta_max, {high}")


def check(config) -> None:
  """Raises ValueError where `optimizer` would; GECO's goal may still be to be found."""
  _check_numbers(config)
  optimizers.update_rule(config.optimizer, config.num_steps)
  if config.objective.geco and not follows_data(config.objective):
    goal_per_element(config.objective, config.model)


def optimizer(config) -> optax.GradientTransformationExtraArgs:
  """The optimizer of an experiment: GECO where it is on, then the update rule.

  Args:
    config: the experiment's configuration, with `model`, `objective`, `optimizer` and `num_steps`.

  Raises:
    ValueError: for an unknown optimizer, a number that makes no sense or an unreachable goal.
  """
  check(config)
  rule = optimizers.update_rule(config.optimizer, config.num_steps)
  if not config.objective.geco:
    return rule
  objective, size = config.objective, config.model.image_size
  return optax.chain(
    geco(
      goal=goal_per_element(objective, config.model) * 3 * size**2,  # nats per image
      step_size=objective.step_size * 64**2 / size**2,
      alpha=objective.alpha,
      init=objective.beta_init,
      minimum=objective.beta_min,
      maximum=objective.beta_max,
      speedup=objective.speedup,
    ),
    rule,
  )
