"""The images that a score is taken on, and what to say where a split has too few."""

import functools
from collections.abc import Iterator

from absl import logging

import data_pipelines
from data_pipelines.reading.progress import with_progress
from data_pipelines.sampling import Sample
from experiments.console.errors import UserError


@functools.cache
def _warn_once(text: str) -> None:
  logging.warning("%s", text)


def drawn(config, split: str, num_images: int, *, is_asked_for: bool, **options) -> Sample:
  """Images drawn from a split; all of it, with a warning, where it has fewer than are usual.

  Args:
    config: of the data.
    split: to draw from.
    num_images: how many.
    is_asked_for: whether a person said how many; then fewer are an error.
    **options: see `data_pipelines.sample`.

  Raises:
    UserError: there are fewer, and the number was asked for.
    DataError, ValueError: see `data_pipelines.sample`.
  """
  sample = data_pipelines.sample(config, split, num_images, **options)
  if sample.num_images < num_images:
    there = f"{sample.num_images:,} {split} images, not {num_images:,}"
    if is_asked_for:
      description = data_pipelines.resolve(config).description
      raise UserError(f"{description} has {there}; pass --num_images={sample.num_images}")
    _warn_once(f"{config.name} has {there}: all of them are used")
  return sample


def shown(sample: Sample, batch_size: int, what: str) -> Iterator[dict]:
  """The batches of a sample, with progress and ETA."""
  total = -(-sample.num_images // batch_size)
  return with_progress(sample, total, what, f"x{batch_size} image")
