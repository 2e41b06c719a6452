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
  """Result of inference on a batch of images.

  Attributes:
    recon: sum over slots of mask x appearance.
    err: negative log-likelihood of the image, nats.
    kl: "mask", "component", "latent" or what the model calls it -> `[B,K]` or `[B]`, nats.
    latents: named as in `kl`; the "mask" KL of GENESIS-V2 and MONet has none.
    log_masks: inference (attention) masks.
    log_masks_recon: decoded masks.
    components: slot appearances.
    log_scopes: what is left before each stick-breaking step.
  """

  recon: Float[Array, "B S S 3"]
  err: Float[Array, "B"]
  kl: dict[str, Float[Array, "..."]]
  latents: dict[str, Latent]
  log_masks: Float[Array, "B K S S"] | None = None
  log_masks_recon: Float[Array, "B K S S"] | None = None
  components: Float[Array, "B K S S 3"] | None = None
  log_scopes: Float[Array, "B K S S"] | None = None


@flax.struct.dataclass
class Samples:
  """Images generated from the prior; latents are `[B,K,D]`, or `[B,D]` without slots."""

  images: Float[Array, "B S S 3"]
  latents: dict[str, Float[Array, "..."]]
  components: Float[Array, "B K S S 3"] | None = None
  log_masks: Float[Array, "B K S S"] | None = None
