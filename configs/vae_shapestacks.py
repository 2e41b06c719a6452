"""VAE on ShapeStacks (a baseline of GENESIS, ICLR 2020): no published number is at hand."""

from configs.experiment import compose


def get_config():
  """VAE, ShapeStacks, 64x64, 500k steps."""
  return compose("vae", "shapestacks")
