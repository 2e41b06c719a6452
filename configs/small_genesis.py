"""A small GENESIS that divides flat shapes and draws new scenes: two hours on one CPU core.

Multi-dSprites at 32x32, rendered without end in the training step, so that nothing is read. As
in `configs/demo.py` pixel stds and a constant beta are chosen for short training, and no
published number belongs to it. The model is the published one but for the size of the images and
component decoders of two layers. `examples/pretrained/genesis_multi_dsprites` is such a model,
trained for longer.
"""

from configs.demo import render_without_end, shorten
from configs.experiment import compose


def get_config():
  """GENESIS on 32x32 sprites, 20,000 steps of 8 images."""
  config = compose("genesis", "multi_dsprites")
  shorten(config)
  render_without_end(config)
  config.model.component_decoder_layers = 2
  config.optimizer.learning_rate = 5e-4
  config.batch_size = 8
  config.num_steps = 20_000
  config.images_every = 500
  config.validate_every = 1_000
  config.checkpoint_every = 500
  return config
