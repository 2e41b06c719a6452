"""GENESIS-V2 on APC (NeurIPS 2021): FID 232.2, ARI 0.55, MSC 0.65 (one run)."""

from configs.experiment import compose


def get_config():
  """GENESIS-V2, APC, 128x128, 10 slots, 500k steps."""
  return compose("genesis_v2", "apc")
