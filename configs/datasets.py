"""What is read and how: one function per data set, with the same fields everywhere."""

import ml_collections
from ml_collections import config_dict


def _common(name: str, variant: str) -> dict:
  return dict(
    name=name,
    variant=variant,
    data_dir=config_dict.placeholder(str),  # unset: look under data/, else render a stand-in
    resize="nearest",  # nearest (as the original), bilinear (antialiased), area
    on_corrupt="error",  # or skip: leave out broken records and count them
    limit=0,  # at most so many images of a split; 0: all
    shuffle_buffer=10_000,  # encoded records
    num_val=10_000,  # leading images of single-file sets; GQN splits by file
    num_test=10_000,
    standin_scenes=2_000,  # size of the rendered stand-in
  )


def gqn() -> ml_collections.ConfigDict:
  """GQN scenes (Eslami et al. 2018); `variant` names one of the seven published sets."""
  return ml_collections.ConfigDict(_common("gqn", "rooms_ring_camera"))


DATASETS = {"gqn": gqn}

# Image side and number of slots of the published experiments.
IMAGE_SIZE = {"gqn": 64}
NUM_SLOTS = {"gqn": 7}
