"""Images from files: numpy batches of every data set, in an order that (seed, epoch) decide.

for batch in data_pipelines.batches(config.data, split="train", batch_size=32, seed=0):
  batch["image"]                    # uint8 [32, S, S, 3]
data_pipelines.sample(config.data, "test", 320, batch_size=32)      # a random sample, for scores
data_pipelines.resolve(config.data).description     # which files these come from

With `config.source="generator"` they are scenes rendered on the device instead, see generator.py.
"""

import importlib
from typing import TYPE_CHECKING

from data_pipelines import interrupts as interrupts  # first of all: Ctrl-C while others come
from data_pipelines.durable import local_path
from data_pipelines.prepared import card
from data_pipelines.sources import SPLITS, check_choice
from data_pipelines.sources import DataError as DataError
from data_pipelines.sources import Source as Source

if TYPE_CHECKING:
  from data_pipelines.generator import Drawn
  from data_pipelines.reading.batches import Batches
  from data_pipelines.sampling import Sample

SOURCES = ("files", "generator")
# Data set -> the module here that reads it, imported when it is first needed, since it imports
# TensorFlow: resolve(config), split_records(config, source, split), num_examples(...).
DATASETS = {
  "gqn": "datasets.gqn.reader",
  "multi_dsprites": "datasets.multi_dsprites.reader",
  "objects_room": "datasets.multi_object.reader",
  "clevr": "datasets.multi_object.reader",
  "tetrominoes": "datasets.multi_object.reader",
  "multi_dsprites_colored": "datasets.multi_object.reader",
  "shapestacks": "datasets.shapestacks.reader",
  "sketchy": "datasets.sketchy.reader",
  "apc": "datasets.apc.reader",
  "image_folder": "datasets.image_folder.reader",
}


def is_generated(config) -> bool:
  """Whether scenes are rendered in place of reading files."""
  source = getattr(config, "source", "files")  # which a program that only reads need not say
  check_choice("data.source", source, SOURCES)
  return source == "generator"


def _generator():
  from data_pipelines import generator  # imports JAX, which reading does without

  return generator


def reader(config):
  """The module that reads a configuration's data set: `prepared` where a prepared set fits.

  Where no data_dir is given, published files come before a set that was prepared from a stand-in.

  Raises:
    DataError: it needs TensorFlow, which is not installed; or there is nothing but a prepared set
      that does not fit.
    ValueError: there is no such data set, or data_dir is empty.
  """
  published, found = published_reader(config), card.find(config)
  if found.root and not found.is_last_resort:
    return _imported("prepared.reader")
  if not (found.root or found.misfits) or card.has_source(published, config):
    return published
  if found.misfits:
    raise DataError(card.advice(config, found.misfits))
  return _imported("prepared.reader")


def published_reader(config):
  """The module that reads a data set's published files; raises as `reader`."""
  check_choice("data.name", config.name, DATASETS)
  if config.data_dir == "":  # as from an unset variable of the shell; a path of it is this folder
    raise ValueError('data.data_dir is empty; it must name a folder ("." is the one you are in)')
  local_path(config.data_dir or "")
  return _imported(DATASETS[config.name])


def _imported(module: str):
  try:
    return importlib.import_module(f"data_pipelines.{module}")
  except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "tensorflow":
      raise
    raise DataError(
      "TensorFlow, which reads files of data sets, is not installed: pip install tensorflow, or "
      "choose --config.data.source=generator, which renders scenes without files"
    ) from None


def resolve(config) -> Source:
  """Finds a data set's files, if it has any; see the data set's module for where it looks.

  Raises:
    DataError: nothing is where `config.data_dir` points.
    ValueError: a field of `config` has an impossible value.
  """
  return (_generator() if is_generated(config) else reader(config)).resolve(config)


def num_examples(config, split: str) -> int | None:
  """Images of a split (damaged ones included).

  None where only reading everything would tell, and for endless generated scenes.
  """
  check_choice("split", split, SPLITS)
  if is_generated(config):
    return _generator().num_examples(config, split)
  return reader(config).num_examples(config, resolve(config), split)


