"""The networks that the models are made of.

Names of submodules are the keys of the parameter tree; `torch_names` maps them to the original's.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genesis_jax.convolutions import convolve, convolve_upsampled
from genesis_jax.layers import (
  Conv,
  ConvTranspose,
  Dense,
  Dtype,
  add_bias,
  coordinates,
  softplus_std,
  spread,
  uniform_fan_in,
)
from genesis_jax.norms import Norm, gate, normalise

# Strides of the gated encoder's five 5x5 convolutions, by image side; the decoder reverses them.
GATED_STRIDES = {
  32: (1, 2, 1, 2, 1),
  64: (1, 2, 1, 2, 1),
  128: (2, 2, 2, 1, 1),
  256: (2, 2, 2, 2, 1),
}
ENCODER_CHANNELS = (32, 32, 64, 64, 64)
DECODER_CHANNELS = (64, 32, 32, 32, 32)


def bottleneck_side(image_size: int) -> int:
  """Side of the gated encoder's last feature map."""
  return 8 if image_size == 32 else 16


class GatedConv(nn.Module):
  """norm(h) * sigmoid(norm(g)), with (h, g) the halves of a convolution's output."""

  features: int
  kernel_size: int
  stride: int = 1
  padding: int = 0
  norm: str = "none"
  transposed: bool = False
  axis_name: str | None = None
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "N H W I"], train: bool) -> Float[Array, "N H2 W2 O"]:
    layer = ConvTranspose if self.transposed else Conv
    x, bias = layer(
      2 * self.features, self.kernel_size, self.stride, self.padding, bias_apart=True,
      dtype=self.dtype, name="conv",
    )(x)  # fmt: skip
    if self.norm == "none":
      return gate(*jnp.split(add_bias(x, bias), 2, -1))
    norms = [Norm(self.norm, name=name)(self.features) for name in ("h_norm", "g_norm")]
    return normalise(x, bias, norms, self.norm, gate, train, self.axis_name)


class GatedEncoder(nn.Module):
  """Image to a vector, by gated convolutions (van den Berg et al. 2018)."""

  out_features: int
  image_size: int
  norm: str
  axis_name: str | None = None
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "N S S I"], train: bool) -> Float[Array, "N O"]:
    common = dict(axis_name=self.axis_name, dtype=self.dtype)
    strides = GATED_STRIDES[self.image_size]
    for i, (channels, stride) in enumerate(zip(ENCODER_CHANNELS, strides, strict=True)):
      x = GatedConv(channels, 5, stride, 2, self.norm, name=f"gated_{i}", **common)(x, train)
    side = bottleneck_side(self.image_size)
    return GatedConv(self.out_features, side, name="gated_5", **common)(x, train)[:, 0, 0]


class GatedDecoder(nn.Module):
  """Vector to an image, by gated transposed convolutions and a 1x1 convolution; in float32."""

  out_features: int
  image_size: int
  norm: str
  axis_name: str | None = None
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, z: Float[Array, "N D"], train: bool) -> Float[Array, "N S S O"]:
    common = dict(transposed=True, axis_name=self.axis_name, dtype=self.dtype)
    side = bottleneck_side(self.image_size)
    x = GatedConv(64, side, name="gated_0", **common)(z[:, None, None], train)
    strides = GATED_STRIDES[self.image_size][::-1]
    for i, (channels, stride) in enumerate(zip(DECODER_CHANNELS, strides, strict=True), 1):
      x = GatedConv(channels, 5, stride, 2, self.norm, name=f"gated_{i}", **common)(x, train)
    return Conv(self.out_features, 1, dtype=self.dtype, name="out")(x).astype(jnp.float32)


class GaussianHead(nn.Module):
  """Mean and std of a normal posterior from features, by one dense layer each; in float32."""

  latent_dim: int

  @nn.compact
  def __call__(self, h: Float[Array, "N F"]) -> tuple[Float[Array, "N D"], Float[Array, "N D"]]:
    mean = Dense(self.latent_dim, name="mean")(h)
    return mean, softplus_std(Dense(self.latent_dim, name="std")(h))


