"""The update rule of an experiment: optimizer, schedule, clipping, and an average of the weights.

  rule = update_rule(config.optimizer, config.num_steps)
  opt_state = initial_state(rule, variables)
  updates, opt_state = rule.update(grads, opt_state, params, batch_stats=new_batch_stats)
  averaged(opt_state)                   # {"params", "batch_stats"} to evaluate, or None

What is off leaves no trace: neither in the compiled step nor in the tree of the optimizer's state.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

# Hyperparameters as in the original: PyTorch's defaults where it names none.
OPTIMIZERS = {
  "adam": lambda rate: optax.adam(rate, b1=0.9, b2=0.999, eps=1e-8),
  "rmsprop": lambda rate: optax.rmsprop(rate, decay=0.99, eps=1e-8, eps_in_sqrt=False),
  "sgd": lambda rate: optax.sgd(rate, momentum=0.9),
}

# Name -> learning rate over the steps after the warm-up, from its peak on.
SCHEDULES = {
  "constant": lambda peak, steps: optax.constant_schedule(peak),
  "linear": lambda peak, steps: optax.linear_schedule(peak, 0.0, steps),
  "cosine": lambda peak, steps: optax.cosine_decay_schedule(peak, steps),
}


class AverageState(NamedTuple):
  """State of `average_weights`; `genesis_jax.runs` finds it in a checkpoint by its first name."""

  average_params: Any
  average_batch_stats: Any
  average_count: chex.Array  # int32, updates so far


def average_weights(decay: float) -> optax.GradientTransformationExtraArgs:
  """Keeps an exponential moving average of parameters and batch statistics; last of a chain.

  The first updates are averaged over a shorter past, with a decay of (1 + n) / (10 + n) after n of
  them, as by TensorFlow's ExponentialMovingAverage: else the initialisation would long be in it.

  Args:
    decay: weight of the past; the average reaches back some 1 / (1 - decay) updates.

  Returns:
    A transformation that leaves updates alone. Its `update` needs the parameters, and the keyword
    `batch_stats`, those after the update.
  """

  def init_fn(params):
    return AverageState(params, {}, jnp.zeros([], jnp.int32))

  def update_fn(updates, state, params, *, batch_stats, **extra_args):
    del extra_args
    count = state.average_count.astype(jnp.float32)
    new = optax.apply_updates(params, updates), batch_stats
    fresh = 1 - jnp.minimum(decay, (1 + count) / (10 + count))
    average = optax.incremental_update(new, tuple(state[:2]), fresh)
    return updates, AverageState(*average, state.average_count + 1)

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _is_average(node) -> bool:
  return isinstance(node, AverageState)


def initial_state(tx: optax.GradientTransformation, variables: dict):
  """The optimizer's state before the first step.

  Args:
    tx: any optimizer; only here an average of weights learns of the batch statistics.
    variables: "params", and "batch_stats" where the model has them.
  """
  stats = variables.get("batch_stats", {})
  return jax.tree.map(
    lambda node: node._replace(average_batch_stats=stats) if _is_average(node) else node,
    tx.init(variables["params"]),
    is_leaf=_is_average,
  )


def averaged(opt_state) -> dict | None:
  """Averaged "params" and "batch_stats" in an optimizer's state; None where none are kept."""
  for node in jax.tree.leaves(opt_state, is_leaf=_is_average):
    if _is_average(node):
      return {"params": node.average_params, "batch_stats": node.average_batch_stats}
  return None


def _clipped(rule: optax.GradientTransformationExtraArgs, norm: float):
  """The rule on clipped gradients. Not chained: so a resumed run may change the norm."""
  clip = optax.clip_by_global_norm(norm)

  def update_fn(grads, state, params=None, **extra_args):
    grads, _ = clip.update(grads, optax.EmptyState(), params)
    return rule.update(grads, state, params, **extra_args)

  return optax.GradientTransformationExtraArgs(rule.init, update_fn)


def learning_rate(config, num_steps: int) -> float | Callable[[chex.Array], chex.Array]:
  """The learning rate: a number, or a function of the step where it changes.

  Args:
    config: `learning_rate`, the peak; `warmup_steps`, in which it rises linearly to it; `schedule`
      of the steps after them.
    num_steps: of the training, at whose end "linear" and "cosine" reach 0.

  Raises:
    ValueError: there is no such schedule, or no step is left after the warm-up.
  """
  if config.schedule not in SCHEDULES:
    raise ValueError(
      f"optimizer.schedule is {config.schedule!r}; allowed: {', '.join(sorted(SCHEDULES))}"
    )
  peak, warmup = config.learning_rate, config.warmup_steps
  if config.schedule == "constant" and not warmup:
    return peak
  if warmup >= num_steps:
    raise ValueError(f"optimizer.warmup_steps is {warmup}; it must be below num_steps, {num_steps}")
  after = SCHEDULES[config.schedule](peak, num_steps - warmup)
  if not warmup:
    return after
  # From peak / warmup on: a first step at rate 0 would be none.
  rise = optax.linear_schedule(peak / warmup, peak, warmup - 1)
  return optax.join_schedules([rise, after], [warmup])


def update_rule(config, num_steps: int) -> optax.GradientTransformationExtraArgs:
  """The optimizer of an experiment, without GECO.

  Args:
    config: `config.optimizer` of the experiment.
    num_steps: of the training.

  Raises:
    ValueError: for an unknown name, or a warm-up without end.
  """
  if config.name not in OPTIMIZERS:
    raise ValueError(f"optimizer.name is {config.name!r}; allowed: {sorted(OPTIMIZERS)}")
  rule = OPTIMIZERS[config.name](learning_rate(config, num_steps))
  rule = optax.with_extra_args_support(rule)
  if config.clip_norm is not None:
    rule = _clipped(rule, config.clip_norm)
  if config.ema_decay is not None:
    rule = optax.chain(rule, average_weights(config.ema_decay))
  return rule
