"""The Inception network of the Fréchet inception distance (FID), and its weights' names.

    variables = from_torch(state_dict)                           # of pytorch-fid's file
    pooled = Inception().apply(variables, images, dim=768)       # {64: [N, 64], 192: ..., 768: ...}

This is Inception-v3 (Szegedy et al. 2016) as TensorFlow published it on 2015-12-05 with 1008
outputs, whose weights FID is defined by (Heusel et al. 2017). It differs from the later releases:
average pools leave out the padding, and the last block pools by maximum. Batch norm is part of the
convolutions here: at inference both are affine.
"""

import functools
from collections.abc import Mapping

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, UInt8

SIDE = 299  # of the images that the network was trained on
DIMS = (64, 192, 768, 2048)  # channels where features are taken: two pools, two last blocks
NORM_EPSILON = 1e-3
NUM_OUTPUTS = 1008  # of the classifier, which is checked in a file and not used


def _conv(x, name: str, features: int, size=(1, 1), stride: int = 1, padding: str = "SAME"):
  """Convolution with its batch norm, and ReLU; a submodule of the block that calls this."""
  conv = nn.Conv(features, size, stride, padding, precision="highest", name=name)
  return nn.relu(conv(x))


def _mean_pool(x):
  return nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)


def _max_pool(x):
  return nn.max_pool(x, (3, 3), padding="SAME")


def _halve(x):
  return nn.max_pool(x, (3, 3), (2, 2))


def _interpolation(size: int) -> np.ndarray:
  """`[299, size]`: how much each pixel of a line counts for each of 299; rows sum to 1."""
  # In float64: in float32, as jax.image.resize has them, positions are off by 1e-4 of a pixel.
  position = np.clip((np.arange(SIDE) + 0.5) * size / SIDE - 0.5, 0, size - 1)
  distance = np.abs(position[:, None] - np.arange(size))
  return np.maximum(1 - distance, 0).astype(np.float32)


def prepare(images: UInt8[ArrayLike, "N H W 3"]) -> Float[Array, "N 299 299 3"]:
  """Bilinear to 299x299 with half-pixel centres, not antialiased; then to [-1, 1]."""
  x = images.astype(jnp.float32) / 255
  rows, columns = _interpolation(images.shape[1]), _interpolation(images.shape[2])
  return 2 * jnp.einsum("ph,nhwc,qw->npqc", rows, x, columns, precision="highest") - 1


class BlockA(nn.Module):
  """35x35: up to 5x5 kernels."""

  pool_features: int

  @nn.compact
  def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N H W D"]:
    a = _conv(x, "branch1x1", 64)
    b = _conv(x, "branch5x5_1", 48)
    b = _conv(b, "branch5x5_2", 64, (5, 5))
    c = _conv(x, "branch3x3dbl_1", 64)
    c = _conv(c, "branch3x3dbl_2", 96, (3, 3))
    c = _conv(c, "branch3x3dbl_3", 96, (3, 3))
    d = _conv(_mean_pool(x), "branch_pool", self.pool_features)
    return jnp.concatenate([a, b, c, d], -1)


class BlockB(nn.Module):
  """35x35 to 17x17."""

  @nn.compact
  def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N H2 W2 D"]:
    a = _conv(x, "branch3x3", 384, (3, 3), 2, "VALID")
    b = _conv(x, "branch3x3dbl_1", 64)
    b = _conv(b, "branch3x3dbl_2", 96, (3, 3))
    b = _conv(b, "branch3x3dbl_3", 96, (3, 3), 2, "VALID")
    return jnp.concatenate([a, b, _halve(x)], -1)


class BlockC(nn.Module):
  """17x17: 7x7 kernels as products of rows and columns."""

  inner: int

  @nn.compact
  def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N H W D"]:
    a = _conv(x, "branch1x1", 192)
    b = _conv(x, "branch7x7_1", self.inner)
    b = _conv(b, "branch7x7_2", self.inner, (1, 7))
    b = _conv(b, "branch7x7_3", 192, (7, 1))
    c = _conv(x, "branch7x7dbl_1", self.inner)
    c = _conv(c, "branch7x7dbl_2", self.inner, (7, 1))
    c = _conv(c, "branch7x7dbl_3", self.inner, (1, 7))
    c = _conv(c, "branch7x7dbl_4", self.inner, (7, 1))
    c = _conv(c, "branch7x7dbl_5", 192, (1, 7))
    d = _conv(_mean_pool(x), "branch_pool", 192)
    return jnp.concatenate([a, b, c, d], -1)


class BlockD(nn.Module):
  """17x17 to 8x8."""

  @nn.compact
  def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N H2 W2 D"]:
    a = _conv(x, "branch3x3_1", 192)
    a = _conv(a, "branch3x3_2", 320, (3, 3), 2, "VALID")
    b = _conv(x, "branch7x7x3_1", 192)
    b = _conv(b, "branch7x7x3_2", 192, (1, 7))
    b = _conv(b, "branch7x7x3_3", 192, (7, 1))
    b = _conv(b, "branch7x7x3_4", 192, (3, 3), 2, "VALID")
    return jnp.concatenate([a, b, _halve(x)], -1)


