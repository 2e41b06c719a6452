"""MONet with the settings of Burgess et al. (2019, arXiv:1901.11390), not of the GENESIS paper.

`--config=configs/monet_burgess.py:clevr` for another data set. The paper has no numbers to compare
with.
"""

from configs.experiment import compose


def get_config(dataset: str = "multi_dsprites"):
  """No GECO, narrow pixel distributions, 1M steps of RMSProp on batches of 64."""
  config = compose("monet", dataset)
  config.model.pixel_std_first = 0.09
  config.model.pixel_std = 0.11
  config.objective.geco = False
  config.objective.beta = 0.5
  config.optimizer.name = "rmsprop"
  config.batch_size = 64
  config.num_steps = 1_000_000
  return config
