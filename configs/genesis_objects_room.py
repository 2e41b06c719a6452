"""GENESIS on Objects Room (a baseline of GENESIS-V2).

ARI-FG 0.63 and MSC-FG 0.53 over three seeds (second-hand, to be checked).
"""

from configs.experiment import compose


def get_config():
  """GENESIS, Objects Room, 64x64, 7 slots, 500k steps."""
  return compose("genesis", "objects_room")
