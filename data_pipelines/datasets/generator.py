"""Scenes in place of files: `config.source="generator"`. Needs no disk and no TensorFlow.

  draw = drawing(config, "train", seed=0)     # pure: to call where a training step is compiled
  draw(jnp.arange(32, dtype=jnp.uint32))      # {"image": uint8 [32, S, S, 3], "instances"}
  for batch in Drawn(config, "val", batch_size=32, epochs=1): ...     # the same as numpy arrays

Training images never end, unless `config.limit` is set, and their seed is that of the run. "val"
and "test" have `config.num_val` and `config.num_test` images, the same for all seeds. Scenes are
rendered at `config.image_size`, where files have a size of their own and are resized.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import jax
import numpy as np

from data_pipelines.datasets.multi_object import protocols
from data_pipelines.sampling import Sample
from data_pipelines.sources import Source, check_config, check_seed, shard_rows
from genesis_jax.scenes import SCENES, renderer, scene_batch, stream_key


@functools.cache  # each validation draws again, and must not compile again
def _compiled(name: str, variant: str, image_size: int, shift: tuple = ()) -> Callable:
  render = renderer(name, variant, image_size=image_size, **dict(shift))
  return jax.jit(functools.partial(scene_batch, render))


def resolve(config) -> Source:
  """What scenes are rendered; checks all fields, also those that only matter to files.

  Raises:
    ValueError: no scenes are like this data set's, or another field has an impossible value.
  """
  if config.name not in SCENES:
    raise ValueError(
      f"no scenes can be generated after data.name {config.name!r}; data.source=generator knows: "
      f"{', '.join(sorted(SCENES))}"
    )
  resize = protocols.allowed_resize(config.name)
  check_config(config, SCENES[config.name], resize, num_val=1, num_test=1)
  protocols.get(config.name, protocols.named(config))
  if config.data_dir is not None:
    raise ValueError(
      f"data.data_dir is {config.data_dir!r}, but data.source=generator reads no files; "
      "leave one of them out"
    )
  what = f"{config.name} {config.variant}"
  return Source(
    name=config.name,
    variant=config.variant,
    root=None,
    stand_in=True,
    description=f"scenes after {what}, GENERATED on the device, not the published images",
    num_files={},
  )


def num_examples(config, split: str) -> int | None:
  """Images of a split, or None where it never ends."""
  limits = {"train": None, "val": config.num_val, "test": config.num_test}[split], config.limit
  return min((limit for limit in limits if limit), default=None)


def drawing(config, split: str, seed: int) -> Callable[[jax.Array], dict[str, jax.Array]]:
  """A pure function of indices, uint32 `[B]`, to a split's "image" and "instances"; to compile.

  Indices beyond the last image start again with the first.

  Raises:
    ValueError: see `resolve`; or no key can be made from the seed.
  """
  resolve(config)
  check_seed(seed)
  render = renderer(config.name, config.variant, image_size=config.image_size)
  key, count = stream_key(split, seed), num_examples(config, split)

  def draw(indices):
    return scene_batch(render, key, indices if count is None else indices % count)

  return draw


class Drawn:
  """Iterator over dicts of numpy arrays; see `data_pipelines.batches` for the arguments.

  A shard gets the rows of every batch from `batch_size / shard_count * shard_index` on.
  """

  num_corrupt = 0

  def __init__(
    self,
    config,
    split: str,
    *,
    batch_size: int,
    seed: int = 0,
    epochs: int | None = None,
    first_batch: int = 0,
    shard_index: int = 0,
    shard_count: int = 1,
  ):
    self._rows = shard_rows(batch_size, shard_index, shard_count)
    resolve(config)  # for its checks
    check_seed(seed)
    self._num_images = num_examples(config, split)
    self._end = epochs and self._num_images and epochs * self._num_images
    self._batch_size, self._next = batch_size, first_batch * batch_size
    self._draw = _compiled(config.name, config.variant, config.image_size)
    self._key = stream_key(split, seed)

  def __iter__(self) -> "Drawn":
    return self

  def __next__(self) -> dict[str, np.ndarray]:
    size = self._batch_size
    if self._end is not None:
      size = min(size, self._end - self._next)
    if size <= 0:
      raise StopIteration
    rows = self._rows
    # Always as many rows, and then cut, so that one compiled program serves all batches.
    indices = self._next + np.arange(rows.start, rows.stop)
    indices = indices % (self._num_images or 2**32)
    batch = jax.device_get(self._draw(self._key, indices.astype(np.uint32)))
    self._next += size
    return {name: value[: max(0, size - rows.start)] for name, value in batch.items()}


class DrawnSample(Sample):
  """Scenes of a split drawn at random; see `Sample`, and `data_pipelines.batches` for the others.

  Where a split has no end the first scenes are taken, of a stream that the seed decides. With a
  `shift`, options of the scene by name, the same scenes are other than the data set's by these.
  """

  def __init__(
    self,
    config,
    split: str,
    num_images: int | None,
    seed: int,
    *,
    batch_size: int,
    shard_index: int = 0,
    shard_count: int = 1,
    shift: Mapping[str, object] = MappingProxyType({}),
  ):
    resolve(config)  # for its checks
    super().__init__(split, num_examples(config, split), num_images, seed)
    options = tuple(sorted(shift.items()))
    self._draw = _compiled(config.name, config.variant, config.image_size, options)
    self._key = stream_key(split, seed if self.total is None else 0)
    self._rows = self._batches(batch_size, shard_rows(batch_size, shard_index, shard_count))

  def _batches(self, size: int, rows: slice) -> Iterator[dict[str, np.ndarray]]:
    ranks = np.argsort(self._order[: self.num_images])
    for first in range(0, self.num_images, size):
      rank = ranks[first : first + size][rows]
      index = self._order[rank]
      # Always as many rows, and then cut, so that one compiled program serves all batches.
      padded = np.zeros(rows.stop - rows.start, np.uint32)
      padded[: len(index)] = index
      batch = jax.device_get(self._draw(self._key, padded))
      batch = {name: value[: len(index)] for name, value in batch.items()}
      yield batch | {"index": index, "rank": rank}
