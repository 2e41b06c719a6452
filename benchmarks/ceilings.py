"""What the device reaches at best: matrix products, and copying through memory."""

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

ROUNDS = 5
MATRIX = {"cpu": 2048}  # side of the matrices, by platform
COPIED = {"cpu": 2**26}  # float32 numbers that are copied: beyond all caches
DEFAULTS = {"matrix": 8192, "copied": 2**28}


def seconds_per_call(call: Callable[[], object], least: float = 0.5, rounds: int = ROUNDS) -> float:
  """Median time of a call over rounds of so many calls that a round takes `least` seconds.

  The device is waited for at the end of a round only, so that its queue never runs dry.
  """
  start = time.perf_counter()
  jax.block_until_ready(call())
  calls = max(1, round(least / (time.perf_counter() - start)))
  return statistics.median(time_calls(call, calls) for _ in range(rounds))


def time_calls(call: Callable[[], object], calls: int) -> float:
  """Seconds per call of one round."""
  start = time.perf_counter()
  for _ in range(calls):
    last = call()
  jax.block_until_ready(last)
  return (time.perf_counter() - start) / calls


def matmul_flops(dtype: str, precision: str = "default") -> float:
  """FLOP/s of a large square matrix product.

  Args:
    dtype: of the factors.
    precision: of float32 products: default, high or highest.
  """
  side = MATRIX.get(jax.default_backend(), DEFAULTS["matrix"])
  x = jnp.full((side, side), 0.5, dtype)
  with jax.default_matmul_precision(precision):
    product = jax.jit(jnp.matmul).lower(x, x).compile()
  jax.block_until_ready(product(x, x))
  return 2 * side**3 / seconds_per_call(lambda: product(x, x))


def memory_bytes() -> float:
  """Bytes per second read and written by adding 1 to a large array, in its place."""
  x = jnp.zeros(COPIED.get(jax.default_backend(), DEFAULTS["copied"]), jnp.float32)
  add = jax.jit(lambda x: x + 1, donate_argnums=0).lower(x).compile()

  def call():
    nonlocal x
    x = add(x)
    return x

  return 2 * x.nbytes / seconds_per_call(call)
