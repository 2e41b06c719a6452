"""Scores of one checkpoint at each level of its dials.

    bench = Bench(model, variables, config, settings)
    result = bench.measured(level)          # Measured: scores with intervals, and the worst images

The levels of training of all dials are the same images, and are measured once. There is a compiled
evaluation for each number of slots.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

import data_pipelines
from data_pipelines.datasets.generator import DrawnSample
from data_pipelines.sampling import Sample
from experiments.console.errors import UserError, explained
from experiments.scoring import drawing, scores, summaries
from experiments.scoring.evaluator import Evaluator
from experiments.shifts.dials import Dial, Level
from genesis_jax import build_model

NUM_BOOTSTRAP = 2000


class Settings(NamedTuple):
  """What is measured on, as of `scoring.measure.Settings`; `worst`: images kept of a level."""

  split: str = "test"
  num_images: int | None = None
  batch_size: int = 32
  seed: int = 0
  sample_seed: int = 0
  usual: int = 200
  worst: int = 2


@dataclasses.dataclass(frozen=True)
class Measured:
  """What one level led to.

  Attributes:
    images: which ones, for people.
    num_images: how many.
    scores: name -> mean, low, high (a 95% interval) and standard_error.
    quality: see `quality`, float64 `[N]`.
    worst: "image", "index" and maybe "instances" of those with the lowest quality, lowest first.
  """

  images: str
  num_images: int
  scores: dict[str, dict[str, float | None]]
  quality: np.ndarray
  worst: dict[str, np.ndarray]


def _intervals(values: dict[str, np.ndarray]) -> dict[str, dict[str, float | None]]:
  count = len(next(iter(values.values())))
  resamples = summaries.resample(count, NUM_BOOTSTRAP, seed=0)
  found = {}
  for name, value in values.items():
    low, high = summaries.bootstrap(value, resamples)
    summary = summaries.summary(value[None])
    found[name] = dict(mean=summary["mean"], low=low, high=high,
                       standard_error=summary["standard_error"])  # fmt: skip
  return found


def ranking(names: Iterable[str]) -> list[str]:
  """Which of some scores tell good images from bad: those of segments, else the first drawn."""
  shown = scores.named(names, scores.SHIFTS)
  return [name for name in shown if scores.is_segmentation(name)] or shown[:1]


def quality(values: dict[str, np.ndarray]) -> np.ndarray:
  """What images are ranked by, higher is better: the mean of `ranking`'s scores, `[N]`.

  One of them alone misleads: ARI-FG is 0 where one pixel of a single object has another slot.
  """
  names = ranking(values)
  signs = [-1 if scores.score(name).better == "lower" else 1 for name in names]
  return np.mean([sign * values[name] for sign, name in zip(signs, names, strict=True)], 0)


def _worst(batches: list[dict], good: np.ndarray, num: int) -> dict[str, np.ndarray]:
  rows = np.argsort(good, kind="stable")[:num]
  names = batches[0].keys() & {"image", "instances", "index"}
  return {n: np.concatenate([batch[n] for batch in batches])[rows] for n in names}


class Bench:
  """A checkpoint that is measured at many levels.

  Args:
    model: of the run.
    variables: its weights.
    config: of the run; its data as it is to be measured.
    settings: on what.
  """

  def __init__(self, model, variables, config, settings: Settings):
    self.variables, self.config, self._settings = variables, config, settings
    self._models = {None: model}
    self._evaluators: dict[int | None, Evaluator] = {}
    self._usual: Measured | None = None

  def model(self, num_slots: int | None):
    """The model with so many slots, None: as in training; they share the weights.

    Raises:
      UserError: its parameters would be others.
    """
    if num_slots not in self._models:
      options = ml_collections.ConfigDict(self.config.model.to_dict() | {"num_slots": num_slots})
      with explained():
        model = build_model(options)
      self._check_shapes(model, num_slots)
      self._models[num_slots] = model
    return self._models[num_slots]

  def _check_shapes(self, model, num_slots: int) -> None:
    there = jax.tree.map(np.shape, self.variables["params"])
    images = jax.ShapeDtypeStruct((1, model.image_size, model.image_size, 3), np.float32)
    keys = {name: jax.random.key(0) for name in ("params", "noise")}
    new = jax.eval_shape(lambda x: model.init(keys, x, train=False), images)["params"]
    if there != jax.tree.map(lambda leaf: leaf.shape, new):
      raise UserError(f"with {num_slots} slots the model has other parameters")

  def _evaluator(self, num_slots: int | None) -> Evaluator:
    if num_slots not in self._evaluators:
      settings = self._settings
      model = self.model(num_slots)
      self._evaluators[num_slots] = Evaluator(model, settings.batch_size, settings.seed)
    return self._evaluators[num_slots]

  def _sample(self, level: Level) -> Sample:
    """Images of a level, before they are corrupted."""
    s, data = self._settings, level.data or self.config.data
    how = dict(seed=s.sample_seed, batch_size=s.batch_size)
    with explained():
      if level.scene:
        wanted = s.num_images or s.usual
        return DrawnSample(data, s.split, wanted, shift=level.scene, **how)
      # Another data set may have fewer images than were asked for of the run's own.
      asked = None if level.data else s.num_images
      return drawing.drawn(data, s.split, asked, s.num_images or s.usual, **how)

  def measured(self, level: Level) -> Measured:
    """The scores of a level.

    Raises:
      UserError, DataError: in one line.
    """
    if not level.is_training:
      return self._measure(level)
    self._usual = self._usual or self._measure(level)
    return self._usual

  def _measure(self, level: Level) -> Measured:
    sample, kept = self._sample(level), []

    def batches() -> Iterator[dict]:
      for batch in sample:
        kept.append(level.corrupt(batch) if level.corrupt else batch)
        yield kept[-1]

    index, values = self._evaluator(level.num_slots)(self.variables, batches())
    values = {name: value[0] for name, value in values.items()}
    good = quality(values)
    worst = _worst(kept, good, self._settings.worst)
    return Measured(sample.words(), len(index), _intervals(values), good, worst)

  def check(self, dials: Sequence[Dial]) -> data_pipelines.Source:
    """The run's data; what is wrong with any data is said before anything is measured."""
    with explained():
      data_pipelines.check_choice("--split", self._settings.split, data_pipelines.SPLITS)
      for level in (level for dial in dials for level in dial.levels if level.data):
        data_pipelines.resolve(level.data)
      return data_pipelines.resolve(self.config.data)
