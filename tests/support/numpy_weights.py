"""Weights for tests of what does not depend on them, without compiling their random draws."""

from collections.abc import Callable
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np


def drawn(create: Callable, *arguments):
  """What a function that initialises a model returns, with weights of NumPy.

  As large as those of JAX, which take longer to compile than a training step: each weight's are a
  loop of its own. They are put in place of zeros in what is compiled: so many constants take
  seconds.
  """
  rng, draws, of_leaves = np.random.default_rng(0), [], []

  def uniform(key, shape=(), dtype=jnp.float32, minval=0.0, maxval=1.0):
    draws.append((jnp.zeros(shape, dtype), np.asarray(rng.uniform(minval, maxval, shape), dtype)))
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
