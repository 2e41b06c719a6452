"""Edits of images by their latents: exchange slots, move one number, leave a slot out.

    latents = {name: latent.mean for name, latent in out.latents.items()}
    a, b = editing.one(latents, 0), editing.one(latents, 1)
    image = model.apply(variables, editing.exchanged(a, 2, b, 3), method="decode").images
    rest = editing.without(samples, 1).images

Latents are dictionaries name -> `[B,K,D]` (`[B,D]` without slots), as `model.decode` takes them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import SupportsIndex

import numpy as np

from genesis_jax.outputs import Latent, Samples

NO_MASK = -1e10  # log probability of a slot that is not there
COVERED = 1e-6  # share of a pixel that is left to what lies behind a slot
Latents = Mapping[str, np.ndarray]


def one(latents: Latents, index: int) -> dict[str, np.ndarray]:
  """The latents of one image, as a batch of one."""
  return {name: np.asarray(z[index : index + 1]) for name, z in latents.items()}


def joined(parts: Sequence[Latents]) -> dict[str, np.ndarray]:
  """Several batches of latents as one."""
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def exchanged(
  latents: Latents, slot: int, others: Latents, other_slot: int
) -> dict[str, np.ndarray]:
  """`latents`, with all latents of `slot` those of `other_slot` of other images."""
  result = {}
  for name, z in latents.items():
    result[name] = np.array(z)
    result[name][:, slot] = others[name][:, other_slot]
  return result


def moved(
  latents: Latents, name: str, slot: int | None, dim: SupportsIndex, values: Sequence[float | int]
) -> dict[str, np.ndarray]:
  """One image's latents for each value that one number of one of its slots takes.

  Args:
    latents: of one image.
    name: which latent.
    slot: whose; None for latents without slots.
    dim: which of its numbers.
    values: T numbers.

  Returns:
    Latents of T images.
  """
  result = {key: np.repeat(np.asarray(z), len(values), 0) for key, z in latents.items()}
  where = (slice(None), dim) if slot is None else (slice(None), slot, dim)
  result[name][where] = values
  return result


def with_masks(samples: Samples, log_masks: np.ndarray) -> Samples:
  """Decoded appearances under other masks, `[B,K,S,S]`, which are normalised over slots."""
  log_masks = np.asarray(log_masks, np.float32)
  log_masks = log_masks - log_masks.max(1, keepdims=True)  # first: a share may be all but nothing
  log_masks -= np.log(np.exp(log_masks).sum(1, keepdims=True))
  log_masks = np.maximum(log_masks, NO_MASK)
  images = (np.exp(log_masks)[..., None] * samples.components).sum(1)
  return samples.replace(images=images, log_masks=log_masks)


def in_front(samples: Samples, others: Samples, slot: int) -> Samples:
  """Decoded images with a slot of others laid over them, as their last one; masks sum to one."""
  log_mask = np.asarray(others.log_masks[:, slot : slot + 1], np.float32)
  # What is covered keeps all but nothing, so that it is there again without the slot.
  log_left = np.log(np.maximum(-np.expm1(np.minimum(log_mask, 0)), COVERED))
  components = np.concatenate([samples.components, others.components[:, slot : slot + 1]], 1)
  log_masks = np.concatenate([samples.log_masks + log_left, log_mask], 1)
  return with_masks(samples.replace(components=components), log_masks)


def without(samples: Samples, slot: int) -> Samples:
  """Decoded images without one of their slots: the others' masks are renormalised.

  A pixel that the others give no share at all is divided among them equally.
  """
  log_masks = np.array(samples.log_masks, np.float32)
  log_masks[:, slot] = -np.inf
  return with_masks(samples, log_masks)


def cumulative(samples: Samples) -> Iterator[np.ndarray]:
  """Images `[B,S,S,3]` of the first slot, of the first two, and so on; black where none is yet."""
  total = np.zeros_like(samples.images)
  for k in range(samples.log_masks.shape[1]):
    total = total + np.exp(samples.log_masks[:, k, ..., None]) * samples.components[:, k]
    yield total


def nats(latent: Latent) -> np.ndarray:
  """KL of each number's posterior from its prior, shaped like the latent."""
  mean, std = np.asarray(latent.mean), np.asarray(latent.std)
  prior_mean = 0.0 if latent.prior_mean is None else np.asarray(latent.prior_mean)
  prior_std = 1.0 if latent.prior_std is None else np.asarray(latent.prior_std)
  ratio = std / prior_std
  return 0.5 * (ratio**2 + ((mean - prior_mean) / prior_std) ** 2 - 1) - np.log(ratio)


def nats_per_dim(latent: Latent) -> np.ndarray:
  """Mean over images and slots of `nats`; `[D]`."""
  kl = nats(latent)
  return kl.reshape(-1, kl.shape[-1]).mean(0)
