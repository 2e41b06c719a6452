"""The grid of "Reconstruction Bottlenecks in Object-Centric Generative Models", on Objects Room.

Engelcke, Parker Jones, Posner, ICML workshop on Object-Oriented Learning 2020, arXiv:2007.06245:
how much a component's latent and decoder can reconstruct decides how GENESIS segments. The axes are
the paper's; the values along them are ours. Run the whole grid with

  python -m experiments.sweep --config=configs/bottlenecks.py --seeds=0,1,2
"""

from configs.experiment import compose

LATENT_DIMS = (4, 8, 16, 32, 64)
BROADCAST_CHANNELS = (16, 32, 64)


def get_config():
  """GENESIS, Objects Room, 64x64, 7 slots, 500k steps: the middle of the grid."""
  return compose("genesis", "objects_room")


def sweep() -> dict[str, dict]:
  """Name of each point -> its overrides; the symmetric decoder has one width only."""
  points = {}
  for latent_dim in LATENT_DIMS:
    for channels in BROADCAST_CHANNELS:
      points[f"broadcast_{channels}_latent_{latent_dim}"] = {
        "model.component_symmetric": False,
        "model.component_decoder_channels": channels,
        "model.component_latent_dim": latent_dim,
      }
    points[f"symmetric_latent_{latent_dim}"] = {
      "model.component_symmetric": True,
      "model.component_latent_dim": latent_dim,
    }
  return points
