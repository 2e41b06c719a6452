"""GENESIS on GQN rooms (ICLR 2020): FID 80.5 in the paper, 79.4 for the released checkpoint."""

from configs.experiment import compose


def get_config():
  """GENESIS, rooms_ring_camera, 64x64, 7 slots, 500k steps."""
  return compose("genesis", "gqn")
