"""Images from files: numpy batches of every data set, in an order that (seed, epoch) decide.

for batch in data_pipelines.batches(config.data, split="train", batch_size=32, seed=0):
  batch["image"]                    # uint8 [32, S, S, 3]
data_pipelines.sample(config.data, "test", 320, batch_size=32)      # a random sample, for scores
data_pipelines.resolve(config.data).description     # which files these come from

With `config.source="generator"` they are scenes rendered on the device instead, see generator.py.
"""

from typing import TYPE_CHECKING

# First of all: Ctrl-C while others come.
import data_pipelines.interrupts  # noqa: F401
from data_pipelines import datasets
from data_pipelines.datasets import DATASETS as DATASETS
from data_pipelines.prepared import card
from data_pipelines.sources import SPLITS, check_choice
from data_pipelines.sources import DataError as DataError
from data_pipelines.sources import Source as Source

if TYPE_CHECKING:
  from data_pipelines.datasets.generator import Drawn
  from data_pipelines.reading.batches import Batches
  from data_pipelines.reading.indexed import Indexed
  from data_pipelines.reading.lanes.told import Board
  from data_pipelines.reading.records import Records
  from data_pipelines.sampling import Sample

SOURCES = ("files", "generator")


def is_generated(config) -> bool:
  """Whether scenes are rendered in place of reading files."""
  source = getattr(config, "source", "files")  # which a program that only reads need not say
  check_choice("data.source", source, SOURCES)
  return source == "generator"


def _generator():
  from data_pipelines.datasets import generator  # imports JAX, which reading does without

  return generator


def _prepared():
  from data_pipelines.prepared import reader  # imports TensorFlow

  return reader


def _is_prepared(config) -> bool:
  """Whether a prepared set is read.

  Where no data_dir is given, published files come before a set that was prepared from a stand-in.

  Raises:
    DataError: it needs TensorFlow, which is not installed; or there is nothing but a prepared set
      that does not fit.
    ValueError: there is no such data set, or data_dir is empty.
  """
  datasets.reader(config)  # for its checks
  found = card.find(config)
  if found.root and not found.is_last_resort:
    return True
  if not (found.root or found.misfits) or datasets.is_there(config):
    return False
  if found.misfits:
    raise DataError(card.advice(config, found.misfits))
  return True


def resolve(config) -> Source:
  """Finds a data set's files, if it has any; see `datasets` for where it looks.

  Raises:
    DataError: nothing is where `config.data_dir` points.
    ValueError: a field of `config` has an impossible value.
  """
  if is_generated(config):
    return _generator().resolve(config)
  return (_prepared() if _is_prepared(config) else datasets).resolve(config)


def records(config, split: str) -> "Records | Indexed":
  """The images of a split as they are encoded in files.

  Raises:
    DataError: data is missing.
    ValueError: a field of `config` has an impossible value.
  """
  module = _prepared() if _is_prepared(config) else datasets
  return module.split_records(config, module.resolve(config), split)


def num_examples(config, split: str) -> int | None:
  """Images of a split (damaged ones included).

  None where only reading everything would tell, and for endless generated scenes.
  """
  check_choice("split", split, SPLITS)
  if is_generated(config):
    return _generator().num_examples(config, split)
  module = _prepared() if _is_prepared(config) else datasets
  return module.num_examples(config, module.resolve(config), split)


def tell_of_records(config, split: str) -> tuple[int, float] | None:
  """About how many images a split has, and seconds to its first: what its files tell at once.

  None where images are no records of files, which are counted and found without reading them.
  """
  if is_generated(config):
    return None
  images = records(config, split)
  return (images.about(), images.seconds_to_first()) if hasattr(images, "about") else None


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
  board: "Board | None" = None,
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
    board: where all shards read what each has written of files that come from a store; see
      `reading.lanes.plan`. None: each asks the store for more.

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
  images = records(config, split)
  from data_pipelines.reading.batches import Batches  # imports TensorFlow

  return Batches(
    images,
    **part,
    shuffle=split == "train",
    shuffle_buffer=config.shuffle_buffer,
    on_corrupt=config.on_corrupt,
    lanes=getattr(config, "order", "buffer") == "lanes",
    board=board,
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
  part = dict(batch_size=batch_size, shard_index=shard_index, shard_count=shard_count)
  if is_generated(config):
    return _generator().DrawnSample(config, split, num_images, seed, **part)
  images = records(config, split)
  from data_pipelines.reading.sampled import FileSample  # imports TensorFlow

  # A prepared set keeps the order of its source, and so the images of a scene side by side.
  scene = datasets.images_per_scene(config)
  return FileSample(images, split, num_images, seed, scene, on_corrupt=config.on_corrupt, **part)
