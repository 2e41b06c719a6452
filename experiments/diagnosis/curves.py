"""What the logged numbers of a run say of it: pure functions of a configuration and rows.

findings(config, rows)        # of a run.json, and of a metrics.jsonl
"""

import math
import statistics
from collections.abc import Callable

import ml_collections

from experiments.diagnosis.findings import Finding
from genesis_jax import objective

END = 0.1  # of the rows: over these, numbers are averaged
WINDOW = 20  # rows before one, whose median it is compared with
SPIKES = {"grad_norm": 10.0, "mse": 3.0}  # times the median that make a spike
AT_LIMIT = 1.01  # times beta's limit
NOT_REACHED = 1.1  # times the goal's mean squared error
FAR_BELOW = 0.5
LARGEST_SLOT = 0.95  # share of the pixels
ENTROPY = 0.8  # of that of uniform masks
FATAL = ("elbo", "err", "kl", "loss", "grad_norm")
YOUNG = 1000  # steps
SMALL_STD = 0.3  # of pixels
LEAST_KL = 0.1  # nats per image


class Curves:
  """The numbers that training logged.

  Args:
    config: the run's, as in run.json.
    rows: of metrics.jsonl, with None for what is not finite.
  """

  def __init__(self, config: dict, rows: list[dict]):
    self.config = ml_collections.ConfigDict(config)
    self.rows = [row for row in rows if any(name.startswith("train/") for name in row)]

  def series(self, name: str) -> list[tuple[int, float]]:
    """Steps and values, where they are finite."""
    found = ((row["step"], row.get(f"train/{name}")) for row in self.rows)
    return [(step, value) for step, value in found if value is not None]

  def end(self, name: str) -> float | None:
    """Mean of the last values; None where there is none."""
    values = [value for _, value in self.series(name)]
    return statistics.fmean(values[-max(1, round(END * len(values))) :]) if values else None

  @property
  def last(self) -> int:
    """The last logged step."""
    return self.rows[-1]["step"] if self.rows else 0

  @property
  def is_young(self) -> bool:
    """Whether masks still say nothing of what will become of them."""
    return self.last < min(YOUNG, self.config.num_steps / 10)

  @property
  def num_slots(self) -> int:
    """1 for models without slots."""
    return self.config.model.get("num_slots", 1)


def _divergence(curves: Curves) -> Finding | None:
  diverged = [step for step, value in curves.series("diverged_at") if value >= 0]
  broken = [
    row["step"] for row in curves.rows if any(row.get(f"train/{n}", 0) is None for n in FATAL)
  ]
  if not diverged and not broken:
    return None
  rate = curves.config.optimizer.learning_rate
  evidence = {"first step": min(diverged + broken), "logged steps not finite": len(broken)}
  return Finding(
    "not_finite",
    f"Training diverged at step {evidence['first step']:,}."
    if diverged
    else f"Some numbers are not finite, first at step {evidence['first step']:,}.",
    evidence,
    (
      _clipping(curves),
      f"--config.optimizer.learning_rate={rate / 2:g} --change=optimizer.learning_rate",
      "--config.optimizer.warmup_steps=1000 in a new run",
    ),
  )


def _clipping(curves: Curves) -> str:
  norms = [value for _, value in curves.series("grad_norm")]
  norm = 2 * statistics.median(norms) if norms else 1.0
  return (
    f"--config.optimizer.clip_norm={norm:.2g} --change=optimizer.clip_norm: twice the usual norm "
    "of the gradient"
  )


