"""Batches of decoded images, from tfrecords or found by number, for one of several shards.

records = Records(ranges, views=10, unpack=unpack, num_features=1, decode=decode, cure="...")
for batch in Batches(records, batch_size=32, seed=0, epochs=None, shuffle=True): ...
"""

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from data_pipelines.reading import tfrecords
from data_pipelines.reading.indexed import Indexed, IndexedPipeline
from data_pipelines.reading.lanes.pipeline import LanePipeline
from data_pipelines.reading.lanes.told import Board
from data_pipelines.reading.pipeline import Pipeline
from data_pipelines.reading.records import Records
from data_pipelines.sources import DataError, check_choice, shard_rows


def _decoded(
  encoded: tf.data.Dataset, records: Records | Indexed, rows: slice | None
) -> tf.data.Dataset:
  """Decodes a shard's rows, or all, of batches of encoded features and places."""

  @tfrecords.as_written
  def decode(*features_and_places):
    *features, places = features_and_places
    # Decoders need an image, also where an incomplete batch has none for this shard.
    if rows is None:
      count = tf.math.count_nonzero(places >= 0)
      return {name: value[:count] for name, value in records.decode(*features).items()}
    count = tf.shape(features[0])[0]
    first = tf.minimum(rows.start, count - 1)
    batch = records.decode(*(feature[first : rows.stop] for feature in features))
    return {name: value[: tf.maximum(count - rows.start, 0)] for name, value in batch.items()}

  options = tf.data.Options()
  options.deterministic = True
  decoded = encoded.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
  return decoded.prefetch(tf.data.AUTOTUNE).with_options(options)


def _end(pipeline: IndexedPipeline | LanePipeline | Pipeline, iterators: list) -> None:
  """Ends reading ahead, first where it is Python's: TensorFlow waits for calls that it has made."""
  if isinstance(pipeline, LanePipeline):
    pipeline.close()
  iterators.clear()


class Batches:
  """Iterator over dicts of numpy arrays; see `data_pipelines.batches` for the arguments.

  A shard gets the rows of every batch from `batch_size / shard_count * shard_index` on, so that an
  image's place in the split is known whatever the number of shards. All have equally many batches;
  of an incomplete one the last shards get fewer rows, or zero.
  """

  def __init__(
    self,
    records: Records | Indexed,
    *,
    batch_size: int,
    seed: int = 0,
    epochs: int | None = None,
    first_batch: int = 0,
    shard_index: int = 0,
    shard_count: int = 1,
    shuffle: bool,
    shuffle_buffer: int = 10_000,
    on_corrupt: str = "error",
    lanes: bool = True,
    board: Board | None = None,
  ):
    check_choice("on_corrupt", on_corrupt, ("error", "skip"))
    rows = shard_rows(batch_size, shard_index, shard_count)
    for name, value, least in (
      ("seed", seed, 0),
      ("first_batch", first_batch, 0),
      ("epochs", 1 if epochs is None else epochs, 1),
    ):
      if value < least:
        raise ValueError(f"{name} is {value}; it must be at least {least}")
    self._records, self._batch_size, self._next_batch = records, batch_size, first_batch
    order = dict(seed=seed, epochs=epochs, shuffle=shuffle, skip_corrupt=on_corrupt == "skip")
    shard = dict(shard_index=shard_index, shard_count=shard_count)
    if isinstance(records, Indexed):
      self._pipeline = IndexedPipeline(records, **order, **shard)
      rows = None  # it loads the rows of this shard only
    elif shuffle and lanes and not tfrecords.compression(records.ranges[0].path):
      del order["shuffle"]
      own = dict(shuffle_buffer=shuffle_buffer, board=board)
      self._pipeline = LanePipeline(records, **order, **shard, **own)
      rows = rows if on_corrupt == "skip" else None
    else:
      self._pipeline = Pipeline(records, **order, shuffle_buffer=shuffle_buffer)
    encoded = self._pipeline.batches(batch_size, first_batch)
    iterators = [_decoded(encoded, records, rows).as_numpy_iterator()]
    self._iterators = iterators
    # An endless stream reads ahead in threads that call Python. They must end before Python does,
    # or the program never exits; a finalizer is called before that, at the latest.
    weakref.finalize(self, _end, self._pipeline, iterators)

  def __iter__(self) -> "Batches":
    return self

  def __next__(self) -> dict[str, np.ndarray]:
    try:
      batch = next(self._iterators[0])
    except StopIteration:
      self._pipeline.damage.raise_if_all(self._pipeline.any_good)
      raise
    except tf.errors.OpError as error:
      raise self._diagnose(error) from None
    self._next_batch += 1
    return batch

  @property
  def num_corrupt(self) -> int:
    """Damaged records met so far, each counted once; reading runs a few batches ahead."""
    return len(self._pipeline.damage)

  def files(self) -> Iterator[Path]:
    """The files of records that this shard will want, in the order in which it first wants them.

    From the next batch on, epoch after epoch; for whoever brings them here before they are read.
    """
    return self._pipeline.files(self._batch_size, self._next_batch)

  def _diagnose(self, error: tf.errors.OpError) -> DataError | tf.errors.OpError:
    """The damage behind an error of the pipeline; the error itself where none is found."""
    damage = self._pipeline.damage
    if damage.failure:
      return damage.failure
    for *features, places in self._pipeline.batches(self._batch_size, self._next_batch).take(1):
      for i, place in enumerate(places.numpy()):
        try:
          self._records.decode(*(feature[i : i + 1] for feature in features))
        except tf.errors.OpError:
          return damage.undecodable(place)
    return error
