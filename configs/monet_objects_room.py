"""MONet on Objects Room (a baseline of GENESIS-V2).

ARI-FG 0.54 and MSC-FG 0.33 over three seeds (second-hand, to be checked).
"""

from configs.experiment import compose


def get_config():
  """MONet, Objects Room, 64x64, 7 slots, 500k steps."""
  return compose("monet", "objects_room")
