"""Time and memory of one training step, for any model; data is random and already on the device.

  python -m benchmarks.train_step
  python -m benchmarks.train_step --model=genesis --size=64 --slots=5 --batch=32 --dtype=bfloat16

Memory is printed after the first and after the last step: it must not grow between them.
"""

import functools
import statistics
import time

from absl import app, flags

from experiments import accelerate_cpu

MODELS = ("genesis", "genesis_v2", "monet", "vae")
MODEL = flags.DEFINE_multi_enum("model", MODELS, MODELS, "Models to measure.")
SIZE = flags.DEFINE_integer("size", 64, "Image side.", lower_bound=32)
SLOTS = flags.DEFINE_integer("slots", 5, "Number of slots.", lower_bound=2)
BATCH = flags.DEFINE_integer("batch", 32, "Images per step.", lower_bound=1)
DTYPE = flags.DEFINE_enum("dtype", "float32", ("float32", "bfloat16"), "Type of the activations.")
STEPS = flags.DEFINE_integer("steps", 10, "Steps to take the median of.", lower_bound=2)

COLUMNS = (
  ("model", "12"),
  ("compile s", "9.1f"),
  ("ms/step", "8.0f"),
  ("images/s", "8.0f"),
  ("GFLOP/step", "10.1f"),
  ("temporary MiB", "13.0f"),
  ("arrays MiB, first", "17.1f"),
  ("arrays MiB, last", "16.1f"),
)
MIB = 2**20


def live_mib() -> float:
  """All arrays that are alive on the first device, in MiB."""
  import jax

  return sum(x.nbytes for x in jax.live_arrays()) / MIB


def measure(name: str) -> tuple:
  """One row of `COLUMNS`."""
  import jax
  import numpy as np

  import genesis_jax
  from configs.experiment import compose
  from genesis_jax import objective, training

  config = compose(name, "gqn")
  config.model.image_size, config.model.dtype = SIZE.value, DTYPE.value
  if "num_slots" in config.model:
    config.model.num_slots = SLOTS.value
  model, tx = genesis_jax.build_model(config.model), objective.optimizer(config)
  create = functools.partial(training.create_train_state, model=model, tx=tx)
  state = jax.jit(create, compiler_options=training.INIT_OPTIONS)(jax.random.key(0))
  shape = (BATCH.value, SIZE.value, SIZE.value, 3)
  batch = {"image": jax.device_put(np.random.default_rng(0).integers(0, 256, shape, np.uint8))}
  step = jax.jit(functools.partial(training.train_step, model=model, tx=tx), donate_argnums=0)
  start = time.perf_counter()
  compiled = step.lower(state, batch).compile()
  compile_seconds = time.perf_counter() - start
  seconds, memory = [], []
  for _ in range(STEPS.value + 1):
    start = time.perf_counter()
    state, scalars = jax.block_until_ready(compiled(state, batch))
    seconds.append(time.perf_counter() - start)
    memory.append(live_mib())
  median = statistics.median(seconds[1:])  # the first one warms up
  analysis, cost = compiled.memory_analysis(), compiled.cost_analysis()
  return (
    name,
    compile_seconds,
    1e3 * median,
    BATCH.value / median,
    cost.get("flops", float("nan")) / 1e9,
    analysis.temp_size_in_bytes / MIB,
    memory[0],
    memory[-1],
  )


def main(argv):
  """Prints one row for each model."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  accelerate_cpu.set_flags()
  import jax

  device = jax.devices()[0]
  print(
    f"{device.device_kind} ({device.platform}), jax {jax.__version__}: {SIZE.value}x{SIZE.value}, "
    f"{SLOTS.value} slots, batch {BATCH.value}, {DTYPE.value}, median of {STEPS.value} steps"
  )
  print("  ".join(f"{name:>{form.split('.')[0]}}" for name, form in COLUMNS), flush=True)
  for name in MODEL.value:
    row = zip(COLUMNS, measure(name), strict=True)
    print("  ".join(f"{value:>{form}}" for (_, form), value in row), flush=True)


if __name__ == "__main__":
  app.run(main)
