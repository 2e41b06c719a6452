"""Every random draw of a forward pass, made at once and before anything else.

A model says what it needs (`model.noise_spec()`: name -> (distribution, shape per example)). Each
example has its own key, made from its index in the batch: which device holds it changes nothing.
"""

import chex
import jax
import jax.numpy as jnp

DISTRIBUTIONS = {"normal": jax.random.normal, "uniform": jax.random.uniform}

NoiseSpec = dict[str, tuple[str, tuple[int, ...]]]


def draw_noise(key: chex.PRNGKey, spec: NoiseSpec, indices: chex.Array) -> dict[str, chex.Array]:
  """Draws the noise of some examples; name -> float32 `[B, ...]`.

  Args:
    key: of the whole batch.
    spec: name -> (distribution, shape per example).
    indices: `[B]`, of the examples within the whole batch.
  """

  def draw_one(index):
    key_example = jax.random.fold_in(key, index)
    keys = jax.random.split(key_example, len(spec))
    return {
      name: DISTRIBUTIONS[distribution](key_name, shape, jnp.float32)
      for key_name, (name, (distribution, shape)) in zip(keys, sorted(spec.items()), strict=True)
    }

  return jax.vmap(draw_one)(indices)
