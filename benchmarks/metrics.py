"""Images per second of the segmentation scores, against scikit-learn's ARI in a loop over images.

  python -m benchmarks.metrics
  python -m benchmarks.metrics --size=128 --batch=512 --true_segments=11 --slots=11

Both get numpy arrays of ids and give one number an image; medians of several rounds, which
alternate so that other load on the machine falls on both.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from data_pipelines.command_line import Parser, whole_number
from experiments.console import program

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.


def parse(argv: list[str] | None = None) -> argparse.Namespace:
  """Options; a mistake ends the program with status 2."""
  parser = Parser("benchmarks.metrics", __doc__)
  for name, least, default, what in (
    ("size", 8, 64, "image side"),
    ("batch", 1, 512, "images per call of ours"),
    ("true_segments", 1, 6, "segments per image, the background among them"),
    ("slots", 1, 6, "predicted segments per image"),
    ("loop", 1, 50, "images of a round of the loop"),
    ("rounds", 1, 7, "rounds to take the median of"),
  ):
    parser.add_argument(
      f"--{name}", type=whole_number(least), default=default, help=f"{what} ({default})"
    )
  return parser.parse_args(argv)


def segmentations(
  options: argparse.Namespace, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
  """Ids `[batch, size, size]` of blocks, and the same merged and with a fifth of them wrong."""
  size, slots, blocks = options.size, options.slots, -(-options.size // 8)
  true = rng.integers(0, options.true_segments, (options.batch, blocks, blocks))
  true = true.repeat(8, 1).repeat(8, 2)[:, :size, :size].astype(np.int32)
  wrong = rng.integers(0, slots, true.shape, np.int32)
  return true, np.where(rng.random(true.shape) < 0.2, wrong, true % slots)


def seconds(function: Callable[[], np.ndarray]) -> float:
  """Time of one call."""
  start = time.perf_counter()
  function()
  return time.perf_counter() - start


@program.entry
def main(argv: list[str]) -> None:
  """Prints images per second and their ratio."""
  options = parse(argv)
  import jax
  from sklearn.metrics import adjusted_rand_score

  from genesis_jax import contingency, metrics

  true, pred = segmentations(options, np.random.default_rng(0))

  def loop():
    pairs = zip(true[: options.loop], pred[: options.loop], strict=True)
    return np.array([adjusted_rand_score(t.ravel(), p.ravel()) for t, p in pairs])

  def everything():
    counts = contingency.contingency_tables(true, pred).astype(np.float64)
    return metrics.scores_of_counts(counts) | {"miou": metrics.mean_iou_of_counts(counts)}

  ours = {
    "ARI, batched": lambda: metrics.adjusted_rand_index(true, pred),
    "ARI, ARI-FG, MSC, MSC-FG, mIoU, batched": everything,
  }
  difference = np.abs(metrics.adjusted_rand_index(true, pred)[: options.loop] - loop()).max()
  everything()  # compiles
  rounds = [[seconds(loop), *map(seconds, ours.values())] for _ in range(options.rounds)]
  medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
  device = jax.devices()[0]
  size = f"{options.size}x{options.size}"
  print(f"{device.device_kind} ({device.platform}), jax {jax.__version__}: {size}, batches of "
        f"{options.batch}, median of {options.rounds} rounds")  # fmt: skip
  loop_rate = min(options.loop, options.batch) / medians[0]
  print(f"{'scikit-learn ARI, image by image':<42}{loop_rate:>12,.0f} images/s")
  for name, median in zip(ours, medians[1:], strict=True):
    rate = options.batch / median
    print(f"{name:<42}{rate:>12,.0f} images/s{rate / loop_rate:>8.0f} x")
  print(f"largest difference of the two ARIs: {difference:.1e}")


if __name__ == "__main__":
  program.run(main)
