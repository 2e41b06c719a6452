"""GENESIS on ShapeStacks (ICLR 2020).

ARI-FG 0.73 +- 0.03 and MSC-FG 0.60 +- 0.09 in the paper, which calls them ARI and MSC; the released
checkpoint has FID 235.4, ARI-FG 0.71 and MSC-FG 0.64, in an older table of its authors ARI-FG 0.57
and MSC-FG 0.72 (there under ARI and MSC too). ARI-FG 0.70 and MSC-FG 0.67 over three seeds in the
GENESIS-V2 paper (second-hand, to be checked).
"""

from configs.experiment import compose


def get_config():
  """GENESIS, ShapeStacks, 64x64, 9 slots, 500k steps."""
  return compose("genesis", "shapestacks")
