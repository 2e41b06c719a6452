"""Weights for tests of what does not depend on them, without compiling their random draws."""

import contextlib
from collections.abc import Callable
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np


@contextlib.contextmanager
def used():
  """Takes uniform draws from NumPy, as those of weights are, to be compiled as constants.

  As large as those of JAX, which take longer to compile than a training step: each weight's are a
  loop of its own.
  """
  rng = np.random.default_rng(0)

  def uniform(key, shape=(), dtype=jnp.float32, minval=0.0, maxval=1.0):
    return jnp.asarray(rng.uniform(minval, maxval, shape), dtype)

  with mock.patch.object(jax.random, "uniform", uniform):
    yield


def drawn(create: Callable, *arguments):
  """What a function that initialises a model returns, with weights of NumPy."""
  with used():
    return jax.jit(create)(*arguments)
