"""How programs are compiled while tests run: quickly, for a few virtual devices of the CPU.

Nearly all of the tests' time is compiling. Without the backend's optimisations and without its
newer emitters of fused loops it takes a fifth of the time; in one piece, not in many side by side,
a quarter less of that.
"""

import importlib.metadata
import os

from experiments.console import startup

_FLAGS = "--xla_backend_optimization_level=0"
if importlib.metadata.version("jaxlib") in startup.TESTED_JAXLIB:  # XLA aborts on unknown flags
  _FLAGS += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
  # As programs add it. Flags are part of the keys of compiled programs: with those of a program
  # that a test calls, nothing that was compiled before it would be found again.
  _FLAGS += f" {startup.FLAG}"


def xla_flags(num_devices: int) -> str:
  """The value of XLA_FLAGS; JAX reads it when it is imported."""
  return f"--xla_force_host_platform_device_count={num_devices} {_FLAGS}"


def environment(num_devices: int = 1) -> dict[str, str]:
  """For a program in a process of its own."""
  return {**os.environ, "XLA_FLAGS": xla_flags(num_devices), "JAX_PLATFORMS": "cpu"}
