"""Definitions of segmentation scores in the codebases that papers take them from, side by side.

  counts = contingency_tables(true_ids, pred_ids).astype(np.float64)
  for protocol in PROTOCOLS:
    protocol.scores(counts, num_background=1)     # name -> [N], NaN where it is undefined

Re-stated from what the code does, not from what the papers say of it. Scores with one name differ
between protocols, which is what this is for.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from genesis_jax import metrics

Counts = Float[np.ndarray, "N 1+T P"]  # see genesis_jax/contingency.py; row 0 is to be ignored
Scores = dict[str, Float[np.ndarray, "N"]]


@dataclasses.dataclass(frozen=True)
class Protocol:
  """One codebase's definitions.

  Attributes:
    name: short, for tables and JSON.
    source: the repository.
    difference: in one line, what is special about it.
    definitions: score -> what it is.
    scores: (counts, num_background) -> score -> `[N]`.
  """

  name: str
  source: str
  difference: str
  definitions: dict[str, str]
  scores: Callable[[Counts, int], Scores]


def _rand_indices(counts: Counts, num_background: int = 1) -> Scores:
  """Over pixels that are not to be ignored, and of those over the foreground."""
  return {
    "ARI": metrics.ari_of_counts(counts[:, 1:]),
    "ARI-FG": metrics.ari_of_counts(counts[:, 1 + num_background :]),
  }


def genesis(counts: Counts, num_background: int) -> Scores:
  """The original code of GENESIS and GENESIS-V2."""
  del num_background  # id 0, always
  return _rand_indices(counts) | {
    "ARI": metrics.ari_of_counts(counts),
    "MSC": metrics.covering_of_counts(counts),
    "MSC-FG": metrics.covering_of_counts(counts, first=1),
    "MSC scaled": metrics.covering_of_counts(counts, scaled=True),
    "MSC-FG scaled": metrics.covering_of_counts(counts, first=1, scaled=True),
  }


def object_centric_library(counts: Counts, num_background: int) -> Scores:
  """The Object-Centric Library (Dittadi et al. 2022)."""
  return _rand_indices(counts, num_background) | {
    "mSC": metrics.covering_of_counts(counts),
    "mSC-FG": metrics.covering_of_counts(counts, first=num_background),
    "SC": metrics.covering_of_counts(counts, scaled=True),
    "SC-FG": metrics.covering_of_counts(counts, first=num_background, scaled=True),
  }


def _over_true(ious: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Means over true segments of the matched and of the best IoU; `[N]` both."""
  true, pred = np.moveaxis(metrics.matched(ious), -1, 0)
  total = ious[np.arange(len(ious))[:, None], true, pred].sum(1)
  number = np.where(there.any(1), there.sum(1), np.nan)
  return total / number, (ious.max(2, initial=0) * there).sum(1) / number


def object_centric_framework(counts: Counts, num_background: int) -> Scores:
  """The Object-Centric Learning Framework (Seitzer et al. 2023)."""
  del num_background
  scores, counts = _rand_indices(counts), counts[:, 1:]
  ious, there = metrics.ious_of_counts(counts), counts.sum(2) > 0
  scores["mIoU"], scores["mBO"] = _over_true(ious, there)
  scores["mIoU-FG"], scores["mBO-FG"] = _over_true(ious[:, 1:], there[:, 1:])
  return scores


def _last(there: np.ndarray) -> np.ndarray:
  """Largest id that has pixels; `[N, 1]`."""
  return there.shape[1] - 1 - there[:, ::-1].argmax(1, keepdims=True)


def clevrtex(counts: Counts, num_background: int) -> Scores:
  """The evaluation that came with ClevrTex (Karazija et al. 2021)."""
  del num_background
  scores, counts = _rand_indices(counts), metrics.squared(counts[:, 1:])
  pred = metrics.matched(metrics.ious_of_counts(counts))[:, :, 1]
  counts = np.take_along_axis(counts, pred[:, None, :], 2)  # predictions numbered as their partners
  ious, true_there, pred_there = (
    metrics.ious_of_counts(counts),
    counts.sum(2) > 0,
    counts.sum(1) > 0,
  )
  own = np.diagonal(ious, axis1=1, axis2=2)
  num_pairs = (true_there | pred_there).sum(1)
  # Their loops over ids end one too early, in both segmentations.
  ids = np.arange(counts.shape[1])
  weights = counts.sum(2) * (ids < _last(true_there))
  best = (ious * (ids < _last(pred_there))[:, None]).max(2)
  with np.errstate(invalid="ignore", divide="ignore"):
    return scores | {
      "mIoU": own.sum(1) / num_pairs,
      "mIoU-FG": np.where(num_pairs > 1, own[:, 1:].sum(1) / (num_pairs - 1), np.nan),
      "mIoU-GT": own.sum(1) / true_there.sum(1),
      "mSC": (weights * best).sum(1) / weights.sum(1),
    }


