"""Convolutions of NHWC images with HWIO kernels, in the forms that are fastest.

On CPUs, XLA is fast for convolutions of this layout only. JAX derives gradients in other layouts,
which XLA rearranges outside of loops but computes naively, 30 times as slowly, inside them. So
on CPUs gradients are written out here, those of strided convolutions by phases. GPUs and TPUs have
their own backward passes of strided convolutions, which are used. GPUs are slow if channels are
few: with GENESIS_JAX_PAIRS=1 in the environment they process neighbouring columns together. This
has not been timed on a GPU yet, so it is not the default.
"""

import functools
import math
import os

import jax
import jax.numpy as jnp

Padding = tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right)
LAYOUT = ("NHWC", "HWIO", "NHWC")


def _in_pairs() -> bool:
  return jax.default_backend() == "gpu" and os.environ.get("GENESIS_JAX_PAIRS") == "1"


def convolve(x, kernel, stride: int, padding: Padding):
  """Convolution of `[N,H,W,I]` with `[h,w,I,O]`."""
  by_itself = kernel.shape[:2] == (1, 1) and stride == 1 and not any(sum(padding, ()))
  if jax.default_backend() == "cpu":
    return x @ kernel[0, 0] if by_itself else _convolve_on_cpu(x, kernel, stride, padding)
  if _in_pairs():
    if by_itself and min(kernel.shape[2:]) <= 8:
      return _convolve_pixels(x, kernel)
    if _pairs_pay(x, kernel, stride, padding):
      return _convolve_pairs(x, kernel, stride, padding)
  return _convolve(x, kernel, stride, padding)


def _convolve(x, kernel, stride, padding, **dilations):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    padding,
    dimension_numbers=LAYOUT,
    **dilations,
  )


