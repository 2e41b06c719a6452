"""Fréchet inception distance between a run's test images and samples of its model.

  python -m experiments.compute_fid --workdir=runs/genesis_gqn
  python -m experiments.compute_fid --workdir=runs/genesis_gqn --inception_weights=weights.npz

FID depends on the number of images, their size and how they were resized: compare only values where
all of these agree. Results go to RUN/evaluation/fid.json, one for each checkpoint and setting.
Without --inception_weights the published ones are downloaded once (see inception_weights.py).
"""

import argparse
import inspect
import json
import pathlib
import sys
import time
from collections.abc import Iterator

from absl import logging

from data_pipelines.command_line import Parser, path_name, seed_number

DEFINITION = (
  "squared Frechet distance between normal fits to Inception features (network of 2015-12-05 in "
  "its FID variant) of test images and of as many samples; images resized to 299 bilinear with "
  "half-pixel centres, not antialiased; samples quantised to uint8 by truncation"
)
DIMS = (64, 192, 768, 2048)  # as genesis_jax.fid.DIMS, which is imported once the options are right


def parse(argv: list[str]) -> argparse.Namespace:
  """Options; a mistake ends the program with status 2."""

  def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
      raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)

  parser = Parser("experiments.compute_fid", __doc__)
  parser.add_argument("--workdir", type=path_name, required=True, help="folder of the run")
  parser.add_argument("--step", type=int, help="checkpoint; default: the newest")
  parser.add_argument("--num_images", type=positive, default=10_000, help="default: 10000")
  parser.add_argument("--inception_weights", metavar="FILE", help="pytorch-fid's file or a .npz")
  parser.add_argument("--reference_stats", metavar="FILE.npz", help="in place of test images")
  parser.add_argument("--data_dir", help="where the data lies now, if not where the run found it")
  parser.add_argument("--dim", type=int, choices=DIMS, default=2048, help="papers: 2048")
  parser.add_argument("--batch_size", type=positive, default=64, help="default: 64")
  parser.add_argument("--seed", type=seed_number, default=0, help="of the samples")
  parser.add_argument(
    "--original_prior_mean",
    action="store_true",
    help="sample as the original code of GENESIS does, without the tanh on the mask prior's mean",
  )
  options = parser.parse_args(argv)
  if options.num_images < 2:
    parser.error("--num_images must be at least 2: a covariance needs two")
  options.batch_size = min(options.batch_size, options.num_images)
  return options


def opened(workdir: pathlib.Path, step: int | None):
  """A checkpoint of a run: (step, model, variables, config).

  Raises:
    UserError: there is none, it holds NaNs, or (UnreadableError) it cannot be read.
  """
  import flax
  import ml_collections
  import numpy as np

  from experiments import checkpoints
  from experiments.errors import UserError
  from genesis_jax import build_model, runs

  steps = runs.checkpoint_steps(workdir)
  if step is not None and step not in steps:
    raise UserError(f"--step={step}, but the checkpoints of {workdir} are {steps or 'none'}")
  if step is None:
    checkpoints.keep_back_echoes()
    try:
      step, state, origin, unreadable = runs.read_newest(workdir)
    except (OSError, ValueError) as error:
      raise UserError(str(error)) from error
    for bad_step, reason in unreadable.items():
      logging.warning("checkpoint %d cannot be read (%s); using %d", bad_step, reason, step)
  else:
    state, origin = checkpoints.read_checkpoint(workdir, step)
  variables = {name: state[name] for name in ("params", "batch_stats")}
  for path, array in flax.traverse_util.flatten_dict(variables, sep="/").items():
    if not np.isfinite(array).all():
      raise UserError(f"checkpoint {step} of {workdir} has NaNs in {path}; choose another --step")
  config = ml_collections.ConfigDict(origin["config"])
  return step, build_model(config.model), variables, config


def sampler(model, original_prior_mean: bool):
  """A compiled function (variables, key, indices `[B]`) -> uint8 images, whether all are finite.

  Raises:
    UserError: if the model cannot sample, or not in the way asked for.
  """
  import jax
  import jax.numpy as jnp

  from experiments.errors import UserError
  from genesis_jax import fid
  from genesis_jax.noise import draw_noise

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
  import jax
  import jax.numpy as jnp

  from experiments.errors import UserError

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
  if result["dim"] != DIMS[-1]:
    lines.append(f"{result['dim']} features: papers use {DIMS[-1]}, and values differ in scale")
  if count <= result["dim"]:
    lines.append(f"{count} images for {result['dim']} features: the covariances are singular, and "
                 "the value is far above that of many images")  # fmt: skip
  return lines


# Two results that agree in these are the same measurement.
KEYS = ("step", "num_images", "dim", "seed", "original_prior_mean", "weights_sha256", "data")


def record(path: pathlib.Path, result: dict) -> None:
  """Adds a result to a JSON file, in place of one of the same measurement."""
  from experiments import workdirs

  results = workdirs.read_json(path).get("results", [])
  result = json.loads(json.dumps(result, default=str))
  others = [old for old in results if any(old.get(key) != result[key] for key in KEYS)]
  results = sorted([*others, result], key=lambda old: old["step"])
  workdirs.write_json(path, {"definition": DEFINITION, "results": results})


def measure(options: argparse.Namespace) -> dict:
  """The result for one checkpoint: the value, and all that it depends on.

  Raises:
    UserError, DataError: in one line.
  """
  from experiments import devices, fid_references, inception_weights
  from experiments.errors import explained
  from experiments.fid_network import Network, telling
  from genesis_jax import fid

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
    reference = fid_references.from_file(options.reference_stats, options.dim)
  else:
    with explained():
      fid_references.check_enough(config.data, options.num_images)
  with telling():
    weights = inception_weights.read(options.inception_weights)
  network = Network(weights, options.dim, options.batch_size)
  if not options.reference_stats:
    reference = fid_references.of_test_images(config.data, options.num_images, network)
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


def main(argv: list[str]) -> int:
  """Exit status: 0, or 1 with one line of what is wrong."""
  options = parse(argv)
  from experiments import startup

  startup.prepare()
  import data_pipelines
  from experiments.errors import UserError

  try:
    result = measure(options)
    path = options.workdir / "evaluation" / "fid.json"
    record(path, result)
  except (UserError, data_pipelines.DataError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  print(f"FID        {result['fid']:.4g}  ({result['model']}, checkpoint {result['step']})")
  print(f"images     {result['num_images']} samples, {result['dim']} features, seed "
        f"{result['seed']}")  # fmt: skip
  print(f"data       {result['data']['description']}")
  for line in notes(result):
    print(f"note       {line}")
  print(f"results    {path}", flush=True)
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
