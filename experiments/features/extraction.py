"""What a model makes of the images of a split, written to a folder of features.

folder, index = extract(options)       # of experiments.extract_features
"""

import argparse
import hashlib
import json
import pathlib
import time
from collections.abc import Iterator

import flax
import jax
import jax.numpy as jnp
import numpy as np

import data_pipelines
from data_pipelines.reading.progress import telling, with_progress
from data_pipelines.sampling import Sample
from data_pipelines.stores.threads import made_ahead
from experiments.console.errors import UserError, explained
from experiments.features.files import FeatureFolder, Writer
from experiments.hardware import devices
from experiments.runs.opening import opened
from experiments.scoring import drawing
from experiments.scoring.evaluator import padded
from experiments.stores.addresses import name_of
from genesis_jax.noise import draw_noise
from genesis_jax.training import to_float

ORDER_SEED = 0  # of train's images, where all are read

# Array -> (kind, meaning), for index.json; K slots, D latent size, S image side.
MEANINGS = {
  "index": ("index", "place of the image in the split; of all of train, in the order of reading"),
  "features": ("features", "model.apply(method='features'): the representation of the image"),
  "masks": ("masks", "attention masks, probability of each slot x 255, [K,S,S]"),
  "masks_recon": ("masks", "decoded masks, probability of each slot x 255, [K,S,S]"),
  "segments": ("segments", "slot with the largest attention mask at each pixel, [S,S]"),
  "segments_recon": ("segments", "slot with the largest decoded mask at each pixel, [S,S]"),
  "instances": ("instances", "true ids of objects, 0 for background, [S,S]"),
}
PARTS = {
  "mean": "mean of the posterior",
  "std": "standard deviation of the posterior",
  "sample": "draw from the posterior",
}


def meaning(name: str) -> dict[str, str]:
  """What index.json says of an array: its kind, and one line for people."""
  if name in MEANINGS:
    kind, words = MEANINGS[name]
  elif name.startswith("label_"):
    words = f"{name.removeprefix('label_')} as the data set has it; of entity e, id e + 1, in row e"
    kind = "label"
  else:
    latent, part = name.removeprefix("latent_").rsplit("_", 1)
    kind, words = "latents", f"{PARTS[part]} of latent {latent!r}, [K,D], or [D] without slots"
  return {"kind": kind, "what": words}


def extractor(model):
  """A compiled function (variables, noise key, uint8 images `[B,S,S,3]`, indices) -> arrays."""

  @jax.jit
  def extract(variables, key, images, indices):
    images = to_float(images)
    noise = draw_noise(key, model.noise_spec(), indices)  # by index: no matter which batch
    out = model.apply(variables, images, train=False, noise=noise)
    arrays = {"features": model.apply(variables, images, noise=noise, method="features")}
    for name, latent in out.latents.items():
      arrays |= {f"latent_{name}_{part}": getattr(latent, part) for part in PARTS}
    for suffix, log_masks in (("", out.log_masks), ("_recon", out.log_masks_recon)):
      if log_masks is not None:
        arrays[f"segments{suffix}"] = log_masks.argmax(1).astype(jnp.uint8)
        arrays[f"masks{suffix}"] = jnp.round(jnp.exp(log_masks) * 255).astype(jnp.uint8)
    return arrays

  return extract


def _batches(config, source, options):
  """Batches of images with their places ("index"), and how many images they are.

  Raises:
    UserError: there are fewer than wanted, or only a limit makes the split end.
  """
  data, split, size = config.data, options.split, options.batch_size
  there = data_pipelines.num_examples(data, split)
  if options.num_images and options.num_images != there:
    sample = drawing.drawn(
      data, split, options.num_images, seed=options.sample_seed, batch_size=size
    )
    return sample, sample.num_images
  if there is None:
    raise UserError(
      f"the {split} split of {source.description} has no end, or none that is known without "
      "reading it all; say how many with --num_images"
    )
  if not there:
    raise UserError(f"{source.description} has no {split} images; choose another --split")
  stream = data_pipelines.batches(data, split=split, batch_size=size, seed=ORDER_SEED, epochs=1)
  return stream, there


