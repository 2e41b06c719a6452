"""Batch, instance and group norm with the activation that follows, in few passes over the images.

With so few channels, accelerators spend more time on norms than on convolutions: reading and
writing images binds them. So the convolution's bias, the norm and the activation are one function.
Forward it reads the images for their mean, their variance and the result; backward for two sums
and the gradient, and what lies between is computed again each time. JAX's own gradient would store
it and read it three times more. All is computed in float32, whatever the images are.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

EPSILON = 1e-5  # of all norms; flax's default is 1e-6
NUM_GROUPS = 8
KINDS = ("bn", "in", "gn")  # batch, instance, group norm


class NormValues(NamedTuple):
  """What a norm of C channels has learned, and for bn its running statistics."""

  scale: Any  # [C]
  bias: Any  # [C]
  mean: nn.Variable | None  # [C]
  var: nn.Variable | None  # [C]


class Norm(nn.Module):
  """Holds what `normalise` takes; `kind` is one of `KINDS`."""

  kind: str

  @nn.compact
  def __call__(self, channels: int) -> NormValues:
    return _Norm(self.kind, name="norm")(channels)


class _Norm(nn.Module):
  kind: str

  @nn.compact
  def __call__(self, channels):
    scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
    bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
    if self.kind != "bn":
      return NormValues(scale, bias, None, None)
    mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
    var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
    return NormValues(scale, bias, mean, var)


def gate(h: Float[Array, "*shape"], g: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
  """h * sigmoid(g)."""
  return h * jax.nn.sigmoid(g)


def normalise(
  x: Float[Array, "N H W C"],
  shift: Float[ArrayLike, "C"] | None,
  norms: Sequence[NormValues],
  kind: str,
  activation: Callable,
  train: bool,
  axis_name: str | None = None,
) -> Float[Array, "N H W D"]:
  """activation(norm(x + shift)), in the type of `x`.

  Batch norm is over the whole batch, of all devices on `axis_name`. As in the original, its running
  averages take a tenth of the new value, and of the *unbiased* variance (flax's own layer takes the
  biased one).

  Args:
    x: output of a convolution.
    shift: the convolution's bias, not yet added.
    norms: one for each argument of `activation`: x is their channels, one after the other.
    kind: of `KINDS`.
    activation: of each element by itself, as `nn.relu` or `gate`.
    train: False: batch norm by the running averages.
    axis_name: of the devices, under pmap.
  """
  shift = jnp.zeros(x.shape[-1], jnp.float32) if shift is None else shift
  scale = jnp.concatenate([norm.scale for norm in norms])
  bias = jnp.concatenate([norm.bias for norm in norms])
  if kind == "bn" and not train:
    mean = jnp.concatenate([norm.mean.value for norm in norms])
    var = jnp.concatenate([norm.var.value for norm in norms])
    hat = (x.astype(jnp.float32) + shift - mean) * jax.lax.rsqrt(var + EPSILON)
    return activation(*jnp.split(hat * scale + bias, len(norms), -1)).astype(x.dtype)
  spec = _NormSpec(activation, len(norms), kind, axis_name)
  y, mean, var = _normalise(spec, x, shift, scale, bias)
  if kind == "bn":
    count = math.prod(x.shape[:3]) * (1 if axis_name is None else jax.lax.axis_size(axis_name))
    means = jnp.split(mean[0], len(norms))
    unbiased = jnp.split(var[0] * (count / max(count - 1, 1)), len(norms))
    for norm, new_mean, new_var in zip(norms, means, unbiased, strict=True):
      norm.mean.value = 0.9 * norm.mean.value + 0.1 * new_mean
      norm.var.value = 0.9 * norm.var.value + 0.1 * new_var
  return y


@dataclasses.dataclass(frozen=True)
class _NormSpec:
  """What does not change between calls of `_normalise`."""

  activation: Callable
  num_parts: int
  kind: str
  axis_name: str | None

  def parts(self, x):
    """Arguments of the activation."""
    return jnp.split(x, self.num_parts, -1)

  def over_pixels(self, x):
    """Mean over pixels, `[N,C]`; for bn over this device's images too, `[1,C]`."""
    if self.kind == "bn":
      return x.mean((0, 1, 2), keepdims=True)[:, 0, 0]
    if jax.default_backend() == "tpu":
      return x.mean((1, 2))
    # In two steps: XLA finds too few sums in one to keep a GPU busy, and stores what it adds up.
    return x.mean(2).mean(1)

  def joined_over_pixels(self, parts):
    """`over_pixels` of parts that are the channels one after the other."""
    if jax.default_backend() == "gpu":
      # XLA would store what one part needs while it adds up the other.
      return self.over_pixels(jnp.concatenate(parts, -1))
    return jnp.concatenate([self.over_pixels(part) for part in parts], -1)

  def over_all(self, means):
    """Means of `over_pixels`, averaged with all else that is normalised together."""
    if self.kind == "bn" and self.axis_name is not None:
      return jax.lax.pmean(means, self.axis_name)
    if self.kind == "gn":
      groups = means.reshape(len(means), NUM_GROUPS, -1)
      return jnp.broadcast_to(groups.mean(-1, keepdims=True), groups.shape).reshape(means.shape)
    return means


