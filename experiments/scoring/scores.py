"""All scores of a model: names, units, what they mean, which way is better, where they appear.

  score("ari_fg").label, definition("ari_fg")     # also of decoded masks ("ari_fg_r")
  named(values, TABLE)                            # names of some values, in the order of tables
  segmentation()["miou"].of_counts(tables)        # one score of contingency tables

A new score is a function and a row: of segments `of_counts`, of other things an entry of
`genesis_jax.training.image_scalars`. The KLs of a model need nothing: any `kl_<name>` has a row.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable

from genesis_jax import metrics

# Where a score appears.
TABLE = "table"  # of evaluate, and of the report
SWEEP = "sweep"  # tables of sweeps
LINE = "line"  # what training says of a validation, and at its end
PUBLISHED = "published"  # beside the literature
SHIFTS = "shifts"  # away from the training distribution
USUAL = (TABLE, SWEEP, LINE, PUBLISHED)
EVERYWHERE = (*USUAL, SHIFTS)

DECODED = "_r"  # ends the names of scores of decoded masks, in place of attention masks


@dataclasses.dataclass(frozen=True)
class Score:
  """One score.

  Attributes:
    name: in files.
    label: for people.
    definition: what it is.
    unit: "" for a pure number.
    better: "lower" or "higher"; "" where neither is.
    places: where it appears.
    of_counts: of segments: contingency tables `[B,1+T,K]` of floats -> `[B]`.
    on_host: whether `of_counts` takes numpy arrays alone.
    of_likelihood: whether only models with one likelihood compare: the same pixel stds.
  """

  name: str
  label: str
  definition: str
  unit: str = ""
  better: str = ""
  places: tuple[str, ...] = ()
  of_counts: Callable | None = None
  on_host: bool = False
  of_likelihood: bool = False


_IMAGE = "of true ids and the slots that win each pixel"
ROWS = (
  Score("fid", "FID",
        "squared Frechet distance between normal fits to Inception features (network of 2015-12-05 "
        "in its FID variant) of test images and of as many samples; images resized to 299 bilinear "
        "with half-pixel centres, not antialiased; samples quantised to uint8 by truncation",
        better="lower", places=(PUBLISHED,)),
  Score("elbo", "negative ELBO", "err + kl: the negative evidence lower bound", "nats per image",
        "lower", (TABLE, SWEEP, LINE), of_likelihood=True),
  Score("err", "error", "negative log-likelihood of the image, with one draw of the latents",
        "nats per image", "lower", (TABLE,), of_likelihood=True),
  Score("err_element", "error per pixel and channel", "err per pixel and channel",
        "nats per pixel and channel", "lower", (SWEEP, LINE), of_likelihood=True),
  Score("kl", "KL", "sum of all KLs", "nats per image", "", (TABLE, SWEEP, LINE)),
  Score("kl_latent", "KL of latents", "KL of the latents", "nats per image", "", (TABLE,)),
  Score("mse", "MSE",
        "mean squared error of the reconstruction over pixels and channels, colours in [0, 1] "
        "(the tables of ClevrTex sum over them: 3 S^2 times as much)",
        better="lower", places=(TABLE, SWEEP, LINE, SHIFTS)),
  Score("rmse", "RMSE", "square root of mse, per image", better="lower"),
  Score("ari_fg", "ARI-FG",
        f"ARI-FG: adjusted Rand index {_IMAGE}, over pixels with a true id > 0; 1 where there is "
        "none", better="higher", places=EVERYWHERE,
        of_counts=lambda counts: metrics.ari_of_counts(counts[:, 2:])),
  Score("msc_fg", "MSC-FG",
        "MSC-FG: plain mean over true segments with an id > 0 of the best IoU with any slot, "
        "ignored pixels left out; 0 where there is none", better="higher", places=EVERYWHERE,
        of_counts=functools.partial(metrics.covering_of_counts, first=1)),
  Score("ari", "ARI",
        f"ARI, GENESIS' definition: adjusted Rand index {_IMAGE}, ignored ones as one segment",
        better="higher", places=USUAL, of_counts=metrics.ari_of_counts),
  Score("msc", "MSC",
        "MSC, GENESIS' definition: plain mean over true segments of the best IoU with any slot, "
        "ignored pixels left out", better="higher", places=USUAL,
        of_counts=metrics.covering_of_counts),
  Score("miou", "mIoU",
        "mIoU, ClevrTex's definition: slots and true segments (background included) matched one to "
        "one by the Hungarian method, mean IoU over pairs visible in either",
        better="higher", places=(TABLE, PUBLISHED, SHIFTS), of_counts=metrics.mean_iou_of_counts,
        on_host=True),
  Score("miou_true", "mIoU over true segments",
        "mIoU over true segments: the same, but the mean is over true segments alone",
        better="higher", places=(TABLE,), on_host=True,
        of_counts=functools.partial(metrics.mean_iou_of_counts, over="true")),
  Score("slots_used", "slots used", "slots that win at least 1% of the pixels"),
  Score("largest_slot", "largest slot", "share of the pixels that the slot with most of them wins"),
  Score("mask_entropy", "entropy of masks",
        "mean over pixels of the entropy of the attention masks", "nats"),
)  # fmt: skip


def by_name() -> dict[str, Score]:
  """All rows, in their order."""
  return {row.name: row for row in ROWS}


def segmentation() -> dict[str, Score]:
  """Rows of the scores that need true segments."""
  return {row.name: row for row in ROWS if row.of_counts}


def is_segmentation(name: str) -> bool:
  """Whether a score needs true segments; also one of decoded masks."""
  return name.removesuffix(DECODED) in segmentation()


def score(name: str) -> Score:
  """The row of a score, of any KL, or of a value that nobody described."""
  rows = by_name()
  if name in rows:
    return rows[name]
  if is_segmentation(name):
    row = rows[name.removesuffix(DECODED)]
    return dataclasses.replace(
      row,
      name=name,
      label=f"{row.label}, decoded masks",
      definition=f"{row.name} of the decoded masks in place of the attention masks",
      places=tuple(place for place in row.places if place in (TABLE, SWEEP)),
    )
  if name.startswith("kl_"):
    latent = name.removeprefix("kl_")
    words = f"KL of the {latent} latents, summed over slots"
    return Score(name, f"KL of {latent}s", words, "nats per image", "", (TABLE,))
  return Score(name, name, name)


def label(name: str) -> str:
  """A score's name for people."""
  return score(name).label


def definition(name: str) -> str:
  """What a score means, its unit, and which way is better."""
  row = score(name)
  text = f"{row.definition}, {row.unit}" if row.unit else row.definition
  return f"{text} ({row.better} is better)" if row.better else text


def _place_in_order(name: str) -> tuple[bool, float, str]:
  order = {row: number for number, row in enumerate(by_name())}
  kl = order["kl"] + 0.5 if name.startswith("kl_") else len(order)
  decoded = name not in order and is_segmentation(name)
  stem = name.removesuffix(DECODED) if decoded else name
  return decoded, order.get(stem, kl), name


def named(names: Iterable[str], *places: str) -> list[str]:
  """Those of some names that appear at one of some places, in order; decoded masks come last."""
  there = (name for name in names if set(places) & set(score(name).places))
  return sorted(there, key=_place_in_order)