def _spikes(curves: Curves) -> Finding | None:
  found = []
  for name, factor in SPIKES.items():
    values = curves.series(name)
    for number in range(WINDOW // 4, len(values)):
      step, value = values[number]
      usual = statistics.median(v for _, v in values[max(0, number - WINDOW) : number])
      if usual > 0 and value > factor * usual:
        found.append((value / usual, name, step, value, usual))
  if not found:
    return None
  ratio, name, step, value, usual = max(found)
  rate = curves.config.optimizer.learning_rate
  evidence = {"spikes": len(found), "largest": f"{name} at step {step}", "value": value,
              "median before": usual}  # fmt: skip
  return Finding(
    "spikes",
    f"Training is not steady: {name} jumped to {ratio:.3g} times its median at step {step:,}.",
    evidence,
    (
      _clipping(curves),
      f"--config.optimizer.learning_rate={rate / 2:g} --change=optimizer.learning_rate",
      "--config.optimizer.ema_decay=0.999: what is evaluated is then steadier than what is trained",
    ),
  )


def _beta_at_limit(curves: Curves) -> Finding | None:
  setting, betas = curves.config.objective, curves.series("beta")
  if not setting.geco or not betas:
    return None
  at_least = betas[-1][1] <= setting.beta_min * AT_LIMIT
  at_most = betas[-1][1] >= setting.beta_max / AT_LIMIT
  if not at_least and not at_most:
    return None
  since = betas[-1][0]
  for step, value in reversed(betas):
    if not math.isclose(value, betas[-1][1], rel_tol=AT_LIMIT - 1):
      break
    since = step
  evidence = {"beta": betas[-1][1], "since step": since}
  if at_least:
    words = "beta is at its minimum: the error does not reach GECO's goal, and the KL is ignored."
    return Finding("beta_at_minimum", words, evidence, _other_goal(curves))
  words = "beta is at its maximum: the error is below GECO's goal all the time, and the KL is all."
  return Finding("beta_at_maximum", words, evidence, _other_goal(curves))


def _reached(curves: Curves) -> float | None:
  moving = curves.end("err_ema_element")
  return curves.end("err_element") if moving is None else moving


def _other_goal(curves: Curves) -> tuple[str, ...]:
  floor = objective.error_floor(objective.sharpest_std(curves.config.model))
  reached, auto = _reached(curves), "--config.objective.goal=auto in a new run"
  if reached is None or reached <= floor:
    return (auto,)
  goal = floor + 1.05 * (reached - floor)
  return f"--config.objective.goal={goal:.5f}, a little above the error that is reached", auto


def _goal(curves: Curves) -> Finding | None:
  config, reached = curves.config, _reached(curves)
  if not config.objective.geco or reached is None:
    return None
  std = objective.sharpest_std(config.model)
  goal, floor = (
    objective.goal_per_element(config.objective, config.model),
    objective.error_floor(std),
  )
  ratio = (reached - floor) / (goal - floor)  # of mean squared errors
  evidence = {"error": reached, "goal": goal, "least possible": floor, "beta": curves.end("beta")}
  if ratio < FAR_BELOW:
    words = (
      f"GECO's goal is far above the error that is reached, whose mean square is {ratio:.0%} of it."
    )
    return Finding("goal_too_high", words, evidence, _other_goal(curves))
  if ratio < NOT_REACHED:
    return None
  values = [value for _, value in curves.series("err_element")]
  third = len(values) // 3
  if curves.is_young:
    return None
  if third and curves.last < config.num_steps:
    fall = statistics.fmean(values[-2 * third : -third]) - statistics.fmean(values[-third:])
    if fall > 0.1 * (reached - goal):
      return None  # it is on its way
  words = f"GECO's goal is not reached: the mean square of the error is {ratio:.3g} times as large."
  longer = f"--config.num_steps={2 * config.num_steps}, if the error is still falling"
  return Finding("goal_not_reached", words, evidence, (*_other_goal(curves), longer))


def _collapse(curves: Curves) -> Finding | None:
  share = curves.end("largest_slot")
  if share is None or curves.num_slots == 1 or curves.is_young or share < LARGEST_SLOT:
    return None
  evidence = {"largest_slot": share, "slots_used": curves.end("slots_used")}
  return collapsed("attention", share, evidence, curves.config)


def collapsed(kind: str, share: float, evidence: dict, config) -> Finding:
  """One slot takes all, in masks of a kind."""
  words = f"One slot takes {share:.0%} of the pixels in the {kind} masks: the others are not used."
  return Finding("collapsed_slots", words, evidence, break_symmetry(config))


def break_symmetry(config) -> tuple[str, ...]:
  """What to try where slots do not divide the work."""
  more = ("--config.optimizer.warmup_steps=1000", f"another seed: --config.seed={config.seed + 1}")
  if config.model.get("pixel_std", 0) <= SMALL_STD:  # a model of your own may have none
    return more
  stds = f"--config.model.pixel_std={SMALL_STD} --config.model.pixel_std_first={SMALL_STD}"
  return (f"{stds} --config.objective.goal=auto: errors then cost more", *more)


def _uniform(curves: Curves) -> Finding | None:
  entropy = curves.end("mask_entropy")
  if entropy is None or curves.num_slots == 1 or curves.is_young:
    return None
  return uniform("attention", entropy, curves.num_slots, curves.config)


def uniform(kind: str, entropy: float, num_slots: int, config) -> Finding | None:
  """Masks of a kind whose mean entropy over pixels, in nats, is near that of no decision."""
  highest = math.log(num_slots)
  if entropy < ENTROPY * highest:
    return None
  words = f"The {kind} masks are near uniform: every slot has a part of every pixel."
  evidence = {"mask_entropy": entropy, "highest possible": highest}
  return Finding("uniform_masks", words, evidence, break_symmetry(config))


def _no_information(curves: Curves) -> Finding | None:
  kl = curves.end("kl")
  if kl is None or kl > LEAST_KL:
    return None
  return dead({"kl": kl}, curves.config)


def dead(evidence: dict, config) -> Finding:
  """The latents say nothing of the image."""
  cure = f"--config.objective.beta={config.objective.beta / 10:g}"
  if config.objective.geco:
    cure = "a lower --config.objective.goal, or --config.objective.goal=auto"
  words = "The latents say nothing of the image: the posteriors are the priors."
  return Finding(
    "dead_latents", words, evidence, (cure, "--config.objective.beta_warmup=True without GECO")
  )


RULES: tuple[Callable[[Curves], Finding | None], ...] = (
  _divergence,
  _spikes,
  _beta_at_limit,
  _goal,
  _collapse,
  _uniform,
  _no_information,
)


def findings(config: dict, rows: list[dict]) -> list[Finding]:
  """All that the logged numbers show, the gravest first.

  Args:
    config: the run's, as in run.json.
    rows: of its metrics.jsonl, in the order of steps; None for what is not finite.
  """
  curves = Curves(config, rows)
  return [finding for rule in RULES if (finding := rule(curves)) is not None]
