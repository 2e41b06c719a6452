"""VAE on GQN rooms_ring_camera (a baseline of GENESIS, ICLR 2020).

No published number is at hand.
"""

from configs.experiment import compose


def get_config():
  """VAE, GQN rooms_ring_camera, 64x64, 500k steps."""
  return compose("vae", "gqn")
