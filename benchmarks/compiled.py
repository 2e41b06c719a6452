"""Training steps compiled for an accelerator that is not there, and what its compiler says of them.

  python -m benchmarks.compiled h100
  python -m benchmarks.compiled v5e --model=genesis --dtype=float32 --ops=20

It needs the accelerator's compiler, best in an environment of its own: what `requirements.txt`
pins, and `jax[cuda12]` or `jax[tpu]` of the same version. Nothing is run: the figures bound a
step's time from below, or compare two ways to write it; they do not tell how long it takes.
"""

import argparse
import functools
import importlib.util
import math
import os
import re
import time
from collections.abc import Iterator
from typing import NamedTuple
from unittest import mock

from benchmarks.train_step import MIB, MODELS, parse_settings, read_config, settings_parser
from data_pipelines.command_line import Misuse, whole_number
from experiments.console import program
from experiments.console.errors import explained

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.


class Target(NamedTuple):
  """An accelerator, with its makers' figures."""

  platform: str
  package: str  # that its compiler comes in
  extra: str  # of jax, to install it
  flops: float  # per second, dense, bfloat16
  bandwidth: float  # of its memory, bytes per second
  clock: float | None = None  # cycles per second, where the compiler estimates them


TARGETS = {
  "h100": Target("cuda", "jax_cuda12_plugin", "cuda12", 989e12, 3.35e12),
  "v5e": Target("tpu", "libtpu", "tpu", 197e12, 819e9, 1.5e9),
}
H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132  fpus_per_core: 128  clock_rate_ghz: 1.98
  threads_per_warp: 32  threads_per_block_limit: 1024  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
  shared_memory_per_core: 233472  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  device_memory_size: 84929347584  memory_bandwidth: 3352320000000  l2_cache_size: 52428800
}
platform_name: "CUDA"
device_description_str: "NVIDIA H100 80GB HBM3"
dnn_version_info { major: 9  minor: 8 }
runtime_version { major: 12  minor: 8 }
"""
COLUMNS = (
  ("GFLOP", "8.1f"),
  ("GB", "6.2f"),  # read and written by all operations
  ("ms of FLOP", "10.2f"),  # at the makers' figures: no step is faster than the larger one
  ("ms of GB", "8.2f"),
  ("estimated ms", "12.2f"),  # by the compiler, of all operations one after the other
  ("operations", "10d"),
  ("MiB", "6.0f"),  # state, batch and what is stored on the way
  ("compile s", "9.0f"),
)
SIZES = {"pred": 1, "u8": 1, "s8": 1, "bf16": 2, "f16": 2, "u16": 2, "f64": 8, "s64": 8, "u64": 8}
FREE = ("parameter", "constant", "bitcast", "tuple", "get-tuple-element")  # cost nothing
WIDTH = re.compile(r"\d+")
OPERATION = re.compile(r"\s+(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)")


class Operation(NamedTuple):
  """One operation of a compiled program: a kernel, on a GPU."""

  name: str
  moved: int  # bytes of operands and results
  cycles: int  # estimated, or 0
  source: str  # module and function that it comes from


def parse(argv: list[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
  """Options, and overrides of the configuration; a mistake ends the program with status 2."""
  parser = settings_parser("benchmarks.compiled", __doc__)
  parser.add_argument("target", choices=TARGETS, help="accelerator to compile for")
  parser.add_argument(
    "--ops", type=whole_number(0), default=0, help="print so many of the dearest operations"
  )
  parser.set_defaults(dtype="bfloat16")
  return parse_settings(parser, argv)


def _bytes(shape: str) -> int:
  """Of a shape as HLO writes it, or of several."""
  arrays = re.findall(r"\b([a-z]+\d+|pred)\[([\d,]*)\]", shape)
  return sum(
    SIZES.get(kind, 4) * math.prod(int(side) for side in sides.split(",") if side)
    for kind, sides in arrays
  )


def operations(hlo: str) -> Iterator[Operation]:
  """Operations of a compiled program's entry, from its text; a loop is one of them."""
  shapes = {}
  for line in hlo[hlo.index("\nENTRY ") :].splitlines():
    if not (match := OPERATION.match(line)):
      continue
    name, shapes[name], code, rest = match.groups()
    if code in FREE:
      continue
    operands = re.findall(r"%([\w.\-]+)", rest.split("), ")[0])
    moved = _bytes(shapes[name]) + sum(_bytes(shapes.get(operand, "")) for operand in operands)
    cycles, source = (
      re.search(pattern, line) for pattern in (r'"estimated_cycles":"(\d+)"', r'op_name="([^"]*)"')
    )
    yield Operation(name, moved, int(cycles[1]) if cycles else 0, source[1] if source else "")


