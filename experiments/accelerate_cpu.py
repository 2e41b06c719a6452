"""Faster convolutions on CPUs: an XLA flag that must be set before JAX is imported.

By default XLA hands convolutions on CPUs to kernels that use one core for most shapes. Leaving them
to Eigen's uses all cores, and makes a training step of these models about twice as fast.
"""

import importlib.metadata
import importlib.util
import os

FLAG = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"

# The flag is experimental, and XLA aborts the process on a flag that it does not know.
TESTED_JAXLIB = ("0.10.2",)


def only_cpu() -> bool:
  """Whether JAX will run on the CPU, as far as can be told without importing it."""
  platforms = os.environ.get("JAX_PLATFORMS", "")
  if platforms:
    return platforms == "cpu"
  plugins = importlib.metadata.entry_points(group="jax_plugins")
  return not plugins and importlib.util.find_spec("libtpu") is None


def set_flags() -> bool:
  """Adds `FLAG` to XLA_FLAGS where it is known to help; returns whether it did."""
  flags = os.environ.get("XLA_FLAGS", "")
  known = importlib.metadata.version("jaxlib") in TESTED_JAXLIB
  if not known or not only_cpu() or "xla_cpu_experimental_ynn_fusion_type" in flags:
    return False
  os.environ["XLA_FLAGS"] = f"{flags} {FLAG}".strip()
  return True
