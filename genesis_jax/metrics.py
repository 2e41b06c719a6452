"""Scores of segmentations and the health of slots, batched and compiled on the device.

Definitions are those of the original GENESIS code; every score is per image, `[B]`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

NUM_IDS = 64  # ids that `segmentation_scores` can tell apart; more than any data set has


def _counts(true_ids, pred_ids, num_true: int, num_pred: int):
  """Contingency table `[B,1+T,P]` of pixels; row 0 holds all negative ids, row 1 id 0."""
  b = len(true_ids)
  true = jax.nn.one_hot(jnp.maximum(true_ids.reshape(b, -1), -1) + 1, 1 + num_true)
  pred = jax.nn.one_hot(pred_ids.reshape(b, -1), num_pred)
  return jnp.einsum("bnt,bnp->btp", true, pred, precision="highest")


def _pairs(counts):
  return counts * (counts - 1) / 2


def _ari_of_counts(counts: Float[Array, "B T P"]) -> Float[Array, "B"]:
  same_true, same_pred = _pairs(counts.sum(2)).sum(1), _pairs(counts.sum(1)).sum(1)
  same_both, all_pairs = _pairs(counts).sum((1, 2)), _pairs(counts.sum((1, 2)))
  expected = same_true * same_pred / jnp.maximum(all_pairs, 1)
  highest = (same_true + same_pred) / 2
  # Both partitions trivial in the same way (one cluster, only singletons, or no pixel at all):
  # they agree, and the index is 0 / 0.
  trivial = (same_true == same_pred) & ((same_true == all_pairs) | (same_true == 0))
  return jnp.where(trivial, 1.0, (same_both - expected) / jnp.where(trivial, 1, highest - expected))


def _covering_of_counts(counts, pred_sizes, present, scaled: bool) -> Float[Array, "B"]:
  """Mean over true segments `present` `[B,T]` of the best IoU with any predicted one."""
  true_sizes = counts.sum(2)
  union = true_sizes[:, :, None] + pred_sizes[:, None] - counts
  best = (counts / jnp.maximum(union, 1)).max(2)
  weights = present * (true_sizes if scaled else 1.0)
  total = weights.sum(1)
  return jnp.where(total > 0, (weights * best).sum(1) / jnp.maximum(total, 1), 0.0)


@functools.partial(jax.jit, static_argnames=("num_true", "num_pred", "foreground_only"))
def _adjusted_rand_index(true_ids, pred_ids, *, num_true, num_pred, foreground_only):
  counts = _counts(true_ids, pred_ids, num_true, num_pred)
  return _ari_of_counts(counts[:, 2:] if foreground_only else counts)


@functools.partial(jax.jit, static_argnames=("num_true", "num_pred", "foreground_only", "scaled"))
def _segmentation_covering(true_ids, pred_ids, *, num_true, num_pred, foreground_only, scaled):
  return _covering(_counts(true_ids, pred_ids, num_true, num_pred), foreground_only, scaled)


def _covering(counts, foreground_only: bool, scaled: bool = False):
  counts = counts[:, 1:]  # predicted pixels where the true id is negative do not count
  present = counts.sum(2) > 0
  if foreground_only:
    present = present.at[:, 0].set(False)
  return _covering_of_counts(counts, counts.sum(1), present, scaled)


def _dense_ids(ids) -> tuple[np.ndarray, int]:
  """Ids renumbered without gaps, and how many from 0 on; negative ids become -1, 0 stays 0."""
  ids = np.maximum(np.asarray(ids), -1)
  values = np.union1d(ids, [-1, 0])
  return (np.searchsorted(values, ids) - 1).astype(np.int32), len(values) - 1


def _prepared(true_ids, pred_ids):
  if np.shape(true_ids) != np.shape(pred_ids) or np.ndim(true_ids) != 3:
    raise ValueError(
      f"true_ids has shape {np.shape(true_ids)} and pred_ids {np.shape(pred_ids)}; "
      "both must be [B, H, W]"
    )
  true_ids, num_true = _dense_ids(true_ids)
  pred_ids, num_pred = _dense_ids(pred_ids)
  return true_ids, pred_ids, dict(num_true=num_true, num_pred=num_pred)


def adjusted_rand_index(
  true_ids: Int[Array, "B H W"], pred_ids: Int[Array, "B H W"], foreground_only: bool = False
) -> Float[Array, "B"]:
  """Adjusted Rand index (Hubert & Arabie 1985) over pixels, of concrete arrays.

  Args:
    true_ids: ground truth; 0 is background. The original's ARI takes pixels with negative ids for
      one more segment, and so does this; ARI-FG leaves them out.
    pred_ids: predicted segments, in any numbering.
    foreground_only: only over pixels with a true id above 0 (ARI-FG).

  Returns:
    At most 1, about 0 for chance; 1 where both partitions are trivial or no pixel is left.

  Raises:
    ValueError: if the shapes differ or are not `[B, H, W]`.
  """
  true_ids, pred_ids, sizes = _prepared(true_ids, pred_ids)
  return _adjusted_rand_index(true_ids, pred_ids, foreground_only=foreground_only, **sizes)


def segmentation_covering(
  true_ids: Int[Array, "B H W"],
  pred_ids: Int[Array, "B H W"],
  foreground_only: bool = False,
  scaled: bool = False,
) -> Float[Array, "B"]:
  """Mean segmentation covering (MSC): best IoU of each true segment, averaged over them.

  Args:
    true_ids: ground truth; 0 is background, pixels with negative ids do not count.
    pred_ids: predicted segments, in any numbering.
    foreground_only: over segments with an id above 0 (MSC-FG).
    scaled: weigh segments by their size instead of equally.

  Returns:
    In [0, 1]; 0 for an image without a segment.

  Raises:
    ValueError: if the shapes differ or are not `[B, H, W]`.
  """
  true_ids, pred_ids, sizes = _prepared(true_ids, pred_ids)
  return _segmentation_covering(
    true_ids, pred_ids, foreground_only=foreground_only, scaled=scaled, **sizes
  )


def segmentation_scores(
  true_ids: Int[Array, "B S S"], log_masks: Float[Array, "B K S S"]
) -> dict[str, Float[Array, "B"]]:
  """ARI, ARI-FG, MSC and MSC-FG of masks, inside compiled code; true ids below `NUM_IDS`."""
  counts = _counts(true_ids, log_masks.argmax(1), NUM_IDS, log_masks.shape[1])
  return {
    "ari": _ari_of_counts(counts),
    "ari_fg": _ari_of_counts(counts[:, 2:]),
    "msc": _covering(counts, foreground_only=False),
    "msc_fg": _covering(counts, foreground_only=True),
  }


def slot_health(log_masks: Float[Array, "B K S S"]) -> dict[str, Float[Array, "B"]]:
  """Whether slots share the image, so that a collapsed run is seen early.

  Returns:
    mask_entropy: mean over pixels of the entropy of the masks, nats; log K if undecided.
    slots_used: number of slots that win at least 1% of the pixels.
    largest_slot: share of the pixels that the slot with most of them wins.
  """
  log_masks = jax.lax.stop_gradient(log_masks)
  entropy = jax.scipy.special.entr(jnp.exp(log_masks)).sum(1).mean((1, 2))
  wins = jax.nn.one_hot(log_masks.argmax(1), log_masks.shape[1]).mean((1, 2))
  return {
    "mask_entropy": entropy,
    "slots_used": (wins >= 0.01).sum(1).astype(jnp.float32),
    "largest_slot": wins.max(1),
  }
