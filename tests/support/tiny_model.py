"""Models that are traced and compiled in no time: a few layers around latents.

`--config=tests/support/tiny_model.py` or `tiny_model.py:multi_dsprites`, for tests of what is
around a model: the loop, checkpoints, signals, hosts, stores; with slots, for programs.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from configs import models
from configs.experiment import compose
from genesis_jax.distributions import normal_log_prob, sampled_kl
from genesis_jax.layers import Dense
from genesis_jax.models.common import Model, mix
from genesis_jax.networks import GatedConv, GaussianHead
from genesis_jax.outputs import Latent, Outputs, Samples

FEATURES = 8  # of TinySlots


class TinyModel(Model):
  """It has 110,000 parameters at most: its checkpoints have 1.3 MB."""

  image_size: int = 32
  latent_dim: int = 12
  pixel_std: float = 0.7

  def setup(self):
    self.posterior = GaussianHead(self.latent_dim)
    self.decoder = nn.Dense(self.image_size**2 * 3)

  def noise_spec(self, num_slots=None):
    return {"latent": ("normal", (self.latent_dim,))}

  def __call__(self, images, train=False, noise=None):
    self.check_images(images)
    noise = self.noise_or_draw(noise, len(images))["latent"]
    mean, std = self.posterior(images.reshape(len(images), -1))
    latent = Latent(mean, std, mean + std * noise)
    recon = self._image(latent.sample)
    return Outputs(
      recon=recon,
      err=-normal_log_prob(images, recon, self.pixel_std).sum((1, 2, 3)),
      kl={"latent": sampled_kl(latent)},
      latents={"latent": latent},
    )

  def _image(self, z):
    return jax.nn.sigmoid(self.decoder(z)).reshape(len(z), self.image_size, self.image_size, 3)

  def sample(self, num_images, noise=None, num_slots=None):
    return self.decode(self.noise_or_draw(noise, num_images))

  def _decode(self, latents):
    return Samples(self._image(latents["latent"]), latents)


class TinySlots(Model):
  """Any number of slots, with masks of attention and decoded ones, and statistics of batches."""

  image_size: int = 32
  num_slots: int = 3
  mask_latent_dim: int = 3
  component_latent_dim: int = 4
  pixel_std: float = 0.7

  MIXES_DECODED_MASKS = True

  def setup(self):
    side = self.image_size
    self.encoder = GatedConv(FEATURES, side, norm="bn", axis_name=self.axis_name)
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
    features = self.encoder(images, train)[:, 0]
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


OWN = {"tiny": TinyModel, "tiny_slots": TinySlots}


def composed(model: str, dataset: str):
  """`configs.experiment.compose`, which knows these models too."""
  if model not in OWN:
    return compose(model, dataset)
  config = compose(models.own(__file__, OWN[model]), dataset)
  config.model.image_size = 32
  return config


def get_config(dataset: str = "gqn"):
  """The model without slots on a data set."""
  return composed("tiny", dataset)
