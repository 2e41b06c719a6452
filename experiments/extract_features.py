"""Writes what a model makes of a split: features, slot latents and masks, beside the labels.

  python -m experiments.extract_features --workdir=runs/genesis_shapestacks --split=train
  python -m experiments.extract_features --workdir=runs/genesis_shapestacks --num_images=1000

The results are .npz files with an index.json that says what every array is, in
RUN/features/<split>_<step> or --out; `experiments.probe` and `numpy.load` read them. An image's
noise depends on --seed and its place in the split alone, not on the size of batches. Images of
train come in one fixed order, shuffled, the same for all runs on that data.
"""

import argparse
import hashlib
import json
import pathlib
import time
from collections.abc import Iterator

import numpy as np

import data_pipelines
from data_pipelines.command_line import Parser, path_name, seed_number, whole_number
from data_pipelines.common import SPLITS
from experiments.console import program, startup
from experiments.console.errors import UserError, explained

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.

ORDER_SEED = 0  # of train's images

# Array -> (kind, meaning), for index.json; K slots, D latent size, S image side.
MEANINGS = {
  "index": ("index", "place of the image in the split, in the order that was read"),
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


def parse(argv: list[str]) -> argparse.Namespace:
  """Options; a mistake ends the program with status 2."""
  parser = Parser("experiments.extract_features", __doc__)
  parser.add_argument("--workdir", type=path_name, required=True, help="folder of the run")
  parser.add_argument("--step", type=whole_number(0), help="checkpoint; default: the newest")
  parser.add_argument("--split", choices=SPLITS, default="test", help="default: test")
  parser.add_argument("--num_images", type=whole_number(1), help="default: all of the split")
  parser.add_argument("--data_dir", help="where the data lies now, if not where the run found it")
  parser.add_argument("--out", type=path_name, metavar="DIR", help="folder to make")
  parser.add_argument("--no_masks", action="store_true", help="leave out masks, not segments")
  parser.add_argument("--batch_size", type=whole_number(1), default=64, help="default: 64")
  parser.add_argument("--seed", type=seed_number, default=0, help="of the noise; default: 0")
  return parser.parse_args(argv)


def extractor(model):
  """A compiled function (variables, noise key, uint8 images `[B,S,S,3]`, indices) -> arrays."""
  import jax
  import jax.numpy as jnp

  from genesis_jax.noise import draw_noise
  from genesis_jax.training import to_float

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


def number_of_images(config, source, split: str, wanted: int | None) -> int:
  """How many images to read.

  Raises:
    UserError: there are fewer than wanted, or only a limit makes the split end.
  """
  there = data_pipelines.num_examples(config, split)
  if there is None and wanted is None:
    raise UserError(
      f"the {split} split of {source.description} has no end, or none that is known without "
      "reading it all; say how many with --num_images"
    )
  if there is not None and there < (wanted or 1):
    raise UserError(
      f"{source.description} has {there} {split} images, not {wanted or 'any'}; "
      + (f"pass --num_images={there}" if there else "choose another --split")
    )
  return wanted or there


def rows(extract, variables, batches, options, num_images: int) -> Iterator[dict[str, np.ndarray]]:
  """Arrays of one batch after the other; the device works on one while another is written.

  Args:
    extract: from `extractor`.
    variables: of the model.
    batches: of the split, at most `options.batch_size` images each.
    options: from `parse`.
    num_images: after which to stop.
  """
  import jax

  variables, key = jax.device_put(variables), jax.random.key(options.seed)
  size, first, waiting = options.batch_size, 0, None
  for batch in batches:
    count = min(len(batch["image"]), num_images - first)
    images = np.zeros((size, *batch["image"].shape[1:]), np.uint8)  # one program serves all
    images[:count] = batch["image"][:count]
    index = np.arange(first, first + size)
    running = extract(variables, key, images, index)
    if options.no_masks:
      running = {name: x for name, x in running.items() if not name.startswith("masks")}
    given = {f"label_{name}": value for name, value in batch.items() if name != "image"}
    if "instances" in batch:
      given["instances"] = given.pop("label_instances")
    given = {name: value[:count] for name, value in given.items()} | {"index": index[:count]}
    if waiting is not None:
      yield _fetched(*waiting)
    waiting, first = (running, given, count), first + count
    if first >= num_images:
      break
  if waiting is not None:
    yield _fetched(*waiting)


def _fetched(running: dict, given: dict, count: int) -> dict[str, np.ndarray]:
  arrays = {name: np.asarray(array)[:count] for name, array in running.items()}
  finite = np.isfinite(arrays["features"]).all(1)
  if not finite.all():
    raise UserError(f"the features of image {given['index'][finite.argmin()]} hold NaNs")
  return given | arrays


def weights_sha256(variables: dict) -> str:
  """Digest of all parameters and statistics: equal for equal models, wherever they lie."""
  import flax

  sha = hashlib.sha256()
  for name, array in sorted(flax.traverse_util.flatten_dict(variables, sep="/").items()):
    array = np.ascontiguousarray(array)
    sha.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
  return sha.hexdigest()


def provenance(options, step: int, config, source, variables) -> dict:
  """What index.json says beside the arrays."""
  from experiments.hardware import devices

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
    workdir=str(options.workdir),
    device=devices.description(),
    started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
  )


def run(options: argparse.Namespace) -> tuple[pathlib.Path, dict]:
  """Extracts; returns the folder and its index.

  Raises:
    UserError, DataError: in one line.
  """
  from data_pipelines.publishing import with_progress
  from experiments.features.files import FeatureFolder, Writer
  from experiments.hardware import devices
  from experiments.runs.opening import opened

  with explained():
    step, model, variables, config = opened(options.workdir, options.step)
    devices.configure(config)
    if options.data_dir:
      config.data.data_dir = options.data_dir
    source = data_pipelines.resolve(config.data)
    num_images = number_of_images(config.data, source, options.split, options.num_images)
    options.batch_size = min(options.batch_size, num_images)
    batches = data_pipelines.batches(
      config.data, split=options.split, batch_size=options.batch_size, seed=ORDER_SEED, epochs=1
    )
  folder = options.out or options.workdir / "features" / f"{options.split}_{step}"
  index = provenance(options, step, config, source, variables) | {"arrays": {}}
  extract = extractor(model)
  total = -(-num_images // options.batch_size)
  with Writer(folder, index) as writer, startup.telling(), explained():
    stream = rows(extract, variables, batches, options, num_images)
    for arrays in with_progress(stream, total, "features", f"x{options.batch_size} image"):
      index["arrays"] = index["arrays"] or {name: meaning(name) for name in arrays}
      writer.add(arrays)
    index["num_corrupt"] = batches.num_corrupt
  return folder, FeatureFolder(folder).index


@program.entry
def main(argv: list[str]) -> None:
  """Extracts, and says what is where."""
  options = parse(argv)
  startup.prepare()
  folder, index = run(options)
  model = index["run"]["model"]["name"]
  print(f"features   {index['num_images']} {options.split} images: {model}, checkpoint "
        f"{index['run']['step']}")  # fmt: skip
  print(f"data       {index['data']['description']}")
  for name, array in index["arrays"].items():
    print(f"array      {name} {array['dtype']}{array['shape']}: {array['what']}")
  if index["num_corrupt"]:
    print(f"note       {index['num_corrupt']} damaged records were left out")
  print(f"results    {folder}", flush=True)


if __name__ == "__main__":
  program.run(main)
