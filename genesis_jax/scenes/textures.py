"""Procedural patterns for walls and floors: functions of two coordinates, with values in [0, 1]."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def _checks(u: Array, v: Array) -> Array:
  return (jnp.floor(u) + jnp.floor(v)) % 2


def _stripes(u: Array, v: Array) -> Array:
  del v
  return jnp.floor(2 * u) % 2


def _bricks(u: Array, v: Array) -> Array:
  row = jnp.floor(2 * v)
  along = (u + row / 2) % 1
  return ((along > 0.06) & (2 * v % 1 > 0.12)).astype(u.dtype)


def _planks(u: Array, v: Array) -> Array:
  row = jnp.floor(2 * u)
  shade = jnp.sin(12.9898 * row + 78.233 * jnp.floor(v / 3 + 0.37 * row)) * 43758.5453
  return 0.25 + 0.75 * (shade - jnp.floor(shade)) * (2 * u % 1 > 0.06)


def _waves(u: Array, v: Array) -> Array:
  return 0.5 + 0.5 * jnp.sin(5 * u + 2 * jnp.sin(2 * v))


def _dots(u: Array, v: Array) -> Array:
  return ((u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.09).astype(u.dtype)


PATTERNS = (_checks, _stripes, _bricks, _planks, _waves, _dots)


def pattern(
  code: Int[Array, "..."], u: Float[Array, "R"], v: Float[Array, "R"]
) -> Float[Array, "R"]:
  """The pattern with the number `code`, below len(PATTERNS), of all points or of each, `[R]`.

  It repeats about once a unit.
  """
  return sum(jnp.where(code == n, draw(u, v), 0.0) for n, draw in enumerate(PATTERNS))
