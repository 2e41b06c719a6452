"""Images that are found by number, such as files in folders or rows of arrays, and their order.

    images = Indexed(num=100, load=load, num_features=1, decode=decode, describe=describe, cure="")
    for batch in Batches(images, batch_size=32, seed=0, epochs=None, shuffle=True): ...

Any batch is found without reading what comes before, see orders.py.

Damaged images that are left out (on_corrupt="skip") make the later ones move up. Which image starts
a batch then depends on how many before it are damaged, and this only loading tells: starting far on
loads what comes before, at most every image once.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from data_pipelines.reading import tfrecords
from data_pipelines.reading.orders import Order
from data_pipelines.reading.pipeline import FOREVER
from data_pipelines.reading.progress import with_progress
from data_pipelines.reading.records import DamageLog
from data_pipelines.sources import shard_rows
from data_pipelines.stores.cache import ahead

BATCHES_AHEAD = 16  # whose files come from a store before they are read


@dataclasses.dataclass(frozen=True)
class Indexed:
  """One split of a data set.

  Attributes:
    num: how many images there are, at least one.
    load: number of an image -> its features as bytes; ValueError or OSError if it is damaged. Is
      called from several threads at once.
    num_features: how many features these are.
    decode: the same features as string tensors [B] -> dict of tensors [B, ...].
    describe: number of an image -> where it is, for error messages.
    cure: what a user can do about a damaged image.
    files: number of an image -> the PNG or JPEG files, as bytes, that `load` decodes, by which its
      speed is judged; None: it decodes none.
    paths: number of an image -> the files that `load` reads, so that they can come from a store
      before; None: it does not matter.
  """

  num: int
  load: Callable[[int], tuple[bytes, ...]]
  num_features: int
  decode: Callable[..., dict[str, tf.Tensor]]
  describe: Callable[[int], str]
  cure: str
  files: Callable[[int], tuple[bytes, ...]] | None = None
  paths: Callable[[int], tuple[str, ...]] | None = None

  def __post_init__(self):
    if self.num < 1:
      raise ValueError(f"num is {self.num}; a split has at least one image")

  def num_images(self) -> int:
    """All images, damaged ones included."""
    return self.num

  def limited(self, limit: int) -> "Indexed":
    """The first `limit` images (all of them where there are fewer)."""
    return dataclasses.replace(self, num=min(limit, self.num))


class IndexedPipeline:
  """Loaded batches of a shard; stands beside `pipeline.Pipeline` and is used in the same way.

  A position counts images from the start of the first epoch on, damaged ones included.
  """

  def __init__(
    self,
    images: Indexed,
    *,
    seed: int,
    epochs: int | None,
    shuffle: bool,
    skip_corrupt: bool,
    shard_index: int,
    shard_count: int,
  ):
    self._images, self._order = images, Order(images.num, seed, shuffle)
    self._end = FOREVER if epochs is None else epochs * images.num
    self._skip_corrupt, self._shard = skip_corrupt, (shard_index, shard_count)
    self.damage = DamageLog(images, skip=skip_corrupt)

  @property
  def any_good(self) -> bool:
    """Whether some image may still be whole."""
    return len(self.damage) < self._images.num

  def batches(self, batch_size: int, first_batch: int) -> tf.data.Dataset:
    """The shard's rows of the batches from `first_batch` on: features [b] each, and numbers [b]."""
    starts = tf.data.Dataset.range(self._seek(first_batch * batch_size), self._end, batch_size)
    types = [tf.string] * self._images.num_features + [tf.int64]

    @tfrecords.as_written
    def load(start):
      features = tf.numpy_function(partial(self._load_rows, batch_size), [start], types)
      return tuple(tf.ensure_shape(feature, [None]) for feature in features)

    @tfrecords.as_written
    def take_rows(*features):
      rows = shard_rows(batch_size, *self._shard)
      return tuple(feature[rows] for feature in features)

    loaded = starts.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if self._skip_corrupt:  # only loading tells which images make up a batch, and so a shard
      loaded = loaded.rebatch(batch_size).map(take_rows)
    return loaded

  def files(self, batch_size: int, first_batch: int) -> Iterator[Path]:
    """None: images that are found by number are in no files of records."""
    del batch_size, first_batch
    return iter(())

  def _load(self, number: int) -> tuple[bytes, ...] | None:
    """The features of an image; None if it is damaged and damage is no error."""
    try:
      return self._images.load(number)
    except (ValueError, OSError) as error:
      self.damage.note(number, error)
      return None

  def _load_rows(self, batch_size: int, start: np.int64) -> list[np.ndarray]:
    """Features and numbers of the images of a batch; of the shard's, if it is known which."""
    self.damage.raise_if_all(self.any_good)  # else a stream without end would search for ever
    positions = range(int(start), min(int(start) + batch_size, self._end))
    if not self._skip_corrupt:
      positions = positions[shard_rows(batch_size, *self._shard)]
    numbers = self._order.numbers(positions.start, positions.stop).tolist()
    if self._images.paths:
      end = min(int(start) + (1 + BATCHES_AHEAD) * batch_size, self._end)
      coming = self._order.numbers(int(start), end).tolist()
      ahead(path for number in coming for path in self._images.paths(number))
    loaded = [(self._load(number), number) for number in numbers]
    whole = [(*features, number) for features, number in loaded if features is not None]
    columns = list(zip(*whole, strict=True)) or [()] * (self._images.num_features + 1)
    # Objects, since numpy's own bytes would lose zeros at the end.
    return [*(np.array(column, object) for column in columns[:-1]), np.array(columns[-1], np.int64)]

  def _seek(self, wanted: int) -> int:
    """The position up to which there are so many whole images."""
    if not wanted or not self._skip_corrupt:
      return wanted
    num, order, whole = self._images.num, self._order.of_epoch(0), np.zeros(self._images.num, bool)
    good = position = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
      while good < wanted and position < num:
        needed = order[position : position + wanted - good]  # at least these
        loaded = pool.map(self._load, needed.tolist())
        loaded = with_progress(loaded, len(needed), "looking for damaged images", "image")
        whole[needed] = [features is not None for features in loaded]
        position, good = position + len(needed), int(whole.sum())
    if good == wanted:
      return position
    self.damage.raise_if_all(self.any_good)
    epoch, rest = divmod(wanted, good)
    counts = np.cumsum(whole[self._order.of_epoch(epoch)])
    return epoch * num + (int(np.searchsorted(counts, rest)) + 1 if rest else 0)
