"""The parts of `benchmarks.accelerator`: each a function from the machine to rows of a table."""

import concurrent.futures
import importlib.util
import os
import pathlib
import platform
import re
import shlex
import signal
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks import train_step
from experiments.console.errors import UserError
from experiments.console.program import command

# What imports JAX is imported in functions: --help and mistakes do not wait for it.

ROOT = pathlib.Path(__file__).parents[1]
TRAINING = "training"
GRACE = 15  # seconds in which a program that is told to stop saves
Rows = list[dict[str, Any]]

_SCENES = (
  "--config.data.source=generator --config.data.num_val=1000 --config.data.num_test=1000"
  " --config.model.dtype=bfloat16 --config.log_every=500 --config.validate_every=5000"
  " --config.images_every=5000 --config.checkpoint_every=5000"
)
# Published settings, on scenes that need no files.
TRAIN = tuple(
  f"configs/experiment.py:{model},multi_dsprites {_SCENES}" for model in ("genesis_v2", "genesis")
)


class Setting(NamedTuple):
  """A training step to measure."""

  model: str
  dtype: str
  steps_per_call: int
  batch: int
  pairs: bool = False  # GENESIS_JAX_PAIRS


def settings(options) -> list[Setting]:
  """What is measured, the most valuable first."""
  many, batch, models = options.steps_per_call, options.batch, options.model
  both = [(model, dtype) for dtype in ("bfloat16", "float32") for model in models]
  return [
    *(Setting(*kind, many, batch) for kind in both),
    *(Setting(model, "bfloat16", many, batch, pairs=True) for model in models if model != "vae"),
    *(Setting(model, "bfloat16", many, 4 * batch) for model in models),
    *(Setting(*kind, 1, batch) for kind in both),
  ]


class Compiling:
  """Training steps that are compiled in the background, in their order, on all cores."""

  def __init__(self, wanted: list[Setting], size: int):
    self._wanted, self._size = wanted, size
    self._pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
    self._compiled: dict[Setting, concurrent.futures.Future] = {}
    self._stopped = False
    self._tracing = threading.Thread(target=self._trace, daemon=True)
    self._tracing.start()

  def _trace(self) -> None:
    for setting in self._wanted:
      if self._stopped:
        break
      os.environ["GENESIS_JAX_PAIRS"] = str(int(setting.pairs))
      values = [
        ("size", self._size), ("batch", setting.batch), ("dtype", setting.dtype),
        ("steps_per_call", setting.steps_per_call), *train_step.DEFAULTS.items(),
      ]  # fmt: skip
      config = train_step.read_config(setting.model, train_step.as_overrides(values))
      self._compiled[setting] = self._pool.submit(train_step.Case(config).compile)

  def take(self, seconds: float) -> dict[Setting, train_step.Case]:
    """What is compiled after so many seconds at most; the rest is given up.

    A compilation that has begun cannot be ended: it is waited for, within the time.
    """
    self._tracing.join(seconds / 2)
    self._stopped = True
    done, _ = concurrent.futures.wait(list(self._compiled.values()), timeout=seconds / 2)
    self._pool.shutdown(wait=False, cancel_futures=True)
    return {setting: case.result() for setting, case in self._compiled.items() if case in done}

  def is_busy(self) -> bool:
    """Whether a compilation is still running."""
    return not all(case.done() for case in self._compiled.values())


