"""Attention: how an image is divided among slots.

Stick breaking turns per-slot logits or probabilities into masks that sum to one: each slot takes a
part of what the ones before it have left (the scope), the last slot takes the rest.

Slots that depend on earlier ones are computed in Python loops: compiled loops save their carries
for the backward pass, which took a tenth of a step on GPUs, and slow down convolutions on CPUs.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genesis_jax.layers import LSTM, Conv, Dense, Dtype, coordinates, softplus_std
from genesis_jax.networks import GatedDecoder, GatedEncoder, GaussianHead, UNet

NO_MASK = -1e10  # log probability of a missing slot


def stick_breaking(
  log_take: Float[Array, "B J *shape"], log_leave: Float[Array, "B J *shape"]
) -> tuple[Float[Array, "B K *shape"], Float[Array, "B K *shape"]]:
  """Log masks and log scopes of K = J + 1 slots.

  Args:
    log_take: log share of its scope that each slot but the last takes.
    log_leave: log(1 - that share).

  Returns:
    (log_masks, log_scopes): masks sum to one over slots; a scope is the share left to a slot.
  """
  first = [(0, 0), (1, 0)] + [(0, 0)] * (log_leave.ndim - 2)  # also where there is one slot, J = 0
  log_scopes = jnp.pad(jnp.cumsum(log_leave, 1), first)
  return log_scopes.at[:, :-1].add(log_take), log_scopes


def stick_breaking_logits(logits: Float[Array, "B J *shape"]):
  """`stick_breaking` with shares sigmoid(logits)."""
  logits = logits.astype(jnp.float32)
  return stick_breaking(jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits))


def undivided(images: Float[Array, "B S S C"]):
  """(log_masks, log_scopes) of one slot that takes all of each image, each `[B,1,S,S]`."""
  everything = jnp.zeros((len(images), 1, *images.shape[1:3]), jnp.float32)
  return everything, everything


class LatentAttention(nn.Module):
  """GENESIS' masks: a recurrent posterior over mask latents, decoded by a gated VAE (sec. 3.1)."""

  latent_dim: int
  image_size: int
  encoder_norm: str
  decoder_norm: str
  axis_name: str | None = None
  dtype: Dtype = jnp.float32

  def setup(self):
    common = dict(image_size=self.image_size, axis_name=self.axis_name, dtype=self.dtype)
    self.encoder = GatedEncoder(256, norm=self.encoder_norm, **common)
    self.first = GaussianHead(self.latent_dim)
    self.lstm = LSTM(2 * self.latent_dim, 256 + self.latent_dim)
    self.linear = Dense(2 * self.latent_dim)
    self.decoder = GatedDecoder(1, norm=self.decoder_norm, **common)

  def encode(self, images: Float[Array, "B S S 3"], noise: Float[Array, "B K D"], train: bool):
    """Posterior of the mask latents and samples from it: (mean, std, z), each `[B,K,D]`."""
    h = self.encoder(images, train).astype(jnp.float32)
    first_mean, first_std = self.first(h)
    first = (first_mean, first_std, first_mean + first_std * noise[:, 0])

    state, slots = self.lstm.initial_carry(len(h)), [first]
    for k in range(1, noise.shape[1]):
      state, out = self.lstm(state, jnp.concatenate([h, slots[-1][2]], -1))
      mean, std = jnp.split(self.linear(out), 2, -1)
      std = softplus_std(std)
      slots.append((mean, std, mean + std * noise[:, k]))
    return tuple(jnp.stack(values, 1) for values in zip(*slots, strict=True))

  def decode(self, z: Float[Array, "B K D"], train: bool):
    """(log_masks, log_scopes) of mask latents, each `[B,K,S,S]`."""
    b, k, _ = z.shape
    # The last slot takes the rest: its own logit is unused, but batch norm sees it.
    logits = self.decoder(z.reshape(b * k, -1), train).reshape(b, k, *2 * (self.image_size,))
    return stick_breaking_logits(logits[:, :-1])


