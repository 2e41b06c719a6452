"""Counts of pixels that true and predicted segments share: all that segmentation scores need.

    counts = contingency_tables(true_ids, pred_ids)   # [B,1+T,P], numpy; of any numbering
    counts[:, 0]                                      # pixels to ignore, by predicted segment
    counts[:, 1 + t]                                  # pixels of true segment t

Pixels are counted on the device, all images of a batch at once; the tables are small.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Int, Integer

BATCH = 128  # images counted by one call of the compiled program: what fits into a cache
MAX_IDS = 256  # larger ids are renumbered before they are counted
STEP = 4  # table sizes are multiples of it, so that few programs are compiled


def count_pixels(
  true_ids: Integer[ArrayLike, "B H W"],
  pred_ids: Integer[ArrayLike, "B H W"],
  num_true: int,
  num_pred: int,
) -> Int[Array, "B rows P"]:
  """The table, inside compiled code; row 0 has all pixels with negative true ids.

  Pixels with a true id of `num_true` or more, or a predicted one outside `[0, num_pred)`, are not
  counted.
  """
  b = len(true_ids)
  true, pred = (ids.reshape(b, -1).astype(jnp.int32) for ids in (true_ids, pred_ids))
  rows = jnp.arange(b)[:, None] * (1 + num_true) + jnp.maximum(true, -1) + 1
  size = b * (1 + num_true) * num_pred
  known = (true < num_true) & (pred >= 0) & (pred < num_pred)
  # One addition a pixel: on CPUs a hundred times as fast as products of one-hot matrices.
  index = jnp.where(known, rows * num_pred + pred, size).reshape(-1)
  counts = jnp.zeros(size, jnp.int32).at[index].add(1, mode="drop")
  return counts.reshape(b, 1 + num_true, num_pred)


_compiled = functools.partial(jax.jit, static_argnums=(2, 3))(count_pixels)


def dense_ids(ids: Integer[ArrayLike, "B H W"]) -> Int[np.ndarray, "B H W"]:
  """Ids of each image renumbered without gaps, in their order; negative ids become -1, 0 stays 0.

  On the host, for ids that are too large to index a table.
  """
  flat = np.maximum(ids.reshape(len(ids), -1).astype(np.int64), -1)
  anchors = np.broadcast_to(np.array([-1, 0]), (len(flat), 2))
  flat = np.concatenate([anchors, flat], 1)
  order = flat.argsort(1, kind="stable")
  steps = np.diff(np.take_along_axis(flat, order, 1), axis=1) > 0
  ranks = np.empty(flat.shape, np.int32)
  np.put_along_axis(ranks, order, np.cumsum(np.pad(steps, ((0, 0), (1, 0))), 1, dtype=np.int32), 1)
  return (ranks[:, 2:] - 1).reshape(ids.shape)


def _checked(name: str, ids) -> np.ndarray:
  ids = np.asarray(ids)
  if not np.issubdtype(ids.dtype, np.integer):
    raise ValueError(f"{name} has type {ids.dtype}; ids of segments must be integers")
  if ids.size and ids.max() > np.iinfo(np.int64).max:
    raise ValueError(f"{name} has the id {ids.max()}; ids of segments must be below 2^63")
  return ids


def contingency_tables(true_ids, pred_ids) -> np.ndarray:
  """Tables of concrete arrays, in any numbering; int32 `[B,1+T,P]` on the host.

  Args:
    true_ids: integers `[B,H,W]`; negative ones are counted in row 0.
    pred_ids: integers `[B,H,W]`; all negative ones are one segment.

  Returns:
    T and P are the largest ids plus 1, over all images; ids above 255 are renumbered per image.

  Raises:
    ValueError: if the shapes differ or are not `[B, H, W]`, or ids are not integers.
  """
  if np.shape(true_ids) != np.shape(pred_ids) or np.ndim(true_ids) != 3:
    raise ValueError(
      f"true_ids has shape {np.shape(true_ids)} and pred_ids {np.shape(pred_ids)}; "
      "both must be [B, H, W]"
    )
  true_ids, pred_ids = _checked("true_ids", true_ids), _checked("pred_ids", pred_ids)
  if not true_ids.size:
    return np.zeros((len(true_ids), 2, 1), np.int32)
  num_true, num_pred = int(true_ids.max()) + 1, int(pred_ids.max()) + 1
  if num_true > MAX_IDS:
    true_ids = dense_ids(true_ids)
    num_true = int(true_ids.max()) + 1
  if num_pred > MAX_IDS or pred_ids.min() < 0:
    pred_ids = dense_ids(pred_ids) + 1
    num_pred = int(pred_ids.max()) + 1
  num_true, num_pred = max(1, num_true), max(1, num_pred)
  sizes = -(-num_true // STEP) * STEP, -(-num_pred // STEP) * STEP
  # All are started before the first is waited for.
  running = [
    _compiled(true, pred, *sizes)
    for true, pred in zip(_batches(true_ids), _batches(pred_ids), strict=True)
  ]
  return np.concatenate([np.asarray(tables) for tables in running])[
    : len(true_ids), : 1 + num_true, :num_pred
  ]


def _batches(ids: np.ndarray):
  """All of a few images; of many, batches of one size, the last filled up."""
  # Counting takes less time than bringing four bytes a pixel to the device.
  if ids.min() < -128:
    ids = np.maximum(ids, -1)
  ids = ids.astype(np.int8 if ids.max() < 128 else np.int32, copy=False)
  size = min(len(ids), BATCH)
  for first in range(0, len(ids), size):
    batch = ids[first : first + size]
    missing = size - len(batch)
    yield np.pad(batch, ((0, missing), (0, 0), (0, 0))) if missing else batch