def _pixels(x):
  """`[N,C]`, to meet `[N,H,W,C]`."""
  return x[:, None, None]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _normalise(spec, x, shift, scale, bias):
  """(result, mean, variance) of x + shift; the latter two, `[N,C]` or `[1,C]`, for no gradient."""
  return _forward(spec, x, shift, scale, bias)[0]


def _hats(spec, x, shift, mean, rate):
  """Parts of the normalised image."""
  parts = zip(*map(spec.parts, (x, shift, mean, rate)), strict=True)
  return [(x.astype(jnp.float32) + s - _pixels(m)) * _pixels(r) for x, s, m, r in parts]


def _affine(spec, hats, scale, bias):
  """Arguments of the activation."""
  return [h * s + b for h, s, b in zip(hats, spec.parts(scale), spec.parts(bias), strict=True)]


def _forward(spec, x, shift, scale, bias):
  shifted = x.astype(jnp.float32) + shift
  mean_of_pixels = spec.over_pixels(shifted)
  mean = spec.over_all(mean_of_pixels)
  var = spec.over_all(spec.over_pixels((shifted - _pixels(mean)) ** 2))
  rate = jax.lax.rsqrt(var + EPSILON)
  y = spec.activation(*_affine(spec, _hats(spec, x, shift, mean, rate), scale, bias)).astype(
    x.dtype
  )
  return (y, mean, var), (x, shift, scale, bias, mean, rate, (mean_of_pixels - mean) * rate)


def _backward(spec, saved, gradients):
  x, shift, scale, bias, mean, rate, hat_of_pixels = saved

  def at(x, gradient):
    """Parts of the normalised image, and gradients of the activation's arguments."""
    hats = _hats(spec, x, shift, mean, rate)
    _, transpose = jax.vjp(spec.activation, *_affine(spec, hats, scale, bias))
    return list(zip(hats, transpose(gradient.astype(jnp.float32)), strict=True))

  parts = at(x, gradients[0])
  first = spec.joined_over_pixels([g for _, g in parts])
  second = spec.joined_over_pixels([g * hat for hat, g in parts])
  # Or XLA stores what it could compute again, and computes sums of sums from the images.
  x, gradient, first, second = jax.lax.optimization_barrier((x, gradients[0], first, second))

  through_mean, through_var = spec.over_all(first * scale), spec.over_all(second * scale)
  of_x = [
    ((g * s - _pixels(m) - hat * _pixels(v)) * _pixels(r)).astype(x.dtype)
    for (hat, g), s, m, v, r in zip(
      at(x, gradient), *map(spec.parts, (scale, through_mean, through_var, rate)), strict=True
    )
  ]
  of_shift = rate * (first * scale - through_mean - hat_of_pixels * through_var)
  count = x.size // first.size  # elements of each mean
  of_shift, of_scale, of_bias = ((m * count).sum(0) for m in (of_shift, second, first))
  return jnp.concatenate(of_x, -1), of_shift, of_scale, of_bias


_normalise.defvjp(_forward, _backward)
