"""Where the images of training steps come from: files, device memory, or the on-device generator.

  feed = Feed(config, first=0)
  call = devices.parallel(feed.steps(train_step), donate=0)
  for done, batches in zip(feed.ends(), devices.prefetch(feed, axis=1)):
    state, scalars = call(state, batches, feed.resident)

A call does `config.steps_per_call` steps, and gets the batches of all of them. With
`config.data.resident` these are only numbers of images already on the devices; with
`config.data.source="generator"`, of images that they render.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial

import jax
import numpy as np
import tqdm

import data_pipelines
from data_pipelines.datasets import generator
from data_pipelines.reading.orders import Order
from data_pipelines.sources import shard_rows
from experiments.console.errors import UserError
from experiments.hardware import devices
from experiments.runs.notice_board import Board
from genesis_jax.training import train_steps

LOADED_AT_ONCE = 256  # images


def check_steps_per_call(config) -> None:
  """Raises ValueError if something would be due in the middle of a call."""
  count = config.steps_per_call
  if count < 1:
    raise ValueError(f"steps_per_call is {count}; it must be at least 1")
  for name in ("log_every", "validate_every", "images_every", "checkpoint_every", "keep_every"):
    if getattr(config, name) > 0 and getattr(config, name) % count:
      raise ValueError(
        f"{name} is {getattr(config, name)}, which is not a multiple of steps_per_call, {count}: "
        "the host only acts between calls; change one of them"
      )
  if config.data.resident and data_pipelines.is_generated(config.data):
    raise ValueError(
      "data.resident is True, but data.source=generator has no images to keep; choose one"
    )


class Feed:
  """What the calls from step `first` on get.

  Args:
    config: of the experiment.
    first: steps done before.
    board: what hosts tell one another of the data; None: nothing.

  Raises:
    data_pipelines.DataError: see `data_pipelines.batches`.
    UserError: if the images should be resident but do not fit.
  """

  def __init__(self, config, first: int, board: Board | None = None):
    self._config, self._first = config, first
    self._shard = dict(shard_index=jax.process_index(), shard_count=jax.process_count())
    self._stream, self.resident = None, {}
    if data_pipelines.is_generated(config.data):
      return
    stream = partial(data_pipelines.batches, config.data, split="train", seed=config.seed)
    if config.data.resident:
      self._stream = stream(batch_size=LOADED_AT_ONCE, epochs=1)
      images = _load(self._stream, data_pipelines.num_examples(config.data, "train"))
      self._order = Order(len(images), config.seed)
      self.resident = _resident(images)
    else:
      own = dict(first_batch=first, board=board)
      self._stream = stream(batch_size=config.batch_size, **own, **self._shard)

  @property
  def num_corrupt(self) -> int:
    """Damaged records met so far."""
    return 0 if self._stream is None else self._stream.num_corrupt

  def ends(self) -> Iterator[int]:
    """Steps done after each call: multiples of `steps_per_call`, and the last step."""
    done, last, count = self._first, self._config.num_steps, self._config.steps_per_call
    while done < last:
      done = min(done - done % count + count, last)
      yield done

  def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
    """This host's rows of the batches of each call: name -> `[steps, rows, ...]`."""
    done = self._first
    for end in self.ends():
      batches = [self._batch(step) for step in range(done, end)]
      yield {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
      done = end

  def _batch(self, step: int) -> dict[str, np.ndarray]:
    if self._stream is not None and not self.resident:
      return {"image": next(self._stream)["image"]}
    size = self._config.batch_size
    rows = shard_rows(size, *self._shard.values())
    if self.resident:
      return {"number": self._order.numbers(step * size, (step + 1) * size)[rows].astype(np.int32)}
    # Unsigned: after 4 billion images they start again, where signed numbers would turn negative.
    numbers = step * size + np.arange(rows.start, rows.stop)
    return {"number": (numbers % 2**32).astype(np.uint32)}

  def steps(self, step: Callable) -> Callable:
    """`step` (state, batch) -> ... as a function (state, batches of a call, resident images).

    Args:
      step: as `genesis_jax.training.train_step`, for one of the devices along `devices.AXIS`.
    """
    if data_pipelines.is_generated(self._config.data):
      draw = generator.drawing(self._config.data, "train", self._config.seed)

    def call(state, batches, resident):
      def with_images(state, batch):
        if resident:
          batch = {"image": resident["image"][batch["number"]]}
        elif "image" not in batch:
          batch = {"image": draw(batch["number"])["image"]}
        return step(state, batch)

      count = jax.tree.leaves(batches)[0].shape[0]
      return train_steps(with_images, state, batches, count)

    return call


def _load(stream, total: int | None) -> np.ndarray:
  """All images of a stream, uint8 `[N,S,S,3]`; shows its progress."""
  with tqdm.tqdm(total=total, desc="reading all images", unit="image", file=sys.stderr) as bar:
    parts = []
    for batch in stream:
      parts.append(batch["image"])
      bar.update(len(batch["image"]))
  return np.concatenate(parts)


def _resident(images: np.ndarray) -> dict[str, jax.Array]:
  """The images on each of this host's devices.

  Raises:
    UserError: if the devices do not have enough memory.
  """
  limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
  if limit and images.nbytes > limit // 2:  # the rest is the model's
    raise UserError(
      f"data.resident: {len(images)} images take {images.nbytes / 2**30:.1f} GiB, more than half "
      f"of a device's memory ({limit / 2**30:.1f} GiB); set data.resident=False or a data.limit"
    )
  return devices.replicate({"image": images})
