"""What a person sees while training: a live bar on a terminal, plain lines elsewhere.

Lines are printed, not logged: Orbax and CLU write to absl's log at the same level.
"""

import collections
import contextlib
import math
import sys
import time
from collections.abc import Iterator

import jax
import tqdm

from experiments.console.durations import duration
from experiments.hardware import devices
from experiments.scoring.scores import LINE, named
from genesis_jax import objective

# Calls that the host may be ahead of the devices. Without a bound CPUs queue without end; with one
# waiting behind the one that runs, no device is ever idle.
RUN_AHEAD = 2

UNASKED = 1000  # calls after which a divergence is looked for; until then their scalars are kept

FATAL = ("elbo", "err", "kl", "loss", "grad_norm", "beta")  # told of a step that diverged


def num_steps(scalars: dict) -> int:
  """Steps of a call, from its scalars `[devices, steps]`."""
  return scalars["loss"].shape[1]


class RecentSteps:
  """Scalars of the last calls, left on the devices until someone asks."""

  def __init__(self):
    self._running = collections.deque()
    self._fatal = {}

  def add(self, done: int, scalars: dict) -> None:
    """Notes a call that ends with step `done`, and waits for the one `RUN_AHEAD` before it."""
    self._fatal[done] = {name: scalars[name] for name in FATAL}
    self._running.append(scalars)
    if len(self._running) > RUN_AHEAD:
      jax.block_until_ready(self._running.popleft()["loss"])

  @property
  def are_many(self) -> bool:
    """Whether it is time to look for a divergence, though nothing is due."""
    return len(self._fatal) >= UNASKED

  def fetch(self) -> dict[str, float]:
    """The newest step's scalars; waits for it."""
    newest = devices.to_host(self._running[-1])
    return {name: float(values[-1]) for name, values in newest.items()}

  def divergence(self) -> tuple[int, dict[str, float]] | None:
    """Which step since this was last asked went wrong, and its scalars; waits for the newest."""
    diverged_at = int(devices.to_host(self._running[-1]["diverged_at"])[-1])
    fatal, self._fatal = self._fatal, {}
    if diverged_at < 0:
      return None
    # The training state counts the steps done before; people count from 1.
    step = diverged_at + 1
    done = min(end for end in fatal if end >= step)
    values = devices.to_host(fatal[done])
    return step, {name: float(values[name][step - 1 - done]) for name in FATAL}  # from the end


class Stopwatch:
  """Time per step, without what is done between steps."""

  def __init__(self):
    self._start = time.monotonic()
    self._steps = 0

  def tick(self, steps: int) -> None:
    """Counts some steps."""
    self._steps += steps

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Leaves out the time spent inside."""
    before = time.monotonic()
    try:
      yield
    finally:
      self._start += time.monotonic() - before

  def lap(self) -> float:
    """Seconds per step since the last call; 0 where there was none."""
    now = time.monotonic()
    seconds = (now - self._start) / self._steps if self._steps else 0.0
    self._start, self._steps = now, 0
    return seconds


def collapse(scalars: dict[str, float], num_slots: int) -> str | None:
  """How the slots look collapsed, or None where they look healthy or there are not several."""
  if "slots_used" not in scalars or num_slots == 1:
    return None
  if scalars["largest_slot"] > 0.98:
    return f"one slot explains {scalars['largest_slot']:.0%} of the pixels"
  if scalars["mask_entropy"] > 0.95 * math.log(num_slots):
    return f"masks are near uniform (entropy {scalars['mask_entropy']:.2f} nats)"
  return None


class Progress:
  """Tells how training goes, on the main host.

  Args:
    config: of the experiment.
    first: steps done at the beginning.
  """

  def __init__(self, config, first: int):
    self._first, self._last, self._batch_size = first, config.num_steps, config.batch_size
    self._num_slots = config.model.get("num_slots", 1)
    self._goal = None
    if config.objective.geco:
      self._goal = objective.goal_per_element(config.objective, config.model)
    self._active = devices.is_main_host()
    self._bar = None
    self._watch = Stopwatch()
    self._waited = 0  # for calls
    self._collapsed = None

  def __enter__(self) -> "Progress":
    if self._first < self._last:
      self._say("compiling the training step ...")
    return self

  def __exit__(self, *exc_info):
    if self._bar is not None:
      self._bar.close()

  def _say(self, text: str) -> None:
    if self._active:
      tqdm.tqdm.write(text, file=sys.stdout)  # above the bar, where there is one
      sys.stdout.flush()

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Context whose time does not count as training."""
    with self._watch.paused():
      yield
    if self._bar is not None:
      self._bar.unpause()

  def tick(self, scalars: dict) -> None:
    """Counts the steps of a call.

    Waits for the first one, whose time is mostly compilation, and for the second, whose time is
    known then: the host runs ahead of later ones.
    """
    count = num_steps(scalars)
    self._watch.tick(count)
    if self._bar is not None:
      self._bar.update(count)
    if self._waited == 2:
      return
    jax.block_until_ready(scalars["loss"])
    self._waited += 1
    if self._waited == 2:
      return
    steps = "step" if count == 1 else f"{count} steps"
    self._say(f"first {steps} done after {duration(self._watch.lap())}")
    if self._active and sys.stderr.isatty():  # not before: what is left takes no compilation
      self._bar = tqdm.tqdm(
        total=self._last, initial=self._first + count, unit="step", dynamic_ncols=True
      )

  def report(self, step: int, scalars: dict[str, float]) -> dict[str, float]:
    """Tells a step's scalars; returns them and the speed as "train/..."."""
    goal = "" if self._goal is None else f" (goal {self._goal:.4f})"
    words = (
      f"elbo {scalars['elbo']:.1f}  err/element {scalars['err_element']:.5f}{goal}  "
      f"kl {scalars['kl']:.2f}  beta {scalars['beta']:.4g}"
    )
    speed = {}
    if seconds := self._watch.lap():
      speed = {
        "step_time": seconds,
        "steps_per_second": 1 / seconds,
        "images_per_second": self._batch_size / seconds,
      }
    if self._bar is not None:
      self._bar.set_postfix_str(f"err {scalars['err_element']:.4f} beta {scalars['beta']:.3g}")
    else:
      eta = f"  ETA {duration((self._last - step) * seconds)}" if speed else ""
      rates = "".join(
        f"  {speed[f'{name}_per_second']:.3g} {name}/s" for name in ("steps", "images") if speed
      )
      self._say(f"step {step}/{self._last}  {words}{rates}{eta}")
    self._warn_of_collapse(step, scalars)
    return {f"train/{name}": value for name, value in (scalars | speed).items()}

  def _warn_of_collapse(self, step: int, scalars: dict[str, float]) -> None:
    if step < min(1000, self._last // 10):
      return  # untrained masks say nothing
    collapsed = collapse(scalars, self._num_slots)
    if collapsed and not self._collapsed:
      self._say(f"WARNING: step {step}: the slots look collapsed: {collapsed}")
    self._collapsed = collapsed

  def report_validation(self, values: dict[str, float]) -> dict[str, float]:
    """Tells the results of a validation; returns them as "val/..."."""
    words = "  ".join(f"{name} {values[name]:.4g}" for name in named(values, LINE))
    if words:
      self._say(f"validation on {values['num_images']:.0f} images: {words}")
    return {f"val/{name}": value for name, value in values.items()}
