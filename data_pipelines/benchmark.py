"""How fast images are read, beside how fast they could be.

    python -m data_pipelines.benchmark gqn --num_batches=1000

Reads training batches of a data set (a rendered stand-in where there is no data) and prints images
per second; the ceiling, which is decoding alone of the same bytes; and the time to start far on.
"""

import argparse
import itertools
import os
import time
from collections.abc import Callable, Iterable
from types import SimpleNamespace

import tensorflow as tf

import data_pipelines
from data_pipelines.records import Records

WARM_UP = 100  # batches before the clock starts: tf.data tunes itself meanwhile
RESUME_BATCH = 30_000
DEFAULTS = {
  "gqn": dict(variant="rooms_ring_camera", image_size=64),
  "multi_dsprites": dict(variant="default", image_size=64),
  "objects_room": dict(variant="train", image_size=64),
}


def _parse_arguments() -> argparse.Namespace:
  parser = argparse.ArgumentParser(prog="python -m data_pipelines.benchmark", description=__doc__)
  parser.formatter_class = argparse.RawDescriptionHelpFormatter
  parser.add_argument("dataset", choices=sorted(DEFAULTS))
  parser.add_argument("--data_dir", help="default: look under data/, else render a stand-in")
  parser.add_argument("--variant", help="default: the data set's first")
  parser.add_argument("--batch_size", type=int, default=32)
  parser.add_argument("--num_batches", type=int, default=1000)
  parser.add_argument("--image_size", type=int, help="side in pixels; default: as published")
  return parser.parse_args()


def _config(arguments: argparse.Namespace) -> SimpleNamespace:
  defaults = DEFAULTS[arguments.dataset]
  return SimpleNamespace(
    name=arguments.dataset,
    variant=arguments.variant or defaults["variant"],
    data_dir=arguments.data_dir,
    image_size=arguments.image_size or defaults["image_size"],
    resize="nearest",
    on_corrupt="error",
    limit=0,
    shuffle_buffer=10_000,
    standin_scenes=2_000,
    num_val=10_000,
    num_test=10_000,
  )


def _rate(batches: Iterable, size: Callable, warm_up: int) -> float:
  """Images per second, not counting what comes before the first `warm_up` batches."""
  batches = iter(batches)
  for _ in itertools.islice(batches, warm_up):
    pass
  start = time.perf_counter()
  images = sum(size(batch) for batch in batches)
  return images / (time.perf_counter() - start)


def _pipeline_rate(config: SimpleNamespace, batch_size: int, num_batches: int) -> float:
  stream = data_pipelines.batches(config, split="train", batch_size=batch_size)
  batches = itertools.islice(stream, WARM_UP + num_batches)
  return _rate(batches, lambda batch: len(batch["image"]), WARM_UP)


def _ceiling(records: Records, batch_size: int, num_batches: int) -> float:
  """Images per second when nothing is done but decoding bytes that are in memory already."""
  paths = [str(part.path) for part in records.ranges[:4]]
  encoded = tf.data.TFRecordDataset(paths, records.ranges[0].compression)
  images = itertools.chain.from_iterable(map(records.unpack, encoded.as_numpy_iterator()))
  features = tuple(map(list, zip(*itertools.islice(images, 20_000), strict=True)))
  batches = tf.data.Dataset.from_tensor_slices(features).batch(batch_size).cache()
  for _ in batches:  # fills the cache
    pass
  decoded = batches.repeat().map(records.decode, num_parallel_calls=os.cpu_count())
  decoded = decoded.prefetch(tf.data.AUTOTUNE).take(WARM_UP + num_batches)
  return _rate(decoded.as_numpy_iterator(), lambda batch: len(batch["image"]), WARM_UP)


def _seconds_to_first(config: SimpleNamespace, batch_size: int, first_batch: int) -> float:
  start = time.perf_counter()
  next(
    data_pipelines.batches(config, split="train", batch_size=batch_size, first_batch=first_batch)
  )
  return time.perf_counter() - start


def main() -> None:
  """Measures and prints a table."""
  arguments = _parse_arguments()
  config, size, count = _config(arguments), arguments.batch_size, arguments.num_batches
  source = data_pipelines.resolve(config)
  records = data_pipelines.reader(config).split_records(config, source, "train")
  print(source.description)
  print(f"{count} batches of {size} images, {config.image_size} pixels, features: ", end="")
  first = next(data_pipelines.batches(config, split="train", batch_size=size))
  print(", ".join(f"{name} {value.dtype}{list(value.shape)}" for name, value in first.items()))
  rate, ceiling = _pipeline_rate(config, size, count), _ceiling(records, size, count)
  print(f"{'reading, shuffled and decoded':<34}{rate:>10,.0f} images/s")
  print(f"{'decoding alone (the ceiling)':<34}{ceiling:>10,.0f} images/s")
  for batch in (0, RESUME_BATCH):
    seconds = _seconds_to_first(config, size, batch)
    print(f"{f'first batch from batch {batch:,}':<34}{seconds:>10.2f} s")


if __name__ == "__main__":
  try:
    main()
  except data_pipelines.DataError as error:
    raise SystemExit(f"error: {error}") from None
