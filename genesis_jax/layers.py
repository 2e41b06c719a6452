"""Layers with the original's initialisation, padding and parameter shapes.

Kernels are stored as `[height, width, in, out]` (dense: `[in, out]`), also those of transposed
convolutions. All layers compute in `dtype` with float32 parameters; images are NHWC.
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from genesis_jax.convolutions import convolve, convolve_transposed

Dtype = Any


def uniform_fan_in(fan_in: int):
  """Initialiser of weights and biases: uniform in +-1/sqrt(fan_in)."""
  bound = 1 / math.sqrt(fan_in)

  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


def coordinates(size: int) -> Float[Array, "S S 2"]:
  """(row, column) of each pixel, from -1 to 1."""
  line = jnp.linspace(-1.0, 1.0, size, dtype=jnp.float32)
  return jnp.stack(jnp.meshgrid(line, line, indexing="ij"), -1)


def softplus_std(x: Float[Array, "..."]) -> Float[Array, "..."]:
  """Standard deviation from an unbounded output; its square is the original's `to_var`."""
  return jax.nn.softplus(x + 0.5) + 1e-8


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def spread(
  x: Float[ArrayLike, "..."], shape: tuple[int, ...], dtype: Dtype
) -> Float[Array, "*shape"]:
  """Float32 x broadcast to a shape in `dtype`; for small arrays that meet large images.

  Its gradient is a sum over pixels and batch, taken in the type of x. JAX's own broadcast
  sums in `dtype`: 655,360 ones give 5,120 in bfloat16.
  """
  return jnp.broadcast_to(x.astype(dtype), shape)


def _spread_forward(x, shape, dtype):
  return spread(x, shape, dtype), x


def _spread_backward(shape, dtype, x, gradient):
  del dtype
  sides = (1,) * (len(shape) - x.ndim) + x.shape
  axes = [i for i, (own, side) in enumerate(zip(sides, shape, strict=True)) if own != side]
  gradient = gradient.astype(x.dtype)
  if axes == [0] and jax.default_backend() == "cpu":
    # A sum over the batch alone: XLA's own takes fifty times as long.
    total = jnp.ones(len(gradient), x.dtype) @ gradient.reshape(len(gradient), -1)
  else:
    total = gradient.sum(axes)
  return (total.reshape(x.shape),)


spread.defvjp(_spread_forward, _spread_backward)


def add_bias(x: Float[Array, "... O"], bias: Float[ArrayLike, "O"]) -> Float[Array, "... O"]:
  """x + bias, in the type of x. Biases of a loaded run are numpy arrays."""
  return x + spread(bias, x.shape, x.dtype)


@jax.custom_vjp
def elu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
  """x, or exp(x) - 1 where negative; its gradient is computed from its output.

  The output is stored in any case, for the layer that follows; JAX's own also stores exp(x), an
  image as large, and reads both.
  """
  return jax.nn.elu(x)


def _elu_forward(x):
  y = jax.nn.elu(x)
  return y, y


def _elu_backward(y, gradient):
  return (gradient * jnp.where(y > 0, 1, y + 1),)


elu.defvjp(_elu_forward, _elu_backward)


class Dense(nn.Module):
  """Affine map of the last axis."""

  features: int
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "... I"]) -> Float[Array, "... O"]:
    init = uniform_fan_in(x.shape[-1])
    kernel = self.param("kernel", init, (x.shape[-1], self.features))
    bias = self.param("bias", init, (self.features,))
    return add_bias(x.astype(self.dtype) @ kernel.astype(self.dtype), bias)


class Conv(nn.Module):
  """Convolution with `padding` zeros on every side.

  With `bias_apart` it returns (output, bias), not yet added: norms do that (see `norms`).
  """

  features: int
  kernel_size: int
  stride: int = 1
  padding: int = 0
  use_bias: bool = True
  bias_apart: bool = False
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "N H W I"]):
    """`[N,H2,W2,O]`."""
    size, channels = self.kernel_size, x.shape[-1]
    init = uniform_fan_in(size * size * channels)
    kernel = self.param("kernel", init, (size, size, channels, self.features))
    bias = self.param("bias", init, (self.features,)) if self.use_bias else None
    x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
    if self.padding == 0 and x.shape[1:3] == (size, size):
      # A kernel over the whole image is a matrix product, and much faster as one.
      y = x.reshape(len(x), 1, 1, -1) @ kernel.reshape(-1, self.features)
    else:
      y = convolve(x, kernel, self.stride, ((self.padding, self.padding),) * 2)
    return _with_bias(y, bias, self.bias_apart)


class ConvTranspose(nn.Module):
  """Transposed convolution with output padding `stride - 1`, as the original uses it.

  From 1x1 with padding 0 it fills an image of the kernel's size; else it multiplies the sides by
  `stride`, which takes kernel_size = 2 * padding + 1. `bias_apart` is as in `Conv`.
  """

  features: int
  kernel_size: int
  stride: int = 1
  padding: int = 0
  bias_apart: bool = False
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "N H W I"]):
    """`[N,H2,W2,O]`."""
    size, channels = self.kernel_size, x.shape[-1]
    init = uniform_fan_in(size * size * self.features)  # of the output: PyTorch's convention
    kernel = self.param("kernel", init, (size, size, channels, self.features))
    bias = self.param("bias", init, (self.features,))
    x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
    if x.shape[1:3] == (1, 1) and self.padding == 0:
      y = jnp.einsum("ni,hwio->nhwo", x[:, 0, 0], kernel)
    else:
      assert size == 2 * self.padding + 1, "the sides would not be multiplied by the stride"
      y = convolve_transposed(x, kernel, self.stride, self.padding)
    return _with_bias(y, bias, self.bias_apart)


def _with_bias(y, bias, apart: bool):
  if apart:
    return y, bias
  return y if bias is None else add_bias(y, bias)


class LSTM(nn.Module):
  """PyTorch's LSTM: gates in the order input, forget, cell, output, and two bias vectors.

  Computes in float32: it is small, and its outputs are latents.
  """

  features: int
  in_features: int

  def setup(self):
    init, gates = uniform_fan_in(self.features), 4 * self.features
    self.kernel_in = self.param("kernel_in", init, (self.in_features, gates))
    self.kernel_rec = self.param("kernel_rec", init, (self.features, gates))
    # Merging the two would change Adam's steps.
    self.bias_in = self.param("bias_in", init, (gates,))
    self.bias_rec = self.param("bias_rec", init, (gates,))

  def initial_carry(self, batch: int):
    """Zero hidden and cell state."""
    return (jnp.zeros((batch, self.features), jnp.float32),) * 2

  def __call__(self, carry, x: Float[Array, "B I"]):
    """One step: (new carry, output `[B,features]`)."""
    hidden, cell = carry
    gates = x @ self.kernel_in + self.bias_in + hidden @ self.kernel_rec + self.bias_rec
    i, f, g, o = jnp.split(gates, 4, -1)
    cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
    return (hidden, cell), hidden
