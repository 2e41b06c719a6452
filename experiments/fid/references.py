"""Statistics of real images, which FID compares samples with: computed once for each data set.

  reference = from_file("stats.npz", dim=2048)         # pytorch-fid's format: mu, sigma
  reference = of_test_images(config.data, 10_000, network)

The cache is keyed by all that the numbers depend on, among it a digest of the first images: data
that was rendered anew or resized in another way is other data.
"""

import hashlib
import io
import json
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from absl import logging

import data_pipelines
from data_pipelines.durable import write_atomically
from experiments.console.errors import DAMAGED_NPZ, UserError
from experiments.fid import weights
from experiments.fid.network import Network

SPLIT = "test"
VERSION = 1  # of how the statistics are made; older files are not read
FINGERPRINT_IMAGES = 64
# Settings that do not change which images a test split has.
IRRELEVANT = ("data_dir", "shuffle_buffer")


class Reference(NamedTuple):
  """Statistics of real images.

  Attributes:
    mean, cov: `[dim]` and `[dim, dim]`, float64.
    num_images: how many, or None where a file does not say.
    data: where they come from; "description" is for people.
  """

  mean: np.ndarray
  cov: np.ndarray
  num_images: int | None
  data: dict


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


def _too_few(source, found: int, wanted: int) -> UserError:
  return UserError(
    f"{source.description} has {found} {SPLIT} images, not {wanted}; FID depends on their number: "
    f"pass --num_images={found}, and compare only with values of as many images"
  )


def _images(config, source, num_images: int, batch_size: int) -> Iterator[np.ndarray]:
  """The first test images, uint8 `[<= batch_size, S, S, 3]`; UserError if there are fewer."""
  left = num_images
  for batch in data_pipelines.batches(config, split=SPLIT, batch_size=batch_size, epochs=1):
    images = batch["image"][:left]
    left -= len(images)
    yield images
    if not left:
      return
  raise _too_few(source, num_images - left, num_images)


def _identity(config, source, num_images: int, network: Network) -> dict:
  """All that the statistics depend on."""
  settings = {name: value for name, value in config.to_dict().items() if name not in IRRELEVANT}
  where = source.metadata()
  first = _images(config, source, min(num_images, FINGERPRINT_IMAGES), FINGERPRINT_IMAGES)
  digest = hashlib.sha256(b"".join(images.tobytes() for images in first)).hexdigest()
  return dict(
    version=VERSION,
    settings=settings,
    source={name: where[name] for name in sorted(where.keys() - {"root", "description"})},
    split=SPLIT,
    num_images=num_images,
    dim=network.dim,
    weights=network.sha256,
    first_images=digest,
  )


def check_enough(config, num_images: int) -> None:
  """Raises UserError if it is known without reading them that there are fewer test images."""
  available = data_pipelines.num_examples(config, SPLIT)
  if available is not None and available < num_images:
    raise _too_few(data_pipelines.resolve(config), available, num_images)


def of_test_images(config, num_images: int, network: Network) -> Reference:
  """Statistics of the first `num_images` test images, from the cache if they were made before.

  Args:
    config: of the data.
    num_images: how many.
    network: what computes the features.

  Raises:
    DataError: the data is not there.
    UserError: there are fewer images, or an image cannot be used.
  """
  source = data_pipelines.resolve(config)
  identity = _identity(config, source, num_images, network)
  key = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
  path = weights.cache_folder() / f"{source.name}_{num_images}_{key[:16]}.npz"
  if path.is_file():
    try:
      reference = from_file(path, network.dim)
      return reference._replace(data=source.metadata())
    except UserError as error:
      logging.warning("%s; computing it anew", error)
  batches = _images(config, source, num_images, network.batch_size)
  statistics = network.statistics(batches, num_images, "features of test images")
  reference = Reference(statistics.mean, statistics.cov, num_images, source.metadata())
  _write(path, reference)
  return reference