class BroadcastDecoder(nn.Module):
  """Spatial broadcast decoder (Watters et al. 2019): 3x3 convolutions without padding; float32 out.

  The vector is repeated over a grid of side `image_size + 2 * num_layers`, coordinates appended.
  """

  out_features: int
  image_size: int
  channels: int
  num_layers: int
  activation: Callable
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, z: Float[Array, "N D"]) -> Float[Array, "N S S O"]:
    x = self.activation(self._first_layer(z))
    for i in range(1, self.num_layers):
      x = self.activation(Conv(self.channels, 3, dtype=self.dtype, name=f"conv_{i}")(x))
    return Conv(self.out_features, 1, dtype=self.dtype, name="out")(x).astype(jnp.float32)

  def _first_layer(self, z):
    # Its input is constant over space but for the coordinates, so it is one small matrix product
    # per vector plus one map that all vectors share.
    features = z.shape[-1]
    kernel, bias = _ConvParams(self.channels, 3, features + 2, name="conv_0")()
    from_z = (z @ kernel[:, :, :features].sum((0, 1)))[:, None, None]
    grid = coordinates(self.image_size + 2 * self.num_layers)[None]
    from_grid = convolve(grid, kernel[:, :, features:], 1, ((0, 0),) * 2) + bias
    shape = (len(z), *from_grid.shape[1:])
    return spread(from_z, shape, self.dtype) + spread(from_grid, shape, self.dtype)


class _ConvParams(nn.Module):
  """Parameters of a `Conv` whose input is never formed."""

  features: int
  kernel_size: int
  in_features: int
  use_bias: bool = True

  @nn.compact
  def __call__(self):
    """(kernel, bias), or the kernel."""
    size = self.kernel_size
    init = uniform_fan_in(size * size * self.in_features)
    kernel = self.param("kernel", init, (size, size, self.in_features, self.features))
    return (kernel, self.param("bias", init, (self.features,))) if self.use_bias else kernel


class ComponentEncoder(nn.Module):
  """Log mask and image to the posterior of a component (Burgess et al. 2019)."""

  latent_dim: int
  channels: int
  activation: Callable
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "N S S 4"]) -> Float[Array, "N M"]:
    c = self.channels
    for i, channels in enumerate((c, c, 2 * c, 2 * c)):
      conv = Conv(channels, 3, stride=2, padding=1, dtype=self.dtype, name=f"conv_{i}")
      x = self.activation(conv(x))
    x = x.reshape(len(x), -1)
    x = Dense(max(256, 2 * self.latent_dim), self.dtype, name="dense_0")(x)
    return Dense(2 * self.latent_dim, name="dense_1")(self.activation(x))


class ComponentVAE(nn.Module):
  """Encodes and decodes each slot: shared by GENESIS and MONet.

  `symmetric` uses the gated encoder and decoder in place of the broadcast pair.
  """

  out_features: int
  image_size: int
  latent_dim: int
  encoder_channels: int
  decoder_channels: int
  decoder_layers: int
  activation: Callable
  symmetric: bool = False
  encoder_norm: str = "none"
  decoder_norm: str = "none"
  axis_name: str | None = None
  dtype: Dtype = jnp.float32

  def setup(self):
    if self.symmetric:
      common = dict(image_size=self.image_size, axis_name=self.axis_name, dtype=self.dtype)
      self.encoder = GatedEncoder(2 * self.latent_dim, norm=self.encoder_norm, **common)
      self.decoder = GatedDecoder(self.out_features, norm=self.decoder_norm, **common)
    else:
      self.encoder = ComponentEncoder(
        self.latent_dim, self.encoder_channels, self.activation, self.dtype
      )
      self.decoder = BroadcastDecoder(
        self.out_features,
        self.image_size,
        self.decoder_channels,
        self.decoder_layers,
        self.activation,
        self.dtype,
      )

  def encode(
    self, images: Float[Array, "B S S 3"], log_masks: Float[Array, "B K S S"], train: bool
  ) -> tuple[Float[Array, "B K D"], Float[Array, "B K D"]]:
    """Posterior mean and std of every slot's appearance."""
    b, k = log_masks.shape[:2]
    repeated = jnp.broadcast_to(images[:, None], (b, k, *images.shape[1:]))
    x = jnp.concatenate([log_masks[..., None], repeated], -1).reshape(b * k, *images.shape[1:3], 4)
    out = self.encoder(x, train) if self.symmetric else self.encoder(x)
    mean, std = jnp.split(out.astype(jnp.float32).reshape(b, k, -1), 2, -1)
    return mean, softplus_std(std)

  def decode(self, z: Float[Array, "B K D"], train: bool) -> Float[Array, "B K S S O"]:
    """Decoder outputs of every slot, unbounded."""
    b, k, _ = z.shape
    z = z.reshape(b * k, -1)
    out = self.decoder(z, train) if self.symmetric else self.decoder(z)
    return out.reshape(b, k, *out.shape[1:])


