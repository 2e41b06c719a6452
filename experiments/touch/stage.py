"""One checkpoint, ready to edit scenes with: inference, decoding and drawing, one scene at a time.

Models without slots are given one here, the whole image.
"""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import numpy as np

from experiments.figures.view import Network
from genesis_jax import editing
from genesis_jax.models.common import Model
from genesis_jax.outputs import Outputs, Samples

EXTRA = 3  # slots that may be added to those in training


@functools.cache
def _programs(model):
  """Compiled functions, shared by all checkpoints of a model."""

  def redraw(variables, latents, keep, noise):
    return model.apply(variables, latents, keep, noise, method="redraw")

  return Network(model, chunk=1), jax.jit(redraw)


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
  """A checkpoint; latents `[1,K,D]` go in and come out, also of a model without slots.

  Attributes:
    name: for people, such as "genesis, step 500".
    model, variables: of `genesis_jax.load`.
    images: uint8 `[N,S,S,3]`; what they say of the latents orders these.
    resize: how its training images were resized.
  """

  name: str
  model: object
  variables: dict
  images: np.ndarray
  resize: str = "area"

  @property
  def has_slots(self) -> bool:
    """Whether scenes have parts."""
    return hasattr(self.model, "num_slots")

  @property
  def num_slots(self) -> int:
    """K, in training."""
    return getattr(self.model, "num_slots", 1)

  @property
  def most(self) -> int:
    """The largest number of slots that scenes may have."""
    return self.num_slots + EXTRA if self.num_slots > 1 else 1

  @property
  def keeps_attention(self) -> bool:
    """Whether masks of an image come from the attention, and not from latents."""
    return self.outs[0].log_masks_recon is not None and not self.model.MIXES_DECODED_MASKS

  @property
  def draws(self) -> bool:
    """Whether its prior can be drawn from: it is N(0, 1), or the model knows how."""
    knows = type(self.model).redraw is not Model.redraw
    return knows or all(z.prior_mean is None for z in self.outs[0].latents.values())

  @functools.cached_property
  def outs(self) -> list[Outputs]:
    """What is inferred of each image."""
    return [self.infer(image) for image in self.images]

  @functools.cached_property
  def stds(self) -> dict[str, np.ndarray]:
    """The unit that latents are moved in, `[D]`: their priors' mean standard deviations."""
    together = self._together
    return {
      n: np.ones(z.mean.shape[-1]) if z.prior_std is None else z.prior_std.mean((0, 1))
      for n, z in together.items()
    }

  @functools.cached_property
  def dims(self) -> list[tuple[str, int, float]]:
    """All numbers of the latents, those first that say most: (latent, which, nats)."""
    found = [
      (name, dim, round(float(nats), 3))
      for name, latent in self._together.items()
      for dim, nats in enumerate(editing.nats_per_dim(latent))
    ]
    return sorted(found, key=lambda row: -row[2])

  @functools.cached_property
  def _together(self) -> dict:
    latents = [out.latents for out in self.outs]
    return jax.tree.map(lambda *parts: np.concatenate(parts), *latents)

  def compile(self) -> Iterator[None]:
    """Compiles whatever scenes need; yields `num_programs` times."""
    for count in range(self.num_slots, self.most + 1):
      zeros = {n: np.zeros((1, count, len(std)), np.float32) for n, std in self.stds.items()}
      self.decode(zeros)
      yield
      if self.draws:
        self.drawn(zeros, np.ones(count, bool), 0)
      yield

  @property
  def num_programs(self) -> int:
    """How often `compile` yields."""
    return 2 * (self.most - self.num_slots + 1)

  def infer(self, image: np.ndarray) -> Outputs:
    """Of uint8 `[S,S,3]`, with latents at their means."""
    out = _programs(self.model)[0].infer(self.variables, image[None])
    if self.has_slots:
      return out
    latents = jax.tree.map(lambda z: z[:, None], out.latents)
    return out.replace(latents=latents)

  def _latents(self, latents: dict) -> dict:
    return latents if self.has_slots else {name: z[:, 0] for name, z in latents.items()}

  def decode(self, latents: dict[str, np.ndarray]) -> Samples:
    """The scene of latents."""
    samples = _programs(self.model)[0].decode(self.variables, self._latents(latents))
    if self.has_slots:
      return samples
    images = samples.images
    log_masks = np.zeros((1, 1, *images.shape[1:3]), np.float32)
    return samples.replace(components=images[:, None], log_masks=log_masks)

  def drawn(self, latents: dict[str, np.ndarray], keep: np.ndarray, seed: int) -> dict:
    """Latents of which all but those to keep, bool `[K]`, are drawn given those before them."""
    rng = np.random.default_rng(seed)
    noise = {n: rng.standard_normal(z.shape, np.float32) for n, z in sorted(latents.items())}
    redraw = _programs(self.model)[1]
    z = redraw(self.variables, self._latents(latents), keep, self._latents(noise))
    return {n: np.asarray(x).reshape(latents[n].shape) for n, x in z.items()}
