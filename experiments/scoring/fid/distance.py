"""FID of a run's checkpoint: samples of its model against test images."""

import inspect
import json
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from data_pipelines.reading.progress import telling
from experiments.console.errors import UserError, explained
from experiments.hardware import devices
from experiments.runs import folder
from experiments.runs.opening import opened
from experiments.scoring import drawing, files
from experiments.scoring.fid import references, weights
from experiments.scoring.fid.network import Network
from experiments.scoring.measure import Checkpoint
from experiments.scoring.published_numbers import NUM_FID_IMAGES
from experiments.scoring.scores import definition
from genesis_jax import fid
from genesis_jax.noise import draw_noise


class Settings(NamedTuple):
  """What is measured, and on what.

  Attributes:
    num_images: test images and samples; None: `usual`, or all where there are fewer.
    inception_weights: file of the weights; None: the published ones.
    reference_stats: file of statistics in place of test images.
    dim: number of features.
    batch_size: images at a time.
    seed: of the samples.
    sample_seed: of the choice of test images.
    original_prior_mean: sample as the original code of GENESIS does.
    raw_weights: not their moving average, where the run keeps one.
    usual: see `num_images`.
  """

  num_images: int | None = None
  inception_weights: str | pathlib.Path | None = None
  reference_stats: str | None = None
  dim: int = fid.DIMS[-1]
  batch_size: int = 64
  seed: int = 0
  sample_seed: int = 0
  original_prior_mean: bool = False
  raw_weights: bool = False
  usual: int = NUM_FID_IMAGES


def sampler(model, original_prior_mean: bool):
  """A compiled function (variables, key, indices `[B]`) -> uint8 images, whether all are finite.

  Raises:
    UserError: if the model cannot sample, or not in the way asked for.
  """
  name = type(model).__name__
  if not hasattr(model, "sample"):
    raise UserError(f"{name} has no prior to sample from; FID needs a model that generates images")
  extra = {"original_prior_mean": True} if original_prior_mean else {}
  if extra.keys() - inspect.signature(model.sample).parameters.keys():
    raise UserError(f"--original_prior_mean is an option of GENESIS, not of {name}")

  @jax.jit
  def sample(variables, key, indices):
    noise = draw_noise(key, model.noise_spec(), indices)  # by index: no matter which batch
    out = model.apply(variables, len(indices), noise=noise, **extra, method="sample")
    return fid.quantise(out.images), jnp.isfinite(out.images).all()

  return sample


def samples(sample, variables, settings: Settings, num_images: int) -> Iterator:
  """uint8 images on the device, `[<= batch_size, S, S, 3]`, `num_images` in all."""
  variables, key = jax.device_put(variables), jax.random.key(settings.seed)
  for first in range(0, num_images, settings.batch_size):
    indices = first + jnp.arange(settings.batch_size)
    images, finite = sample(variables, key, indices)
    if not finite:
      raise UserError(f"samples {first} to {first + settings.batch_size - 1} hold NaNs")
    yield images[: num_images - first]


def notes(result: dict) -> list[str]:
  """What a reader of the value must know; one line each."""
  count, data = result["num_images"], result["data"]
  lines = [f"FID depends on the number of images: compare only with values of {count} images"]
  if data.get("stand_in"):
    lines.append("the data is a STAND-IN: not comparable with any published value")
  if result["num_reference_images"] not in (count, None):
    lines.append(f"the reference has {result['num_reference_images']} images, not {count}")
  if not result["weights_published"]:
    lines.append("the Inception weights are not the published ones: comparable only among "
                 "values with the same weights")  # fmt: skip
  if result["dim"] != fid.DIMS[-1]:
    lines.append(f"{result['dim']} features: papers use {fid.DIMS[-1]}, and values differ in scale")
  if count <= result["dim"]:
    lines.append(f"{count} images for {result['dim']} features: the covariances are singular, and "
                 "the value is far above that of many images")  # fmt: skip
  return lines


# Two results that agree in these are the same measurement.
KEYS = ("step", "num_images", "dim", "seed", "sample_seed", "original_prior_mean",
        "weights_sha256", "data", "raw_weights")  # fmt: skip


def record(path: pathlib.Path, result: dict) -> None:
  """Adds a result to a JSON file, in place of one of the same measurement."""
  result = json.loads(json.dumps(result, default=str))
  with folder.alone_with(path):
    results = folder.read_json(path).get("results", [])
    others = [old for old in results if any(old.get(key, False) != result[key] for key in KEYS)]
    results = sorted([*others, result], key=lambda old: old["step"])
    folder.write_json(path, {"definition": definition("fid"), "results": results})


def _test_images(config, settings: Settings):
  """The test images that samples are compared with, not read yet; None where a file has them."""
  if settings.reference_stats:
    return None
  with explained():
    return drawing.drawn_as(settings, config, references.SPLIT)


def measure(
  checkpoint: Checkpoint, settings: Settings, should_stop: Callable[[], bool] = lambda: False
) -> dict:
  """The result for one checkpoint: the value, and all that it depends on.

  Raises:
    UserError, DataError: in one line.
    Stopped: `should_stop`, asked before each batch, said yes.
  """
  start = time.monotonic()
  sample = sampler(checkpoint.model, settings.original_prior_mean)
  # What can go wrong at once goes wrong before weights are downloaded and features computed.
  images = _test_images(checkpoint.config.data, settings)
  if images is None:
    reference = references.from_file(settings.reference_stats, settings.dim)
  with telling():
    published = weights.read(settings.inception_weights)
  network = Network(published, settings.dim, settings.batch_size, should_stop)
  if images is not None:
    reference = references.of_images(checkpoint.config.data, images, network)
  count = images.num_images if images else settings.num_images or settings.usual
  batches = samples(sample, checkpoint.variables, settings, count)
  fake = network.statistics(batches, count, "features of samples")
  with explained():
    value = float(fid.frechet_distance(reference.mean, reference.cov, fake.mean, fake.cov))
  return _described(checkpoint, settings, reference, network) | dict(
    fid=value,
    num_images=count,
    seconds=round(time.monotonic() - start, 1),
    finished=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
  )


def _described(checkpoint: Checkpoint, settings: Settings, reference, network: Network) -> dict:
  """What a result says of what was measured."""
  config = checkpoint.config
  return dict(
    definition=f"{definition('fid')}; of {reference.images}",
    images=reference.images,
    step=checkpoint.step,
    num_reference_images=reference.num_images,
    dim=settings.dim,
    seed=settings.seed,
    sample_seed=settings.sample_seed,
    original_prior_mean=settings.original_prior_mean,
    raw_weights=settings.raw_weights,
    model=config.model.name,
    image_size=config.model.image_size,
    resize=config.data.resize,
    data=reference.data,
    weights_sha256=network.sha256,
    weights_published=network.published,
    device=devices.description(),
  )


def measure_run(
  workdir: pathlib.Path,
  step: int | None,
  settings: Settings,
  path: pathlib.Path,
  data_dir: str | None = None,
) -> dict:
  """Measures a checkpoint of a run, and adds the result to a file; returns it.

  Args:
    workdir: of the run.
    step: of the checkpoint; None: the newest.
    settings: what to measure.
    path: of the file.
    data_dir: where the data is now, if it has moved since training.

  Raises:
    UserError, DataError: in one line.
  """
  with explained():
    checkpoint = Checkpoint(workdir, *opened(workdir, step, data_dir, settings.raw_weights))
  files.check_writable(path.parent)  # and that what is there can be read: both before long work
  folder.read_json(path)
  result = measure(checkpoint, settings)
  record(path, result)
  return result
