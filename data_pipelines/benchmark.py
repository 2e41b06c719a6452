"""How fast images are read, beside how fast they could be.

    python -m data_pipelines.benchmark all
    python -m data_pipelines.benchmark gqn --num_batches=1000

Reads training batches and prints images per second beside the ceiling: the slowest of the parts
that cannot be done without, measured by itself. These are unpacking a GZIP file, which one core
must do from start to end, and decoding bytes that are in memory (with cropping and resizing, but
for files of one image each). Each is measured twice by turns, and the faster time counts, since
other programs can only slow it down. `all` renders a small stand-in of each data set, once; for one
data set published files are used where they are found, and the time to start far on is measured.
"""

import argparse
import collections
import contextlib
import gzip
import io
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import ml_collections
from absl import logging
from PIL import Image

import data_pipelines
from configs.settings import settings
from data_pipelines.command_line import Parser, entry, quieten_tensorflow, run, whole_number
from data_pipelines.reading import gzipped

WARM_UP = 100  # batches before the clock starts, at most: tf.data tunes itself meanwhile ...
WARM_UP_SECONDS = 2.0  # ... or so long
SECONDS = 4.0  # that are measured, at most
ROUNDS = 2  # of all measurements, by turns
RESUME_BATCH = 30_000
STAND_IN_IMAGES = 1_000  # of each set in `all`
VIEWS = {"gqn": 10}  # images per scene of a stand-in, where it has several
HELD_IMAGES = 2_000  # encoded images in memory for the ceiling
HELD_BYTES = 2**28
BLOCK = 2**20  # bytes that are unpacked at a time
FORMATS = {b"\xff\xd8": "JPEG", b"\x89P": "PNG"}  # by their first two bytes


class Ceiling(NamedTuple):
  """Images per second that one unavoidable part allows."""

  part: str
  rate: float


def _parser() -> Parser:
  parser = Parser("data_pipelines.benchmark", __doc__)
  parser.add_argument("dataset", choices=["all", *sorted(data_pipelines.DATASETS)])
  parser.add_argument("--data_dir", help="default: look under data/, else render a stand-in")
  parser.add_argument("--variant", help="default: the data set's first")
  parser.add_argument("--batch_size", type=whole_number(1), default=32)
  parser.add_argument("--num_batches", type=whole_number(1), default=1000, help="at most")
  parser.add_argument("--image_size", type=whole_number(1), help="pixels; default: as published")
  parser.add_argument(
    "--standin_scenes", type=whole_number(10), help="default: 2000; of all, 1000 images"
  )
  parser.add_argument(
    "--cache", type=Path, help="folder for the stand-ins of all; default: data/benchmark"
  )
  return parser


def _rate(batches: Iterable, size: Callable, most: int) -> float:
  """Images per second of at most `most` batches, not counting those that come first."""
  batches, start = iter(batches), time.perf_counter()
  for _ in itertools.islice(batches, WARM_UP):
    if time.perf_counter() - start > WARM_UP_SECONDS:
      break
  images, start = 0, time.perf_counter()
  for batch in itertools.islice(batches, most):
    images += size(batch)
    if time.perf_counter() - start > SECONDS:
      break
  return images / (time.perf_counter() - start)


def reading_rate(config, batch_size: int, most: int) -> float:
  """Images per second of training batches, shuffled and decoded."""
  stream = data_pipelines.batches(config, split="train", batch_size=batch_size)
  return _rate(stream, lambda batch: len(batch["image"]), most)


def _records_unpacked(records) -> Iterable[tuple[bytes, ...]]:
  """Encoded features of the images of a split of tfrecords, in the order of the files."""
  from data_pipelines.reading import tfrecords  # imports TensorFlow

  for part in records.ranges:
    encoded = tfrecords.dataset(part.path).skip(part.first)
    for record in encoded.take(-1 if part.count is None else part.count).as_numpy_iterator():
      compact = records.compact(record) if records.compact else record
      yield from records.unpack(compact)


def _held(images: Iterable[tuple[bytes, ...]]) -> list[tuple[bytes, ...]]:
  """The first encoded images, as many as may be held."""
  held, size = [], 0
  for features in itertools.islice(images, HELD_IMAGES):
    held.append(features)
    size += sum(map(len, features))
    if size > HELD_BYTES:
      break
  return held


def decoding_ceiling(split, batch_size: int, most: int) -> Ceiling:
  """What decoding allows when the bytes are in memory already.

  Args:
    split: `Records` or `Indexed`.
    batch_size: images decoded at once.
    most: batches to measure, at most.
  """
  import tensorflow as tf

  if getattr(split, "files", None):
    return file_ceiling(split, batch_size, most)
  if hasattr(split, "ranges"):
    images = _held(_records_unpacked(split))
  else:
    images = _held(map(split.load, range(split.num)))
  features = tuple(map(list, zip(*images, strict=True)))
  batches = tf.data.Dataset.from_tensor_slices(features).repeat().batch(batch_size)
  decoded = batches.map(split.decode, num_parallel_calls=tf.data.AUTOTUNE).prefetch(
    tf.data.AUTOTUNE
  )
  rate = _rate(decoded.as_numpy_iterator(), lambda batch: len(batch["image"]), most)
  return Ceiling(f"{FORMATS.get(images[0][0][:2], 'raw')} decode", rate)


