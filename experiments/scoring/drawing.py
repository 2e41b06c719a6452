"""The images that a score is taken on, and what to say where a split has too few."""

from collections.abc import Iterator

import data_pipelines
from data_pipelines.reading.progress import with_progress
from data_pipelines.sampling import Sample
from data_pipelines.sources import warn_once
from experiments.console.errors import UserError


def drawn(
  config, split: str, num_images: int | None, usual: int | None = None, **options
) -> Sample:
  """Images drawn from a split; all of it, with a warning, where it has fewer than are usual.

  Args:
    config: of the data.
    split: to draw from.
    num_images: how many a person asked for: fewer are an error. None: `usual`.
    usual: how many there are without being asked for.
    **options: see `data_pipelines.sample`.

  Raises:
    UserError: there are fewer than were asked for.
    DataError, ValueError: see `data_pipelines.sample`.
  """
  wanted = num_images or usual
  sample = data_pipelines.sample(config, split, wanted, **options)
  if sample.num_images < wanted:
    there = f"{sample.num_images:,} {split} images, not {wanted:,}"
    if num_images:
      description = data_pipelines.resolve(config).description
      raise UserError(f"{description} has {there}; pass --num_images={sample.num_images}")
    warn_once(f"{config.name} has {there}: all of them are used")
  return sample


def drawn_as(settings, config, split: str) -> Sample:
  """`drawn`, as the num_images, usual, sample_seed and batch_size of settings say."""
  how = dict(seed=settings.sample_seed, batch_size=settings.batch_size)
  return drawn(config, split, settings.num_images, settings.usual, **how)


def shown(sample: Sample, batch_size: int, what: str) -> Iterator[dict]:
  """The batches of a sample, with progress and ETA."""
  total = -(-sample.num_images // batch_size)
  return with_progress(sample, total, what, f"x{batch_size} image")
