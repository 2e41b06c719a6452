"""Where the images of a training step come from: from files, or drawn where the step runs.

  step = devices.parallel(with_images(train_step, config), donate=0)
  for batch in devices.prefetch(batches(config, first_batch=0)):
    state, scalars = step(state, batch)

With `config.data.source="generator"` the batches are empty, and nothing comes from the host: which
images a step draws follows from the steps done before it, which the state counts.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

import data_pipelines
from experiments import devices


class Nothing:
  """Endless batches without anything in them."""

  num_corrupt = 0

  def __iter__(self) -> "Nothing":
    return self

  def __next__(self) -> dict:
    return {}


def batches(config, first_batch: int):
  """This host's part of the training batches from `first_batch` on."""
  if data_pipelines.is_generated(config.data):
    return Nothing()
  return data_pipelines.batches(
    config.data,
    split="train",
    batch_size=config.batch_size,
    seed=config.seed,
    first_batch=first_batch,
    shard_index=jax.process_index(),
    shard_count=jax.process_count(),
  )


def with_images(step: Callable, config) -> Callable:
  """`step` (state, batch) -> ..., which draws its images itself if they are to be generated.

  Args:
    step: as `genesis_jax.training.train_step`, for one of the devices along `devices.AXIS`.
    config: of the experiment.
  """
  if not data_pipelines.is_generated(config.data):
    return step
  from data_pipelines import generator

  draw = generator.drawing(config.data, "train", config.seed)
  rows = config.batch_size // jax.device_count()

  def drawing_step(state, batch):
    # Unsigned: after 4 billion images they begin again, where signed numbers would turn negative.
    first = state.step.astype(jnp.uint32) * config.batch_size
    first += jax.lax.axis_index(devices.AXIS).astype(jnp.uint32) * rows
    images = draw(first + jnp.arange(rows, dtype=jnp.uint32))
    return step(state, batch | {"image": images["image"]})

  return drawing_step
