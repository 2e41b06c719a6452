"""Norms against their definitions, values and gradients."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genesis_jax import norms

ACTIVATIONS = {"relu": (nn.relu, 1), "gate": (norms.gate, 2)}
AXES = {"bn": (0, 1, 2), "in": (1, 2), "gn": (1, 2, 4)}


def normal(*shape, seed=0):
  """Of NumPy: JAX's draws are compiled once for each shape."""
  return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def by_definition(x, shift, scale, bias, kind, activation):
  x = x + shift
  groups = x.reshape(*x.shape[:3], norms.NUM_GROUPS, -1) if kind == "gn" else x
  mean, var = (f(groups, AXES[kind], keepdims=True) for f in (jnp.mean, jnp.var))
  y = ((groups - mean) / jnp.sqrt(var + 1e-5)).reshape(x.shape) * scale + bias
  function, num_parts = ACTIVATIONS[activation]
  return function(*jnp.split(y, num_parts, -1))


class Model(nn.Module):
  """A norm for each argument of an activation."""

  kind: str
  activation: str
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x, shift, train=True):
    function, num_parts = ACTIVATIONS[self.activation]
    layers = [norms.Norm(self.kind, name=f"norm_{i}") for i in range(num_parts)]
    values = [layer(x.shape[-1] // num_parts) for layer in layers]
    return norms.normalise(x, shift, values, self.kind, function, train, self.axis_name)


def case(kind, activation, channels=16):
  """(model, x, shift, variables), nothing of which is zero or one."""
  model = Model(kind, activation)
  x, shift = 3 + 2 * normal(4, 3, 5, channels), normal(channels, seed=1)
  variables = jax.jit(model.init, static_argnums=3)(jax.random.key(0), x, shift, False)
  params = jax.tree.map(lambda a: a + normal(len(a), seed=len(a)), variables["params"])
  return model, x, shift, variables | {"params": params}


def compiled(model, **options):
  return jax.jit(functools.partial(model.apply, **options))


def joined(params, name):
  return jnp.concatenate([params[part]["norm"][name] for part in sorted(params)])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", norms.KINDS)
@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_values_and_gradients_are_those_of_the_definition(platform, kind, activation, monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: platform)
  model, x, shift, variables = case(kind, activation)

  def ours(params, x, shift):
    y, _ = model.apply(variables | {"params": params}, x, shift, mutable=["batch_stats"])
    return y

  def expected(params, x, shift):
    scale, bias = joined(params, "scale"), joined(params, "bias")
    return by_definition(x, shift, scale, bias, kind, activation)

  gradient = normal(*x.shape[:3], x.shape[-1] // ACTIVATIONS[activation][1], seed=2)

  @jax.jit
  def values_and_gradients(*arguments):
    y, transpose = jax.vjp(ours, *arguments)
    y_expected, transpose_expected = jax.vjp(expected, *arguments)
    return y, y_expected, transpose(gradient), transpose_expected(gradient)

  y, y_expected, *gradients = values_and_gradients(variables["params"], x, shift)
  np.testing.assert_allclose(y, y_expected, atol=1e-5)
  jax.tree.map(functools.partial(np.testing.assert_allclose, atol=2e-5), *gradients)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_batch_norm_over_devices_is_that_over_one(activation):
  model, x, shift, variables = case("bn", activation)
  num_devices = 2
  devices = jax.devices()[:num_devices]
  assert len(devices) == num_devices

  def step(model, params, x, shift, gradient):
    def apply(*arguments):
      return model.apply(
        variables | {"params": arguments[0]}, *arguments[1:], mutable="batch_stats"
      )

    y, transpose, updates = jax.vjp(apply, params, x, shift, has_aux=True)
    return y, transpose(gradient), updates

  y_shape = jax.eval_shape(lambda: model.apply(variables, x, shift, False)).shape
  gradient = normal(*y_shape, seed=2)
  params = variables["params"]
  one = jax.jit(functools.partial(step, model))
  y, (of_params, of_x, of_shift), updates = one(params, x, shift, gradient)
  many = functools.partial(step, model.clone(axis_name="batch"))
  split = functools.partial(jnp.split, indices_or_sections=num_devices)
  result = jax.pmap(many, "batch", in_axes=(None, 0, None, 0), devices=devices)(
    params, jnp.stack(split(x)), shift, jnp.stack(split(gradient))
  )
  close = functools.partial(np.testing.assert_allclose, atol=2e-5)
  close(result[0].reshape(y.shape), y)
  close(result[1][1].reshape(x.shape), of_x)
  jax.tree.map(lambda a, b: close(a.sum(0), b), result[1][0], of_params)
  close(result[1][2].sum(0), of_shift)
  jax.tree.map(lambda a, b: [close(part, b) for part in a], result[2], updates)


def test_batch_norm_keeps_running_averages():
  model, x, shift, variables = case("bn", "gate", channels=4)
  _, updates = compiled(model, mutable=["batch_stats"])(variables, x, shift)
  flat = np.asarray(x + shift).reshape(-1, 4)
  stats = updates["batch_stats"]
  np.testing.assert_allclose(joined(stats, "mean"), 0.1 * flat.mean(0), 1e-5)
  np.testing.assert_allclose(joined(stats, "var"), 0.9 + 0.1 * flat.var(0, ddof=1), 1e-5)

  y = compiled(model, train=False)(variables | updates, x, shift)
  hat = (x + shift - joined(stats, "mean")) / np.sqrt(joined(stats, "var") + 1e-5)
  params = variables["params"]
  h, g = jnp.split(hat * joined(params, "scale") + joined(params, "bias"), 2, -1)
  np.testing.assert_allclose(y, h * jax.nn.sigmoid(g), atol=1e-5)


@pytest.mark.parametrize("kind", norms.KINDS)
def test_statistics_are_in_float32(kind):
  """Far from zero bfloat16 has no digits left for a variance."""
  model, x, shift, variables = case(kind, "relu")
  x = (100 + x).astype(jnp.bfloat16)
  apply = compiled(model, mutable=["batch_stats"])
  (y, _), (expected, _) = (apply(variables, x, shift) for x in (x, x.astype(jnp.float32)))
  assert y.dtype == jnp.bfloat16
  np.testing.assert_allclose(y.astype(jnp.float32), expected, rtol=2**-8)
