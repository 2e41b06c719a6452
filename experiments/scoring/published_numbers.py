"""Published scores of the GENESIS family, as data.

  for row in on("shapestacks"):
    print(row.method, row.source, row.scores["ari_fg"])

FID compares 10,000 test images with 10,000 samples; segmentation scores are means over 320 test
images. Data sets have the names of `configs.datasets`. No source here has mIoU yet.
"""

import dataclasses
from collections.abc import Mapping

from experiments.scoring import scores
from experiments.scoring.scores import named

NUM_FID_IMAGES = 10_000
NUM_SEGMENTATION_IMAGES = 320

RELEASED = "released checkpoint"
RELEASED_BEFORE = "released checkpoint, older table"
GENESIS_PAPER = "GENESIS paper"
GENESIS_V2_PAPER = "GENESIS-V2 paper"

# Names of `configs.models` -> names in the literature.
METHODS = {"genesis": "GENESIS", "genesis_v2": "GENESIS-V2", "monet": "MONet", "vae": "VAE"}


@dataclasses.dataclass(frozen=True)
class Row:
  """What one source says of one method on one data set.

  Attributes:
    method: as in the literature.
    data: data set and, unless it is the default, nothing else.
    variant: of the data set that the numbers are about.
    source: who published them.
    note: over how many runs, and how far to trust it.
    scores: metric -> (mean, standard deviation over runs or None).
  """

  method: str
  data: str
  variant: str
  source: str
  note: str
  scores: Mapping[str, tuple[float, float | None]]


# An older table of the original repository, with the paper's scores in brackets, had the heads
# "ARI" and "MSC". Its script of that time scored the foreground alone.
CALLED_ARI = "called ARI and MSC there, but of the foreground"


def _released(method: str, data: str, variant: str, **scores: float) -> Row:
  note = "one run, as reported in the original repository"
  return Row(method, data, variant, RELEASED, note, {k: (v, None) for k, v in scores.items()})


def _v2_paper(method: str, data: str, variant: str, ari_fg: float, msc_fg: float) -> Row:
  note = "three seeds; second-hand, to be checked before it is quoted"
  scores = {"ari_fg": (ari_fg, None), "msc_fg": (msc_fg, None)}
  return Row(method, data, variant, GENESIS_V2_PAPER, note, scores)


ROWS = (
  _released("GENESIS", "multi_dsprites", "default", fid=25.0, ari_fg=0.57, msc_fg=0.69),
  Row("GENESIS", "multi_dsprites", "default", GENESIS_PAPER, "mean over runs",
      {"fid": (24.9, None)}),
  _released("GENESIS", "gqn", "rooms_ring_camera", fid=79.4),
  Row("GENESIS", "gqn", "rooms_ring_camera", GENESIS_PAPER, "mean over runs",
      {"fid": (80.5, None)}),
  _released("GENESIS", "shapestacks", "default",
            fid=235.4, ari_fg=0.71, msc_fg=0.64),
  Row("GENESIS", "shapestacks", "default", RELEASED_BEFORE, f"one run; {CALLED_ARI}",
      {"ari_fg": (0.57, None), "msc_fg": (0.72, None)}),
  Row("GENESIS", "shapestacks", "default", GENESIS_PAPER,
      f"mean and standard deviation over runs; {CALLED_ARI}",
      {"ari_fg": (0.73, 0.03), "msc_fg": (0.60, 0.09)}),
  _released("GENESIS-V2", "shapestacks", "default", fid=108.1, ari_fg=0.80, msc_fg=0.66),
  _released("GENESIS-V2", "objects_room", "train", fid=53.2, ari_fg=0.82, msc_fg=0.61),
  _released("GENESIS-V2", "sketchy", "default", fid=212.7),
  _released("GENESIS-V2", "apc", "default", fid=232.2, ari=0.55, msc=0.65),
  _v2_paper("GENESIS-V2", "objects_room", "train", 0.84, 0.58),
  _v2_paper("GENESIS", "objects_room", "train", 0.63, 0.53),
  _v2_paper("MONet", "objects_room", "train", 0.54, 0.33),
  _v2_paper("Slot Attention", "objects_room", "train", 0.79, 0.64),
  _v2_paper("GENESIS-V2", "shapestacks", "default", 0.81, 0.68),
  _v2_paper("GENESIS", "shapestacks", "default", 0.70, 0.67),
  _v2_paper("MONet", "shapestacks", "default", 0.70, 0.57),
  _v2_paper("Slot Attention", "shapestacks", "default", 0.76, 0.70),
)  # fmt: skip


def metrics() -> list[str]:
  """Names of the scores that stand beside the literature."""
  return named(scores.by_name(), scores.PUBLISHED)


def on(data: str, variant: str | None = None) -> list[Row]:
  """All rows about a data set, of one variant where it is given."""
  return [row for row in ROWS if row.data == data and variant in (None, row.variant)]
