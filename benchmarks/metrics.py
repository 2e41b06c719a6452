"""Images per second of the segmentation scores, against scikit-learn's ARI in a loop over images.

  python -m benchmarks.metrics
  python -m benchmarks.metrics --size=128 --batch=512 --true_segments=11 --slots=11

Both get numpy arrays of ids and give one number an image; medians of several rounds, which
alternate so that other load on the machine falls on both.
"""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from absl import app, flags

SIZE = flags.DEFINE_integer("size", 64, "Image side.", lower_bound=8)
BATCH = flags.DEFINE_integer("batch", 512, "Images per call of ours.", lower_bound=1)
TRUE = flags.DEFINE_integer("true_segments", 6, "Segments per image, the background among them.")
SLOTS = flags.DEFINE_integer("slots", 6, "Predicted segments per image.")
LOOP = flags.DEFINE_integer("loop", 50, "Images of a round of the loop.", lower_bound=1)
ROUNDS = flags.DEFINE_integer("rounds", 7, "Rounds to take the median of.", lower_bound=1)


def segmentations(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
  """Ids `[batch, size, size]` of blocks, and the same merged and with a fifth of them wrong."""
  blocks = -(-SIZE.value // 8)
  true = rng.integers(0, TRUE.value, (BATCH.value, blocks, blocks)).repeat(8, 1).repeat(8, 2)
  true = true[:, : SIZE.value, : SIZE.value].astype(np.int32)
  wrong = rng.integers(0, SLOTS.value, true.shape, np.int32)
  return true, np.where(rng.random(true.shape) < 0.2, wrong, true % SLOTS.value)


def seconds(function: Callable[[], np.ndarray]) -> float:
  """Time of one call."""
  start = time.perf_counter()
  function()
  return time.perf_counter() - start


def main(argv):
  """Prints images per second and their ratio."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  try:
    from sklearn.metrics import adjusted_rand_score
  except ImportError:
    print("error: scikit-learn, which this compares with, is missing: pip install scikit-learn",
          file=sys.stderr)  # fmt: skip
    sys.exit(1)
  import jax

  from genesis_jax import contingency, metrics

  true, pred = segmentations(np.random.default_rng(0))

  def loop():
    pairs = zip(true[: LOOP.value], pred[: LOOP.value], strict=True)
    return np.array([adjusted_rand_score(t.ravel(), p.ravel()) for t, p in pairs])

  def everything():
    counts = contingency.contingency_tables(true, pred).astype(np.float64)
    return metrics.scores_of_counts(counts) | {"miou": metrics.mean_iou_of_counts(counts)}

  ours = {
    "ARI, batched": lambda: metrics.adjusted_rand_index(true, pred),
    "ARI, ARI-FG, MSC, MSC-FG, mIoU, batched": everything,
  }
  difference = np.abs(metrics.adjusted_rand_index(true, pred)[: LOOP.value] - loop()).max()
  everything()  # compiles
  rounds = [[seconds(loop), *map(seconds, ours.values())] for _ in range(ROUNDS.value)]
  medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
  device = jax.devices()[0]
  size = f"{SIZE.value}x{SIZE.value}"
  print(f"{device.device_kind} ({device.platform}), jax {jax.__version__}: {size}, batches of "
        f"{BATCH.value}, median of {ROUNDS.value} rounds")  # fmt: skip
  loop_rate = min(LOOP.value, BATCH.value) / medians[0]
  print(f"{'scikit-learn ARI, image by image':<42}{loop_rate:>12,.0f} images/s")
  for name, median in zip(ours, medians[1:], strict=True):
    rate = BATCH.value / median
    print(f"{name:<42}{rate:>12,.0f} images/s{rate / loop_rate:>8.0f} x")
  print(f"largest difference of the two ARIs: {difference:.1e}")


if __name__ == "__main__":
  app.run(main)
