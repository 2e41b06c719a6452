"""Whether the device waits for images: reading alone, steps alone, and both as in training.

  python -m benchmarks.whole_program --config=configs/genesis_gqn.py
  python -m benchmarks.whole_program --config=configs/genesis_gqn.py --config.data.data_dir=DIR

Reading is from files to the device's memory; steps get the same batch again and again. Both are the
training loop with its log steps, without validation, pictures and checkpoints. Rounds alternate, so
that other load on the machine falls on all. The share of time that the device waits is what steps
alone do not take of the loop's time.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator

import data_pipelines
from configs import loading
from data_pipelines.command_line import Parser, whole_number
from experiments.console import program, startup
from experiments.console.errors import explained

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.


def parse(argv: list[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
  """Options, and overrides of the configuration; a mistake ends the program with status 2."""
  parser = Parser("benchmarks.whole_program", __doc__)
  parser.add_argument("--rounds", type=whole_number(1), default=5, help="to take the median of (5)")
  parser.add_argument("--seconds", type=float, default=5.0, help="least duration of a round (5)")
  return loading.parse(parser, argv)


class Loop:
  """The training loop's parts, each for some calls of the compiled steps.

  Args:
    config: of the experiment.
  """

  def __init__(self, config):
    import genesis_jax
    from experiments.hardware import devices
    from experiments.training.feed import Feed, check_steps_per_call
    from experiments.training.loop import compiled_steps
    from genesis_jax import objective, training

    devices.configure(config)
    devices.check_batch_size(config.batch_size)
    check_steps_per_call(config)
    self._config = config
    model, tx = genesis_jax.build_model(config.model), objective.optimizer(config)
    self._feed = Feed(config, 0)
    self._batches = devices.prefetch(self._feed, axis=1)
    self._steps = compiled_steps(config, model, tx, self._feed)
    self._state = devices.replicate(training.initial_state(config.seed, model, tx))
    self._same = next(self._batches)
    self._train(itertools.repeat(self._same), 2)  # compiles

  def read(self, calls: int) -> None:
    """Brings batches to the device."""
    import jax

    for batches in itertools.islice(self._batches, calls):
      jax.block_until_ready(batches)

  def step(self, calls: int) -> None:
    """Trains on one batch."""
    self._train(itertools.repeat(self._same), calls)

  def both(self, calls: int) -> None:
    """Trains on what is read."""
    self._train(self._batches, calls)

  def _train(self, batches: Iterator[dict], calls: int) -> None:
    from experiments.training.progress import RecentSteps

    recent, every = RecentSteps(), self._config.log_every // self._config.steps_per_call
    for call, batch in enumerate(itertools.islice(batches, calls), start=1):
      self._state, scalars = self._steps(self._state, batch, self._feed.resident)
      recent.add(call, scalars)
      if every and call % every == 0:
        recent.fetch()
    recent.fetch()


def seconds_per_call(loop: Loop, rounds: int, least: float) -> dict[str, list[float]]:
  """Seconds per call of each part in every round."""
  parts = {"read": loop.read, "step": loop.step, "both": loop.both}

  def seconds(part, calls: int) -> float:
    start = time.perf_counter()
    part(calls)
    return (time.perf_counter() - start) / calls

  calls = {name: max(1, round(least / seconds(part, 3))) for name, part in parts.items()}
  times = {name: [] for name in parts}
  for _ in range(rounds):
    for name, part in parts.items():
      times[name].append(seconds(part, calls[name]))
  return times


@program.entry
def main(argv: list[str]) -> None:
  """Prints images per second of each part, and the share of time that the device waits."""
  options, overrides = parse(argv)
  startup.prepare()
  from experiments.hardware import devices

  config = loading.load_config(options.config, overrides)
  with explained():
    loop = Loop(config)
  print(f"{devices.description()}: {config.model.name} on "
        f"{data_pipelines.resolve(config.data).description}")  # fmt: skip
  times = seconds_per_call(loop, options.rounds, options.seconds)
  images = config.batch_size * config.steps_per_call
  titles = {"read": "reading, to the device", "step": "steps on one batch", "both": "training"}
  for name, title in titles.items():
    print(f"{title:<24}{images / statistics.median(times[name]):>12,.1f} images/s")
  waits = [1 - step / both for step, both in zip(times["step"], times["both"], strict=True)]
  print(f"the device waits {max(0, statistics.median(waits)):.1%} of the time "
        f"(median of {options.rounds} rounds, {min(waits):.1%} to {max(waits):.1%})")  # fmt: skip


if __name__ == "__main__":
  startup.use_huge_pages()
  program.run(main)
