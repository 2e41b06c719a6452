"""A checkpoint's view of some images, as numpy arrays: what pictures are made from.

view = View(model, variables, Network(model, seed=0), batch)
view.out                            # Outputs at the posteriors' means
view.samples                        # as many as there are images
view.decode(view.latents)           # any number of images
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.console.errors import UserError
from genesis_jax import editing
from genesis_jax.noise import draw_noise
from genesis_jax.outputs import Outputs, Samples
from genesis_jax.slot_matching import matched_labels
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


MASKS = "attention masks"  # edited beside the latents


@dataclasses.dataclass(frozen=True)
class View:
  """A checkpoint, and the images to look at through it.

  Attributes:
    model: of `genesis_jax.build_model`.
    variables: its weights.
    network: of the model.
    batch: "image" uint8 `[N,S,S,3]`, and "instances" `[N,S,S]` where there are any.
    match: order slots, and colour them, as the instances that they overlap with.
    edit: indices of the images to edit: the first is traversed, slots of both are exchanged.
    num_dims: numbers of a latent to traverse.
  """

  model: object
  variables: dict
  network: Network
  batch: dict[str, np.ndarray]
  match: bool = False
  edit: tuple[int, int] = (0, 1)
  num_dims: int = 3

  @property
  def num_slots(self) -> int:
    """K, or 0 for a model without slots."""
    return getattr(self.model, "num_slots", 0)

  @functools.cached_property
  def out(self):
    """Outputs, as numpy arrays."""
    return self.network.infer(self.variables, self.batch["image"])

  @functools.cached_property
  def samples(self) -> Samples:
    """As many samples as there are images."""
    return self.network.sample(self.variables, len(self.batch["image"]))

  @functools.cached_property
  def decoded(self) -> Samples:
    """What the latents of the images decode to."""
    return self.decode(self.latents)

  @property
  def keeps_attention(self) -> bool:
    """Whether reconstructions are mixed with other masks than those that latents decode to."""
    return self.out.log_masks_recon is not None and not self.model.MIXES_DECODED_MASKS

  @property
  def latents(self) -> dict[str, np.ndarray]:
    """What is edited: means of the images' latents, and masks that do not come from latents."""
    means = {name: latent.mean for name, latent in self.out.latents.items()}
    return means | ({MASKS: self.out.log_masks} if self.keeps_attention else {})

  def decode(self, latents: dict[str, np.ndarray]) -> Samples:
    """Images of latents, and of masks where there are any among them."""
    means = {name: mean for name, mean in latents.items() if name != MASKS}
    samples = self.network.decode(self.variables, means)
    return editing.with_masks(samples, latents[MASKS]) if MASKS in latents else samples

  @property
  def log_masks(self) -> np.ndarray:
    """`[N,K,S,S]`, those that reconstructions are mixed with."""
    decoded = self.model.MIXES_DECODED_MASKS
    return self.out.log_masks_recon if decoded else self.out.log_masks

  @functools.cached_property
  def labels(self) -> np.ndarray:
    """`[N,K]`, the instance whose colour a slot has; 1 to K unless slots are matched."""
    if self.match:
      return matched_labels(self.log_masks, self.batch["instances"])
    return plain_labels(len(self.batch["image"]), self.num_slots)


def plain_labels(num_images: int, num_slots: int) -> np.ndarray:
  """Labels of slots that are not matched, `[N,K]`."""
  return np.tile(np.arange(1, num_slots + 1), (num_images, 1))
