"""Speed, FLOPs and memory of training steps, beside what the device reaches at best.

  python -m benchmarks.train_step
  python -m benchmarks.train_step --model=genesis --size=64 --slots=5 --batch=32 --dtype=bfloat16
  python -m benchmarks.train_step --model=genesis_v2 --compare=dtype=bfloat16
  python -m benchmarks.train_step --config.seed=1 --compare=optimizer.name=rmsprop,size=32
  python -m benchmarks.train_step --original=../genesis

Images are random and already on the device. `--compare` measures a second setting that differs in
what it names (flags, or fields of the configuration), and `--original` the original's own model
from a checkout of its repository, in rounds that alternate with the first setting's, so that other
load on the machine falls on all.
"""

import argparse
import functools
import statistics
import time

from configs import loading, models
from data_pipelines.command_line import Misuse, Parser, checked_arguments, path_name, whole_number
from experiments.console import program, startup
from experiments.console.errors import explained

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.

MODELS = ("genesis", "genesis_v2", "monet", "vae")
# Flag -> field of the configuration.
FIELDS = {
  "size": "model.image_size",
  "slots": "model.num_slots",
  "batch": "batch_size",
  "dtype": "model.dtype",
  "precision": "matmul_precision",
  "steps_per_call": "steps_per_call",
}
DEFAULTS = {"slots": 5}  # where the published number differs between data sets
COLUMNS = (
  ("steps/s", "8.3g"),
  ("images/s", "9.1f"),
  ("GFLOP/step", "11.1f"),
  ("GB/step", "8.2f"),
  ("of matmul", "10.0%"),  # of the speed of a large matrix product
  ("of memory", "10.0%"),  # of the speed of copying; what stays in caches counts too
  ("compile s", "10.1f"),
  ("peak MiB", "9.0f"),
)
MIB = 2**20


