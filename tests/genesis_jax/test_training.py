"""The train step: the same run on any number of devices, and state that survives divergence."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpy_weights
import optax
import pytest

import genesis_jax
from genesis_jax import training

STEPS = 2


def run(model, num_devices, batch):
  """Scalars of every step, and the last parameters; plain SGD keeps rounding small."""
  tx = optax.chain(genesis_jax.geco(goal=1700.0, step_size=1e-4), optax.sgd(1e-6))
  create = functools.partial(training.create_train_state, model=model, tx=tx)
  state = numpy_weights.drawn(create, jax.random.key(0))
  devices = jax.devices()[:num_devices]
  step = functools.partial(training.train_step, model=model, tx=tx, axis_name="batch")
  step = jax.pmap(step, axis_name="batch", devices=devices)
  state = jax.tree.map(lambda x: np.broadcast_to(x, (num_devices, *x.shape)), state)
  sharded = {"image": batch.reshape(num_devices, -1, *batch.shape[1:])}
  rows = []
  for _ in range(STEPS):
    state, scalars = step(state, sharded)
    rows.append(first(scalars))
  return rows, first(state)


def first(tree):
  """What the first device holds."""
  return jax.tree.map(lambda x: np.asarray(x)[0], tree)


# With batch norm, and noise by the number of an image. In other models images do not see each other
# either (test_models); GENESIS is compared through the whole program (test_end_to_end).
@pytest.mark.slow
def test_one_device_equals_two():
  batch = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
  model = genesis_jax.build_model(dict(name="vae", image_size=32, latent_dim=4))
  (rows_one, one), (rows_two, two) = (run(model, n, batch) for n in (1, 2))
  for a, b in zip(rows_one, rows_two, strict=True):
    for key in a:
      np.testing.assert_allclose(a[key], b[key], rtol=1e-4, atol=1e-4, err_msg=key)
  assert rows_one[0]["err"] != rows_one[1]["err"]
  for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(two.params), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_divergence_freezes_the_state_before_it():
  model = genesis_jax.build_model(dict(name="vae", image_size=32, latent_dim=4))
  tx = optax.sgd(1e-8)
  create = functools.partial(training.create_train_state, model=model, tx=tx)
  state = numpy_weights.drawn(create, jax.random.key(0))
  step = jax.jit(
    functools.partial(training.train_step, model=model, tx=tx, beta_schedule=lambda step: 0.5)
  )
  good = {"image": jnp.full((2, 32, 32, 3), 0.5)}
  bad = {"image": good["image"].at[0, 0, 0, 0].set(jnp.nan)}
  state, scalars = step(state, good)
  assert (state.step, state.diverged_at, scalars["diverged_at"]) == (1, -1, -1)
  before = state
  for batch in (bad, good):  # once diverged, nothing moves any more
    state, scalars = step(state, batch)
    assert (state.step, state.diverged_at, scalars["diverged_at"]) == (1, 1, 1)
    for a, b in zip(jax.tree.leaves(before.params), jax.tree.leaves(state.params), strict=True):
      np.testing.assert_array_equal(a, b)
  far = {"image": jnp.full((2, 32, 32, 3), 1e4)}  # finite, but beyond any sensible ELBO
  _, scalars = step(before, far)
  assert scalars["diverged_at"] == 1
