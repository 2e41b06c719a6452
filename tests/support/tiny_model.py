"""A model that is traced and compiled in no time: two layers around a latent.

`--config=tests/support/tiny_model.py`, for tests of what is around a model: the loop, checkpoints,
signals, stores.
"""

import flax.linen as nn
import jax

from configs import models
from configs.experiment import compose
from genesis_jax.distributions import normal_log_prob, sampled_kl
from genesis_jax.models.common import Model
from genesis_jax.networks import GaussianHead
from genesis_jax.outputs import Latent, Outputs, Samples


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


def get_config(dataset: str = "gqn"):
  """The model on a data set."""
  config = compose(models.own(__file__, TinyModel), dataset)
  config.model.image_size = 32
  return config