def _convolve_pixels(x, kernel):
  """1x1 convolution: the pixels of a row, several at a time, by one block-diagonal matrix.

  With one to eight channels on either side, a GPU takes up to seven times as long as it takes to
  read the image. Channels of neighbouring pixels lie side by side as it is.
  """
  count = math.gcd(x.shape[2], max(1, 256 // max(kernel.shape[2:])))
  pixels = x.reshape(*x.shape[:2], x.shape[2] // count, -1)
  # Made in float32, in which the blocks' gradients are then added up.
  blocks = jnp.kron(jnp.eye(count, dtype=jnp.float32), kernel[0, 0].astype(jnp.float32))
  y = pixels @ blocks.astype(x.dtype)
  return jax.lax.optimization_barrier(y).reshape(*x.shape[:3], -1)


def _num_pairs(size: int, stride: int, low: int) -> int:
  """Pairs of columns under a kernel for pairs, with `low` columns padded before."""
  return (low % 2 + size + 2 // stride) // 2


def _pairs_pay(x, kernel, stride, padding) -> bool:
  """Whether channels are few, and at most a third more products needed for `_convolve_pairs`."""
  size, (low, high) = kernel.shape[1], padding[1]
  out = (x.shape[2] + low + high - size) // stride + 1
  if stride > 2 or x.shape[2] % 2 or out % (2 // stride):
    return False  # not to be divided
  few = min(kernel.shape[2:]) <= 32 if stride == 1 else kernel.shape[2] <= 4
  return few and 3 * _num_pairs(size, stride, low) <= 2 * size


def _convolve_pairs(x, kernel, stride, padding):
  """Convolution by 1 or 2 of an image with two columns side by side as one, of twice the channels.

  With stride 1 so is the result; with 2, every pair gives a column. GPUs compute 64 channels in the
  time of 32, and copy images of three or four to pad them.
  """
  n, height, width, channels = x.shape
  size, features, (low, high) = kernel.shape[1], kernel.shape[3], padding[1]
  columns, count = 2 // stride, _num_pairs(size, stride, low)
  kernels = [
    jnp.pad(kernel, ((0, 0), (shift, 2 * count - size - shift), (0, 0), (0, 0)))
    for shift in range(low % 2, low % 2 + columns)
  ]
  paired = jnp.stack(kernels, 3).reshape(len(kernel), count, 2 * channels, -1)
  out = ((width + low + high - size) // stride + 1) // columns
  before = (low + 1) // 2
  after = out - 1 + count - width // 2 - before
  y = jax.lax.conv_general_dilated(
    x.reshape(n, height, width // 2, -1),
    paired,
    (stride, 1),
    (padding[0], (before, after)),
    dimension_numbers=LAYOUT,
  )
  # A barrier, or cuDNN adds the bias from an image of it: it is no longer one value a channel.
  return jax.lax.optimization_barrier(y).reshape(n, y.shape[1], -1, features)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve_on_cpu(x, kernel, stride, padding):
  return _convolve(x, kernel, stride, padding)


def _forward(x, kernel, stride, padding):
  return _convolve(x, kernel, stride, padding), (x, kernel)


def _backward(stride, padding, saved, gradient):
  x, kernel = saved
  return (
    _gradient_of_image(x.shape, kernel, stride, padding, gradient),
    _gradient_of_kernel(x, kernel.shape, stride, padding, gradient),
  )


_convolve_on_cpu.defvjp(_forward, _backward)


def _gradient_of_image(shape, kernel, stride, padding, gradient):
  """A transposed convolution of the output's gradient."""
  (size, width), (low, left) = kernel.shape[:2], (low for low, _ in padding)
  # Behind a barrier, or XLA folds the transposition into the convolution's layout again.
  kernel = jax.lax.optimization_barrier(jnp.swapaxes(kernel, 2, 3))
  if (
    stride > 1
    and size == width == 2 * low + 1
    and low == left
    and shape[1:3] == tuple(stride * side for side in gradient.shape[1:3])
  ):
    return convolve_transposed(gradient, kernel, stride, low)
  around = [
    (size - 1 - low, side - (stride * (out - 1) + 1) + low)
    for side, out, size, (low, _) in zip(
      shape[1:3], gradient.shape[1:3], kernel.shape[:2], padding, strict=True
    )
  ]
  return _convolve(gradient, kernel[::-1, ::-1], 1, around, lhs_dilation=(stride, stride))


def _gradient_of_kernel(x, shape, stride, padding, gradient):
  """The image convolved with the output's gradient: what was the batch are channels, and back.

  Columns and channels are one side of the image, in which the kernel's columns lie as many apart as
  there are channels. So the image becomes a matrix that is transposed, which XLA does in one fast
  pass with the activation that made the image; moving each side to a place of its own takes it four
  times as long. What comes out is the kernel's gradient as it is stored.
  """
  n, height, width, channels = x.shape
  rows, columns = (
    (low, size - 1 - low + stride * (out - 1) + 1 - side)
    for side, out, size, (low, _) in zip(
      (height, width), gradient.shape[1:3], shape[:2], padding, strict=True
    )
  )
  image = jax.lax.optimization_barrier(x.reshape(n, -1).T)
  kernel = jax.lax.optimization_barrier(jnp.transpose(gradient, (1, 2, 0, 3)))
  return _convolve(
    image.reshape(1, height, width * channels, n),
    kernel,
    1,
    (rows, tuple(channels * pad for pad in columns)),
    rhs_dilation=(stride, stride * channels),
  ).reshape(shape)


def convolve_transposed(x, kernel, stride: int, padding: int):
  """Transposed convolution from `[N,H,W,I]` to `[N,stride*H,stride*W,O]`.

  Takes kernels of side 2 * padding + 1 to 2 * padding + stride.
  """
  if jax.default_backend() == "cpu":
    return _convolve_transposed_by_phases(x, kernel, stride, padding)
  if _in_pairs() and stride == 1:
    return convolve(x, kernel[::-1, ::-1], 1, ((padding, padding),) * 2)
  return _convolve_transposed(x, kernel, stride, padding)


def _convolve_transposed_by_phases(x, kernel, stride, padding):
  """One dense convolution for each of the stride^2 phases of the output, interleaved.

  Output position stride * m + phase sees input m + d through kernel entry
  phase + padding - stride * d. Dilating the input with zeros instead would, on a CPU, multiply by
  zero in all but one of stride^2 products.
  """
  size = kernel.shape[0]

  def taps(phase):  # (largest kernel entry, padding) along one axis
    last = size - 1 - (size - 1 - phase - padding) % stride
    first_offset = (phase + padding - last) // stride
    return last, (-first_offset, last // stride + first_offset)

  def one_phase(row, column):
    (last_row, pad_rows), (last_column, pad_columns) = taps(row), taps(column)
    part = kernel[last_row::-stride, last_column::-stride]
    return convolve(x, part, 1, (pad_rows, pad_columns))

  rows = [jnp.stack([one_phase(r, c) for c in range(stride)], 3) for r in range(stride)]
  n, height, width, _ = x.shape
  return jnp.stack(rows, 2).reshape(n, height * stride, width * stride, -1)


def convolve_upsampled(x, kernel):
  """3x3 convolution, padded by 1, of `[N,H,W,I]` enlarged by repeating pixels: `[N,2H,2W,O]`.

  The enlarged image is never formed. Where two entries of the kernel meet the same pixel they can
  be added first, so this is a transposed convolution with four products for nine.
  """
  padded = jnp.pad(kernel[::-1, ::-1], ((1, 1), (1, 1), (0, 0), (0, 0)))
  rows = padded[1:] + padded[:-1]
  return convolve_transposed(x, (rows[:, 1:] + rows[:, :-1]).astype(x.dtype), 2, 1)


def _strided(y, kernel, stride, padding):
  """What `convolve_transposed` transposes: from `[N,stride*H,stride*W,O]` to `[N,H,W,I]`."""
  return _convolve(y, jnp.swapaxes(kernel, 2, 3), stride, ((padding, padding),) * 2)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve_transposed(x, kernel, stride, padding):
  n, height, width, _ = x.shape
  shape = (n, stride * height, stride * width, kernel.shape[3])
  of_image = functools.partial(_strided, kernel=kernel, stride=stride, padding=padding)
  (y,) = jax.linear_transpose(of_image, jax.ShapeDtypeStruct(shape, x.dtype))(x)
  return y


def _forward_transposed(x, kernel, stride, padding):
  return _convolve_transposed(x, kernel, stride, padding), (x, kernel)


def _backward_transposed(stride, padding, saved, gradient):
  # JAX's own gradient of the kernel reverses the whole gradient of the image first.
  x, kernel = saved
  of_kernel = functools.partial(_strided, gradient, stride=stride, padding=padding)
  gradient_of_x, transpose = jax.vjp(of_kernel, kernel)
  return gradient_of_x, *transpose(x)


_convolve_transposed.defvjp(_forward_transposed, _backward_transposed)
