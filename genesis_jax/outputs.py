"""What every model returns.

Shapes: B images, K slots, S image side, D latent size. Log-likelihoods and KLs are in nats. Parts
that a model does not have are `None`, or missing from the dictionaries.
"""

import flax.struct
from jaxtyping import Array, Float


@flax.struct.dataclass
class Latent:
  """A normal posterior, a draw from it, and its prior; every field `[B,K,D]`, or `[B,D]`.

  `prior_mean` and `prior_std` are `None` where the prior is N(0, 1).
  """

  mean: Float[Array, "..."]
  std: Float[Array, "..."]
  sample: Float[Array, "..."]
  prior_mean: Float[Array, "..."] | None = None
  prior_std: Float[Array, "..."] | None = None


@flax.struct.dataclass
class Outputs:
  """Result of inference on a batch of images."""

  recon: Float[Array, "B S S 3"]  # sum over slots of mask x appearance
  err: Float[Array, "B"]  # negative log-likelihood of the image, nats
  kl: dict[str, Float[Array, "..."]]  # "mask", "component", "latent", ...: [B,K] or [B], nats
  latents: dict[str, Latent]  # named as in `kl`; kl["mask"] of GENESIS-V2 and MONet has none
  log_masks: Float[Array, "B K S S"] | None = None  # inference (attention) masks
  log_masks_recon: Float[Array, "B K S S"] | None = None  # decoded masks
  components: Float[Array, "B K S S 3"] | None = None  # slot appearances
  log_scopes: Float[Array, "B K S S"] | None = None  # what is left before each stick-breaking step


@flax.struct.dataclass
class Samples:
  """Images generated from the prior."""

  images: Float[Array, "B S S 3"]
  latents: dict[str, Float[Array, "..."]]  # [B,K,D] or [B,D]
  components: Float[Array, "B K S S 3"] | None = None
  log_masks: Float[Array, "B K S S"] | None = None