def topology(target: Target):
  """The accelerator's description, for `jax.jit`.

  Raises:
    Misuse: if its compiler is not installed.
  """
  import jax
  from jax.experimental import topologies

  if importlib.util.find_spec(target.package) is None:
    raise Misuse(
      f"the compiler for it is not installed ({target.package}); "
      f'pip install "jax[{target.extra}]=={jax.__version__}"'
    )
  if target.platform == "cuda":
    return topologies.get_topology_desc(platform="cuda", target_config=H100, topology="1x1x1")
  return topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")


def compile_step(config, device):
  """A configuration's training step for a device that need not be there, and its FLOPs."""
  import jax

  import genesis_jax
  from genesis_jax import objective, training

  model, tx = genesis_jax.build_model(config.model), objective.optimizer(config)
  create = functools.partial(training.create_train_state, model=model, tx=tx)
  state = jax.eval_shape(create, jax.random.key(0))
  side = config.model.image_size
  batch = {"image": jax.ShapeDtypeStruct((config.batch_size, side, side, 3), "uint8")}
  step = training.configured_step(config, model, tx)
  flops = jax.jit(step).lower(state, batch).cost_analysis()["flops"]
  place = jax.sharding.SingleDeviceSharding(device)
  # Convolutions ask where they are, and here they are on a CPU.
  with (
    mock.patch("jax.default_backend", lambda: device.platform),
    jax.default_matmul_precision(config.matmul_precision),
  ):
    step = jax.jit(step, in_shardings=place, out_shardings=place, donate_argnums=0)
    return step.lower(state, batch).compile(), flops


def row(compiled, flops: float, target: Target, done: list[Operation], seconds: float) -> tuple:
  """The values of `COLUMNS`; None where there is none."""
  moved, cycles = (sum(getattr(o, name) for o in done) for name in ("moved", "cycles"))
  sizes = compiled.memory_analysis()
  return (
    flops / 1e9,
    moved / 1e9,
    flops / target.flops * 1e3,
    moved / target.bandwidth * 1e3,
    cycles / target.clock * 1e3 if target.clock else None,
    len(done),
    (sizes.argument_size_in_bytes + sizes.temp_size_in_bytes) / MIB,
    seconds,
  )


def show(name: str, values: tuple) -> None:
  """Prints a line of the table: titles, or values."""
  cells = []
  for (_, form), value in zip(COLUMNS, values, strict=True):
    plain = value is None or isinstance(value, str)
    cells.append(f"{value or '-':>{WIDTH.match(form)[0]}}" if plain else f"{value:>{form}}")
  print("  ".join([f"{name:<12}", *cells]), flush=True)


def show_dearest(done: list[Operation], target: Target, count: int) -> None:
  """Prints the operations that take longest, by cycles where estimated, else by bytes."""
  for operation in sorted(done, key=lambda o: (o.cycles, o.moved), reverse=True)[:count]:
    took = f"{operation.cycles / target.clock * 1e3:7.3f} ms" if target.clock else ""
    print(f"    {took}  {operation.moved / 1e6:8.1f} MB  {operation.name:<32}  "
          f"{operation.source[-90:]}")  # fmt: skip


@program.entry
def main(argv: list[str]) -> None:
  """Prints one row for each model, and its dearest operations."""
  options, overrides = parse(argv)
  target = TARGETS[options.target]
  os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"}  # nothing is asked of a device
  if target.platform == "cuda":  # what cannot be tried out
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_autotune_level=0"
  configs = {model: read_config(model, overrides) for model in options.model or MODELS}
  with explained():
    device = topology(target).devices[0]
    print(f"compiling for {device.device_kind}: {' '.join(overrides)}")
    show("", [title for title, _ in COLUMNS])
    for model, config in configs.items():
      start = time.perf_counter()
      compiled, flops = compile_step(config, device)
      done = list(operations(compiled.as_text()))
      show(model, row(compiled, flops, target, done, time.perf_counter() - start))
      show_dearest(done, target, options.ops)


if __name__ == "__main__":
  program.run(main)
