"""VAE on Multi-dSprites (a baseline of GENESIS, ICLR 2020): no published number is at hand."""

from configs.experiment import compose


def get_config():
  """VAE, Multi-dSprites, 64x64, 500k steps."""
  return compose("vae", "multi_dsprites")
