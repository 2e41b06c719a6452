"""Writes images into numbered tfrecord files, each of which appears only once it is whole.

    writer = SplitWriter(folder, "apc", "train", images_per_shard=1024, total=10_000)
    first = writer.keep_whole(None)              # shards that an earlier, killed run left
    writer.write(records)                        # the rest: serialised tf.Examples

A program that is killed leaves whole shards and one temporary file. Which images a shard has
follows from its number, so a later run goes on after the last whole one.
"""

import contextlib
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

import tensorflow as tf

from data_pipelines.durable import partial_file
from data_pipelines.prepared.card import shard_name
from data_pipelines.reading import tfrecords


class SplitWriter:
  """The shards of one split.

  Attributes:
    shard_images: per whole shard, images.
  """

  def __init__(self, folder: Path, dataset: str, split: str, *, images_per_shard: int, total: int):
    self._folder, self._dataset, self._split = folder, dataset, split
    self._images_per_shard, self._planned = images_per_shard, max(1, -(-total // images_per_shard))
    self.shard_images: list[int] = []

  def _found(self, index: int) -> Path | None:
    """A whole shard, whatever number of shards its name promises."""
    pattern = shard_name(self._dataset, self._split, index, 0)[: -len("00000")]
    return next(self._folder.glob(f"{pattern}*"), None)

  def keep_whole(self, total: int | None) -> int:
    """Checks the shards that are there up to the first that is not whole; returns their images.

    The rest is removed, to be written again.

    Args:
      total: images of the whole split; None: unknown, so that the last shard counts if it is full.
    """
    whole = True
    for index in range(self._planned):
      path = self._found(index)
      left = self._images_per_shard if total is None else total - sum(self.shard_images)
      whole = whole and path is not None and _is_whole(path, min(self._images_per_shard, left))
      if whole:
        self.shard_images.append(min(self._images_per_shard, left))
      elif path is not None:
        path.unlink()
    return sum(self.shard_images)

  def write(self, records: Iterable[bytes]) -> None:
    """Appends shards of records until these end.

    Raises:
      OSError: the disk is full, or cannot be written to.
    """
    records = iter(records)
    for first in records:
      shard = chain([first], islice(records, self._images_per_shard - 1))
      index = len(self.shard_images)
      path = self._folder / shard_name(self._dataset, self._split, index, self._planned)
      self.shard_images.append(_write_shard(path, shard))

  def finish(self) -> list[int]:
    """Gives the shards names with their final number; returns their sizes in bytes."""
    count, sizes = len(self.shard_images), []
    for index in range(count):
      path = self._folder / shard_name(self._dataset, self._split, index, count)
      found = self._found(index)
      if found != path:
        found.rename(path)
      sizes.append(path.stat().st_size)
    return sizes


def _is_whole(path: Path, num_records: int) -> bool:
  """Whether a file has so many records, all with proper checksums."""
  return tfrecords.num_records(path) == num_records and not tfrecords.find_damage(path)


def _write_shard(path: Path, records: Iterator[bytes]) -> int:
  """Writes a file, whole or not at all; returns how many records it has."""
  count = 0
  with partial_file(path) as partial:
    writer = _Writer(partial)
    try:
      for count, record in enumerate(records, start=1):  # noqa: B007
        writer.write(record)
    except BaseException:
      writer.abandon()
      raise
    writer.close()
  return count


class _Writer:
  """TensorFlow's writer of tfrecords, whose errors are the system's."""

  def __init__(self, path: Path):
    self._path = path
    self._writer = self._call(tf.io.TFRecordWriter, str(path))

  def _call(self, function, *arguments):
    try:
      return function(*arguments)
    except tf.errors.OpError as error:
      raise OSError(f"cannot write {self._path}: {error.message.strip()}") from None

  def write(self, record: bytes) -> None:
    """Appends a record."""
    self._call(self._writer.write, record)

  def close(self) -> None:
    """Writes out what waits in memory."""
    self._call(self._writer.close)

  def abandon(self) -> None:
    """Closes, come what may."""
    with contextlib.suppress(OSError):
      self.close()
