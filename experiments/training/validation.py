"""Losses and segmentation scores over a split, with every image counted exactly once.

The last batch is filled up to its full size, and the rows added count for nothing: one compiled
program serves all batches. The noise depends on the batch's index alone, so that two validations of
the same weights agree.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import data_pipelines
from experiments.console import bars
from experiments.hardware import devices
from genesis_jax.training import eval_step

NOISE_SEED = 1_000_003  # unlike any seed that a person would train with

# Scores that are means over the first `num_segmentation_images` only.
SEGMENTATION = ("ari", "ari_fg", "msc", "msc_fg")


def noise_key(*numbers: int) -> np.ndarray:
  """Key of the noise of a validation batch, or of whatever else has these numbers; uint32 [2]."""
  key = jax.random.key(NOISE_SEED)
  for number in numbers:
    key = jax.random.fold_in(key, number)
  return np.asarray(jax.random.key_data(key))


def _is_segmentation(name: str) -> bool:
  return name.removesuffix("_r") in SEGMENTATION


def _masked_sums(variables, batch, key, *, model) -> dict[str, jax.Array]:
  """Sums over the rows of all devices whose weight is not 0; name -> scalar."""
  weights = {"all": batch.pop("valid"), "segmentation": batch.pop("scored")}
  scalars = eval_step(variables, batch, key, model=model, axis_name=devices.AXIS)
  sums = {
    # Not a product: a row that was filled in may be NaN.
    name: jnp.where(weights["segmentation" if _is_segmentation(name) else "all"], value, 0).sum()
    for name, value in scalars.items()
  }
  sums |= {f"num_images/{name}": weight.sum() for name, weight in weights.items()}
  return jax.lax.psum(sums, devices.AXIS)


def padded(batch: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
  """A batch with rows of zeros added up to `size`, so that one compiled program serves all."""
  return {
    name: np.concatenate([x, np.zeros((size - len(x), *x.shape[1:]), x.dtype)])
    for name, x in batch.items()
  }


def _filled(batch: dict, first: int, size: int, num_images: int, num_scored: int) -> dict:
  """A batch of exactly `size` rows, with "valid" and "scored" bool `[size]`.

  Args:
    batch: some rows, or none.
    first: index of its first row in the split.
    size: rows wanted.
    num_images, num_scored: rows of the split that are valid, and that are scored.
  """
  rows = len(batch["image"])
  index = first + np.arange(size)
  present = np.arange(size) < rows
  return padded(batch, size) | {
    "valid": present & (index < num_images),
    "scored": present & (index < num_scored),
  }


class Validator:
  """Validates the states of one run; compiled once.

  Args:
    config: of the experiment.
    model: whose states they are.
    split: "val" or "test".
  """

  def __init__(self, config, model, split: str = "val"):
    self._config, self._split = config, split
    self._sums = devices.parallel(partial(_masked_sums, model=model))

  def __call__(self, state, should_stop: Callable[[], bool] = lambda: False) -> dict[str, float]:
    """Means over the images; name -> value, and "num_images".

    Args:
      state: a replicated TrainState.
      should_stop: asked after each batch; once it says yes the result is empty.
    """
    config = self._config
    size, hosts = config.batch_size, jax.process_count()
    local_size = size // hosts
    batches = data_pipelines.batches(
      config.data,
      split=self._split,
      batch_size=size,
      seed=config.seed,
      epochs=1,
      shard_index=jax.process_index(),
      shard_count=hosts,
    )
    num_images = config.num_validation_images
    totals, count = {}, -(-num_images // size)
    numbered = zip(range(count), batches, strict=False)
    if devices.is_main_host():
      numbered = bars.shown(numbered, "validation", "batches", count)
    for index, batch in numbered:
      first = index * size + jax.process_index() * local_size
      rows = _filled(batch, first, local_size, num_images, config.num_segmentation_images)
      sums = self._sums(state.variables, devices.put(rows), devices.replicate(noise_key(index)))
      for name, value in devices.to_host(sums).items():
        totals[name] = totals.get(name, 0.0) + float(value)
      if should_stop():
        return {}
    return self._means(totals)

  @staticmethod
  def _means(totals: dict[str, float]) -> dict[str, float]:
    counts = {kind: totals.pop(f"num_images/{kind}", 0) for kind in ("all", "segmentation")}
    means = {}
    for name, total in totals.items():
      count = counts["segmentation" if _is_segmentation(name) else "all"]
      if count:
        means[name] = total / count
    return means | {"num_images": counts["all"]}
