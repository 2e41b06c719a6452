"""What all models have in common."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from genesis_jax.layers import Dtype
from genesis_jax.noise import NoiseSpec, draw_noise
from genesis_jax.outputs import Samples
from genesis_jax.priors import kept


def mix(
  log_masks: Float[Array, "B K S S"], components: Float[Array, "B K S S 3"]
) -> Float[Array, "B S S 3"]:
  """Image: sum over slots of mask x appearance."""
  return (jnp.exp(log_masks)[..., None] * components).sum(1)


class Model(nn.Module):
  """A generative model of images; see `genesis_jax.outputs` for what it returns.

  Subclasses define `noise_spec`, `image_size`, `__call__(images, train, noise)`, `sample` and
  `_decode`. Their fields are the options that a configuration may set.

  Attributes:
    axis_name: of the devices, for normalisation over the whole batch.
    dtype: of activations; weights, and what is returned, are float32.
  """

  axis_name: str | None = None
  dtype: Dtype = jnp.float32

  IMAGE_SIZES: ClassVar[tuple[int, ...]] = (32, 64, 128, 256)
  CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {}  # allowed values of options that are names
  # Whether reconstructions mix the decoded masks, not those of the attention.
  MIXES_DECODED_MASKS: ClassVar[bool] = False

  @classmethod
  def default_options(cls) -> dict[str, Any]:
    """What a configuration may set, with the published values."""
    others = Model.__dataclass_fields__
    fields = {f.name: f.default for f in dataclasses.fields(cls) if f.name not in others}
    return fields | {"dtype": "float32"}

  @classmethod
  def check_combination(cls, options: Mapping[str, Any]) -> None:
    """Raises ValueError for options that do not go together, each allowed by itself."""

  def noise_spec(self, num_slots: int | None = None) -> NoiseSpec:
    """Name -> (distribution, shape) of the random draws of one example."""
    raise NotImplementedError

  def latent_names(self) -> tuple[str, ...]:
    """Names of the latents, sorted, as in `Outputs.latents` and `Samples.latents`."""
    return tuple(sorted(name for name, (kind, _) in self.noise_spec().items() if kind == "normal"))

  def decode(self, latents: Mapping[str, Float[Array, "..."]]) -> Samples:
    """The images of given latents: what `sample` does with those that it draws.

    Each latent is taken as it is. In GENESIS, where a component's prior and posterior depend on its
    mask, the appearance of a slot hence does not follow a mask latent that was changed.

    Args:
      latents: name -> `[B,K,D]`, or `[B,D]` where there are no slots; as in `Samples.latents`, or
        `sample` or `mean` of the latents in `Outputs`. B and K may differ from those in training.

    Raises:
      ValueError: if other latents are given than the model has.
    """
    if tuple(sorted(latents)) != self.latent_names():
      raise ValueError(
        f"latents are {sorted(latents)}; {type(self).__name__} decodes {list(self.latent_names())}"
      )
    return self._decode(dict(latents))

  def redraw(self, latents: dict, keep: Bool[Array, "K"], noise: dict) -> dict:
    """Latents with some slots drawn from the prior, each given the slots before it.

    Here the prior is N(0, 1); a model that learns one has a `redraw` of its own.

    Args:
      latents: name -> `[B,K,D]`, or `[B,D]` where there are no slots: K is 1 then.
      keep: the slots that stay as they are.
      noise: standard normal, shaped like `latents`.
    """
    return {name: kept(noise[name], (z, keep)) for name, z in latents.items()}

  def _decode(self, latents: dict) -> Samples:
    """`decode` of latents whose names are right."""
    raise NotImplementedError

  def features(
    self, images: Float[Array, "B S S 3"], noise: dict | None = None
  ) -> Float[Array, "B F"]:
    """Samples of all latents, by name and in slot order."""
    latents = self(images, noise=noise).latents
    samples = [latents[name].sample.reshape(len(images), -1) for name in self.latent_names()]
    return jnp.concatenate(samples, -1)

  def check_images(self, images: Array) -> None:
    """Raises ValueError for what is not `[B,S,S,3]` of floats: bytes would be taken for colours."""
    side = self.image_size
    if images.shape[1:] != (side, side, 3) or not jnp.issubdtype(images.dtype, jnp.floating):
      raise ValueError(
        f"images are {images.dtype} {list(images.shape)}; this model takes floats from 0 to 1, "
        f"[B, {side}, {side}, 3]: divide bytes by 255, resize with jax.image.resize"
      )

  def noise_or_draw(self, noise: dict | None, num_images: int, num_slots: int | None = None):
    """`noise` if given, else drawn from the "noise" stream; name -> `[B, ...]`."""
    if noise is not None:
      return noise
    spec = self.noise_spec(num_slots)
    return draw_noise(self.make_rng("noise"), spec, jnp.arange(num_images))