def tell_of_records(config, split: str) -> tuple[int, float] | None:
  """About how many images a split has, and seconds to its first: what its files tell at once.

  None where images are no records of files, which are counted and found without reading them.
  """
  if is_generated(config):
    return None
  module = reader(config)
  records = module.split_records(config, module.resolve(config), split)
  return (records.about(), records.seconds_to_first()) if hasattr(records, "about") else None


def batches(
  config,
  *,
  split: str,
  batch_size: int,
  seed: int = 0,
  epochs: int | None = None,
  first_batch: int = 0,
  shard_index: int = 0,
  shard_count: int = 1,
) -> "Batches | Drawn":
  """Iterates over dicts of "image" uint8 [B, S, S, 3] and maybe "instances" int32 [B, S, S].

  Args:
    config: fields of `configs/datasets.py`, and `image_size`.
    split: "train" (shuffled), "val" or "test" (in the order of the files); a generator draws
      scenes for each.
    batch_size: images over all shards.
    seed: with the epoch, decides the order of train.
    epochs: passes over the data, the last batch perhaps incomplete; None: for ever.
    first_batch: index of the batch to start from, exactly as if those before had been drawn.
    shard_index: which contiguous part of every batch to return ...
    shard_count: ... of so many; all have equally many batches.

  Returns:
    An iterator with `num_corrupt`, the damaged records that were left out so far.

  Raises:
    DataError: data is missing or, while iterating, damaged (unless on_corrupt="skip").
    ValueError: an argument or a field of `config` has an impossible value.
  """
  check_choice("split", split, SPLITS)
  part = dict(
    batch_size=batch_size,
    seed=seed,
    epochs=epochs,
    first_batch=first_batch,
    shard_index=shard_index,
    shard_count=shard_count,
  )
  if is_generated(config):
    return _generator().Drawn(config, split, **part)
  module = reader(config)
  from data_pipelines.reading.batches import Batches  # imports TensorFlow

  return Batches(
    module.split_records(config, module.resolve(config), split),
    **part,
    shuffle=split == "train",
    shuffle_buffer=config.shuffle_buffer,
    on_corrupt=config.on_corrupt,
  )


def sample(
  config,
  split: str,
  num_images: int | None,
  *,
  seed: int = 0,
  batch_size: int,
  shard_index: int = 0,
  shard_count: int = 1,
) -> "Sample":
  """Images drawn at random from the whole of a split, each once, in the order of the split.

  Args:
    config: as for `batches`.
    split: "train", "val" or "test".
    num_images: how many; all where there are no more, or where it is None.
    seed: decides, with the number of images in the split, which they are.
    batch_size: images over all shards.
    shard_index: which contiguous part of every batch to return ...
    shard_count: ... of so many.

  Returns:
    An iterator over batches as those of `batches`, with the "index" of each image in the split; see
    `sampling.Sample`. Images that are not drawn are not decoded.

  Raises:
    DataError: data is missing or damaged (unless on_corrupt="skip").
    ValueError: an argument or a field of `config` has an impossible value.
  """
  check_choice("split", split, SPLITS)
  if not 0 <= shard_index < shard_count:
    raise ValueError(f"shard_index is {shard_index}; it must be from 0 to {shard_count - 1}")
  if batch_size < 1 or batch_size % shard_count:
    raise ValueError(f"batch_size {batch_size} is not a multiple of {shard_count} shards")
  part = dict(batch_size=batch_size, shard_index=shard_index, shard_count=shard_count)
  if is_generated(config):
    return _generator().DrawnSample(config, split, num_images, seed, **part)
  module = reader(config)
  from data_pipelines.reading.sampled import FileSample  # imports TensorFlow

  # A prepared set keeps the order of its source, and so the images of a scene side by side.
  published = published_reader(config)
  scene = published.images_per_scene(config) if hasattr(published, "images_per_scene") else 1
  images = module.split_records(config, module.resolve(config), split)
  return FileSample(images, split, num_images, seed, scene, on_corrupt=config.on_corrupt, **part)
