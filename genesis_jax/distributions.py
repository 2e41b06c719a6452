"""Densities and divergences, in nats and always in float32."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genesis_jax.outputs import Latent

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def normal_log_prob(x, mean, std) -> Float[Array, "..."]:
  """Log density of N(mean, std^2), element by element."""
  x, mean, std = (jnp.asarray(value, jnp.float32) for value in (x, mean, std))
  return -0.5 * ((x - mean) / std) ** 2 - jnp.log(std) - LOG_SQRT_2PI


def mixture_nll(
  images: Float[Array, "B S S 3"],
  components: Float[Array, "B K S S 3"],
  log_masks: Float[Array, "B K S S"],
  std: Float[Array, "K"],
) -> Float[Array, "B"]:
  """Negative log-likelihood under a mixture over slots, per pixel *and channel*; nats per image.

  GENESIS (ICLR 2020), eq. 2; summed in logs, where the original's sum of densities underflows.
  """
  log_p = normal_log_prob(images[:, None], components, std[:, None, None, None])
  log_p = jax.nn.logsumexp(log_masks[..., None].astype(jnp.float32) + log_p, axis=1)
  return -log_p.sum((1, 2, 3))


def slot_stds(first: float, others: float, num_slots: int) -> Float[Array, "K"]:
  """Pixel standard deviation of each slot."""
  return jnp.full(num_slots, others, jnp.float32).at[0].set(first)


def sampled_kl(latent: Latent) -> Float[Array, "..."]:
  """Monte-Carlo KL of posterior from prior at the drawn sample; nats, summed over D."""
  log_q = normal_log_prob(latent.sample, latent.mean, latent.std)
  mean = 0.0 if latent.prior_mean is None else latent.prior_mean
  std = 1.0 if latent.prior_std is None else latent.prior_std
  return (log_q - normal_log_prob(latent.sample, mean, std)).sum(-1)


def standard_kl(latent: Latent) -> Float[Array, "..."]:
  """Closed-form KL of the posterior from N(0, 1); nats, summed over D."""
  variance = latent.std**2
  return 0.5 * (variance + latent.mean**2 - 1 - jnp.log(variance)).sum(-1)


def categorical_kl(
  log_q: Float[Array, "B K S S"], log_p: Float[Array, "B K S S"]
) -> Float[Array, "B"]:
  """KL of masks from other masks, summed over pixels; nats per image.

  Both are floored at probability 1e-5 and renormalised first (MONet's mask loss).
  """

  def floored(log_masks):
    masks = jnp.maximum(jnp.exp(log_masks.astype(jnp.float32)), 1e-5)
    return masks / masks.sum(1, keepdims=True)

  q, p = floored(log_q), floored(log_p)
  return (q * (jnp.log(q) - jnp.log(p))).sum((1, 2, 3))
