"""Statistics of real images, which FID compares samples with: computed once for each data set.

  reference = from_file("stats.npz", dim=2048)         # pytorch-fid's format: mu, sigma
  reference = of_images(config.data, drawn(config.data, "test", None, 10_000), network)

The cache is keyed by all that the numbers depend on, among it how the images were drawn and a
digest of some: data that was rendered again or resized in another way is different data.
"""

import hashlib
import io
import json
import pathlib
from typing import NamedTuple

import numpy as np
from absl import logging

import data_pipelines
from data_pipelines.durable import write_atomically
from data_pipelines.sampling import Sample
from experiments.console.errors import DAMAGED_NPZ, UserError
from experiments.scoring.fid import weights
from experiments.scoring.fid.network import Network

SPLIT = "test"
VERSION = 2  # of how the statistics are made; older files are not read
FINGERPRINT_IMAGES = 64
# Settings that do not change which images a test split has.
IRRELEVANT = ("cache_gb", "data_dir", "order", "shuffle_buffer")


class Reference(NamedTuple):
  """Statistics of real images.

  Attributes:
    mean, cov: `[dim]` and `[dim, dim]`, float64.
    num_images: how many, or None where a file does not say.
    data: where they come from; "description" is for people.
    images: which images of it these are, for people.
  """

  mean: np.ndarray
  cov: np.ndarray
  num_images: int | None
  data: dict
  images: str = "images of a file of statistics"


def from_file(path: str | pathlib.Path, dim: int) -> Reference:
  """Statistics from a `.npz` with `mu`, `sigma` and perhaps `num_images`.

  Raises:
    UserError: if it is no such file, or of another number of features.
  """
  path = pathlib.Path(path)
  try:
    with np.load(path, allow_pickle=False) as arrays:
      mean, cov = np.float64(arrays["mu"]), np.float64(arrays["sigma"])
      num_images = int(arrays["num_images"]) if "num_images" in arrays else None
      data = json.loads(str(arrays["data"])) if "data" in arrays else {}
  except DAMAGED_NPZ as error:
    raise UserError(
      f"{path} cannot be read as reference statistics, a .npz with mu [{dim}] and sigma "
      f"[{dim}, {dim}]: {(str(error).splitlines() or [type(error).__name__])[0]}"
    ) from error
  if mean.shape != (dim,) or cov.shape != (dim, dim):
    raise UserError(
      f"{path} has statistics of shapes {mean.shape} and {cov.shape}, but --dim is {dim}"
    )
  return Reference(mean, cov, num_images, {"description": f"statistics in {path}", **data})


def _write(path: pathlib.Path, reference: Reference) -> None:
  buffer = io.BytesIO()
  np.savez(
    buffer,
    mu=reference.mean,
    sigma=reference.cov,
    num_images=reference.num_images,
    data=json.dumps(reference.data),
  )
  write_atomically(path, buffer.getvalue())


def _identity(config, source, sample: Sample, network: Network) -> dict:
  """All that the statistics depend on."""
  settings = {name: value for name, value in config.to_dict().items() if name not in IRRELEVANT}
  where = source.metadata()
  few = min(sample.num_images, FINGERPRINT_IMAGES)
  some = data_pipelines.sample(config, SPLIT, few, seed=sample.seed, batch_size=few)
  digest = hashlib.sha256(b"".join(batch["image"].tobytes() for batch in some)).hexdigest()
  return dict(
    version=VERSION,
    settings=settings,
    source={name: where[name] for name in sorted(where.keys() - {"root", "description"})},
    split=SPLIT,
    num_images=sample.num_images,
    num_available=sample.total,
    sample_seed=None if sample.is_whole else sample.seed,
    dim=network.dim,
    weights=network.sha256,
    some_images=digest,
  )


def of_images(config, sample: Sample, network: Network) -> Reference:
  """Statistics of test images that were drawn, from the cache if they were made before.

  Args:
    config: of the data.
    sample: of the test images, not read yet.
    network: what computes the features.

  Raises:
    DataError: the data is not there.
    UserError: an image cannot be used.
  """
  source, images = data_pipelines.resolve(config), sample.words()
  identity = _identity(config, source, sample, network)
  key = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
  path = weights.cache_folder() / f"{source.name}_{sample.num_images}_{key[:16]}.npz"
  if path.is_file():
    try:
      reference = from_file(path, network.dim)
      return reference._replace(data=source.metadata(), images=images)
    except UserError as error:
      logging.warning("%s; computing it again", error)
  batches = (batch["image"] for batch in sample)
  statistics = network.statistics(batches, sample.num_images, "features of test images")
  count = statistics.num_images  # fewer than promised where damaged ones were left out
  reference = Reference(statistics.mean, statistics.cov, count, source.metadata(), images)
  _write(path, reference)
  return reference