UNET_SIZES = (32, 64, 128)


class UNet(nn.Module):
  """U-Net with a dense bottleneck and log2(S) - 1 levels, as in MONet.

  With `out_features`, a final 1x1 convolution to so many channels, in float32; else the features.
  """

  channels: int
  image_size: int
  norm: str
  out_features: int | None = None
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "N S S I"]) -> Float[Array, "N S S O"]:
    down, up = unet_channels(self.channels, self.image_size)
    skips = []
    for i, channels in enumerate(down):
      if i:
        x = x[:, ::2, ::2]  # nearest: keeps the even rows and columns
      x = ConvNormReLU(channels, self.norm, self.dtype, name=f"down_{i}")(x)
      skips.append(x)
    x = self._bottleneck(x)
    for i, (channels, skip) in enumerate(zip(up, skips[::-1], strict=True)):
      block = ConvNormReLU(channels, self.norm, self.dtype, name=f"up_{i}")
      x = block(skip, coarse=x) if i else block(jnp.concatenate([x, skip], -1))
    if self.out_features is None:
      return x
    return Conv(self.out_features, 1, dtype=self.dtype, name="out")(x).astype(jnp.float32)

  def _bottleneck(self, x):
    flat = x.reshape(len(x), -1)
    for i, features in enumerate((128, 128, flat.shape[1])):
      flat = nn.relu(Dense(features, self.dtype, name=f"dense_{i}")(flat))
    return flat.reshape(x.shape)


def unet_channels(channels: int, image_size: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
  """Output channels of the U-Net's down and up blocks."""
  c = channels
  return {
    32: ((c, 2 * c, 2 * c, 2 * c), (2 * c, 2 * c, c, c)),
    64: ((c, c, 2 * c, 2 * c, 2 * c), (2 * c, 2 * c, c, c, c)),
    128: ((c, c, c, 2 * c, 2 * c, 2 * c), (2 * c, 2 * c, c, c, c, c)),
  }[image_size]


class ConvNormReLU(nn.Module):
  """3x3 convolution without bias, norm, ReLU.

  An image `coarse` of half the side is enlarged by repeating pixels, and comes before `x`.
  """

  features: int
  norm: str
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(
    self, x: Float[Array, "N H W I"], coarse: Float[Array, "N H2 W2 I2"] | None = None
  ) -> Float[Array, "N H W O"]:
    if coarse is None:
      x = Conv(self.features, 3, padding=1, use_bias=False, dtype=self.dtype, name="conv")(x)
    else:
      first, channels = coarse.shape[-1], coarse.shape[-1] + x.shape[-1]
      kernel = _ConvParams(self.features, 3, channels, use_bias=False, name="conv")()
      enlarged = convolve_upsampled(coarse.astype(self.dtype), kernel[:, :, :first])
      rest = kernel[:, :, first:].astype(self.dtype)
      x = enlarged + convolve(x.astype(self.dtype), rest, 1, ((1, 1), (1, 1)))
    norm = Norm(self.norm, name="norm")(self.features)
    return normalise(x, None, [norm], self.norm, nn.relu, train=True)
