"""All that is measured of each image of a sample, with one model and any of its checkpoints.

  evaluator = Evaluator(model, batch_size=32)
  index, values = evaluator(variables, sample)       # places [N]; name -> float64 [R,N]

Images are counted once, whatever the size of batches and the number of devices: the last batch is
filled up, and what was added is dropped. The noise of an image depends on the seed, the repeat and
its place in the split alone.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import jax
import numpy as np

from data_pipelines.stores.threads import made_ahead
from experiments.console.errors import UserError
from experiments.hardware import devices
from experiments.scoring import scores
from genesis_jax import contingency, metrics
from genesis_jax.training import eval_step

NOISE_SEED = 1_000_003  # unlike any seed that a person would train with


def noise_key(seed: int, repeat: int = 0) -> np.ndarray:
  """Key of the noise of all images in one of several repeats; uint32 [2]."""
  key = jax.random.key(NOISE_SEED)
  for number in (seed, repeat):
    key = jax.random.fold_in(key, number)
  return np.asarray(jax.random.key_data(key))


def padded(batch: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
  """A batch with rows of zeros added up to `size`, so that one compiled program serves all."""
  return {
    name: np.concatenate([x, np.zeros((size - len(x), *x.shape[1:]), x.dtype)])
    for name, x in batch.items()
  }


def inputs(batch: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
  """What `eval_step` takes of a batch of a sample, padded to `size` rows.

  Raises:
    UserError: an image has more instances than can be scored.
  """
  rows = {"image": batch["image"], "index": batch["index"].astype(np.uint32)}
  if "instances" in batch:
    rows["instances"] = _countable(batch["instances"])
  return padded(rows, size)


def _countable(instances: np.ndarray) -> np.ndarray:
  """Ids that fit into the tables."""
  if instances.max(initial=0) >= metrics.NUM_IDS:
    instances = contingency.dense_ids(instances)
  if instances.max(initial=0) >= metrics.NUM_IDS:
    raise UserError(
      f"an image has {instances.max() + 1} instances; at most {metrics.NUM_IDS} can be scored"
    )
  return instances


def segmentation(tables: np.ndarray) -> dict[str, np.ndarray]:
  """Scores of tables `[R,N,1+T,K]`, in float64; name -> `[R,N]`."""
  last = np.flatnonzero(tables.any((0, 1, 3))).max(initial=1)  # an assignment takes time
  counts = tables[:, :, : last + 1].reshape(-1, last + 1, tables.shape[-1]).astype(np.float64)
  return {
    name: row.of_counts(counts).reshape(tables.shape[:2])
    for name, row in scores.segmentation().items()
  }


class Evaluator:
  """Measures images on this host's devices; compiled once for all checkpoints of a model.

  Args:
    model: of `genesis_jax.build_model`.
    batch_size: images at a time; rounded up to a multiple of the devices.
    seed: of the noise.
    num_repeats: how often each image is measured, with other noise.
  """

  def __init__(self, model, batch_size: int, seed: int = 0, num_repeats: int = 1):
    count = jax.local_device_count()
    self._size = math.ceil(batch_size / count) * count
    self._keys = [noise_key(seed, repeat) for repeat in range(num_repeats)]
    self._measure = devices.parallel(partial(eval_step, model=model), local=True)

  def __call__(
    self, variables, batches: Iterable[dict], should_stop: Callable[[], bool] = lambda: False
  ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Values of all images of a sample; segmentation scores only where there are masks and ids.

    Args:
      variables: of the model.
      batches: of `data_pipelines.sample`, with at most `batch_size` images each.
      should_stop: asked for each batch; once it says yes there are no values.

    Returns:
      Places of the images in the split, int64 `[N]`, and name -> float64 `[R,N]`.

    Raises:
      UserError: there are no images, or a loss is not finite.
    """
    indices, parts = [], []
    for running, index in made_ahead(self._running(variables, batches)):
      if should_stop():
        return np.zeros(0, np.int64), {}
      parts.append(_fetched(running, len(index)))
      indices.append(index)
    if not parts:
      raise UserError("there are no images to measure; choose another split")
    whole = {name: np.concatenate([part[name] for part in parts], 1) for name in parts[0]}
    index = np.concatenate(indices)
    return index, _values(whole, index)

  def _running(self, variables, batches: Iterable[dict]) -> Iterator[tuple[list[dict], np.ndarray]]:
    """What the devices work on, a result for each repeat, and the places of the images."""
    variables = devices.replicate(variables)
    keys = [devices.replicate(key) for key in self._keys]
    for batch in batches:
      rows = devices.put(inputs(batch, self._size))
      yield [self._measure(variables, rows, key) for key in keys], batch["index"]


def _fetched(running: list[dict], count: int) -> dict[str, np.ndarray]:
  """Results of R repeats on the host, `[R,count,...]`, without the rows that were added."""

  def gathered(*repeats):
    arrays = [np.asarray(x).reshape(-1, *x.shape[2:])[:count] for x in repeats]
    return np.stack(arrays)

  return jax.tree.map(gathered, *running)


def _values(whole: dict[str, np.ndarray], index: np.ndarray) -> dict[str, np.ndarray]:
  """Losses, KLs of slots left out, and segmentation scores; name -> float64 `[R,N]`."""
  tables = {name: whole.pop(name) for name in ("counts", "counts_r") if name in whole}
  values = {name: np.float64(value) for name, value in whole.items() if "/" not in name}
  for name, value in values.items():
    finite = np.isfinite(value).all(0)
    if not finite.all():
      raise UserError(
        f"{name} is not finite for {(~finite).sum()} of {finite.size} images, first for image "
        f"{index[finite.argmin()]}: the checkpoint is broken; choose another --step"
      )
  for name, counts in tables.items():
    suffix = name.removeprefix("counts")
    values |= {score + suffix: value for score, value in segmentation(counts).items()}
  return values
