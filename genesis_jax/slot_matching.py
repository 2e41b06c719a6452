"""Which slot shows which instance: one to one, such that their overlap is largest in all.

labels = matched_labels(log_masks, batch["instances"])      # [B, K]
order = labels.argsort(1, kind="stable")                    # slots in the order of the instances
"""

import itertools

import numpy as np
from jaxtyping import Array, Float, Int

from genesis_jax.metrics import ious_of_counts, matched


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
  log_masks: Float[Array, "B K S S"], instances: Int[np.ndarray, "B S S"]
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
