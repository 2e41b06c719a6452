"""GENESIS (Engelcke et al., ICLR 2020, arXiv:1907.13052)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from genesis_jax.distributions import mixture_nll, sampled_kl, slot_stds
from genesis_jax.layers import elu
from genesis_jax.models.common import Model, mix
from genesis_jax.networks import BroadcastDecoder, ComponentVAE
from genesis_jax.outputs import Latent, Outputs, Samples
from genesis_jax.priors import AutoregressivePrior, ComponentPrior, kept
from genesis_jax.slots import LatentAttention, undivided


class Genesis(Model):
  """Mask latents first, then a component latent for each slot given its mask.

  With one slot there are no masks: it is just the component VAE, with N(0, 1) as prior.
  """

  CHOICES = {"encoder_norm": ("bn", "in", "none"), "decoder_norm": ("bn", "in", "none")}

  image_size: int = 64
  num_slots: int = 5
  two_stage: bool = True  # False: GENESIS-S, appearances decoded from the mask latents
  autoregressive_prior: bool = True
  component_prior: bool = True
  mask_latent_dim: int = 64
  encoder_norm: str = "bn"
  decoder_norm: str = "bn"
  component_encoder_channels: int = 32
  component_latent_dim: int = 16
  component_decoder_channels: int = 32
  component_decoder_layers: int = 4
  component_symmetric: bool = False
  monte_carlo_kl: bool = True  # the only KL there is here; MONet also has a closed form
  pixel_bound: bool = True
  pixel_std_first: float = 0.7
  pixel_std: float = 0.7

  @classmethod
  def check_combination(cls, options):
    if not options["monte_carlo_kl"]:
      raise ValueError(
        "model.monte_carlo_kl is False; allowed for genesis: True, since its priors depend on the "
        "samples"
      )
    if options["num_slots"] == 1 and not options["two_stage"]:
      raise ValueError(
        "model.two_stage is False; allowed for genesis with one slot: True, since it has no mask "
        "latents to decode"
      )

  @property
  def has_masks(self) -> bool:
    """Whether there is more than one slot, so that the image is divided."""
    return self.num_slots > 1

  def setup(self):
    if self.has_masks:
      self._setup_masks()
    self._setup_appearances()

  def _setup_masks(self):
    self.attention = LatentAttention(
      self.mask_latent_dim,
      self.image_size,
      self.encoder_norm,
      self.decoder_norm,
      self.axis_name,
      self.dtype,
    )
    if self.autoregressive_prior:
      self.mask_prior = AutoregressivePrior(self.mask_latent_dim, 256)

  def _setup_appearances(self):
    if not self.two_stage:
      self.decoder = BroadcastDecoder(
        3,
        self.image_size,
        self.component_decoder_channels,
        self.component_decoder_layers,
        elu,
        self.dtype,
      )
      return
    self.component_vae = ComponentVAE(
      3,
      self.image_size,
      self.component_latent_dim,
      self.component_encoder_channels,
      self.component_decoder_channels,
      self.component_decoder_layers,
      elu,
      self.component_symmetric,
      self.encoder_norm,
      self.decoder_norm,
      self.axis_name,
      self.dtype,
    )
    if self.component_prior and self.has_masks:
      self.component_latent_prior = ComponentPrior(self.component_latent_dim)

  def noise_spec(self, num_slots: int | None = None):
    """Draws of one example: normal noise of every latent."""
    k = num_slots or self.num_slots
    spec = {}
    if self.has_masks:
      spec["mask"] = ("normal", (k, self.mask_latent_dim))
    elif k > 1:
      raise ValueError(f"num_slots is {k}, but this model was made for one slot: it has no masks")
    if self.two_stage:
      spec["component"] = ("normal", (k, self.component_latent_dim))
    return spec

  def __call__(
    self, images: Float[Array, "B S S 3"], train: bool = False, noise: dict | None = None
  ) -> Outputs:
    """Inference; `noise` replaces the random draws (see `noise_spec`)."""
    self.check_images(images)
    noise = self.noise_or_draw(noise, len(images))
    latents, z_mask = {}, None
    if self.has_masks:
      latents["mask"] = self._mask_latent(images, noise["mask"], train)
      z_mask = latents["mask"].sample
    log_masks, log_scopes = self._masks(z_mask, images, train)
    if self.two_stage:
      latents["component"] = self._component_latent(
        images, log_masks, z_mask, noise["component"], train
      )
    components = self._appearances(latents["component" if self.two_stage else "mask"].sample, train)
    std = slot_stds(self.pixel_std_first, self.pixel_std, self.num_slots)
    return Outputs(
      recon=mix(log_masks, components),
      err=mixture_nll(images, components, log_masks, std),
      kl={name: sampled_kl(latent) for name, latent in latents.items()},
      latents=latents,
      log_masks=log_masks,
      components=components,
      log_scopes=log_scopes,
    )

  def _masks(self, z_mask, images, train):
    """(log_masks, log_scopes) of mask latents; one slot takes all of `images`."""
    return self.attention.decode(z_mask, train) if self.has_masks else undivided(images)

  def _mask_latent(self, images, noise, train):
    mean, std, z = self.attention.encode(images, noise, train)
    return Latent(mean, std, z, *(self.mask_prior(z) if self.autoregressive_prior else ()))

  def _component_latent(self, images, log_masks, z_mask, noise, train):
    mean, std = self.component_vae.encode(images, log_masks, train)
    learned = self.component_prior and self.has_masks
    prior = self.component_latent_prior(z_mask) if learned else ()
    return Latent(mean, std, mean + std * noise, *prior)

  def _appearances(self, z, train):
    """Appearances `[B,K,S,S,3]` of component latents; one-stage: of mask latents."""
    if self.two_stage:
      out = self.component_vae.decode(z, train)
    else:
      out = self.decoder(z.reshape(-1, z.shape[-1]))
      out = out.reshape(*z.shape[:2], *out.shape[1:])
    return jax.nn.sigmoid(out) if self.pixel_bound else out

  def sample(
    self,
    num_images: int,
    noise: dict | None = None,
    num_slots: int | None = None,
    original_prior_mean: bool = False,
  ) -> Samples:
    """Ancestral samples from the priors.

    Args:
      num_images: how many.
      noise: replaces the random draws (see `noise_spec`).
      num_slots: other than in training.
      original_prior_mean: leave out the tanh on the mask prior's mean, as the original code does
        when it samples; for comparison with its published FID.
    """
    noise = self.noise_or_draw(noise, num_images, num_slots)
    return self.decode(self._ancestral(noise, {}, not original_prior_mean))

  def redraw(self, latents: dict, keep: Bool[Array, "K"], noise: dict) -> dict:
    """See `Model.redraw`."""
    return self._ancestral(noise, {name: (z, keep) for name, z in latents.items()})

  def _ancestral(self, noise: dict, given: dict, bounded_mean: bool = True) -> dict:
    """Latents drawn one after the other; `given`: name -> `priors.Given`."""
    latents = {}
    if self.has_masks and self.autoregressive_prior:
      latents["mask"] = self.mask_prior.sample(noise["mask"], bounded_mean, given.get("mask"))
    elif self.has_masks:
      latents["mask"] = kept(noise["mask"], given.get("mask"))
    if self.two_stage:
      drawn = noise["component"]
      if self.component_prior and self.has_masks:
        mean, std = self.component_latent_prior(latents["mask"])
        drawn = mean + std * drawn
      latents["component"] = kept(drawn, given.get("component"))
    return latents

  def _decode(self, latents: dict) -> Samples:
    """Masks of the mask latents; appearances of the component latents, or of the same."""
    components = self._appearances(latents["component" if self.two_stage else "mask"], False)
    log_masks, _ = self._masks(latents.get("mask"), components[:, 0], False)
    return Samples(mix(log_masks, components), latents, components, log_masks)

  def features(
    self, images: Float[Array, "B S S 3"], noise: dict | None = None
  ) -> Float[Array, "B F"]:
    """Mask latents of all slots but the last and component latents of all; one-stage: all masks."""
    latents = {name: latent.sample for name, latent in self(images, noise=noise).latents.items()}
    if not self.two_stage:
      return latents["mask"].reshape(len(images), -1)
    z = [latents["component"]]
    if self.has_masks:
      z.insert(0, latents["mask"][:, :-1])
    return jnp.concatenate([part.reshape(len(images), -1) for part in z], -1)
