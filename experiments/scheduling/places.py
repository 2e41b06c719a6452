"""Where programs train side by side: accelerators of this machine, or shares of its cores.

  for place in places.found(jobs="auto", per_device=1):
    with place.on_its_cores():
      subprocess.Popen(command, env=place.environment(os.environ))

Accelerators are counted by another program, which ends: who looks at them through JAX holds them.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping

from experiments.console import startup
from experiments.console.errors import UserError

BYTES_EACH = 4 * 2**30  # of a program on a CPU: TensorFlow, JAX, and a training step at 64x64
MEMORY_SHARE = 0.9  # of an accelerator's memory; the rest is for what CUDA keeps by itself
VIRTUAL = re.compile(r"--xla_force_host_platform_device_count=(\d+)")
LOOK_SECONDS = 300  # for accelerators to answer
LOOK = """
import json, jax
found = jax.local_devices()
version = found[0].client.platform_version.lower()
name = "rocm" if "rocm" in version else "cuda" if found[0].platform == "gpu" else found[0].platform
chips = {str(getattr(device, "coords", device.id)) for device in found}
print(json.dumps([name, len(chips)]))
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
  """Where one program at a time trains.

  Attributes:
    name: for people; "" for cores.
    settings: environment variables.
    cores: that it may use; None: all.
  """

  name: str
  settings: dict[str, str]
  cores: frozenset[int] | None = None

  def environment(self, of: Mapping[str, str]) -> dict[str, str]:
    """The environment of the program."""
    return {**of, **self.settings}

  @contextlib.contextmanager
  def on_its_cores(self) -> Iterator[None]:
    """Context in which programs that are started have its cores."""
    if self.cores is None:
      yield
      return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, self.cores)
    try:
      yield
    finally:
      os.sched_setaffinity(0, before)

  def is_there(self) -> bool:
    """Whether its device answers; cores always do."""
    if not self.name.startswith(("gpu", "tpu")):
      return True
    try:
      return _look(self.environment(os.environ))[1] > 0
    except UserError:
      return False


def _look(environment: Mapping[str, str]) -> tuple[str, int]:
  """Platform and number of the accelerators that a program sees.

  Raises:
    UserError: JAX does not start.
  """
  command = [sys.executable, "-c", LOOK]
  try:
    done = subprocess.run(
      command, env=environment, capture_output=True, text=True, timeout=LOOK_SECONDS, check=False
    )
  except subprocess.TimeoutExpired:
    raise UserError(f"the accelerators did not answer within {LOOK_SECONDS} s") from None
  if done.returncode:
    reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1][:300]
    raise UserError(f"the accelerators of this machine cannot be counted: {reason}")
  name, count = json.loads(done.stdout.splitlines()[-1])
  return name, count


def found(jobs: int | None, per_device: int) -> list[Place]:
  """Places of this machine.

  Args:
    jobs: how many programs side by side; None: as many as there are devices, or as cores and
      memory allow.
    per_device: programs on one accelerator.

  Raises:
    UserError: they cannot be counted, or are too few.
  """
  name, count = ("cpu", 1) if startup.only_cpu() else _look(os.environ)
  if name == "cpu":
    return _on_cpu(jobs, per_device)
  if name == "tpu" and per_device > 1:
    raise UserError("--per_device: a TPU has one program at a time")
  make = _tpu if name == "tpu" else functools.partial(_gpu, platform=name, programs=per_device)
  every = [make(index) for _ in range(per_device) for index in range(count)]
  return every[: _checked(jobs, count, per_device)]


def _checked(jobs: int | None, count: int, per_device: int) -> int:
  """How many programs devices train."""
  most = count * per_device
  if jobs is not None and jobs > most:
    raise UserError(
      f"--jobs is {jobs}, but {count} devices with {per_device} programs on each train {most}; "
      "raise --per_device"
    )
  return jobs or most


def _gpu(index: int, platform: str, programs: int) -> Place:
  visible = [word for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word]
  device = visible[index] if index < len(visible) else str(index)
  # Named, so that a program whose GPU is gone ends, where JAX would go on on the CPU.
  settings = {"CUDA_VISIBLE_DEVICES": device}
  settings |= {"JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS") or f"{platform},cpu"}
  if programs > 1:
    whole = float(os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION", MEMORY_SHARE))
    settings["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{whole / programs:.3f}"
  return Place(f"gpu {device}", settings)


def _tpu(index: int) -> Place:
  visible = [word for word in os.environ.get("TPU_VISIBLE_CHIPS", "").split(",") if word]
  chip = visible[index] if index < len(visible) else str(index)
  one = "1,1,1"
  settings = {"TPU_VISIBLE_CHIPS": chip, "TPU_CHIPS_PER_PROCESS_BOUNDS": one}
  settings |= {"TPU_PROCESS_BOUNDS": one, "ALLOW_MULTIPLE_LIBTPU_LOAD": "true"}
  return Place(f"tpu {chip}", settings | {"JAX_PLATFORMS": "tpu,cpu"})


def _on_cpu(jobs: int | None, per_device: int) -> list[Place]:
  """Shares of the cores; virtual devices of XLA count as accelerators, with a core or more each."""
  cores = sorted(os.sched_getaffinity(0))
  flags = os.environ.get("XLA_FLAGS", "")
  virtual = VIRTUAL.search(flags)
  devices = int(virtual[1]) if virtual else 1
  if devices > 1:
    own = {"XLA_FLAGS": VIRTUAL.sub("--xla_force_host_platform_device_count=1", flags)}
    jobs = _checked(jobs, devices, per_device)
    return [Place(f"cpu {i % devices}", own, _share(cores, i, jobs)) for i in range(jobs)]
  if per_device > 1:
    raise UserError("--per_device is for accelerators; on a CPU choose --jobs")
  jobs = jobs or max(1, min(len(cores), _free_memory() // BYTES_EACH))
  return [Place("", {}, _share(cores, index, jobs)) for index in range(jobs)]


def _share(cores: list[int], index: int, count: int) -> frozenset[int] | None:
  """The cores of one of several programs; where there are fewer cores than programs, one."""
  if count == 1:
    return None
  if count >= len(cores):
    return frozenset([cores[index % len(cores)]])
  bounds = [len(cores) * i // count for i in (index, index + 1)]
  return frozenset(cores[bounds[0] : bounds[1]])


def _free_memory() -> int:
  """Bytes that programs may still take."""
  try:
    content = pathlib.Path("/proc/meminfo").read_text()
    return 1024 * int(re.search(r"MemAvailable:\s*(\d+)", content)[1])
  except (OSError, TypeError):
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
