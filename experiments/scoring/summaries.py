"""Summaries of scores that were measured image by image, and tables of them for people.

  summary(values)                    # {"mean", "standard_error", ...} of [R,N] numbers
  bootstrap(values, resamples)       # 95% interval of the mean
  print(text_table([["score", "mean"], ["ARI", "0.5"]]))

NaN marks a score that an image does not have: means leave it out.
"""

import csv
import io
import math
from collections.abc import Sequence

import numpy as np

from data_pipelines.command_line import text_table as text_table

INTERVAL = (2.5, 97.5)  # percent: a 95% interval


def _or_none(value: float) -> float | None:
  return float(value) if math.isfinite(value) else None


def mean_and_spread(values: Sequence[float]) -> tuple[float | None, float | None]:
  """Mean and sample standard deviation (n - 1); None where there are too few numbers."""
  known = np.asarray(values, np.float64)
  known = known[np.isfinite(known)]
  mean = known.mean() if known.size else math.nan
  return _or_none(mean), _or_none(known.std(ddof=1) if known.size > 1 else math.nan)


def summary(values: np.ndarray) -> dict[str, float | int | None]:
  """Of scores `[R,N]` of N images, each measured R times.

  Returns:
    mean: over images and repeats.
    standard_error: of the mean, from how images differ; of their means over repeats.
    std_images: standard deviation of the images.
    std_noise: standard deviation over repeats of the mean over images; None for R = 1.
    num_images: with a score.
  """
  per_image = values.mean(0)
  mean, std = mean_and_spread(per_image)
  count = int(np.isfinite(per_image).sum())
  by_repeat = [mean_and_spread(row)[0] for row in values]
  return dict(
    mean=mean,
    standard_error=None if std is None else std / math.sqrt(count),
    std_images=std,
    std_noise=mean_and_spread(by_repeat)[1] if len(values) > 1 and mean is not None else None,
    num_images=count,
  )


def resample(num_images: int, num_bootstrap: int, seed: int) -> np.ndarray:
  """How often each bootstrap sample has each image; int32 `[num_bootstrap, num_images]`."""
  rng = np.random.default_rng(seed)
  equal = np.full(num_images, 1 / num_images)
  return rng.multinomial(num_images, equal, num_bootstrap).astype(np.int32)


def bootstrap(values: np.ndarray, resamples: np.ndarray) -> tuple[float | None, float | None]:
  """Percentile interval of the mean of scores `[N]` over images drawn with replacement."""
  known = np.isfinite(values)
  counts = resamples @ known.astype(np.float64)
  sums = resamples @ np.where(known, values, 0.0)
  if not (counts > 0).any():
    return None, None
  low, high = np.percentile(sums[counts > 0] / counts[counts > 0], INTERVAL)
  return float(low), float(high)


def number(value: float | None, digits: int = 4) -> str:
  """For people, never as 3.6e+02; "-" for None."""
  if value is None:
    return "-"
  return f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def plus_minus(mean: float | None, std: float | None) -> str:
  """Mean ± standard deviation for people; the mean alone without one, "" without a mean."""
  if mean is None:
    return ""
  return number(mean) if std is None else f"{number(mean)} ± {number(std, 2)}"


def markdown_table(rows: list[list[str]]) -> str:
  """A table in Markdown; the first row is the head."""
  head, *body = rows
  return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body))


def csv_text(head: list[str], rows: list[list]) -> str:
  """A table as CSV; None and NaN are empty."""
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(head)
  for row in rows:
    writer.writerow(["" if x is None or x != x else x for x in row])
  return text.getvalue()
