"""One training step and one evaluation step, as pure functions of state and batch.

  state = initial_state(0, model, tx)
  step = functools.partial(train_step, model=model, tx=tx, axis_name="batch")
  state, scalars = jax.pmap(step, axis_name="batch", donate_argnums=0)(state, batch)

A batch is {"image": uint8 [B,S,S,3], ...} with the rows of one device. Noise is drawn per example
from its index in the global batch, and batch norm sees the whole batch, so the number of devices
does not change a run.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import flax.struct
import jax
import jax.flatten_util
import jax.numpy as jnp
import optax

from genesis_jax import metrics, objective, optimizers
from genesis_jax.contingency import count_pixels
from genesis_jax.noise import draw_noise
from genesis_jax.outputs import Outputs

ELBO_LIMIT = 1e8  # nats per image; training beyond it has diverged, as in the original


@flax.struct.dataclass
class TrainState:
  """Everything that must survive a crash."""

  step: chex.Array  # int32, updates done
  params: Any
  batch_stats: Any
  opt_state: Any
  key: chex.Array  # uint32 [2], never changes: each step folds its number into it
  diverged_at: chex.Array  # int32, the first step that diverged, or -1

  @property
  def variables(self) -> dict:
    """What `model.apply` takes, to evaluate: averaged where the optimizer keeps an average."""
    raw = {"params": self.params, "batch_stats": self.batch_stats}
    return optimizers.averaged(self.opt_state) or raw


def to_float(images: chex.Array) -> chex.Array:
  """Uint8 images as float32 in [0, 1]; floating images as they are."""
  if images.dtype == jnp.uint8:
    return images.astype(jnp.float32) / 255
  return images


def create_train_state(key: chex.PRNGKey, model: nn.Module, tx) -> TrainState:
  """Freshly initialised state, from a typed key; to be compiled, as by `initial_state`."""
  key_params, key_steps = jax.random.split(key)
  images = jnp.zeros((1, model.image_size, model.image_size, 3), jnp.float32)
  variables = model.init({"params": key_params, "noise": key_params}, images, train=False)
  return TrainState(
    step=jnp.zeros([], jnp.int32),
    params=variables["params"],
    batch_stats=variables.get("batch_stats", {}),
    opt_state=optimizers.initial_state(tx, variables),
    key=jax.random.key_data(key_steps),
    diverged_at=jnp.full([], -1, jnp.int32),
  )


# Initialisation runs once: optimising its code takes four times as long, and gains nothing.
INIT_OPTIONS = {"xla_backend_optimization_level": 0}


def initial_state(seed: int, model: nn.Module, tx) -> TrainState:
  """The state that the training of a seed starts from."""
  create = functools.partial(create_train_state, model=model, tx=tx)
  return jax.jit(create, compiler_options=INIT_OPTIONS)(jax.random.key(seed))


def total_kl(out: Outputs) -> chex.Array:
  """Sum of all KLs of each image; nats, `[B]`."""
  return sum(kl.reshape(kl.shape[0], -1).sum(1) for kl in out.kl.values())


def image_scalars(out: Outputs, images: chex.Array) -> dict[str, chex.Array]:
  """What is reported of each image: name -> `[B]`; KLs of slot k as `kl_<name>/<k>`."""
  kl = total_kl(out)
  mse = jnp.mean((out.recon - images) ** 2, (1, 2, 3))
  scalars = {
    "err": out.err,
    "err_element": out.err / images[0].size,
    "kl": kl,
    "elbo": out.err + kl,  # negative evidence lower bound, as the original reports it
    "mse": mse,
    "rmse": jnp.sqrt(mse),
  }
  for name, value in out.kl.items():
    if value.ndim == 2:
      scalars |= {f"kl_{name}/{k}": value[:, k] for k in range(value.shape[1])}
      value = value.sum(1)
    scalars[f"kl_{name}"] = value
  if out.log_masks is not None:
    scalars |= metrics.slot_health(out.log_masks)
  return scalars


def _pmean(tree, axis_name: str | None):
  return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def _batch_noise(key, model, count: int, axis_name: str | None):
  first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * count
  return draw_noise(key, model.noise_spec(), first + jnp.arange(count))


def loss(
  params, batch_stats, images: chex.Array, beta: chex.Array, *, model: nn.Module, noise: dict
) -> tuple[chex.Array, tuple[Outputs, dict]]:
  """Mean error + beta x mean KL of float images, in nats; also the outputs and new batch_stats."""
  variables = {"params": params, "batch_stats": batch_stats}
  out, updates = model.apply(variables, images, train=True, noise=noise, mutable=["batch_stats"])
  value = out.err.mean() + beta * total_kl(out).mean()
  return value, (out, updates.get("batch_stats", {}))


def _good_or_last(new: TrainState, last: TrainState, scalars: dict[str, chex.Array]) -> TrainState:
  """The new state, or the last one with the step noted if this step or one before it diverged."""
  # Written so that NaN counts as bad: every comparison with NaN is false.
  good = (scalars["elbo"] <= ELBO_LIMIT) & jnp.isfinite(scalars["grad_norm"])
  good &= last.diverged_at < 0
  state = jax.tree.map(lambda new, last: jnp.where(good, new, last), new, last)
  bad_step = jnp.where(state.diverged_at < 0, state.step, state.diverged_at)
  return state.replace(diverged_at=jnp.where(good, -1, bad_step))


def train_step(
  state: TrainState,
  batch: dict[str, chex.Array],
  *,
  model: nn.Module,
  tx: optax.GradientTransformationExtraArgs,
  beta_schedule: Callable | None = None,
  axis_name: str | None = None,
) -> tuple[TrainState, dict[str, chex.Array]]:
  """One update of the parameters.

  A step whose ELBO exceeds `ELBO_LIMIT`, or with anything not finite, changes nothing but
  `diverged_at`; neither does any step after it, so the state stays the last good one.

  Args:
    state: replicated over the devices.
    batch: this device's part of the batch.
    model: a model of `genesis_jax.build_model`.
    tx: an optimizer of `genesis_jax.objective.optimizer`.
    beta_schedule: weight of the KL at each step; None where GECO sets it.
    axis_name: of the devices' axis, under pmap.

  Returns:
    The new state, and scalars averaged over the global batch.
  """
  images = to_float(batch["image"])
  key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
  noise = _batch_noise(key, model, images.shape[0], axis_name)
  geco = objective.geco_state(state.opt_state)
  # The loss of a step weighs the KL with the beta from before it.
  beta = geco.beta if beta_schedule is None else beta_schedule(state.step)
  value_and_grads = jax.value_and_grad(
    functools.partial(loss, model=model.clone(axis_name=axis_name), noise=noise), has_aux=True
  )
  (value, (out, batch_stats)), grads = value_and_grads(
    state.params, state.batch_stats, images, beta
  )
  scalars = {name: value.mean() for name, value in image_scalars(out, images).items()}
  grads, scalars = _pmean((grads, scalars | {"loss": value}), axis_name)
  updates, opt_state = tx.update(
    grads, state.opt_state, state.params, err=scalars["err"], batch_stats=batch_stats
  )
  # Of one vector: the norms of all arrays would be a hundred small kernels on a GPU.
  grad_norm = jnp.linalg.norm(jax.flatten_util.ravel_pytree(grads)[0])
  scalars |= {"beta": beta, "grad_norm": grad_norm}
  new = state.replace(
    step=state.step + 1,
    params=optax.apply_updates(state.params, updates),
    batch_stats=batch_stats,
    opt_state=opt_state,
  )
  state = _good_or_last(new, state, scalars)
  if geco is not None:
    err_ema = objective.geco_state(opt_state).err_ema
    scalars |= {"err_ema": err_ema, "err_ema_element": err_ema / images[0].size}
  return state, scalars | {"diverged_at": state.diverged_at}


def configured_step(config, model: nn.Module, tx, axis_name: str | None = None) -> Callable:
  """`train_step` of an experiment, with all but state and batch bound."""
  schedule = objective.beta_schedule(config.objective, config.num_steps)
  return functools.partial(
    train_step, model=model, tx=tx, beta_schedule=schedule, axis_name=axis_name
  )


def train_steps(
  step: Callable, state: TrainState, batches: dict[str, chex.Array], num_steps: int
) -> tuple[TrainState, dict[str, chex.Array]]:
  """Several updates in one program, without returning to the host.

  Args:
    step: `train_step` with all but state and batch bound, or what wraps it.
    state: as for `step`.
    batches: those of all steps, with a leading axis over them.
    num_steps: how many they are.

  Returns:
    The new state, and the scalars of each step, `[num_steps]`.
  """
  if num_steps == 1:  # by itself: a loop, even of one turn, is compiled in another way
    state, scalars = step(state, jax.tree.map(lambda x: x[0], batches))
    return state, jax.tree.map(lambda x: jnp.asarray(x)[None], scalars)
  return jax.lax.scan(step, state, batches, num_steps)


def eval_step(
  variables: dict, batch: dict[str, chex.Array], key: chex.Array, *, model: nn.Module
) -> dict[str, chex.Array]:
  """What is measured of each image of a batch.

  Args:
    variables: params and batch_stats.
    batch: "image"; "index" `[B]`, which with the key decides the noise of each (0 to B - 1 where it
      is missing); "instances" `[B,S,S]`, ids below `metrics.NUM_IDS`, for segmentation scores.
    key: uint32 [2].
    model: a model of `genesis_jax.build_model`.

  Returns:
    Name -> `[B]`: those of `image_scalars`; and with instances contingency tables `[B,1+T,K]`, see
    contingency.py: `counts` of the attention masks and `counts_r` of the decoded ones.
  """
  images = to_float(batch["image"])
  indices = batch.get("index", jnp.arange(len(images)))
  noise = draw_noise(jax.random.wrap_key_data(key), model.noise_spec(), indices)
  out = model.apply(variables, images, train=False, noise=noise)
  values = image_scalars(out, images)
  if "instances" in batch:
    for suffix, log_masks in (("", out.log_masks), ("_r", out.log_masks_recon)):
      if log_masks is not None:
        values[f"counts{suffix}"] = count_pixels(
          batch["instances"], log_masks.argmax(1), metrics.NUM_IDS, log_masks.shape[1]
        )
  return values