def parse(argv: list[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
  """Options, and overrides of the configuration; a mistake ends the program with status 2."""
  parser = settings_parser("benchmarks.train_step", __doc__)
  parser.add_argument("--compare", metavar="NAME=VALUE,...", help="of a second setting")
  parser.add_argument("--original", type=path_name, help="checkout of the original's repository")
  parser.add_argument("--rounds", type=whole_number(1), default=5, help="to take the median of (5)")
  parser.add_argument("--seconds", type=float, default=1.0, help="least duration of a round (1)")
  return parse_settings(parser, argv)


def settings_parser(module: str, doc: str) -> Parser:
  """Of --model and `FIELDS`."""
  parser = Parser(module, doc)
  parser.add_argument("--model", action="append", choices=MODELS, help="default: all four")
  for flag, field in FIELDS.items():
    parser.add_argument(f"--{flag}", help=f"config.{field}")
  return parser


def parse_settings(parser: argparse.ArgumentParser, argv: list[str] | None):
  """Options of a `settings_parser`, and overrides of the configuration: theirs and others."""
  options, overrides = parser.parse_known_args(argv)
  loading.check_overrides(parser, overrides)
  given = ((flag, getattr(options, flag)) for flag in FIELDS)
  values = DEFAULTS | {flag: value for flag, value in given if value is not None}
  return options, [*as_overrides(values.items()), *overrides]


def as_overrides(values) -> list[str]:
  """Overrides of the configuration from pairs of a flag or field and its value."""
  return [f"--config.{FIELDS.get(name, name)}={value}" for name, value in values]


def read_config(model: str, overrides: list[str]):
  """The configuration of a setting.

  Raises:
    ConfigError: if an override does not fit.
    Misuse: if there is no such model, or nothing to measure.
  """
  slots = f"--config.{FIELDS['slots']}="
  mine = [word for word in overrides if model != "vae" or not word.startswith(slots)]
  config = loading.load_config(f"configs/experiment.py:{model},gqn", mine)
  with checked_arguments():
    models.check(config.model)
  for field in ("batch_size", "steps_per_call"):
    if config[field] < 1:
      raise Misuse(f"{field} is {config[field]}; it must be at least 1")
  return config


def settings(options: argparse.Namespace, overrides: list[str]) -> list[list[tuple]]:
  """For each model (name, configuration) of one setting, or of two.

  Raises:
    ConfigError: if an override does not fit.
    Misuse: if --compare is not of the form NAME=VALUE,...
  """
  pairs = [change.partition("=") for change in (options.compare or "").split(",") if change]
  if wrong := [name for name, equals, _ in pairs if not equals]:
    raise Misuse(f"--compare: {wrong[0]!r} is not NAME=VALUE")
  changes = [(name, value) for name, _, value in pairs]
  groups = []
  for model in options.model or MODELS:
    group = [(model, read_config(model, overrides))]
    if changes:
      group.append(
        (f"  {options.compare}", read_config(model, [*overrides, *as_overrides(changes)]))
      )
    groups.append(group)
  return groups


class Case:
  """A configuration's training step, its state and a batch on the device; to be compiled."""

  def __init__(self, config):
    import jax
    import numpy as np

    import genesis_jax
    from genesis_jax import objective, training

    self.config, self.steps = config, config.steps_per_call
    model, tx = genesis_jax.build_model(config.model), objective.optimizer(config)
    self._state = training.initial_state(0, model, tx)
    side = config.model.image_size
    shape = (config.steps_per_call, config.batch_size, side, side, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    self._batches = {"image": jax.device_put(images)}
    step = training.configured_step(config, model, tx)
    start = time.perf_counter()
    with jax.default_matmul_precision(config.matmul_precision):
      steps = functools.partial(training.train_steps, step, num_steps=config.steps_per_call)
      self._lowered = jax.jit(steps, donate_argnums=0).lower(self._state, self._batches)
    # Of what is to be compiled: libraries that a GPU calls do not tell theirs. What is in a loop is
    # counted once, so it is of one step.
    self._flops = self._lowered.cost_analysis().get("flops", float("nan"))
    self._compile_seconds = time.perf_counter() - start

  def compile(self) -> "Case":
    """Compiles the step, and does it once; several threads may each compile one."""
    import jax

    start = time.perf_counter()
    self._compiled = self._lowered.compile()
    self._compile_seconds += time.perf_counter() - start
    jax.block_until_ready(self.call())
    return self

  def call(self):
    """Does the steps of one call; returns something to wait for."""
    self._state, scalars = self._compiled(self._state, self._batches)
    return scalars["loss"]

  def _peak_mib(self) -> float:
    """Most memory used by the device so far; where it does not tell, by the program."""
    import jax

    if stats := jax.devices()[0].memory_stats():
      return stats["peak_bytes_in_use"] / MIB
    sizes = self._compiled.memory_analysis()
    arrays = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    return (arrays + sizes.temp_size_in_bytes) / MIB

  def row(self, seconds: float, matmul: float, memory: float) -> tuple:
    """The values of `COLUMNS`.

    Args:
      seconds: per call.
      matmul: FLOP/s of a large matrix product.
      memory: bytes per second of copying.
    """
    flops, moved = self._flops, self._compiled.cost_analysis().get("bytes accessed", float("nan"))
    rate = self.config.steps_per_call / seconds
    return (
      rate,
      rate * self.config.batch_size,
      flops / 1e9,
      moved / 1e9,
      flops * rate / matmul,
      moved * rate / memory,
      self._compile_seconds,
      self._peak_mib(),
    )


def measure(cases: list[Case], rounds: int, least: float) -> list[list[float]]:
  """Seconds per call of each case in every round of at least `least` seconds; rounds alternate."""
  from benchmarks import ceilings

  def turn(case: Case, calls: int) -> float:
    case.call()  # caches and memory are still the other case's
    return ceilings.time_calls(case.call, calls)

  calls = [max(1, round(least / ceilings.time_calls(case.call, 1))) for case in cases]
  times = [[turn(case, n) for case, n in zip(cases, calls, strict=True)] for _ in range(rounds)]
  return [list(column) for column in zip(*times, strict=True)]


def ratio(times: list[list[float]], cases: list) -> str:
  """The second case's steps/s in units of the first one's: median and range of the rounds."""
  steps = [case.steps for case in cases]
  ratios = [a / steps[0] / (b / steps[1]) for a, b in zip(*times, strict=True)]
  return f"{statistics.median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f})"


def show(group: list[tuple], options: argparse.Namespace, matmul, memory: float) -> None:
  """Measures one setting, or several and their ratios, and prints a row for each."""
  names, cases = [name for name, _ in group], [Case(config).compile() for _, config in group]
  if options.original:
    from benchmarks.original import OriginalCase

    names.append("  the original")
    cases.append(OriginalCase(options.original, group[0][1]))
  times = measure(cases, options.rounds, options.seconds)
  for name, case, seconds in zip(names, cases, times, strict=True):
    ceiling = matmul(case.config.model.dtype, case.config.matmul_precision)
    values = case.row(statistics.median(seconds), ceiling, memory)
    cells = [f"{value:>{form}}" for (_, form), value in zip(COLUMNS, values, strict=False)]
    print("  ".join([f"{name:<24}", *cells]), flush=True)
  for name, case, seconds in list(zip(names, cases, times, strict=True))[1:]:
    print(f"{name:<24}  {ratio([times[0], seconds], [cases[0], case])} the steps/s of the first",
          flush=True)  # fmt: skip


@program.entry
def main(argv: list[str]) -> None:
  """Prints one row for each model, or two."""
  options, overrides = parse(argv)
  startup.set_flags()
  import jax

  from benchmarks import ceilings

  groups = settings(options, overrides)
  with explained():
    memory = ceilings.memory_bytes()
    device = jax.devices()[0]
    print(f"{device.device_kind} ({device.platform}), jax {jax.__version__}, median of "
          f"{options.rounds} rounds: {' '.join(overrides)}")  # fmt: skip
    titles = [f"{title:>{form.split('.')[0]}}" for title, form in COLUMNS]
    print("  ".join([" " * 24, *titles]), flush=True)
    matmul = functools.cache(ceilings.matmul_flops)
    for group in groups:
      show(group, options, matmul, memory)
  configs = [config for group in groups for _, config in group]
  print(f"copying: {memory / 1e9:.3g} GB/s read and written")
  for kind in dict.fromkeys((c.model.dtype, c.matmul_precision) for c in configs):
    print(f"matmul {kind[0]}, precision {kind[1]}: {matmul(*kind) / 1e12:.3g} TFLOP/s")


if __name__ == "__main__":
  startup.use_huge_pages()
  program.run(main)
