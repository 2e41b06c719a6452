"""The order of images that are found by number: a function of seed and epoch alone.

The order of an epoch is `numpy.random.default_rng([seed, epoch]).permutation(num)`, or 0 to num - 1
where nothing is shuffled, so that any batch is found without drawing those before it.
"""

import numpy as np

KEPT_ORDERS = 3  # epochs whose order is remembered; batches near a border need two


class Order:
  """Which image comes when, over endless epochs; safe to use from several threads.

  Args:
    num: of images.
    seed: of the shuffling.
    shuffle: False: all epochs count up.
  """

  def __init__(self, num: int, seed: int, shuffle: bool = True):
    self._num, self._seed, self._shuffle = num, seed, shuffle
    self._orders: dict[int, np.ndarray] = {}

  def of_epoch(self, epoch: int) -> np.ndarray:
    """Numbers of all images as they come in an epoch."""
    if not self._shuffle:
      epoch = 0  # all are alike
    order = self._orders.get(epoch)
    if order is None:
      order = np.arange(self._num)
      if self._shuffle:
        order = np.random.default_rng([self._seed, epoch]).permutation(self._num)
      kept = list(self._orders.items())[: KEPT_ORDERS - 1]
      self._orders = dict([(epoch, order), *kept])  # replaced at once: other threads read it
    return order

  def numbers(self, begin: int, end: int) -> np.ndarray:
    """Numbers of the images at the positions from `begin` to before `end`, over all epochs."""
    parts = [np.zeros(0, np.int64)]
    while begin < end:
      epoch, first = divmod(begin, self._num)
      parts.append(self.of_epoch(epoch)[first : first + end - begin])
      begin += len(parts[-1])
    return np.concatenate(parts)
