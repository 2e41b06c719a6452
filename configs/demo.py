"""The demo: a small MONet that divides pictures of flat shapes into their objects in minutes.

Chosen because it shows a decomposition soonest on two CPU cores; GENESIS and GENESIS-V2 take far
more steps. Multi-dSprites at 32x32 (a rendered stand-in where the archive is not at hand), half the
published U-Net channels, a decoder of two layers, a learning rate ten times the published one, and
a constant beta. No published number belongs to it.

The pixel stds are larger than those of Burgess et al. (2019), 0.09 and 0.11: with these, slots that
are plain black and plain white explain each colour channel by itself, and a short training never
learns a hue.
"""

from configs.experiment import compose


def shorten(config) -> None:
  """Sets what training in minutes or hours, not days, needs: 32x32, larger stds, constant beta."""
  config.model.image_size = 32
  config.model.pixel_std_first = 0.3
  config.model.pixel_std = 0.3
  config.objective.geco = False
  config.objective.beta = 0.1
  config.objective.beta_warmup = False
  config.log_every = 50
  config.num_validation_images = 320
  config.keep_every = 0


def render_without_end(config) -> None:
  """Every image is rendered in the training step; 1,000 each are held back to validate and test."""
  config.data.source = "generator"
  config.data.num_val = 1_000
  config.data.num_test = 1_000


def get_config():
  """MONet on 32x32 sprites, 2,400 steps of 16 images, everything logged often."""
  config = compose("monet", "multi_dsprites")
  shorten(config)
  config.model.component_decoder_layers = 2
  config.model.num_slots = 5
  config.model.unet_channels = 16
  config.optimizer.learning_rate = 1e-3
  config.batch_size = 16
  config.num_steps = 2_400
  config.num_validation_images = config.test_images = 200  # all that its stand-in has
  config.images_every = 600
  config.validate_every = 600
  config.checkpoint_every = 200
  config.keep_every = 200  # 5 MB each: the film of `experiments.visualise` shows how it learns
  return config