class Machine:
  """The machine, the options of the program, and the time that there is.

  Args:
    options: of `benchmarks.accelerator`.
    todo: names of the parts that are to come.
    clock: seconds, from anywhere.
  """

  def __init__(self, options, todo: set[str], clock: Callable[[], float]):
    self.options, self._clock, self.deadline = options, clock, clock()
    self._environment = os.environ | {
      "JAX_COMPILATION_CACHE_DIR": str((options.out / "compiled").resolve()),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1",
    }
    os.environ |= self._environment
    wanted = settings(options) if {"speed", "original"} & todo else []
    self._compiling = Compiling(wanted, options.size)
    self._cases: dict[Setting, train_step.Case] | None = None

  @property
  def left(self) -> float:
    """Seconds that the part may still take."""
    return self.deadline - self._clock()

  def compiled(self) -> dict[Setting, train_step.Case]:
    """The training steps; waits for them the first time, for at most half of what is left."""
    if self._cases is None:
      self._cases = self._compiling.take(self.left / 2)
    return self._cases

  @property
  def is_compiling(self) -> bool:
    """Whether a compilation goes on that nothing waits for."""
    return self._compiling.is_busy()

  def start(self, name: str, *words: str, **environment: str) -> subprocess.Popen:
    """A program of ours, `python -m ...`, that prints to a file of this name."""
    with open(self.options.out / f"{name}.txt", "w") as file:
      return subprocess.Popen(
        [sys.executable, "-m", *words], stdout=file, stderr=subprocess.STDOUT, cwd=ROOT,
        env=self._environment | environment,
      )  # fmt: skip

  def finish(self, name: str, process: subprocess.Popen) -> str:
    """What it printed, when it has ended; it is ended where the time is up.

    Raises:
      UserError: it failed.
    """
    try:
      status = process.wait(max(1, self.left))
    except subprocess.TimeoutExpired:
      process.send_signal(signal.SIGTERM)
      try:
        process.wait(GRACE)
      except subprocess.TimeoutExpired:
        process.kill()
      status = 0  # what it printed so far counts
    printed = (self.options.out / f"{name}.txt").read_text(errors="replace")
    if status:
      last = (printed.strip().splitlines() or ["nothing was printed"])[-1]
      raise UserError(f"{name} ended with status {status}: {last}")
    return printed


def describe(machine: Machine) -> Rows:
  """The device, its software, and what it reaches at best."""
  import jax

  from benchmarks import ceilings

  device = jax.devices()[0]
  rows = {
    "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
    "software": f"jax {jax.__version__}, Python {platform.python_version()}",
    "host": f"{os.cpu_count()} cores, {platform.machine()}",
    "copying, GB/s read and written": ceilings.memory_bytes() / 1e9,
  }
  for dtype in ("bfloat16", "float32"):
    rows[f"matmul {dtype}, TFLOP/s"] = ceilings.matmul_flops(dtype) / 1e12
  return [{"what": what, "value": value} for what, value in rows.items()]


def gradients(machine: Machine) -> Rows:
  """Gradients in bfloat16 beside float32, of every model."""
  words = [f"--size={machine.options.size}", *(f"--model={m}" for m in machine.options.model)]
  process = machine.start("gradients", "benchmarks.gradients", *words)
  lines = machine.finish("gradients", process).splitlines()
  return [
    dict(zip(("model", "cosine", "norm", "bias off by", "bias"), line.split(), strict=False))
    for line in lines
    if line.split(" ")[0] in train_step.MODELS
  ]


def golden(machine: Machine) -> Rows:
  """The comparisons with the original, in float32."""
  if importlib.util.find_spec("pytest") is None:
    raise UserError("pytest is not installed")
  words = ("pytest", "-q", "-p", "no:cacheprovider", "tests/genesis_jax/test_golden.py")
  process = machine.start("golden", *words, JAX_DEFAULT_MATMUL_PRECISION="highest")
  return [{"tests/genesis_jax/test_golden.py": machine.finish("golden", process).splitlines()[-1]}]


def speed(machine: Machine) -> Rows:
  """Training steps of every setting that is compiled in time."""
  from benchmarks import ceilings

  memory, matmul, rows = ceilings.memory_bytes(), {}, []
  for setting, case in machine.compiled().items():
    if machine.left < 4 * machine.options.seconds:
      break
    if setting.dtype not in matmul:
      matmul[setting.dtype] = ceilings.matmul_flops(setting.dtype)
    (seconds,) = train_step.measure([case], 3, machine.options.seconds)
    values = case.row(statistics.median(seconds), matmul[setting.dtype], memory)
    titles = [title for title, _ in train_step.COLUMNS]
    rows.append(setting._asdict() | dict(zip(titles, values, strict=True)))
  if not rows:
    raise UserError("nothing was compiled in time")
  return rows


def original(machine: Machine) -> Rows:
  """The original's training step beside ours, in rounds that alternate."""
  if machine.options.original is None:
    raise UserError("no --original=CHECKOUT was given")
  from benchmarks.original import OriginalCase

  rows, options = [], machine.options
  for model in options.model:
    kinds = [
      Setting(model, dtype, options.steps_per_call, options.batch)
      for dtype in ("bfloat16", "float32")
    ]
    cases = {kind.dtype: machine.compiled()[kind] for kind in kinds if kind in machine.compiled()}
    if machine.left < 8 * options.seconds or not cases:
      break
    theirs = OriginalCase(options.original, next(iter(cases.values())).config)
    times = train_step.measure([*cases.values(), theirs], 3, options.seconds)
    row = {"model": model, "original, steps/s": 1 / statistics.median(times[-1])}
    for (dtype, case), seconds in zip(cases.items(), times, strict=False):
      row[f"{dtype}, steps/s"] = case.steps / statistics.median(seconds)
      row[f"{dtype}, ratio"] = train_step.ratio([times[-1], seconds], [theirs, case])
    rows.append(row)
  if not rows:
    raise UserError("none of our own steps was compiled in time")
  return rows


