"""GENESIS-V2 (Engelcke et al., NeurIPS 2021, arXiv:2104.09958)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from genesis_jax.distributions import categorical_kl, mixture_nll, sampled_kl, slot_stds
from genesis_jax.layers import Conv, ConvTranspose, Dense, Dtype, coordinates, softplus_std
from genesis_jax.models.common import Model, mix
from genesis_jax.networks import UNET_SIZES, ConvNormReLU, UNet
from genesis_jax.norms import EPSILON, Norm, normalise
from genesis_jax.outputs import Latent, Outputs, Samples
from genesis_jax.priors import AutoregressivePrior
from genesis_jax.slots import KERNELS, InstanceColouring


def decoder_channels(feature_dim: int) -> tuple[int, int, int, int]:
  """Output channels of the decoder's transposed convolutions."""
  last = min(feature_dim, 64)
  return (feature_dim, feature_dim, last, last)


class SlotDecoder(nn.Module):
  """Slot latent to appearance and mask logit, from a grid of side S/16; float32 out."""

  image_size: int
  feature_dim: int
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, z: Float[Array, "N F"]) -> Float[Array, "N S S 4"]:
    side = self.image_size // 16
    grid = jnp.broadcast_to(coordinates(side), (len(z), side, side, 2))
    x = jnp.broadcast_to(z[:, None, None], (len(z), side, side, z.shape[-1]))
    x = jnp.concatenate([x, grid], -1)
    for i, channels in enumerate(decoder_channels(self.feature_dim)):
      x, bias = ConvTranspose(
        channels, 5, stride=2, padding=2, bias_apart=True, dtype=self.dtype, name=f"conv_{i}"
      )(x)
      norm = Norm("gn", name=f"norm_{i}")(channels)
      x = normalise(x, bias, [norm], "gn", nn.relu, train=True)
    return Conv(4, 1, dtype=self.dtype, name="out")(x).astype(jnp.float32)


class SlotHead(nn.Module):
  """Posterior of every slot from the masked mean of its features; in float32."""

  latent_dim: int
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, features: Float[Array, "B S S F"], log_masks: Float[Array, "B K S S"]):
    """(mean, std), each `[B,K,D]`."""
    dim = self.latent_dim
    features = ConvNormReLU(dim, "gn", self.dtype, name="block")(features)
    features = Conv(2 * dim, 1, dtype=self.dtype, name="project")(features).astype(jnp.float32)
    masks = jnp.exp(log_masks)
    x = jnp.einsum("bkhw,bhwf->bkf", masks, features) / (masks.sum((2, 3)) + 1e-5)[..., None]
    x = nn.LayerNorm(epsilon=EPSILON, use_fast_variance=False, name="norm")(x)
    x = Dense(2 * dim, name="dense_1")(nn.relu(Dense(2 * dim, name="dense_0")(x)))
    mean, std = jnp.split(x, 2, -1)
    return mean, softplus_std(std)


