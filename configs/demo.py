"""A small GENESIS that shows on a laptop's CPU in minutes what training looks like.

Trained on published GQN records where `data.data_dir` has some, else on rendered scenes. No
published number belongs to it.
"""

from configs.experiment import compose


def get_config():
  """GENESIS with fewer slots and narrower layers, a short run, everything logged often."""
  config = compose("genesis", "gqn")
  config.model.image_size = 32
  config.model.num_slots = 5
  config.model.mask_latent_dim = 32
  config.batch_size = 16
  config.num_steps = 1_500
  config.optimizer.learning_rate = 3e-4
  config.objective.step_size = 1e-4  # ten times the published one: a hundredth of the steps
  config.log_every = 25
  config.images_every = 500
  config.validate_every = 500
  config.num_validation_images = 320
  config.checkpoint_every = 250
  config.keep_every = 0
  return config
