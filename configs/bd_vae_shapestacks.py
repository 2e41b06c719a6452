"""BD-VAE (spatial broadcast decoder) on ShapeStacks (a baseline of GENESIS, ICLR 2020).

No published number is at hand.
"""

from configs.experiment import compose


def get_config():
  """BD-VAE, ShapeStacks, 64x64, 500k steps."""
  config = compose("vae", "shapestacks")
  config.model.broadcast_decoder = True
  return config
