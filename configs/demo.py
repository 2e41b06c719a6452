"""The demo: a small MONet that divides rendered rooms into objects, sky and ground in minutes.

Chosen because it shows a decomposition soonest on two CPU cores; GENESIS and GENESIS-V2 take far
more steps. 32x32 images, half the published channels, the pixel stds and the constant beta of
Burgess et al. (2019), and a learning rate ten times the published one. No published number belongs
to it: 2,800 steps outline the objects and learn some of their colours.
"""

from configs.experiment import compose


def get_config():
  """MONet on 32x32 rooms, 2,800 steps of 16 images, everything logged often."""
  config = compose("monet", "gqn")
  config.model.image_size = 32
  config.model.num_slots = 5
  config.model.unet_channels = 16
  config.model.component_encoder_channels = 16
  config.model.component_decoder_channels = 16
  config.model.pixel_std_first = 0.09
  config.model.pixel_std = 0.11
  config.objective.geco = False
  config.objective.beta = 0.5
  config.objective.beta_warmup = False
  config.optimizer.learning_rate = 1e-3
  config.batch_size = 16
  config.num_steps = 2_800
  config.log_every = 50
  config.images_every = 700
  config.validate_every = 700
  config.num_validation_images = 320
  config.checkpoint_every = 400
  config.keep_every = 0
  return config
