"""GENESIS on ShapeStacks (ICLR 2020).

ARI 0.73 +- 0.03 and MSC 0.60 +- 0.09 in the paper; the released checkpoint has FID 235.4, ARI 0.57,
MSC 0.72, ARI-FG 0.71, MSC-FG 0.64. ARI-FG 0.70 and MSC-FG 0.67 over three seeds in the GENESIS-V2
paper (second-hand, to be checked).
"""

from configs.experiment import compose


def get_config():
  """GENESIS, ShapeStacks, 64x64, 9 slots, 500k steps."""
  return compose("genesis", "shapestacks")
