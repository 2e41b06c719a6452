"""Weights for tests of what does not depend on them, without compiling their random draws."""

import contextlib
from collections.abc import Callable
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np


def _uniform(rng, shape, dtype, minval, maxval) -> np.ndarray:
  """As large as what `jax.random.uniform` draws."""
  return np.asarray(rng.uniform(minval, maxval, shape), dtype)


@contextlib.contextmanager
def used():
  """Takes uniform draws from NumPy, as those of weights are, to be compiled as constants.

  Those of JAX take longer to compile than a training step: each weight's are a loop of its own.
  """
  rng = np.random.default_rng(0)

  def uniform(key, shape=(), dtype=jnp.float32, minval=0.0, maxval=1.0):
    return jnp.asarray(_uniform(rng, shape, dtype, minval, maxval))

  with mock.patch.object(jax.random, "uniform", uniform):
    yield


def drawn(create: Callable, *arguments):
  """What a function that initialises a model returns, with weights of NumPy.

  They are put in place of zeros in what is compiled: millions of constants take seconds.
  """
  rng, draws, of_leaves = np.random.default_rng(0), [], []

  def uniform(key, shape=(), dtype=jnp.float32, minval=0.0, maxval=1.0):
    draws.append((jnp.zeros(shape, dtype), _uniform(rng, shape, dtype, minval, maxval)))
    return draws[-1][0]

  def created(*arguments):
    tree = create(*arguments)
    numbers = {id(zeros): number for zeros, number in draws}
    of_leaves.extend(numbers.get(id(leaf)) for leaf in jax.tree.leaves(tree))
    return tree

  with mock.patch.object(jax.random, "uniform", uniform):
    leaves, structure = jax.tree.flatten(jax.jit(created)(*arguments))
  return structure.unflatten(
    leaf if number is None else jnp.asarray(number)
    for leaf, number in zip(leaves, of_leaves, strict=True)
  )
