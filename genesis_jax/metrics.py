"""Scores of segmentations and the health of slots, batched; pixels are counted on the device.

    adjusted_rand_index(true_ids, pred_ids, foreground_only=True)    # [B], float64
    mean_iou(true_ids, pred_ids)
    segmentation_scores(true_ids, log_masks)["ari"]                  # [B], inside compiled code

Definitions are those of the original GENESIS code unless they say otherwise; every score is per
image, `[B]`. Functions of `counts` take the tables of contingency.py, as numpy or JAX arrays.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer

from genesis_jax.contingency import contingency_tables, count_pixels
from genesis_jax.slot_matching import ious_of_counts, matched

NUM_IDS = 64  # ids that `segmentation_scores` can tell apart; more than any data set has


def _pairs(counts):
  return counts * (counts - 1) / 2


def ari_of_counts(counts: Float[ArrayLike, "B T P"]) -> Float[ArrayLike, "B"]:
  """Adjusted Rand index of tables of floats, whose rows are the pixels to look at."""
  xp = counts.__array_namespace__()
  same_true, same_pred = _pairs(counts.sum(2)).sum(1), _pairs(counts.sum(1)).sum(1)
  same_both, all_pairs = _pairs(counts).sum((1, 2)), _pairs(counts.sum((1, 2)))
  expected = same_true * same_pred / xp.maximum(all_pairs, 1)
  highest = (same_true + same_pred) / 2
  # Both partitions trivial in the same way (one cluster, only singletons, or no pixel at all):
  # they agree, and the index is 0 / 0.
  trivial = (same_true == same_pred) & ((same_true == all_pairs) | (same_true == 0))
  return xp.where(trivial, 1.0, (same_both - expected) / xp.where(trivial, 1, highest - expected))


def covering_of_counts(
  counts: Float[ArrayLike, "B rows P"], first: int = 0, scaled: bool = False
) -> Float[ArrayLike, "B"]:
  """Best IoU of each true segment from id `first` on, averaged; see `segmentation_covering`."""
  xp = counts.__array_namespace__()
  counts = counts[:, 1:]  # predicted pixels where the true id is negative do not count
  sizes, best = counts.sum(2)[:, first:], ious_of_counts(counts).max(2)[:, first:]
  weights = sizes if scaled else xp.where(sizes > 0, 1.0, 0.0)
  total = weights.sum(1)
  return (weights * best).sum(1) / xp.maximum(total, 1)


def squared(counts: Float[np.ndarray, "B T P"]) -> Float[np.ndarray, "B K K"]:
  """Tables with as many rows as columns, filled up with empty segments."""
  size = max(counts.shape[1:])
  return np.pad(counts, ((0, 0), (0, size - counts.shape[1]), (0, size - counts.shape[2])))


def mean_iou_of_counts(
  counts: Float[np.ndarray, "B rows P"], over: str = "either"
) -> Float[np.ndarray, "B"]:
  """Mean IoU after Hungarian matching; see `mean_iou`. NaN for an image without a pixel."""
  counts = squared(counts[:, 1:])
  ious = ious_of_counts(counts)
  true, pred = np.moveaxis(matched(ious), -1, 0)
  there = counts.sum(2) > 0  # in order: a square table's pairs name every true segment
  if over == "either":
    there = there | np.take_along_axis(counts.sum(1) > 0, pred, 1)
  total = np.take_along_axis(ious, pred[:, :, None], 2).sum((1, 2))
  number = there.sum(1)
  return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _counts(true_ids, pred_ids) -> np.ndarray:
  return contingency_tables(true_ids, pred_ids).astype(np.float64)


def adjusted_rand_index(
  true_ids: Integer[ArrayLike, "B H W"],
  pred_ids: Integer[ArrayLike, "B H W"],
  foreground_only: bool = False,
) -> Float[np.ndarray, "B"]:
  """Adjusted Rand index (Hubert & Arabie 1985) over pixels, of concrete arrays.

  Args:
    true_ids: ground truth; 0 is background. As in the original, ARI treats pixels with negative ids
      as one more segment; ARI-FG leaves them out.
    pred_ids: predicted segments, in any numbering.
    foreground_only: only over pixels with a true id above 0 (ARI-FG).

  Returns:
    At most 1, about 0 for chance; 1 where both partitions are trivial or no pixel is left.

  Raises:
    ValueError: if the shapes differ or are not `[B, H, W]`, or ids are not integers.
  """
  counts = _counts(true_ids, pred_ids)
  return ari_of_counts(counts[:, 2:] if foreground_only else counts)


def segmentation_covering(
  true_ids: Integer[ArrayLike, "B H W"],
  pred_ids: Integer[ArrayLike, "B H W"],
  foreground_only: bool = False,
  scaled: bool = False,
) -> Float[np.ndarray, "B"]:
  """Mean segmentation covering (MSC): best IoU of each true segment, averaged over them.

  Args:
    true_ids: ground truth; 0 is background, pixels with negative ids do not count.
    pred_ids: predicted segments, in any numbering.
    foreground_only: over segments with an id above 0 (MSC-FG).
    scaled: weigh segments by their size instead of equally.

  Returns:
    In [0, 1]; 0 for an image without a segment.

  Raises:
    ValueError: if the shapes differ or are not `[B, H, W]`, or ids are not integers.
  """
  return covering_of_counts(_counts(true_ids, pred_ids), int(foreground_only), scaled)


def mean_iou(
  true_ids: Integer[ArrayLike, "B H W"], pred_ids: Integer[ArrayLike, "B H W"], over: str = "either"
) -> Float[np.ndarray, "B"]:
  """Mean IoU (mIoU) of true and predicted segments, paired one to one by Hungarian matching.

  Args:
    true_ids: ground truth, background included; pixels with negative ids do not count.
    pred_ids: predicted segments.
    over: "either" divides by the pairs of which a part is visible, so that superfluous predicted
      segments lower the score (ClevrTex, Karazija et al. 2021); "true" by the true segments.

  Returns:
    In [0, 1]; NaN for an image without a pixel that counts.

  Raises:
    ValueError: if the shapes differ or are not `[B, H, W]`, ids are not integers, or for another
      `over`.
  """
  if over not in ("either", "true"):
    raise ValueError(f"over is {over!r}; allowed: either, true")
  return mean_iou_of_counts(_counts(true_ids, pred_ids), over)


def segmentation_scores(
  true_ids: Integer[ArrayLike, "B S S"], log_masks: Float[ArrayLike, "B K S S"]
) -> dict[str, Float[Array, "B"]]:
  """ARI, ARI-FG, MSC and MSC-FG of masks, inside compiled code; true ids below `NUM_IDS`."""
  counts = count_pixels(true_ids, log_masks.argmax(1), NUM_IDS, log_masks.shape[1])
  return scores_of_counts(counts.astype(jnp.float32))


def scores_of_counts(counts: Float[ArrayLike, "B rows P"]) -> dict[str, Float[ArrayLike, "B"]]:
  """ARI, ARI-FG, MSC and MSC-FG of tables of floats."""
  return {
    "ari": ari_of_counts(counts),
    "ari_fg": ari_of_counts(counts[:, 2:]),
    "msc": covering_of_counts(counts),
    "msc_fg": covering_of_counts(counts, first=1),
  }


def slot_health(log_masks: Float[ArrayLike, "B K S S"]) -> dict[str, Float[Array, "B"]]:
  """Whether slots share the image: shows early that a run has collapsed.

  Returns:
    mask_entropy: mean over pixels of the entropy of the masks, nats; log K if undecided.
    slots_used: number of slots that win at least 1% of the pixels.
    largest_slot: share of the pixels that the slot with most of them wins.
  """
  log_masks = jax.lax.stop_gradient(log_masks)
  entropy = jax.scipy.special.entr(jnp.exp(log_masks)).sum(1).mean((1, 2))
  winners = jnp.argmax(log_masks, 1)
  wins = jax.nn.one_hot(winners, log_masks.shape[1], dtype=jnp.float32).mean((1, 2))
  return {
    "mask_entropy": entropy,
    "slots_used": (wins >= 0.01).sum(1).astype(jnp.float32),
    "largest_slot": wins.max(1),
  }
