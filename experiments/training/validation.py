"""Losses and segmentation scores on images drawn from a split, each counted exactly once.

The last batch is filled up to its full size, and the rows added count for nothing: one compiled
program serves all batches. The images and their noise are always the same, so that two validations
of the same weights agree, whatever the number of devices and hosts.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.reading.progress import with_progress
from experiments.hardware import devices
from experiments.scoring import drawing
from experiments.scoring.evaluator import inputs, noise_key
from experiments.scoring.scores import is_segmentation, segmentation
from genesis_jax.training import eval_step


def _masked_sums(variables, batch, key, *, model) -> dict[str, jax.Array]:
  """Sums over the rows of all devices whose weight is not 0; name -> scalar."""
  weights = {"all": batch.pop("valid"), "segmentation": batch.pop("scored")}
  values = eval_step(variables, batch, key, model=model)
  for suffix in ("", "_r"):
    if (counts := values.pop(f"counts{suffix}", None)) is not None:
      counts = counts.astype(jnp.float32)
      rows = (row for row in segmentation().values() if not row.on_host)
      values |= {row.name + suffix: row.of_counts(counts) for row in rows}
  sums = {
    # Not a product: a row that was filled in may be NaN.
    name: jnp.where(weights["segmentation" if is_segmentation(name) else "all"], value, 0).sum()
    for name, value in values.items()
  }
  sums |= {f"num_images/{name}": weight.sum() for name, weight in weights.items()}
  return jax.lax.psum(sums, devices.AXIS)


def _filled(batch: dict, size: int, num_scored: int) -> dict:
  """A batch of exactly `size` rows, with "valid" and "scored" bool `[size]`.

  Args:
    batch: some rows of a sample, or none.
    size: rows wanted.
    num_scored: images that are scored: the first ones of the draw.
  """
  valid = np.arange(size) < len(batch["image"])
  scored = np.zeros(size, bool)
  scored[: len(batch["rank"])] = batch["rank"] < num_scored
  return inputs(batch, size) | {"valid": valid, "scored": scored}


class Validator:
  """Validates the states of one run; compiled once.

  Args:
    config: of the experiment.
    model: whose states they are.
  """

  def __init__(self, config, model):
    self._config = config
    self._sums = devices.parallel(partial(_masked_sums, model=model))

  def __call__(self, state, should_stop: Callable[[], bool] = lambda: False) -> dict[str, float]:
    """Means over the images; name -> value, and "num_images".

    Args:
      state: a replicated TrainState.
      should_stop: called after each batch; once it returns True, the result is empty.
    """
    config = self._config
    size, hosts = config.batch_size, jax.process_count()
    sample = drawing.drawn(
      config.data,
      "val",
      None,
      config.num_validation_images,
      batch_size=size,
      shard_index=jax.process_index(),
      shard_count=hosts,
    )
    totals, key = {}, devices.replicate(noise_key(seed=0))
    count = -(-sample.num_images // size)
    if devices.is_main_host():
      batches = with_progress(sample, count, "validation", f"x{size} image", aside=True)
    else:
      batches = sample
    for batch in batches:
      rows = _filled(batch, size // hosts, config.num_segmentation_images)
      sums = self._sums(state.variables, devices.put(rows), key)
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
      count = counts["segmentation" if is_segmentation(name) else "all"]
      if count:
        means[name] = total / count
    return means | {"num_images": counts["all"]}
