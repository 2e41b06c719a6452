"""Models of the tests' own, for what is not about models: the loop, checkpoints, hosts, programs.

One gated convolution encodes, and dense layers decode: they are traced, compiled and trained in a
fraction of the time that the library's smallest take. As a configuration, for a process of its own:
`--config=tests/support/tiny_model.py:gqn`.
"""

import jax
import jax.numpy as jnp

from configs import models
from configs.experiment import compose
from genesis_jax.distributions import normal_log_prob, sampled_kl
from genesis_jax.layers import Dense
from genesis_jax.models.common import Model, mix
from genesis_jax.networks import GatedConv, GaussianHead
from genesis_jax.outputs import Latent, Outputs, Samples

FEATURES = 8


class Tiny(Model):
  """A VAE."""

  image_size: int = 32
  latent_dim: int = 4
  norm: str = "none"
  pixel_std: float = 0.7

  def setup(self):
    side = self.image_size
    common = dict(norm=self.norm, axis_name=self.axis_name, dtype=self.dtype)
    self.encoder = GatedConv(FEATURES, side, **common)
    self.posterior = GaussianHead(self.latent_dim)
    self.decoder = Dense(side * side * 3)

  def noise_spec(self, num_slots=None):
    return {"latent": ("normal", (self.latent_dim,))}

  def __call__(self, images, train=False, noise=None):
    self.check_images(images)
    noise = self.noise_or_draw(noise, len(images))
    mean, std = self.posterior(self.encoder(images, train)[:, 0, 0].astype(jnp.float32))
    latent = Latent(mean, std, mean + std * noise["latent"])
    recon = self._image(latent.sample)
    return Outputs(
      recon=recon,
      err=-normal_log_prob(images, recon, self.pixel_std).sum((1, 2, 3)),
      kl={"latent": sampled_kl(latent)},
      latents={"latent": latent},
    )

  def _image(self, z):
    return jax.nn.sigmoid(self.decoder(z)).reshape(-1, self.image_size, self.image_size, 3)

  def sample(self, num_images, noise=None):
    return self.decode(self.noise_or_draw(noise, num_images))

  def _decode(self, latents):
    return Samples(self._image(latents["latent"]), latents)


class TinySlots(Model):
  """Slots of any number, with masks of attention and decoded ones."""

  image_size: int = 32
  num_slots: int = 3
  mask_latent_dim: int = 3
  component_latent_dim: int = 4
  pixel_std: float = 0.7

  MIXES_DECODED_MASKS = True

  def setup(self):
    side = self.image_size
    self.encoder = GatedConv(FEATURES, side, dtype=self.dtype)
    self.heads = {
      "mask": GaussianHead(self.mask_latent_dim),
      "component": GaussianHead(self.component_latent_dim),
    }
    self.attention, self.mask_decoder = Dense(side * side), Dense(side * side)
    self.component_decoder = Dense(side * side * 3)

  def noise_spec(self, num_slots=None):
    slots = num_slots or self.num_slots
    dims = {"mask": self.mask_latent_dim, "component": self.component_latent_dim}
    return {name: ("normal", (slots, dim)) for name, dim in dims.items()}

  def __call__(self, images, train=False, noise=None):
    self.check_images(images)
    noise = self.noise_or_draw(noise, len(images))
    features = self.encoder(images, train)[:, 0].astype(jnp.float32)
    # Each slot looks at the features in a way of its own, without parameters.
    slots = features * jnp.cos(jnp.arange(self.num_slots)[:, None] * jnp.arange(FEATURES))
    latents = {}
    for name, head in self.heads.items():
      mean, std = (
        x.reshape(*slots.shape[:2], -1) for x in head(slots.reshape(-1, slots.shape[-1]))
      )
      latents[name] = Latent(mean, std, mean + std * noise[name])
    out = self._decode({name: latent.sample for name, latent in latents.items()})
    return Outputs(
      recon=out.images,
      err=-normal_log_prob(images, out.images, self.pixel_std).sum((1, 2, 3)),
      kl={name: sampled_kl(latent) for name, latent in latents.items()},
      latents=latents,
      log_masks=self._masks(self.attention(slots)),
      log_masks_recon=out.log_masks,
      components=out.components,
    )

  def _masks(self, logits):
    logits = logits.reshape(*logits.shape[:2], self.image_size, self.image_size)
    return jax.nn.log_softmax(logits, 1)

  def sample(self, num_images, noise=None, num_slots=None):
    return self.decode(self.noise_or_draw(noise, num_images, num_slots))

  def _decode(self, latents):
    log_masks = self._masks(self.mask_decoder(latents["mask"]))
    components = jax.nn.sigmoid(self.component_decoder(latents["component"]))
    components = components.reshape(*log_masks.shape, 3)
    return Samples(mix(log_masks, components), latents, components, log_masks)


OWN = {"tiny": Tiny, "tiny_slots": TinySlots}


def composed(model: str, dataset: str):
  """`configs.experiment.compose`, which knows these models too."""
  return compose(models.own(__file__, OWN[model]) if model in OWN else model, dataset)


def get_config(dataset="gqn"):
  return composed("tiny", dataset)
