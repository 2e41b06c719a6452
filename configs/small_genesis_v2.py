"""A small GENESIS-V2 that finds flat shapes: minutes on a GPU, days on a CPU.

As `configs/small_genesis.py`: Multi-dSprites at 32x32, rendered without end in the training step,
with pixel stds and a constant beta for short training. No published number belongs to it. The
model is the published one but for the size of the images. It begins to divide them after some
10,000 steps, and then in its decoded masks: those of the attention stay coarse.
"""

from configs.demo import shorten
from configs.experiment import compose


def get_config():
  """GENESIS-V2 on 32x32 sprites, 40,000 steps of 64 images, a hundred to a call."""
  config = compose("genesis_v2", "multi_dsprites")
  shorten(config)
  config.data.source = "generator"
  config.data.num_val = 1_000
  config.data.num_test = 1_000
  config.model.dtype = "bfloat16"
  config.optimizer.learning_rate = 5e-4
  config.batch_size = 64
  config.num_steps = 40_000
  config.steps_per_call = 100
  config.log_every = 500
  config.images_every = 5_000
  config.validate_every = 5_000
  config.checkpoint_every = 5_000
  return config
