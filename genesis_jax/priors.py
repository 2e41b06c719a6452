"""Learned priors over slot latents.

Each prior has one function from what came before to (mean, std); the KL and sampling share it.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from genesis_jax.layers import LSTM, Dense

# Latents `[B,K,D]`, and which of the K slots keep them while others are drawn; None: none do.
Given = tuple[Float[Array, "B K D"], Bool[Array, "K"]] | None


def kept(drawn: Float[Array, "B *KD"], given: tuple | None) -> Float[Array, "B *KD"]:
  """What is drawn, but for the slots that are given, see `Given`."""
  return drawn if given is None else jnp.where(given[1][:, None], given[0], drawn)


def prior_std(x: Float[Array, "..."]) -> Float[Array, "..."]:
  """Standard deviation of a prior from an unbounded output: in (1e-4, 1.0001)."""
  return jax.nn.sigmoid(x + 4.0) + 1e-4


class AutoregressivePrior(nn.Module):
  """p(z_k | z_1..z_{k-1}) by an LSTM; p(z_1) = N(0, 1). GENESIS sec. 3.1, GENESIS-V2 sec. 3.3."""

  latent_dim: int
  hidden: int

  def setup(self):
    self.lstm = LSTM(self.hidden, self.latent_dim)
    self.linear = Dense(2 * self.latent_dim)

  def _head(self, out, bounded_mean=True):
    """(mean, std) of the next slot's latent, from the LSTM's output."""
    mean, std = jnp.split(self.linear(out), 2, -1)
    return jnp.tanh(mean) if bounded_mean else mean, prior_std(std)

  def __call__(self, z: Float[Array, "B K D"]):
    """(mean, std) of every slot's prior given the slots before it, each `[B,K,D]`."""
    carry, outs = self.lstm.initial_carry(len(z)), []
    for k in range(z.shape[1] - 1):
      carry, out = self.lstm(carry, z[:, k])
      outs.append(out)
    mean, std = self._head(jnp.stack(outs, 1))
    first = jnp.zeros_like(z[:, :1])
    return jnp.concatenate([first, mean], 1), jnp.concatenate([first + 1, std], 1)

  def sample(self, noise: Float[Array, "B K D"], bounded_mean: bool = True, given: Given = None):
    """Latents `[B,K,D]`, ancestrally from standard normal noise; slots that are given stay."""
    carry, z = self.lstm.initial_carry(len(noise)), [kept(noise, given)[:, 0]]
    for k in range(1, noise.shape[1]):
      carry, out = self.lstm(carry, z[-1])
      mean, std = self._head(out, bounded_mean)
      drawn = mean + std * noise[:, k]
      z.append(drawn if given is None else jnp.where(given[1][k], given[0][:, k], drawn))
    return jnp.stack(z, 1)


class ComponentPrior(nn.Module):
  """p(z_component | z_mask) by an MLP, slot by slot. GENESIS sec. 3.1."""

  latent_dim: int

  @nn.compact
  def __call__(self, z_mask: Float[Array, "B K M"]):
    """(mean, std), each `[B,K,D]`."""
    h = nn.elu(Dense(256, name="dense_0")(z_mask))
    h = nn.elu(Dense(256, name="dense_1")(h))
    mean, std = jnp.split(Dense(2 * self.latent_dim, name="dense_2")(h), 2, -1)
    return jnp.tanh(mean), prior_std(std)
