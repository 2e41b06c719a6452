"""GENESIS on APC (a baseline of GENESIS-V2): no published number is at hand."""

from configs.experiment import compose


def get_config():
  """GENESIS, APC, 128x128, 10 slots, 500k steps."""
  return compose("genesis", "apc")
