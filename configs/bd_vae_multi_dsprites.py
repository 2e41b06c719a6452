"""BD-VAE (spatial broadcast decoder) on Multi-dSprites (a baseline of GENESIS, ICLR 2020).

No published number is at hand.
"""

from configs.experiment import compose


def get_config():
  """BD-VAE, Multi-dSprites, 64x64, 500k steps."""
  config = compose("vae", "multi_dsprites")
  config.model.broadcast_decoder = True
  return config
