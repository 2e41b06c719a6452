"""Several devices, and the arrays on them; `hosts` joins several machines.

  step = devices.parallel(train_step, donate=0)
  state = devices.replicate(state)
  for batch in devices.prefetch(batches):
    state, scalars = step(state, batch)
  state = devices.to_host(state)

Every array on the devices has a leading axis over this host's devices.
"""

import os
import pathlib
from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from data_pipelines.stores.threads import made_ahead
from experiments.console import startup

AXIS = "batch"


def configure(config) -> None:
  """Sets the precision of matrix products, and where compiled programs are kept."""
  precisions = ("default", "high", "highest")
  if config.matmul_precision not in precisions:
    raise ValueError(
      f"matmul_precision is {config.matmul_precision!r}; allowed: {', '.join(precisions)}"
    )
  jax.config.update("jax_default_matmul_precision", config.matmul_precision)
  if config.compilation_cache:
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    jax.config.update("jax_compilation_cache_dir", str(cache / "genesis_jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def check_determinism(config) -> None:
  """Raises ValueError if GPUs should be deterministic, but XLA was not told."""
  asked = startup.DETERMINISM in os.environ.get("XLA_FLAGS", "").split()
  if config.deterministic and jax.default_backend() == "gpu" and not asked:
    raise ValueError(
      f"deterministic is True, but XLA_FLAGS has no {startup.DETERMINISM}; python -m "
      "experiments.main sets it, other programs must do so before they import JAX"
    )


def check_batch_size(batch_size: int) -> None:
  """Raises ValueError unless the devices of all hosts can share a batch equally."""
  count = jax.device_count()
  if batch_size < 1 or batch_size % count:
    nearest = max(1, round(batch_size / count)) * count
    raise ValueError(
      f"batch_size is {batch_size}, which {count} devices cannot share equally; "
      f"choose a multiple of {count}, for example {nearest}"
    )


def description() -> str:
  """The devices in words."""
  device = jax.devices()[0]
  words = f"{jax.device_count()} x {device.device_kind} ({device.platform})"
  hosts = jax.process_count()
  return words if hosts == 1 else f"{words} on {hosts} hosts, this is host {jax.process_index()}"


def is_main_host() -> bool:
  """Whether this host is the one that writes metrics and pictures."""
  return jax.process_index() == 0


def _sharding() -> jax.sharding.NamedSharding:
  mesh = jax.sharding.Mesh(np.array(jax.local_devices()), (AXIS,))
  return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))


def put(batch: dict[str, np.ndarray], axis: int = 0) -> dict[str, jax.Array]:
  """Spreads this host's rows over its devices: `[b, ...]` -> `[devices, b / devices, ...]`.

  Args:
    batch: name -> array with rows along `axis`.
    axis: of the rows; axes before it are kept: `[n, b, ...]` -> `[devices, n, ...]`.
  """
  count, sharding = jax.local_device_count(), _sharding()

  def spread(x):
    x = x.reshape(*x.shape[:axis], count, -1, *x.shape[axis + 1 :])
    return jax.device_put(np.moveaxis(x, axis, 0), sharding)

  return jax.tree.map(spread, batch)


def prefetch(batches: Iterable[dict], axis: int = 0) -> Iterator[dict]:
  """Puts batches on the devices while the steps before them still run; `axis` as for `put`."""
  return made_ahead(put(batch, axis) for batch in batches)


def replicate(tree):
  """A copy of every array for each of this host's devices."""
  count, sharding = jax.local_device_count(), _sharding()
  return jax.tree.map(
    lambda x: jax.device_put(np.broadcast_to(x, (count, *np.shape(x))), sharding), tree
  )


def first(tree):
  """The first device's copy of what is the same on all."""
  # By the device's shard: indexing would first bring those of all devices together.
  return jax.tree.map(lambda x: x.addressable_shards[0].data[0], tree)


def to_host(tree):
  """The first device's copy as numpy arrays; waits for the devices."""
  # Not of `first`, which has every array sliced on the device, one after the other. Copies, as on
  # CPUs these are the device's own memory, which a training step writes to.
  copies = jax.device_get(jax.tree.map(lambda x: x.addressable_shards[0].data, tree))
  return jax.tree.map(lambda x: np.array(x[0]), copies)


def parallel(
  function: Callable, donate: int | tuple[int, ...] = (), local: bool = False
) -> Callable:
  """`function` on every device at once, with the axis `AXIS` between them; or on this host's."""
  devices = jax.local_devices() if local else None
  return jax.pmap(function, axis_name=AXIS, donate_argnums=donate, devices=devices)


def wait_for_all(name: str) -> None:
  """Returns once every host has reached this point."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def from_all_hosts(number: int) -> list[int]:
  """The number of each host, once every host has reached this point; at most 31 bits."""
  return np.ravel(multihost_utils.process_allgather(np.int32(number))).tolist()
