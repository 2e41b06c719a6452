"""Distributions of latents, weights and gradients, for histograms.

Costly, and so made only on a few images and only when the options `log_distributions` and
`log_weights` ask for them.
"""

import jax
import numpy as np
from flax import traverse_util

from genesis_jax.noise import draw_noise
from genesis_jax.training import to_float, total_kl


def latent_distributions(out) -> dict[str, np.ndarray]:
  """Posterior and prior means and stds of some `Outputs`; name -> values."""
  return {
    f"latents/{name}/{field}": np.asarray(getattr(latent, field))
    for name, latent in out.latents.items()
    for field in ("mean", "std", "prior_mean", "prior_std")
    if getattr(latent, field) is not None
  }


def gradients(model):
  """A compiled function (variables, images uint8 `[N,S,S,3]`, beta) -> gradient of the loss."""

  def loss(params, batch_stats, images, beta):
    noise = draw_noise(jax.random.key(0), model.noise_spec(), jax.numpy.arange(len(images)))
    variables = {"params": params, "batch_stats": batch_stats}
    out, _ = model.apply(
      variables, to_float(images), train=True, noise=noise, mutable=["batch_stats"]
    )
    return out.err.mean() + beta * total_kl(out).mean()

  @jax.jit
  def gradient(variables, images, beta):
    return jax.grad(loss)(variables["params"], variables["batch_stats"], images, beta)

  return gradient


def named(prefix: str, tree) -> dict[str, np.ndarray]:
  """A tree's arrays by their path, as "prefix/outer/inner"."""
  flat = traverse_util.flatten_dict(jax.device_get(tree), sep="/")
  return {f"{prefix}/{name}": np.asarray(value) for name, value in flat.items()}
