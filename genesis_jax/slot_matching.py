"""Which slot shows which instance: one to one, such that their overlap is largest in all.

labels = matched_labels(log_masks, batch["instances"])      # [B, K]
order = labels.argsort(1, kind="stable")                    # slots in the order of the instances
"""

import itertools

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int


def ious_of_counts(counts: Float[ArrayLike, "B T P"]) -> Float[ArrayLike, "B T P"]:
  """IoU of each true with each predicted segment; 0 where neither has a pixel."""
  union = counts.sum(2)[:, :, None] + counts.sum(1)[:, None] - counts
  return counts / counts.__array_namespace__().maximum(union, 1)


def matched(ious: Float[np.ndarray, "B T P"]) -> Int[np.ndarray, "B min(T,P) 2"]:
  """Pairs (true, predicted) of the one-to-one assignment with the largest sum of IoUs.

  Exact (Jonker & Volgenant), on the host. Of several best assignments, as between segments that do
  not overlap, it takes the one that scipy finds.
  """
  from scipy.optimize import linear_sum_assignment  # slow to import, and most need no matching

  pairs = [np.stack(linear_sum_assignment(iou, maximize=True), 1) for iou in ious]
  return np.asarray(pairs, np.int64).reshape(len(ious), min(ious.shape[1:]), 2)


def overlaps(
  true_ids: Int[np.ndarray, "H W"], slot_of_pixel: Int[np.ndarray, "H W"], num_slots: int
) -> tuple[np.ndarray, np.ndarray]:
  """The ids that an image has, `[T]`, and their IoU with every slot, `[T,K]`.

  Pixels of negative ids count for nothing.
  """
  known = true_ids >= 0
  ids, row = np.unique(true_ids[known], return_inverse=True)
  counts = np.zeros((len(ids), num_slots))
  np.add.at(counts, (row, slot_of_pixel[known]), 1)
  return ids, ious_of_counts(counts[None])[0]


def matched_labels(
  log_masks: Float[ArrayLike, "B K S S"], instances: Int[np.ndarray, "B S S"]
) -> Int[np.ndarray, "B K"]:
  """For each slot the id of the instance it is matched with, or else one that no instance has.

  Slots own the pixels where their mask is the largest; the matching maximises the sum of IoUs
  (Hungarian method). Slots that overlap with nothing are left unmatched.
  """
  num_slots = log_masks.shape[1]
  labels = np.zeros((len(log_masks), num_slots), np.int32)
  for image, slots in enumerate(np.asarray(log_masks).argmax(1)):
    ids, iou = overlaps(instances[image], slots, num_slots)
    ids_of_slots = {k: ids[t] for t, k in matched(iou[None])[0] if iou[t, k] > 0}
    fresh = itertools.count(max(ids, default=0) + 1)
    labels[image] = [
      ids_of_slots[k] if k in ids_of_slots else next(fresh) for k in range(num_slots)
    ]
  return labels
