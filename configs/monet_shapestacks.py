"""MONet on ShapeStacks (a baseline of GENESIS, ICLR 2020).

ARI-FG 0.70 and MSC-FG 0.57 over three seeds in the GENESIS-V2 paper (second-hand, to be checked).
"""

from configs.experiment import compose


def get_config():
  """MONet, ShapeStacks, 64x64, 9 slots, 500k steps."""
  return compose("monet", "shapestacks")
