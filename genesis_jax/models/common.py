"""What all models have in common."""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genesis_jax.noise import NoiseSpec, draw_noise


def mix(
  log_masks: Float[Array, "B K S S"], components: Float[Array, "B K S S 3"]
) -> Float[Array, "B S S 3"]:
  """Image: sum over slots of mask x appearance."""
  return (jnp.exp(log_masks)[..., None] * components).sum(1)


class Model(nn.Module):
  """A generative model of images; see `genesis_jax.outputs` for what it returns.

  Subclasses define `noise_spec`, `__call__(images, train, noise)`, `sample` and `features`. Their
  fields are the options that a configuration may set.
  """

  IMAGE_SIZES: ClassVar[tuple[int, ...]] = (32, 64, 128, 256)
  CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {}  # allowed values of options that are names

  @classmethod
  def check_combination(cls, options: Mapping[str, Any]) -> None:
    """Raises ValueError for options that do not go together, each allowed by itself."""

  def noise_spec(self, num_slots: int | None = None) -> NoiseSpec:
    """Name -> (distribution, shape) of the random draws of one example."""
    raise NotImplementedError

  def noise_or_draw(self, noise: dict | None, num_images: int, num_slots: int | None = None):
    """`noise` if given, else drawn from the "noise" stream; name -> `[B, ...]`."""
    if noise is not None:
      return noise
    spec = self.noise_spec(num_slots)
    return draw_noise(self.make_rng("noise"), spec, jnp.arange(num_images))
