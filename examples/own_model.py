"""A model of your own, trained, measured and reported like those of the library.

  python -m experiments.main --config=examples/own_model.py

It is a VAE with two latents, a small one for the light of the whole picture and a large one for
what is in it, each with a KL of its own. Nothing else has to be told of either.

Runs remember this file by its path. If it moves, train on with --config naming its new place, or
name its new folder in PYTHONPATH for the programs that look at runs.
"""

import jax
import jax.numpy as jnp

from configs import models
from configs.experiment import compose
from genesis_jax.distributions import normal_log_prob, sampled_kl
from genesis_jax.models.common import Model
from genesis_jax.networks import GatedDecoder, GatedEncoder, GaussianHead
from genesis_jax.outputs import Latent, Outputs, Samples


class LightVAE(Model):
  """Its fields are its options: `--config.model.light_dim=4`."""

  image_size: int = 64
  light_dim: int = 2
  content_dim: int = 32
  pixel_std: float = 0.7

  def setup(self):
    self.encoder = GatedEncoder(256, self.image_size, "none", dtype=self.dtype)
    self.heads = {"content": GaussianHead(self.content_dim), "light": GaussianHead(self.light_dim)}
    self.decoder = GatedDecoder(3, self.image_size, "none", dtype=self.dtype)

  def noise_spec(self, num_slots=None):
    """Draws of one example."""
    return {"content": ("normal", (self.content_dim,)), "light": ("normal", (self.light_dim,))}

  def __call__(self, images, train=False, noise=None):
    self.check_images(images)
    noise = self.noise_or_draw(noise, len(images))
    features = self.encoder(images, train).astype(jnp.float32)
    latents = {}
    for name, head in self.heads.items():
      mean, std = head(features)
      latents[name] = Latent(mean, std, mean + std * noise[name])
    recon = self._image({name: latent.sample for name, latent in latents.items()})
    return Outputs(
      recon=recon,
      err=-normal_log_prob(images, recon, self.pixel_std).sum((1, 2, 3)),
      kl={name: sampled_kl(latent) for name, latent in latents.items()},
      latents=latents,
    )

  def _image(self, z):
    z = jnp.concatenate([z["content"], z["light"]], -1)
    return jax.nn.sigmoid(self.decoder(z, train=False))

  def sample(self, num_images, noise=None, num_slots=None):
    """Images from standard normal latents."""
    return self.decode(self.noise_or_draw(noise, num_images))

  def _decode(self, latents):
    return Samples(self._image(latents), latents)


def get_config():
  """The model on rendered sprites; any other data set's name does as well."""
  config = compose(models.own(__file__, LightVAE), "multi_dsprites")
  config.data.source = "generator"
  return config
