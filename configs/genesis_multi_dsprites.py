"""GENESIS on Multi-dSprites (ICLR 2020).

FID 24.9 in the paper; the released checkpoint has FID 25.0, ARI-FG 0.57 and MSC-FG 0.69.
"""

from configs.experiment import compose


def get_config():
  """GENESIS, Multi-dSprites, 64x64, 5 slots, 500k steps."""
  return compose("genesis", "multi_dsprites")
