"""A small GENESIS-V2 that finds the objects in rooms: an hour and a half on one CPU core.

Objects Room at 32x32, rendered without end in the training step. As with `configs/small_genesis.py`
no published number belongs to it. What makes it short, beside fewer features, fewer slots and ten
times the published learning rate:

- Rooms, not sprites. GENESIS-V2 does not see how bright an image is (see its class), and in
  sprites on a plain ground nothing tells; in rooms the sky does.
- The published pixel stds. With 0.3, as in the other small configurations, objects are found as
  soon but stay grey: a black and a white slot explain every colour between them.
- Little weight on the KL, which otherwise keeps latents empty for thousands of steps.

It begins to divide the rooms after 2,000 steps, and then in its decoded masks. Attention follows
where training goes on from there (`init_from`) with the KL of masks and more weight on the KL, and
smaller pixel stds sharpen the objects then. So was `examples/pretrained/genesis_v2_objects_room`
trained, in some 3.3 hours; benchmarks/RESULTS.md has the commands.
"""

from configs.demo import render_without_end, shorten
from configs.experiment import compose


def get_config():
  """GENESIS-V2 on 32x32 rooms, 30,000 steps of 8 images, fifty to a call."""
  config = compose("genesis_v2", "objects_room")
  shorten(config)
  render_without_end(config)
  config.model.feature_dim = 32
  config.model.num_slots = 5
  config.model.pixel_std_first = 0.7
  config.model.pixel_std = 0.7
  config.objective.beta = 0.002
  config.optimizer.learning_rate = 1e-3
  config.optimizer.schedule = "cosine"
  config.batch_size = 8
  config.num_steps = 30_000
  config.steps_per_call = 50
  config.log_every = 200
  config.images_every = 4_000
  config.validate_every = 2_000
  config.checkpoint_every = 1_000
  return config
