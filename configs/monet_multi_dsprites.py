"""MONet on Multi-dSprites (a baseline of GENESIS, ICLR 2020): no published number is at hand."""

from configs.experiment import compose


def get_config():
  """MONet, Multi-dSprites, 64x64, 5 slots, 500k steps."""
  return compose("monet", "multi_dsprites")
