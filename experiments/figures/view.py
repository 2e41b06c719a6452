"""A checkpoint's view of some images, as numpy arrays: what pictures are made from.

network = Network(model, seed=0)
out = network.infer(variables, batch["image"])              # Outputs at the posteriors' means
samples = network.sample(variables, 8)
edited = network.decode(variables, latents)                 # any number of images
"""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.console.errors import UserError
from genesis_jax.noise import draw_noise
from genesis_jax.outputs import Outputs, Samples
from genesis_jax.training import to_float

CHUNK = 16  # images decoded at a time, where nobody waits for one


class Network:
  """Functions of one model, each compiled once for all checkpoints.

  Args:
    model: of `genesis_jax.build_model`.
    seed: of all that is drawn.
    chunk: how many images are decoded at a time.
  """

  def __init__(self, model, seed: int = 0, chunk: int = CHUNK):
    self._chunk = chunk
    self._key = key = jax.random.key(seed)
    latents = model.latent_names()

    @jax.jit
    def infer(variables, images):
      noise = draw_noise(key, model.noise_spec(), jnp.arange(len(images)))
      # Without noise a latent is its mean; what else is drawn, such as seed pixels, stays.
      noise |= {name: jnp.zeros_like(noise[name]) for name in latents}
      return model.apply(variables, to_float(images), train=False, noise=noise)

    self._infer = infer
    self._sample = jax.jit(
      lambda variables, count: model.apply(variables, count, method="sample", rngs={"noise": key}),
      static_argnums=1,
    )
    self._decode = jax.jit(lambda variables, z: model.apply(variables, z, method="decode"))

  def infer(self, variables, images: np.ndarray) -> Outputs:
    """Outputs for uint8 images `[N,S,S,3]`, with every latent at its posterior's mean."""
    out = jax.device_get(self._infer(variables, images))
    _check_finite(out.recon)
    return out

  def sample(self, variables, count: int) -> Samples:
    """Samples from the prior, the first ones the same however many there are."""
    samples = jax.device_get(self._sample(variables, count))
    _check_finite(samples.images)
    return samples

  def decode(self, variables, latents: dict[str, np.ndarray]) -> Samples:
    """Images of latents, in chunks of one size."""
    count = len(next(iter(latents.values())))
    chunks = []
    for first in range(0, count, self._chunk):
      rows = np.minimum(first + np.arange(self._chunk), count - 1)  # the last one fills up
      chunks.append(
        jax.device_get(self._decode(variables, {n: z[rows] for n, z in latents.items()}))
      )
    samples = jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *chunks)
    _check_finite(samples.images)
    return samples


def _check_finite(images: np.ndarray) -> None:
  if not np.isfinite(images).all():
    raise UserError("the checkpoint gives images that hold NaNs; choose another --step")
