"""Prepared sets as TensorFlow Datasets knows them: features, serialised images, information.

features = describe(64, instances=True, labels={"height": ("int32", [])})
records = encoded(batches, 0, features)      # serialised tf.Examples, made by threads
write_info(folder, card)                     # so that tfds.builder_from_directory reads it
"""

import io
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from data_pipelines.prepared.card import IGNORED, VERSION, Card
from data_pipelines.reading.progress import in_order
from data_pipelines.sources import DataError

QUEUE = 8  # batches that may wait for the encoders
PNG_LEVEL = 1  # of zlib: half the time of 6 for a tenth more bytes
MAX_ID = IGNORED - 1


def describe(side: int, *, instances: bool, labels: dict) -> tfds.features.FeaturesDict:
  """The features of images of side x side pixels; see `Card` for the arguments."""
  features = {"image": tfds.features.Image(shape=(side, side, 3), encoding_format="png")}
  if instances:
    features["instances"] = tfds.features.Image(
      shape=(side, side, 1), dtype=np.uint16, encoding_format="png"
    )
  for name, (dtype, shape) in labels.items():
    features[name] = tfds.features.Tensor(shape=tuple(shape), dtype=np.dtype(dtype))
  return tfds.features.FeaturesDict(features | {"id": np.int64})


def _png(array: np.ndarray) -> io.BytesIO:
  buffer = io.BytesIO()
  Image.fromarray(array).save(buffer, "PNG", compress_level=PNG_LEVEL)
  buffer.seek(0)
  return buffer


def _encode(batch: dict[str, np.ndarray], first_id: int, features) -> list[bytes]:
  """Serialised tf.Examples of the images of a batch."""
  ids = batch.get("instances")
  if ids is not None and not -1 <= ids.min() <= ids.max() <= MAX_ID:
    raise DataError(f"ids of instances from {ids.min()} to {ids.max()}; allowed: -1 to {MAX_ID}")
  records = []
  for i in range(len(batch["image"])):
    values = {name: array[i] for name, array in batch.items()}
    values |= {"image": _png(values["image"]), "id": first_id + i}
    if ids is not None:
      values["instances"] = _png(np.where(ids[i] < 0, IGNORED, ids[i]).astype(np.uint16))
    records.append(features.serialize_example(features.encode_example(values)))
  return records


def encoded(
  batches: Iterable[dict[str, np.ndarray]], first_id: int, features: tfds.features.FeaturesDict
) -> Iterator[bytes]:
  """Serialised images in order; the next batches are encoded by threads meanwhile.

  Raises:
    DataError: an id of an instance is too large.
  """

  def numbered():
    first = first_id
    for batch in batches:
      yield batch, first
      first += len(batch["image"])

  with ThreadPoolExecutor(os.cpu_count()) as pool:
    try:
      for records in in_order(pool, lambda part: _encode(*part, features), numbered(), QUEUE):
        yield from records
    finally:
      pool.shutdown(cancel_futures=True)


def write_info(folder: Path, card: Card, config: str) -> None:
  """Writes what TensorFlow Datasets reads, dataset_info.json and features.json."""
  template = tfds.core.ShardedFileTemplate(
    data_dir=folder, dataset_name=card.dataset, filetype_suffix="tfrecord"
  )
  info = tfds.core.DatasetInfo(
    builder=tfds.core.dataset_info.DatasetIdentity(
      name=card.dataset,
      version=tfds.core.Version(VERSION),
      data_dir=os.fspath(folder),
      module_name="data_pipelines.prepare",
      config_name=config,
    ),
    description=card.source,
    disable_shuffling=True,  # the order is the source's
    features=describe(card.image_size, instances=card.instances, labels=card.labels),
  )
  info.set_file_format("tfrecord")
  splits = [
    tfds.core.SplitInfo(
      name=name,
      shard_lengths=split.shard_images,
      num_bytes=sum(split.shard_bytes),
      filename_template=template.replace(split=name),
    )
    for name, split in card.splits.items()
  ]
  info.set_splits(tfds.core.splits.SplitDict(splits))
  info.write_to_directory(folder)
