"""GENESIS-V2 on ShapeStacks (NeurIPS 2021).

The released checkpoint has FID 108.1, ARI-FG 0.80 and MSC-FG 0.66. ARI-FG 0.81 and MSC-FG 0.68 over
three seeds in the paper (second-hand, to be checked).
"""

from configs.experiment import compose


def get_config():
  """GENESIS-V2, ShapeStacks, 64x64, 9 slots, 500k steps."""
  return compose("genesis_v2", "shapestacks")