def savi(counts: Counts, num_background: int) -> Scores:
  """SAVi (Kipf et al. 2022), for videos of one frame."""
  del num_background
  return _rand_indices(counts)


_ARI = "adjusted Rand index over all pixels but ignored ones"
_ARI_FG = "the same over pixels with true id > 0; 1 where there is none"
_MATCHED = "Hungarian matching of predicted and true segments, background included; mean IoU over "

PROTOCOLS = (
  Protocol(
    "GENESIS",
    "github.com/applied-ai-lab/genesis",
    "to its ARI, ignored pixels are one more true segment; its covering leaves them out, and is a "
    "plain mean over true segments",
    {
      "ARI": "adjusted Rand index over all pixels, ignored ones as a segment of their own",
      "ARI-FG": _ARI_FG,
      "MSC": "best IoU of each true segment, plain mean; 0 where there is none",
      "MSC-FG": "the same over true ids > 0",
      "MSC scaled": "MSC weighted by the area of the true segments",
      "MSC-FG scaled": "MSC-FG weighted by area",
    },
    genesis,
  ),
  Protocol(
    "OCL",
    "github.com/addtt/object-centric-library",
    "what it reports as ARI, mSC and SC is over the foreground (here -FG), which begins at id "
    "--background_ids; the formulas are those of GENESIS, but its data has no pixels to ignore: "
    "they are left out here",
    {
      "ARI": _ARI,
      "ARI-FG": "the same over pixels with true id >= --background_ids; 1 where there is none",
      "mSC": "best IoU of each true segment, plain mean (mean_segcover); 0 where there is none",
      "mSC-FG": "the same over true ids >= --background_ids",
      "SC": "mSC weighted by the area of the true segments (scaled_segcover)",
      "SC-FG": "mSC-FG weighted by area",
    },
    object_centric_library,
  ),
  Protocol(
    "OCLF",
    "github.com/amazon-science/object-centric-learning-framework",
    "its mIoU divides by the true segments alone: one without a partner counts 0, but predicted "
    "segments to spare cost nothing; images without a true segment do not count",
    {
      "ARI": _ARI,
      "ARI-FG": _ARI_FG,
      "mIoU": _MATCHED + "true segments",
      "mBO": "best IoU of each true segment, plain mean (the covering of GENESIS by another name)",
      "mIoU-FG": "mIoU with true ids > 0 alone, in matching too",
      "mBO-FG": "mBO over true ids > 0",
    },
    object_centric_framework,
  ),
  Protocol(
    "ClevrTex",
    "github.com/karazijal/clevrtex",
    "its mIoU divides by the pairs visible in either segmentation, so that predicted segments to "
    "spare cost something; its mSC is weighted by area and leaves out the last true id of each "
    "image and the last predicted one; pairs without overlap are as scipy orders them",
    {
      "ARI": _ARI,
      "ARI-FG": _ARI_FG,
      "mIoU": _MATCHED + "pairs of which either is visible",
      "mIoU-FG": "the same sum without the pair of true id 0, over one pair less (even where id 0 "
      "has no pixel, so that it can be above 1)",
      "mIoU-GT": _MATCHED + "true segments",
      "mSC": "best IoU of true segments, weighted by area, without the last id of each image in "
      "either segmentation; undefined where id 0 is the only one",
    },
    clevrtex,
  ),
  Protocol(
    "SAVi",
    "github.com/google-research/slot-attention-video",
    "ARI alone, ignored pixels left out; of videos it is one index over all frames, and here each "
    "image is a video of one frame",
    {"ARI": _ARI, "ARI-FG": _ARI_FG},
    savi,
  ),
)