class GenesisV2(Model):
  """Masks by clustering pixel colours, one latent a slot for both mask and appearance.

  It cannot see how bright an image is: its first convolution has no bias and group norm follows, so
  that an image and the same at half the brightness have the same latents. Scenes need something of
  a known brightness (a sky, lamps) for their colours to be found.
  """

  IMAGE_SIZES = UNET_SIZES
  CHOICES = {"kernel": tuple(sorted(KERNELS))}
  MIXES_DECODED_MASKS = True

  image_size: int = 64
  num_slots: int = 5
  feature_dim: int = 64
  autoregressive_prior: bool = True
  kernel: str = "gaussian"
  semiconv: bool = True
  dynamic_slots: bool = False
  mask_kl_loss: bool = False
  detach_recon_masks: bool = True
  pixel_bound: bool = True
  pixel_std_first: float = 0.7
  pixel_std: float = 0.7

  @classmethod
  def check_combination(cls, options):
    if options["feature_dim"] % 8:
      raise ValueError(
        f"model.feature_dim is {options['feature_dim']}; allowed: multiples of 8 (group norm)"
      )

  @property
  def has_learned_prior(self) -> bool:
    """Whether later slots depend on the first, whose prior is N(0, 1)."""
    return self.autoregressive_prior and self.num_slots > 1

  def setup(self):
    dim = self.feature_dim
    self.encoder = UNet(min(dim, 64), self.image_size, "gn", dtype=self.dtype)
    self.segmentation_head = ConvNormReLU(dim, "gn", self.dtype)
    self.attention = InstanceColouring(
      self.num_slots, self.kernel, self.semiconv, self.dynamic_slots, self.dtype
    )
    self.slot_head = SlotHead(dim, self.dtype)
    self.decoder = SlotDecoder(self.image_size, dim, self.dtype)
    if self.has_learned_prior:
      self.prior = AutoregressivePrior(dim, 4 * dim)

  def noise_spec(self, num_slots: int | None = None):
    """Draws of one example: uniform noise that picks seed pixels, normal noise of the latents."""
    return {
      "seed": ("uniform", (self.image_size, self.image_size)),
      "component": ("normal", (num_slots or self.num_slots, self.feature_dim)),
    }

  def __call__(
    self, images: Float[Array, "B S S 3"], train: bool = False, noise: dict | None = None
  ) -> Outputs:
    """Inference; `noise` replaces the random draws (see `noise_spec`)."""
    self.check_images(images)
    noise = self.noise_or_draw(noise, len(images))
    features = nn.relu(self.encoder(images))
    log_masks, log_scopes = self.attention(self.segmentation_head(features), noise["seed"])
    mean, std = self.slot_head(features, log_masks)
    z = mean + std * noise["component"]
    latent = Latent(mean, std, z, *(self.prior(z) if self.has_learned_prior else ()))
    components, log_masks_recon = self._slots(z)
    kl = {"component": sampled_kl(latent)}
    if self.mask_kl_loss:
      target = log_masks_recon
      if self.detach_recon_masks:
        target = jax.lax.stop_gradient(target)
      kl["mask"] = categorical_kl(log_masks, target)
    stds = slot_stds(self.pixel_std_first, self.pixel_std, self.num_slots)
    return Outputs(
      recon=mix(log_masks_recon, components),
      err=mixture_nll(images, components, log_masks_recon, stds),
      kl=kl,
      latents={"component": latent},
      log_masks=log_masks,
      log_masks_recon=log_masks_recon,
      components=components,
      log_scopes=log_scopes,
    )

  def _slots(self, z):
    """(components `[B,K,S,S,3]`, log masks `[B,K,S,S]`) of slot latents."""
    out = self.decoder(z.reshape(-1, z.shape[-1]))
    out = out.reshape(*z.shape[:2], *out.shape[1:])
    components, logits = out[..., :3], out[..., 3]
    if self.pixel_bound:
      components = jax.nn.sigmoid(components)
    return components, jax.nn.log_softmax(logits, 1)

  def sample(
    self, num_images: int, noise: dict | None = None, num_slots: int | None = None
  ) -> Samples:
    """Ancestral samples from the prior; `num_slots` other than in training is possible."""
    z = self.noise_or_draw(noise, num_images, num_slots)["component"]
    if self.has_learned_prior:
      z = self.prior.sample(z)
    return self.decode({"component": z})

  def redraw(self, latents: dict, keep: Bool[Array, "K"], noise: dict) -> dict:
    """See `Model.redraw`."""
    if not self.has_learned_prior:
      return super().redraw(latents, keep, noise)
    z = self.prior.sample(noise["component"], given=(latents["component"], keep))
    return {"component": z}

  def _decode(self, latents: dict) -> Samples:
    """Masks and appearances of the component latents."""
    components, log_masks = self._slots(latents["component"])
    return Samples(mix(log_masks, components), latents, components, log_masks)
