"""Fréchet inception distance (FID; Heusel et al. 2017): features, their statistics, the distance.

    variables = fid.inception_from_torch(state_dict)          # pytorch-fid's names
    real, fake = fid.Statistics(2048), fid.Statistics(2048)
    real.update(fid.features(variables, images))              # uint8; as many batches as there are
    fake.update(fid.features(variables, samples))
    fid.frechet_distance(real.mean, real.cov, fake.mean, fake.cov)

FID falls with the number of images even where the distributions are the same: only values with the
same number, size and resizing of images and the same weights can be compared.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from genesis_jax.inception import DIMS, Inception
from genesis_jax.inception import from_torch as inception_from_torch

__all__ = ["DIMS", "Statistics", "features", "frechet_distance", "inception_from_torch", "quantise"]


def quantise(images) -> jax.Array:
  """Images as uint8 by truncation, as FID is defined for samples; values beyond [0, 1] clipped."""
  return (jnp.clip(images, 0, 1) * 255).astype(jnp.uint8)


@functools.partial(jax.jit, static_argnames="dim")
def _features(variables, images, *, dim: int):
  return Inception().apply(variables, images, dim=dim)[dim]


def features(variables: dict, images_uint8, dim: int = 2048, batch_size: int = 64) -> jax.Array:
  """Inception features of images, pooled over all positions.

  Args:
    variables: of `inception_from_torch`; put them on the device once for many calls.
    images_uint8: `[N, S, S, 3]`, values from 0 to 255, of any size; float images are first to be
      quantised (`quantise`).
    dim: 64, 192, 768 or 2048; only 2048 is what papers call FID.
    batch_size: images at a time; one program is compiled for each size of images.

  Returns:
    float32 `[N, dim]`, on the device and perhaps still being computed.

  Raises:
    ValueError: another `dim`, or an array that is no batch of uint8 images.
  """
  if dim not in DIMS:
    raise ValueError(f"dim is {dim!r}; allowed: {', '.join(map(str, DIMS))}")
  images = images_uint8 if isinstance(images_uint8, jax.Array) else np.asarray(images_uint8)
  if images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape:
    raise ValueError(f"images have shape {images.shape}; FID takes [N, S, S, 3]")
  if images.dtype != np.uint8:
    raise ValueError(f"images are {images.dtype}; FID takes uint8: see fid.quantise")
  variables, count = jax.device_put(variables), len(images)
  batch_size = min(batch_size, count)
  parts = []
  for first in range(0, count, batch_size):
    batch = jnp.asarray(images[first : first + batch_size])
    missing = batch_size - len(batch)  # filled up: one program serves the last batch too
    parts.append(_features(variables, jnp.pad(batch, ((0, missing), *((0, 0),) * 3)), dim=dim))
  return jnp.concatenate(parts)[:count]


class Statistics:
  """Mean and covariance of features, in float64 on the host, in memory that does not grow.

  Args:
    dim: number of features.
  """

  def __init__(self, dim: int):
    self.num_images = 0
    self._mean = np.zeros(dim)
    self._scatter = np.zeros((dim, dim))  # sum of outer products of deviations from the mean

  def update(self, features) -> None:
    """Counts features `[N, dim]`; raises ValueError, and counts none, if some are not finite."""
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or features.shape[1] != len(self._mean):
      raise ValueError(f"features have shape {features.shape}; expected [N, {len(self._mean)}]")
    if bad := int((~np.isfinite(features).all(1)).sum()):
      raise ValueError(
        f"the features of {bad} of {len(features)} images (after the first {self.num_images}) are "
        "not finite: the images or the weights hold NaNs"
      )
    if not len(features):
      return
    # Chan, Golub & LeVeque (1979): no difference of large sums, so nothing cancels.
    count, mean = len(features), features.mean(0)
    total, difference = self.num_images + count, mean - self._mean
    centred = features - mean
    self._scatter += centred.T @ centred
    self._scatter += np.outer(difference * (self.num_images * count / total), difference)
    self._mean = self._mean + difference * (count / total)
    self.num_images = total

  @property
  def mean(self) -> np.ndarray:
    """`[dim]`; raises ValueError before the first image."""
    if not self.num_images:
      raise ValueError("no image has been counted")
    return self._mean.copy()

  @property
  def cov(self) -> np.ndarray:
    """`[dim, dim]`, divided by N - 1; raises ValueError for fewer than two images."""
    if self.num_images < 2:
      raise ValueError(f"a covariance needs two images; there is {self.num_images}")
    return self._scatter / (self.num_images - 1)


def _factor(cov: np.ndarray) -> np.ndarray:
  """F `[D, D]` with F F^T = cov, also where cov is singular."""
  values, vectors = np.linalg.eigh(cov)
  # What is below the rounding of the largest is nothing, but its root would be something.
  threshold = len(values) * np.finfo(np.float64).eps * np.abs(values).max()
  return vectors * np.sqrt(np.where(values > threshold, values, 0))


def _checked(mean, cov) -> tuple[np.ndarray, np.ndarray]:
  mean, cov = np.asarray(mean, np.float64), np.asarray(cov, np.float64)
  if mean.ndim != 1 or cov.shape != mean.shape * 2:
    raise ValueError(f"mean and covariance have shapes {mean.shape} and {cov.shape}; "
                     "they must be [D] and [D, D]")  # fmt: skip
  if not (np.isfinite(mean).all() and np.isfinite(cov).all()):
    raise ValueError("mean or covariance hold values that are not finite")
  return mean, cov


def frechet_distance(mean_a, cov_a, mean_b, cov_b) -> np.float64:
  """Squared Fréchet (2-Wasserstein) distance between two normal distributions.

  |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)) (Dowson & Landau 1982). With A = F F^T and
  B = G G^T, tr (A B)^(1/2) is the sum of the singular values of F^T G. So no matrix need be
  regular, and no root is taken of an eigenvalue of the product, where rounding of 1e-16 would
  become 1e-8.

  Args:
    mean_a, mean_b: `[D]`.
    cov_a, cov_b: symmetric `[D, D]`, perhaps singular.

  Returns:
    At least 0.

  Raises:
    ValueError: shapes that do not fit, or values that are not finite.
  """
  mean_a, cov_a = _checked(mean_a, cov_a)
  mean_b, cov_b = _checked(mean_b, cov_b)
  if len(mean_a) != len(mean_b):
    raise ValueError(f"cannot compare {len(mean_a)} features with {len(mean_b)}")
  overlap = np.linalg.svd(_factor(cov_a).T @ _factor(cov_b), compute_uv=False).sum()
  distance = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * overlap
  return np.maximum(distance, 0.0)  # equal distributions may come out below by rounding
