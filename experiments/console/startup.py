"""What a program does before it imports JAX or TensorFlow, and how much they may log.

  startup.use_huge_pages()      # first of all: may restart the program
  startup.prepare()
  import data_pipelines

By default XLA hands convolutions on CPUs to kernels that use one core for most shapes. Leaving them
to Eigen's uses all cores, and makes a training step of these models about twice as fast.

A step takes and returns gigabytes of memory, each time page by page. With pages of 2 MiB instead of
4 KiB it is a tenth faster.
"""

import contextlib
import gc
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import sys
from collections.abc import Iterator

from absl import logging

from data_pipelines.command_line import log_to_terminal, quieten_tensorflow

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


# On GPUs: convolutions and scatters that always sum in the same order, and no choice of algorithms
# by timing them. CPUs and TPUs are deterministic anyway.
DETERMINISM = "--xla_gpu_deterministic_ops=true"


def ask_for_determinism() -> None:
  """Adds `DETERMINISM` to XLA_FLAGS; call it before JAX is imported."""
  flags = os.environ.get("XLA_FLAGS", "")
  if DETERMINISM not in flags.split():
    os.environ["XLA_FLAGS"] = f"{flags} {DETERMINISM}".strip()


HUGE_PAGES = "glibc.malloc.hugetlb=1"
PAGES = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


def use_huge_pages() -> None:
  """Restarts the program, in the same process, with huge pages where they help and are available.

  Call it first, in a program run as `python -m`: nothing done before it is kept.
  """
  tunables = os.environ.get("GLIBC_TUNABLES", "")
  library, version = platform.libc_ver()
  known = library == "glibc" and tuple(map(int, version.split(".")[:2])) >= (2, 35)
  if not known or "hugetlb" in tunables or not only_cpu():
    return
  if not PAGES.exists() or "[madvise]" not in PAGES.read_text():
    return  # never, or always and without asking
  os.environ["GLIBC_TUNABLES"] = f"{tunables}:{HUGE_PAGES}".strip(":")
  os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _say_little() -> None:
  quieten_tensorflow()
  logging.set_verbosity(logging.WARNING)  # Orbax and CLU log at length
  log_to_terminal("%(levelname)s: %(message)s")


def stay_on_cpu() -> None:
  """In place of `prepare`, for programs that compute little: leaves accelerators to others."""
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  _say_little()


def prepare() -> None:
  """Sets what both read on import, makes them quiet, and hides GPUs from TensorFlow."""
  set_flags()
  _say_little()
  if importlib.util.find_spec("tensorflow"):
    with _importing("tensorflow"):
      import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # it only reads data: the memory is JAX's


@contextlib.contextmanager
def _importing(module: str) -> Iterator[None]:
  """Collects no garbage while a module is imported the first time, nor ever looks for any in it.

  There is none. Looking for it among 400,000 objects takes a fifth of the time of importing.
  """
  if module in sys.modules:
    yield
    return
  gc.disable()
  try:
    yield
  finally:
    gc.freeze()
    gc.enable()
