"""FID of a run's checkpoint: samples of its model against test images."""

import argparse
import inspect
import json
import pathlib
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from experiments.console.errors import UserError, explained
from experiments.console.startup import telling
from experiments.fid import references
from experiments.fid import weights as weights_file
from experiments.fid.network import Network
from experiments.hardware import devices
from experiments.runs import folder
from experiments.runs.opening import opened
from genesis_jax import fid
from genesis_jax.noise import draw_noise

DEFINITION = (
  "squared Frechet distance between normal fits to Inception features (network of 2015-12-05 in "
  "its FID variant) of test images and of as many samples; images resized to 299 bilinear with "
  "half-pixel centres, not antialiased; samples quantised to uint8 by truncation"
)


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


def samples(sample, variables, options) -> Iterator:
  """uint8 images on the device, `[<= batch_size, S, S, 3]`, `num_images` in all."""
  variables, key = jax.device_put(variables), jax.random.key(options.seed)
  for first in range(0, options.num_images, options.batch_size):
    indices = first + jnp.arange(options.batch_size)
    images, finite = sample(variables, key, indices)
    if not finite:
      raise UserError(f"samples {first} to {first + options.batch_size - 1} hold NaNs")
    yield images[: options.num_images - first]


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
KEYS = ("step", "num_images", "dim", "seed", "original_prior_mean", "weights_sha256", "data")


def record(path: pathlib.Path, result: dict) -> None:
  """Adds a result to a JSON file, in place of one of the same measurement."""
  result = json.loads(json.dumps(result, default=str))
  with folder.alone_with(path):
    results = folder.read_json(path).get("results", [])
    others = [old for old in results if any(old.get(key) != result[key] for key in KEYS)]
    results = sorted([*others, result], key=lambda old: old["step"])
    folder.write_json(path, {"definition": DEFINITION, "results": results})


def measure(options: argparse.Namespace) -> dict:
  """The result for one checkpoint: the value, and all that it depends on.

  Raises:
    UserError, DataError: in one line.
  """
  start = time.monotonic()
  with explained():
    step, model, variables, config = opened(options.workdir, options.step)
    if options.data_dir:
      config.data.data_dir = options.data_dir
  sample = sampler(model, options.original_prior_mean)
  with explained():
    devices.configure(config)
  # What can go wrong at once goes wrong before weights are downloaded and features computed.
  if options.reference_stats:
    reference = references.from_file(options.reference_stats, options.dim)
  else:
    with explained():
      references.check_enough(config.data, options.num_images)
  with telling():
    weights = weights_file.read(options.inception_weights)
  network = Network(weights, options.dim, options.batch_size)
  if not options.reference_stats:
    reference = references.of_test_images(config.data, options.num_images, network)
  batches = samples(sample, variables, options)
  fake = network.statistics(batches, options.num_images, "features of samples")
  with explained():
    value = float(fid.frechet_distance(reference.mean, reference.cov, fake.mean, fake.cov))
  return dict(
    fid=value,
    step=step,
    num_images=options.num_images,
    num_reference_images=reference.num_images,
    dim=options.dim,
    seed=options.seed,
    original_prior_mean=options.original_prior_mean,
    model=config.model.name,
    image_size=config.model.image_size,
    resize=config.data.resize,
    data=reference.data,
    weights_sha256=network.sha256,
    weights_published=network.published,
    device=devices.description(),
    seconds=round(time.monotonic() - start, 1),
    finished=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
  )