def file_ceiling(split, batch_size: int, most: int) -> Ceiling:
  """What decoding PNG or JPEG files allows when they are in memory already, a thread per core."""
  held = _held(map(split.files, range(split.num)))

  def decode(files: tuple[bytes, ...]) -> None:
    for file in files:
      Image.open(io.BytesIO(file)).load()

  with ThreadPoolExecutor(os.cpu_count()) as pool:
    endless = itertools.cycle(held)
    batches = iter(lambda: list(pool.map(decode, itertools.islice(endless, batch_size))), [])
    rate = _rate(batches, len, most)
  return Ceiling(f"{FORMATS.get(held[0][0][:2], 'file')} decode", rate)


def gunzip_ceiling(records) -> Ceiling:
  """What unpacking the GZIP file of a split allows, parts that belong to other splits included."""
  (part,) = records.ranges
  start, unpacked, ended = time.perf_counter(), 0, False
  with gzip.open(part.path) as file:
    while not ended and time.perf_counter() - start < SECONDS:
      block = file.read(BLOCK)
      unpacked, ended = unpacked + len(block), not block
  seconds = time.perf_counter() - start
  if ended:
    images = part.num_records()
  else:
    from data_pipelines.reading import tfrecords

    lengths = tfrecords.framing(part.path, 100).lengths
    images = unpacked / (sum(lengths) / len(lengths) + tfrecords.HEADER + tfrecords.FOOTER)
  return Ceiling("gunzip", images / seconds)


def measure(config, batch_size: int, most: int) -> tuple[float, list[Ceiling]]:
  """Images per second of a training split, and what its parts allow, the slowest first."""
  split = data_pipelines.records(config, "train")
  rates, limits = [], collections.defaultdict(list)
  for _ in range(ROUNDS):
    rates.append(reading_rate(config, batch_size, most))
    found = [decoding_ceiling(split, batch_size, most)]
    if hasattr(split, "ranges") and gzipped.compression(split.ranges[0].path):
      found.append(gunzip_ceiling(split))
    for part, rate in found:
      limits[part].append(rate)
  best = [Ceiling(part, max(rates)) for part, rates in limits.items()]
  return max(rates), sorted(best, key=lambda ceiling: ceiling.rate)


def _seconds_to_first(config, batch_size: int, first_batch: int) -> float:
  start = time.perf_counter()
  next(
    data_pipelines.batches(config, split="train", batch_size=batch_size, first_batch=first_batch)
  )
  return time.perf_counter() - start


def _config(arguments: argparse.Namespace, name: str) -> ml_collections.ConfigDict:
  return settings(
    name,
    data_dir=arguments.data_dir,
    variant=arguments.variant,
    image_size=arguments.image_size,
    standin_scenes=arguments.standin_scenes,
  )


def measure_one(arguments: argparse.Namespace) -> None:
  """Prints what is known of the speed of one data set."""
  config = _config(arguments, arguments.dataset)
  size, most = arguments.batch_size, arguments.num_batches
  print(data_pipelines.resolve(config).description)
  print(f"at most {most} batches of {size} images, {config.image_size} pixels, features: ", end="")
  first = next(data_pipelines.batches(config, split="train", batch_size=size))
  print(", ".join(f"{name} {value.dtype}{list(value.shape)}" for name, value in first.items()))
  rate, limits = measure(config, size, most)
  print(f"{'reading, shuffled and decoded':<34}{rate:>10,.0f} images/s")
  for i, (part, limit) in enumerate(limits):
    name = f"{part} alone{' (the ceiling)' if i == 0 else ''}"
    print(f"{name:<34}{limit:>10,.0f} images/s  {rate / limit:.0%} reached")
  for batch in (0, RESUME_BATCH):
    seconds = _seconds_to_first(config, size, batch)
    print(f"{f'first batch from batch {batch:,}':<34}{seconds:>10.2f} s")


def measure_all(arguments: argparse.Namespace) -> bool:
  """Prints a row for each data set; returns whether all could be measured."""
  logging.set_verbosity(logging.ERROR)  # that there are no published files is on purpose
  print(f"{'data set':<24}{'pixels':>7}{'images/s':>10}{'ceiling':>10}{'reached':>9}  of what")
  errors = {}
  for name in data_pipelines.DATASETS:
    try:
      config = _config(arguments, name)
      if config.data_dir is None and data_pipelines.datasets.stand_in(config) is None:
        continue  # a format, and no set
      if arguments.standin_scenes is None:
        config.standin_scenes = STAND_IN_IMAGES // VIEWS.get(name, 1)
      rate, limits = measure(config, arguments.batch_size, arguments.num_batches)
      part, limit = limits[0]
      row = f"{config.image_size:>7}{rate:>10,.0f}{limit:>10,.0f}{rate / limit:>9.0%}  {part}"
    except (ValueError, OSError) as error:
      row, errors[name] = f"{'-':>7}{'-':>10}{'-':>10}{'-':>9}  see below", error
    print(f"{name:<24}{row}", flush=True)
  for name, error in errors.items():
    print(f"error: {name}: {error}", file=sys.stderr)
  return not errors


@entry({ValueError: 1, OSError: 1})
def main(argv: list[str]) -> int:
  """Measures and prints; returns the exit status."""
  quieten_tensorflow()
  arguments = _parser().parse_args(argv)
  if arguments.dataset != "all":
    measure_one(arguments)
    return 0
  # Nothing published is found from a folder of its own: stand-ins of equal size are compared.
  folder = arguments.cache or Path("data", "benchmark")
  folder.mkdir(parents=True, exist_ok=True)
  with contextlib.chdir(folder):
    return 0 if measure_all(arguments) else 1


if __name__ == "__main__":
  run(main)