class BlockE(nn.Module):
  """8x8: branches that end in a row and a column side by side."""

  max_pool: bool

  @nn.compact
  def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N H W D"]:
    a = _conv(x, "branch1x1", 320)
    b = _conv(x, "branch3x3_1", 384)
    b_row = _conv(b, "branch3x3_2a", 384, (1, 3))
    b_column = _conv(b, "branch3x3_2b", 384, (3, 1))
    c = _conv(x, "branch3x3dbl_1", 448)
    c = _conv(c, "branch3x3dbl_2", 384, (3, 3))
    c_row = _conv(c, "branch3x3dbl_3a", 384, (1, 3))
    c_column = _conv(c, "branch3x3dbl_3b", 384, (3, 1))
    pooled = _max_pool(x) if self.max_pool else _mean_pool(x)
    d = _conv(pooled, "branch_pool", 192)
    return jnp.concatenate([a, b_row, b_column, c_row, c_column, d], -1)


class Inception(nn.Module):
  """Features of images, averaged over all positions, in float32 throughout."""

  @nn.compact
  def __call__(
    self, images: UInt8[ArrayLike, "N H W 3"], dim: int = DIMS[-1]
  ) -> dict[int, Float[Array, "N _"]]:
    """Features of each number of channels in `DIMS` up to `dim`; later layers are not run."""
    pooled, x = {}, prepare(images)
    for depth, stage in zip(DIMS, (self._stem, self._middle, self._upper, self._top), strict=True):
      x = stage(x)
      pooled[depth] = x.mean((1, 2))
      if depth == dim:
        break
    return pooled

  def _stem(self, x):
    x = _conv(x, "Conv2d_1a_3x3", 32, (3, 3), 2, "VALID")
    x = _conv(x, "Conv2d_2a_3x3", 32, (3, 3), padding="VALID")
    return _halve(_conv(x, "Conv2d_2b_3x3", 64, (3, 3)))

  def _middle(self, x):
    x = _conv(x, "Conv2d_3b_1x1", 80)
    return _halve(_conv(x, "Conv2d_4a_3x3", 192, (3, 3), padding="VALID"))

  def _upper(self, x):
    for letter, pool_features in zip("bcd", (32, 64, 64), strict=True):
      x = BlockA(pool_features, name=f"Mixed_5{letter}")(x)
    x = BlockB(name="Mixed_6a")(x)
    for letter, inner in zip("bcde", (128, 160, 160, 192), strict=True):
      x = BlockC(inner, name=f"Mixed_6{letter}")(x)
    return x

  def _top(self, x):
    x = BlockD(name="Mixed_7a")(x)
    x = BlockE(max_pool=False, name="Mixed_7b")(x)
    return BlockE(max_pool=True, name="Mixed_7c")(x)


@functools.cache
def _kernel_shapes() -> dict[str, tuple[int, ...]]:
  """Name of each convolution in the file -> shape of our kernel `[h, w, in, out]`."""
  images = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.uint8)
  params = jax.eval_shape(Inception().init, jax.random.key(0), images)["params"]
  flat = flax.traverse_util.flatten_dict(params)
  return {".".join(path[:-1]): x.shape for path, x in flat.items() if path[-1] == "kernel"}


def _expected_shapes() -> dict[str, tuple[int, ...]]:
  """Name -> shape of every entry in the file."""
  shapes = {"fc.weight": (NUM_OUTPUTS, DIMS[-1]), "fc.bias": (NUM_OUTPUTS,)}
  for name, (height, width, inputs, outputs) in _kernel_shapes().items():
    shapes[f"{name}.conv.weight"] = (outputs, inputs, height, width)
    for part in ("weight", "bias", "running_mean", "running_var"):
      shapes[f"{name}.bn.{part}"] = (outputs,)
  return shapes


def _check(state_dict: Mapping[str, np.ndarray]) -> None:
  """Raises ValueError, naming the entry, unless the weights are those of this network."""
  expected = _expected_shapes()
  given = {name for name in state_dict if not name.endswith("num_batches_tracked")}
  for what, names in (("lacks", expected.keys() - given), ("also has", given - expected.keys())):
    if names:
      first, more = min(names), len(names) - 1
      others = f" and {more} other entries" if more else ""
      raise ValueError(f"the Inception weights are not those of FID's network: the state dict "
                       f"{what} {first!r}{others}")  # fmt: skip
  for name, shape in expected.items():
    array = np.asarray(state_dict[name])
    if array.shape != shape:
      raise ValueError(f"Inception weight {name!r} has shape {array.shape}; it must be {shape}")
    if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
      raise ValueError(f"Inception weight {name!r} has values that are not finite numbers")


def from_torch(state_dict: Mapping[str, np.ndarray]) -> dict:
  """Variables of `Inception` from weights under pytorch-fid's names and in its layouts.

  Args:
    state_dict: name -> array; entries "...num_batches_tracked" carry no information.

  Returns:
    {"params": ...}, float32 numpy arrays; batch norms have gone into kernels and biases.

  Raises:
    ValueError: naming the entry that is missing, left over, misshapen or not finite.
  """
  _check(state_dict)
  params = {}
  for name in _kernel_shapes():

    def entry(part, name=name):
      return np.asarray(state_dict[f"{name}.{part}"], np.float64)

    factor = entry("bn.weight") / np.sqrt(entry("bn.running_var") + NORM_EPSILON)
    kernel = entry("conv.weight").transpose(2, 3, 1, 0) * factor
    bias = entry("bn.bias") - entry("bn.running_mean") * factor
    params[(*name.split("."), "kernel")] = kernel.astype(np.float32)
    params[(*name.split("."), "bias")] = bias.astype(np.float32)
  return {"params": flax.traverse_util.unflatten_dict(params)}
