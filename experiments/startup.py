"""What a program does before it imports JAX or TensorFlow.

startup.prepare()
import data_pipelines
"""

import importlib.util
import os

from absl import logging

from experiments import accelerate_cpu


def prepare() -> None:
  """Sets what both read when they are imported, silences them, and hides GPUs from TensorFlow."""
  accelerate_cpu.set_flags()
  logging.set_verbosity(logging.WARNING)  # Orbax and CLU log at length
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
  if importlib.util.find_spec("tensorflow"):
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # it only reads data: the memory is JAX's