def _running(extract, variables, batches, options, num_images: int) -> Iterator[tuple]:
  """Arguments of `_fetched` for one batch after the other: arrays that the device works on, ...

  Batches are of at most `options.batch_size` images each; without "index" they count on.
  """
  variables, key, first = jax.device_put(variables), jax.random.key(options.seed), 0
  for batch in batches:
    count = min(len(batch["image"]), num_images - first)
    index = batch["index"][:count] if "index" in batch else first + np.arange(count)
    full = padded(dict(images=batch["image"][:count], indices=index), options.batch_size)
    running = extract(variables, key, **full)
    if options.no_masks:
      running = {name: x for name, x in running.items() if not name.startswith("masks")}
    yield running, _given(batch, index, count), count
    first += count
    if first >= num_images:
      break


def _given(batch: dict, index: np.ndarray, count: int) -> dict[str, np.ndarray]:
  """What the data says of the first images of a batch: places, instances and labels."""
  given = {f"label_{k}": v for k, v in batch.items() if k not in ("image", "index", "rank")}
  if "instances" in batch:
    given["instances"] = given.pop("label_instances")
  return {name: value[:count] for name, value in given.items()} | {"index": index}


def _fetched(running: dict, given: dict, count: int) -> dict[str, np.ndarray]:
  arrays = {name: np.asarray(array)[:count] for name, array in running.items()}
  finite = np.isfinite(arrays["features"]).all(1)
  if not finite.all():
    raise UserError(f"the features of image {given['index'][finite.argmin()]} hold NaNs")
  return given | arrays


def weights_sha256(variables: dict) -> str:
  """Digest of all parameters and statistics: equal for equal models, wherever they lie."""
  sha = hashlib.sha256()
  for name, array in sorted(flax.traverse_util.flatten_dict(variables, sep="/").items()):
    array = np.ascontiguousarray(array)
    sha.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
  return sha.hexdigest()


def provenance(options, step: int, config, source, variables) -> dict:
  """What index.json says beside the arrays."""
  return dict(
    run=dict(
      step=step,
      model=json.loads(config.model.to_json_best_effort()),
      weights_sha256=weights_sha256(variables),
    ),
    data=source.metadata()
    | dict(split=options.split, image_size=config.data.image_size, resize=config.data.resize),
    stand_in=source.stand_in,
    noise_seed=options.seed,
    order_seed=ORDER_SEED if options.split == "train" else None,
    workdir=name_of(options.workdir),
    device=devices.description(),
    started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
  )


def extract(options: argparse.Namespace) -> tuple[pathlib.Path, dict]:
  """Extracts; returns the folder and its index.

  Args:
    options: of `experiments.extract_features`.

  Raises:
    UserError, DataError: in one line.
  """
  with explained():
    step, model, variables, config = opened(
      options.workdir, options.step, options.data_dir, options.raw_weights
    )
    source = data_pipelines.resolve(config.data)
    batches, num_images = _batches(config, source, options)
  index = provenance(options, step, config, source, variables) | {"arrays": {}}
  if isinstance(batches, Sample):
    index |= dict(images=batches.words(), sample_seed=options.sample_seed, order_seed=None)
  name = f"{options.split}_{step}{'_raw' * options.raw_weights}"
  folder = options.out or options.workdir / "features" / name
  total = -(-num_images // options.batch_size)
  with Writer(folder, index) as writer, telling(), explained():
    running = _running(extractor(model), variables, batches, options, num_images)
    # The device works on one batch while another is written.
    stream = (_fetched(*each) for each in made_ahead(running))
    for arrays in with_progress(stream, total, "features", f"x{options.batch_size} image"):
      index["arrays"] = index["arrays"] or {name: meaning(name) for name in arrays}
      writer.add(arrays)
    index["num_corrupt"] = batches.num_corrupt
  return folder, FeatureFolder(folder).index