def together(machine: Machine) -> Rows:
  """Several programs on one device at once."""
  options, rows = machine.options, []
  flags = [
    f"--size={options.size}", f"--batch={options.batch}", "--dtype=bfloat16",
    f"--steps_per_call={options.steps_per_call}", f"--seconds={4 * options.seconds}",
  ]  # fmt: skip
  rate_of = rf"^{options.model[0]} +(\S+)"
  for count in (2, 4):
    share = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.8 / count:.2f}"}
    words = ("benchmarks.train_step", f"--model={options.model[0]}", *flags)
    names = [f"together_{count}_{number}" for number in range(count)]
    running = [machine.start(name, *words, **share) for name in names]
    printed = [machine.finish(*both) for both in zip(names, running, strict=True)]
    each = [float(rate) for text in printed for rate in re.findall(rate_of, text, re.M)]
    if len(each) == count:
      rows.append({"programs": count, "steps/s, of each": statistics.mean(each), "sum": sum(each)})
  return rows


def waits(machine: Machine) -> Rows:
  """The share of time in which the device waits for images from files."""
  if importlib.util.find_spec("tensorflow") is None:
    raise UserError("TensorFlow, which reads the files, is not installed")
  options = machine.options
  process = machine.start(
    "waits", "benchmarks.whole_program", "--config=configs/genesis_gqn.py", "--rounds=3",
    f"--seconds={4 * options.seconds}", f"--config.model.image_size={options.size}",
    f"--config.batch_size={options.batch}", "--config.model.dtype=bfloat16",
  )  # fmt: skip
  lines = machine.finish("waits", process).splitlines()
  return [{"GENESIS on GQN": line} for line in lines if "images/s" in line or "waits" in line]


def train(machine: Machine) -> Rows:
  """Trains side by side with the time that is left, and makes small copies of the runs."""
  from experiments.runs import records
  from experiments.scoring import scores

  out, chosen, rows = machine.options.out, machine.options.train or TRAIN, []
  running = {}
  for number, line in enumerate(chosen):
    config, *overrides = shlex.split(line)
    name = f"{number}_{re.sub(r'[^a-z0-9]+', '_', pathlib.Path(config).name.lower())}"
    words = [
      "experiments.main", f"--config={config}", *overrides,
      f"--config.model.image_size={machine.options.size}",
      f"--config.steps_per_call={machine.options.steps_per_call}",
      f"--config.time_limit={max(1, machine.left - 2 * GRACE):.0f}s",
      f"--workdir={out / 'runs' / name}",
    ]  # fmt: skip
    share = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.8 / len(chosen):.2f}"}
    running[name] = machine.start(name, *words, **share)
  for name, process in running.items():
    printed = machine.finish(name, process)
    copy = out / "exported" / name
    if not copy.exists():
      words = shlex.split(command("export", out / "runs" / name))[2:]
      machine.finish(f"{name}_export", machine.start(f"{name}_export", *words, f"--out={copy}"))
    record = records.read(out / "runs" / name)
    _, values = record.validation()
    shown = {scores.label(key): values[key] for key in scores.named(values, scores.LINE)}
    done = {"run": name, "steps": record.steps_done}
    rows.append(done | shown | {"last": printed.strip().splitlines()[-1]})
  return rows


class Part(NamedTuple):
  """Something to find out, or to do."""

  name: str
  title: str
  least: float  # seconds without which it is not begun
  most: float  # seconds that it may take
  run: Callable[[Machine], Rows]


# The most valuable first.
PARTS = (
  Part("machine", "The machine", 5, 60, describe),
  Part("gradients", "Gradients in bfloat16, of those in float32", 20, 150, gradients),
  Part("golden", "Comparisons with the original's numbers", 20, 150, golden),
  Part("speed", "Training steps", 30, 240, speed),
  Part("original", "Beside the original in PyTorch", 30, 120, original),
  Part("together", "Programs side by side on one device", 30, 120, together),
  Part("waits", "Waiting for images", 20, 60, waits),
  Part(TRAINING, "Training", 60, float("inf"), train),
)
