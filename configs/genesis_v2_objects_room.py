"""GENESIS-V2 on Objects Room (NeurIPS 2021).

The released checkpoint has FID 53.2, ARI-FG 0.82 and MSC-FG 0.61. ARI-FG 0.84 and MSC-FG 0.58 over
three seeds in the paper (second-hand, to be checked).
"""

from configs.experiment import compose


def get_config():
  """GENESIS-V2, Objects Room, 64x64, 7 slots, 500k steps."""
  return compose("genesis_v2", "objects_room")
