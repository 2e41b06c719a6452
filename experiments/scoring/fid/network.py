"""The Inception network on the device, and statistics of streams of images.

network = Network(weights.read(None), dim=2048, batch_size=64)
statistics = network.statistics(batches, num_images=10_000, what="features of samples")
"""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.reading.progress import telling, with_progress
from data_pipelines.stores.threads import made_ahead
from experiments.console.errors import UserError, explained
from experiments.scoring.fid.weights import Weights
from genesis_jax import fid


class Stopped(Exception):
  """Someone asked to end before all features were there."""


class Network:
  """Computes features in batches of one size.

  Args:
    weights: of the network.
    dim: number of features.
    batch_size: images at a time.
    should_stop: asked for each batch; if it says yes, `statistics` raises `Stopped`.

  Raises:
    UserError: naming the entry, if the weights are not those of the network.
  """

  def __init__(
    self,
    weights: Weights,
    dim: int,
    batch_size: int,
    should_stop: Callable[[], bool] = lambda: False,
  ):
    self.dim, self.batch_size, self._should_stop = dim, batch_size, should_stop
    self.sha256, self.published = weights.sha256, weights.published
    try:
      variables = fid.inception_from_torch(weights.state_dict)
    except ValueError as error:
      raise UserError(f"{weights.path}: {error}") from error
    self._variables = jax.device_put(variables)

  def _features(self, images: np.ndarray | jax.Array) -> jax.Array:
    """`[N, dim]`; a batch that is not full is filled up, so that one program serves all."""
    missing = self.batch_size - len(images)
    pad = np if isinstance(images, np.ndarray) else jnp
    full = pad.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else images
    return fid.features(self._variables, full, self.dim, self.batch_size)[: len(images)]

  def statistics(self, batches: Iterable, num_images: int, what: str) -> fid.Statistics:
    """Statistics of the features of all images.

    Args:
      batches: uint8 `[<= batch_size, S, S, 3]`, on the host or the device.
      num_images: how many there are, for the progress.
      what: is being done, for the progress.

    Raises:
      UserError: if features are not finite.
      Stopped: see `should_stop`.
    """
    statistics, count = fid.Statistics(self.dim), -(-num_images // self.batch_size)
    with telling(), explained():
      shown = with_progress(batches, count, what, f"x{self.batch_size} image")
      # The device works on the next ones while the host counts these.
      for features in made_ahead(map(self._features, shown)):
        if self._should_stop():
          raise Stopped
        statistics.update(features)
    return statistics
