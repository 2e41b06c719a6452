"""MONet (Burgess et al. 2019, arXiv:1901.11390), with the GENESIS paper's hyperparameters."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from genesis_jax.distributions import (
  categorical_kl,
  mixture_nll,
  sampled_kl,
  slot_stds,
  standard_kl,
)
from genesis_jax.models.common import Model, mix
from genesis_jax.networks import UNET_SIZES, ComponentVAE
from genesis_jax.outputs import Latent, Outputs, Samples
from genesis_jax.slots import RecurrentAttention, stick_breaking_logits

# Decoded masks from the component decoder's logits [B,K,S,S]; "scope" ignores the last slot's.
MASK_PRIORS = {
  "softmax": lambda logits: jax.nn.log_softmax(logits, 1),
  "scope": lambda logits: stick_breaking_logits(logits[:, :-1])[0],
}


class MONet(Model):
  """A recurrent U-Net divides the image, a component VAE explains each part and its mask."""

  IMAGE_SIZES = UNET_SIZES
  CHOICES = {"mask_prior": tuple(sorted(MASK_PRIORS))}

  image_size: int = 64
  num_slots: int = 5
  unet_channels: int = 32
  mask_prior: str = "softmax"
  monte_carlo_kl: bool = True
  component_encoder_channels: int = 32
  component_latent_dim: int = 16
  component_decoder_channels: int = 32
  component_decoder_layers: int = 4
  pixel_bound: bool = True
  pixel_std_first: float = 0.7
  pixel_std: float = 0.7

  def setup(self):
    self.attention = RecurrentAttention(self.unet_channels, self.image_size, self.dtype)
    self.component_vae = ComponentVAE(
      4,
      self.image_size,
      self.component_latent_dim,
      self.component_encoder_channels,
      self.component_decoder_channels,
      self.component_decoder_layers,
      nn.relu,
      dtype=self.dtype,
    )

  def noise_spec(self, num_slots: int | None = None):
    """Draws of one example: normal noise of the component latents."""
    return {"component": ("normal", (num_slots or self.num_slots, self.component_latent_dim))}

  def __call__(
    self, images: Float[Array, "B S S 3"], train: bool = False, noise: dict | None = None
  ) -> Outputs:
    """Inference; `noise` replaces the random draws (see `noise_spec`)."""
    self.check_images(images)
    noise = self.noise_or_draw(noise, len(images))
    log_masks, log_scopes = self.attention(images, self.num_slots)
    mean, std = self.component_vae.encode(images, log_masks, train)
    latent = Latent(mean, std, mean + std * noise["component"])
    components, log_masks_recon = self._slots(latent.sample)
    stds = slot_stds(self.pixel_std_first, self.pixel_std, self.num_slots)
    return Outputs(
      recon=mix(log_masks, components),
      err=mixture_nll(images, components, log_masks, stds),
      kl={
        "mask": categorical_kl(log_masks, log_masks_recon),
        "component": (sampled_kl if self.monte_carlo_kl else standard_kl)(latent),
      },
      latents={"component": latent},
      log_masks=log_masks,
      log_masks_recon=log_masks_recon,
      components=components,
      log_scopes=log_scopes,
    )

  def _slots(self, z):
    """(components `[B,K,S,S,3]`, log masks `[B,K,S,S]`) of component latents."""
    out = self.component_vae.decode(z, train=False)
    components, logits = out[..., :3], out[..., 3]
    if self.pixel_bound:
      components = jax.nn.sigmoid(components)
    return components, MASK_PRIORS[self.mask_prior](logits)

  def sample(
    self, num_images: int, noise: dict | None = None, num_slots: int | None = None
  ) -> Samples:
    """Images from standard normal latents; `num_slots` other than in training is possible."""
    z = self.noise_or_draw(noise, num_images, num_slots)["component"]
    return self.decode({"component": z})

  def _decode(self, latents: dict) -> Samples:
    """Decoded masks, where reconstructions use those of the attention; and appearances."""
    components, log_masks = self._slots(latents["component"])
    return Samples(mix(log_masks, components), latents, components, log_masks)