class RecurrentAttention(nn.Module):
  """MONet's masks: a U-Net on image and scope, once for each slot but the last (sec. 2.2)."""

  channels: int
  image_size: int
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, images: Float[Array, "B S S 3"], num_slots: int):
    """(log_masks, log_scopes), each `[B,K,S,S]`."""
    core = UNet(self.channels, self.image_size, "in", 1, self.dtype, name="core")
    log_scope, slots = jnp.zeros(images.shape[:3], jnp.float32), []
    if num_slots == 1:
      if self.is_initializing():  # has its weights, as in the original, though nothing uses them
        core(jnp.concatenate([images, log_scope[..., None]], -1))
      return undivided(images)
    for _ in range(num_slots - 1):
      logits = core(jnp.concatenate([images, log_scope[..., None]], -1))[..., 0]
      slots.append((jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)))
      log_scope += slots[-1][1]
    return stick_breaking(*(jnp.stack(values, 1) for values in zip(*slots, strict=True)))


def _squared_distance(colours, seed):
  return ((colours - seed[:, None, None]) ** 2).sum(-1)


def _clip_value(x, low, high):
  """Clips the value but not the gradient."""
  return x + jax.lax.stop_gradient(jnp.clip(x, low, high) - x)


def _laplacian(squared, scale):
  return jnp.exp(-jnp.sqrt(_clip_value(squared, 1e-10, 1e10)) / scale)


# name -> (share of a pixel from squared colour distance and scale, initial scale for K slots)
KERNELS = {
  "gaussian": (lambda squared, scale: jnp.exp(-squared / scale), lambda k: 1 / (k * math.log(2))),
  "laplacian": (_laplacian, lambda k: 1 / (math.sqrt(k) * math.log(2))),
  "epanechnikov": (lambda squared, scale: nn.relu(1 - squared / scale), lambda k: 2 / k),
}


class InstanceColouring(nn.Module):
  """GENESIS-V2's masks: stick breaking on pixel colours around random seeds (sec. 3.1).

  With `dynamic`, an image stops when its next slot would cover fewer than `MIN_AREA` pixels: that
  slot takes the remaining scope, later ones are empty.
  """

  MIN_AREA = 20  # pixels

  num_slots: int
  kernel: str
  semiconv: bool
  dynamic: bool
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, features: Float[Array, "B S S F"], seed_noise: Float[Array, "B S S"]):
    """(log_masks, log_scopes), each `[B,K,S,S]`."""
    colours = self._colours(features)
    share, initial_scale = KERNELS[self.kernel]
    initial = nn.initializers.constant(math.log(initial_scale(self.num_slots)))
    scale = jnp.exp(self.param("log_sigma", initial, (), jnp.float32))
    if self.num_slots == 1:
      return undivided(features)
    flat = colours.reshape(len(colours), -1, colours.shape[-1])
    log_scope, slots = jnp.zeros(colours.shape[:3], jnp.float32), []
    for _ in range(self.num_slots - 1):
      chosen = (seed_noise * jnp.exp(log_scope)).reshape(len(flat), -1).argmax(1)
      seed = jnp.take_along_axis(flat, chosen[:, None, None], 1)[:, 0]
      alpha = _clip_value(share(_squared_distance(colours, seed), scale), 0.01, 0.99)
      slots.append((jnp.log(alpha), jnp.log(1 - alpha)))
      log_scope += slots[-1][1]
    log_masks, log_scopes = stick_breaking(
      *(jnp.stack(values, 1) for values in zip(*slots, strict=True))
    )
    if self.dynamic:
      log_masks = self._stop_early(log_masks, log_scopes)
    return log_masks, log_scopes

  def _colours(self, features):
    """Embedding of every pixel, in float32; with `semiconv`, offset by its position."""
    colours = Conv(8, 1, dtype=self.dtype, name="colour")(features).astype(jnp.float32)
    if self.semiconv:  # Novotny et al. 2018
      gate = self.param("gate", nn.initializers.zeros, (), jnp.float32)
      offset = coordinates(colours.shape[1])
      colours = gate * colours + jnp.pad(offset, ((0, 0), (0, 0), (6, 0)))
    return colours

  def _stop_early(self, log_masks, log_scopes):
    too_small = jnp.exp(log_masks[:, :-1]).sum((2, 3)) < self.MIN_AREA
    too_small = jnp.pad(too_small, ((0, 0), (0, 1)), constant_values=True)
    slot, last = jnp.arange(self.num_slots), too_small.argmax(1)[:, None]
    is_last, is_after = ((slot == last)[..., None, None], (slot > last)[..., None, None])
    return jnp.where(is_after, NO_MASK, jnp.where(is_last, log_scopes, log_masks))
