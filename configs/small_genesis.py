"""A small GENESIS that divides flat shapes and draws new scenes: two hours on one CPU core.

Multi-dSprites at 32x32, rendered without end in the training step, so that nothing is read. As
in `configs/demo.py` pixel stds and a constant beta are chosen for short training, and no
published number belongs to it. The model is the published one but for the size of the images and
component decoders of two layers. `examples/pretrained/genesis_multi_dsprites` is such a run.
"""

from configs.experiment import compose


def get_config():
  """GENESIS on 32x32 sprites, 20,000 steps of 8 images."""
  config = compose("genesis", "multi_dsprites")
  config.data.source = "generator"
  config.data.num_val = 1_000
  config.data.num_test = 1_000
  config.model.image_size = 32
  config.model.component_decoder_layers = 2
  config.model.pixel_std_first = 0.3
  config.model.pixel_std = 0.3
  config.objective.geco = False
  config.objective.beta = 0.1
  config.objective.beta_warmup = False
  config.optimizer.learning_rate = 5e-4
  config.batch_size = 8
  config.num_steps = 20_000
  config.log_every = 50
  config.images_every = 500
  config.validate_every = 1_000
  config.num_validation_images = 320
  config.checkpoint_every = 500
  config.keep_every = 0
  return config
