"""BD-VAE, a VAE with a spatial broadcast decoder (a baseline of GENESIS, ICLR 2020).

`--config=configs/bd_vae.py:gqn` for another data set. No published number is at hand.
"""

from configs.experiment import compose


def get_config(dataset: str = "multi_dsprites"):
  """The published settings but for the decoder, 500k steps."""
  config = compose("vae", dataset)
  config.model.broadcast_decoder = True
  return config
