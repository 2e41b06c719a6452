"""One checkpoint, ready to edit scenes with: inference, decoding and drawing, one scene at a time.

Models without slots have one here, the whole image.
"""

import dataclasses
import functools

import jax
import numpy as np

from experiments.figures.view import Network
from genesis_jax import editing
from genesis_jax.models.common import Model
from genesis_jax.outputs import Outputs, Samples

EXTRA = 3  # slots that may be added to those in training


@functools.cache
def _programs(model):
  # Compiled once for all checkpoints of a model.
  redraw = jax.jit(lambda variables, *args: model.apply(variables, *args, method="redraw"))
  return Network(model, chunk=1), redraw


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
  """A checkpoint; latents `[1,K,D]` go in and come out, also of a model without slots.

  Attributes:
    name: for people.
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
  def counts(self) -> range:
    """Numbers of slots that scenes may have, from that in training on."""
    count = getattr(self.model, "num_slots", 1)
    return range(count, count + (EXTRA if count > 1 else 0) + 1)

  @functools.cached_property
  def outs(self) -> list[Outputs]:
    """What is inferred of each image."""
    return [self.infer(image) for image in self.images]

  @property
  def keeps_attention(self) -> bool:
    """Whether masks of an image come from the attention, and not from latents."""
    return self.outs[0].log_masks_recon is not None and not self.model.MIXES_DECODED_MASKS

  @property
  def draws(self) -> bool:
    """Whether its prior can be drawn from: it is N(0, 1), or the model knows how."""
    standard = all(latent.prior_mean is None for latent in self.outs[0].latents.values())
    return standard or type(self.model).redraw is not Model.redraw

  @functools.cached_property
  def _latents(self) -> dict:
    return jax.tree.map(lambda *z: np.concatenate(z), *(out.latents for out in self.outs))

  @functools.cached_property
  def stds(self) -> dict[str, np.ndarray]:
    """The unit that latents are moved in, `[D]`: their priors' mean standard deviations."""
    return {
      name: np.ones(z.mean.shape[-1]) if z.prior_std is None else z.prior_std.mean((0, 1))
      for name, z in self._latents.items()
    }

  @functools.cached_property
  def dims(self) -> list[tuple[str, int, float]]:
    """All numbers of the latents, those first that say most: (latent, which, nats)."""
    nats = {name: editing.nats_per_dim(latent) for name, latent in self._latents.items()}
    rows = [(name, i, float(value)) for name in nats for i, value in enumerate(nats[name])]
    return sorted(rows, key=lambda row: -row[2])

  def compile(self, count: int) -> None:
    """Compiles all that scenes of so many slots need, so that nobody waits for it later."""
    zeros = self.zeros(count)
    self.decode(zeros)
    if self.draws:
      self.drawn(zeros, np.ones(count, bool), 0)

  def zeros(self, count: int) -> dict[str, np.ndarray]:
    """Latents of so many slots."""
    return {name: np.zeros((1, count, len(std)), np.float32) for name, std in self.stds.items()}

  def infer(self, image: np.ndarray) -> Outputs:
    """Of uint8 `[S,S,3]`, with latents at their means."""
    out = _programs(self.model)[0].infer(self.variables, image[None])
    if self.has_slots:
      return out
    return out.replace(latents=jax.tree.map(lambda z: z[:, None], out.latents))

  def decode(self, latents: dict[str, np.ndarray]) -> Samples:
    """The scene of latents."""
    samples = _programs(self.model)[0].decode(self.variables, self._given(latents))
    if self.has_slots:
      return samples
    log_masks = np.zeros((1, 1, *samples.images.shape[1:3]), np.float32)
    return samples.replace(components=samples.images[:, None], log_masks=log_masks)

  def drawn(self, latents: dict[str, np.ndarray], keep: np.ndarray, seed: int) -> dict:
    """Latents of which all but those to keep, bool `[K]`, are drawn given those before them."""
    rng = np.random.default_rng(seed)
    noise = {n: rng.standard_normal(z.shape, np.float32) for n, z in sorted(latents.items())}
    redraw = _programs(self.model)[1]
    drawn = redraw(self.variables, self._given(latents), keep, self._given(noise))
    return {name: np.asarray(z).reshape(latents[name].shape) for name, z in drawn.items()}

  def _given(self, latents: dict) -> dict:
    return latents if self.has_slots else {name: z[:, 0] for name, z in latents.items()}
