"""Baseline VAE of the GENESIS paper: gated convolutions, or a broadcast decoder."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genesis_jax.distributions import normal_log_prob, sampled_kl
from genesis_jax.layers import Conv, Dtype, elu
from genesis_jax.models.common import Model
from genesis_jax.networks import BroadcastDecoder, GatedDecoder, GatedEncoder, GaussianHead
from genesis_jax.outputs import Latent, Outputs, Samples


class BroadcastImageDecoder(nn.Module):
  """Broadcast decoder to 64 channels, ELU, 1x1 convolution; float32 out."""

  image_size: int
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, z: Float[Array, "B D"]) -> Float[Array, "B S S 3"]:
    x = BroadcastDecoder(64, self.image_size, 64, 4, elu, self.dtype, name="broadcast")(z)
    return Conv(3, 1, dtype=self.dtype, name="out")(elu(x)).astype(jnp.float32)


class VAE(Model):
  """One latent for the whole image."""

  image_size: int = 64
  latent_dim: int = 64
  broadcast_decoder: bool = False
  pixel_bound: bool = True
  pixel_std: float = 0.7

  def setup(self):
    self.encoder = GatedEncoder(256, self.image_size, "none", dtype=self.dtype)
    self.posterior = GaussianHead(self.latent_dim)
    if self.broadcast_decoder:
      self.decoder = BroadcastImageDecoder(self.image_size, self.dtype)
    else:
      self.decoder = GatedDecoder(3, self.image_size, "none", dtype=self.dtype)

  def noise_spec(self, num_slots: int | None = None):
    """Draws of one example: normal noise of the latent."""
    del num_slots
    return {"latent": ("normal", (self.latent_dim,))}

  def __call__(
    self, images: Float[Array, "B S S 3"], train: bool = False, noise: dict | None = None
  ) -> Outputs:
    """Inference; `noise` replaces the random draws (see `noise_spec`)."""
    self.check_images(images)
    noise = self.noise_or_draw(noise, len(images))
    mean, std = self.posterior(self.encoder(images, train).astype(jnp.float32))
    latent = Latent(mean, std, mean + std * noise["latent"])
    recon = self._image(latent.sample)
    return Outputs(
      recon=recon,
      err=-normal_log_prob(images, recon, self.pixel_std).sum((1, 2, 3)),
      kl={"latent": sampled_kl(latent)},
      latents={"latent": latent},
    )

  def _image(self, z):
    out = self.decoder(z) if self.broadcast_decoder else self.decoder(z, train=False)
    return jax.nn.sigmoid(out) if self.pixel_bound else out

  def sample(self, num_images: int, noise: dict | None = None) -> Samples:
    """Images from standard normal latents."""
    z = self.noise_or_draw(noise, num_images)["latent"]
    return self.decode({"latent": z})

  def _decode(self, latents: dict) -> Samples:
    """The image; there are no slots."""
    return Samples(self._image(latents["latent"]), latents)
