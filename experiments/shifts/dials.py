"""Which levels each dial has for a run, of which one is its training distribution.

    dials, left_out = chosen(config, names=None, data=[], source="generator")
    for level in dials[0].levels:
      level.label, level.is_training

A level names what is other than in training: options of the scenes, something done to the images,
the number of slots, or the data set.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

import ml_collections

from configs import datasets
from data_pipelines.sources import check_choice
from experiments.console.errors import UserError, explained
from experiments.shifts.catalogue import DIALS, IMAGES, SCENES
from experiments.shifts.corruptions import CORRUPTIONS, corrupted
from genesis_jax.models import model_class
from genesis_jax.scenes import SCENES as RENDERED
from genesis_jax.scenes import shifts

SLOTS = (-2, -1, 0, 2, 4)  # more than in training
FEWEST_SLOTS = 2  # one needs no masks, and some models then have other parameters


@dataclasses.dataclass(frozen=True)
class Level:
  """One level of a dial; all that is None or empty is as in training.

  Attributes:
    label: on the axis.
    scene: options of the scenes that are drawn, see `genesis_jax.scenes.shifts`.
    corrupt: batch -> batch.
    num_slots: of the model.
    data: configuration of another data set.
  """

  label: str
  scene: Mapping[str, object] = dataclasses.field(default_factory=dict)
  corrupt: Callable[[dict], dict] | None = None
  num_slots: int | None = None
  data: ml_collections.ConfigDict | None = None

  @property
  def is_training(self) -> bool:
    """Whether nothing is other than in training."""
    return not (self.scene or self.corrupt or self.num_slots or self.data)


@dataclasses.dataclass(frozen=True)
class Dial:
  """A name of `catalogue.DIALS`, and its levels in the order of the axis."""

  name: str
  levels: Sequence[Level]

  @property
  def about(self) -> str:
    """What it turns."""
    return DIALS[self.name]


def _of_scenes(name: str, data) -> list[Level] | str:
  if data.get("source", "files") != "generator":
    return (
      f"scenes of {data.name} are read from files; pass --source=generator to shift scenes that "
      "are drawn after them"
      if data.name in RENDERED
      else f"no scenes are drawn after {data.name}"
    )
  found = shifts.shifts(data.name, data.variant)[name]
  return found if isinstance(found, str) else [Level(one.label, one.options) for one in found]


def _of_images(name: str) -> list[Level]:
  corruption = CORRUPTIONS[name]

  def change(value):
    if value == corruption.usual:
      return None
    return functools.partial(corrupted, corruption=corruption, value=value)

  return [Level(corruption.label(v), corrupt=change(v)) for v in corruption.levels]


def _of_slots(model) -> list[Level] | str:
  if "num_slots" not in model_class(model.name, model.get("module")).__dataclass_fields__:
    return f"{model.name} has no slots"
  usual = model.get("num_slots", 1)
  if usual < FEWEST_SLOTS:
    return f"the model was made for {usual} slot, and has no masks"
  counts = [usual + more for more in SLOTS if usual + more >= FEWEST_SLOTS]
  return [Level(str(k), num_slots=None if k == usual else k) for k in counts]


def _other_data(text: str, data) -> Level:
  """The level of NAME, NAME:VARIANT, or either with =DIR."""
  words, equals, folder = text.partition("=")
  name, colon, variant = words.partition(":")
  with explained():
    check_choice("--data", name, datasets.DATASETS)
  other = datasets.DATASETS[name]()
  if name == data.name:  # divided and resized in the same way
    other = ml_collections.ConfigDict(data.to_dict())
  with other.unlocked():
    other.image_size = data.image_size
    other.source = "files" if equals else data.get("source", "files")
    if colon:
      other.variant = variant
    if equals:
      other.data_dir = folder
      other.update({"file": None} if "file" in other else {})  # which the folder names
  return Level(text.partition("=")[0], data=other)


def _of_data(data, others: Sequence[str]) -> list[Level] | str:
  if not others:
    return "no other is named: pass --data=NAME:VARIANT"
  usual = Level(f"{data.name}:{data.variant}")
  return [usual, *(_other_data(text, data) for text in others)]


def _levels(name: str, config, data: Sequence[str]) -> list[Level] | str:
  if name in SCENES:
    return _of_scenes(name, config.data)
  if name in IMAGES:
    return _of_images(name)
  return _of_slots(config.model) if name == "slots" else _of_data(config.data, data)


def chosen(
  config, names: Iterable[str] | None, data: Sequence[str]
) -> tuple[list[Dial], dict[str, str]]:
  """The dials of a run, and of those that it cannot have: name -> why.

  Args:
    config: of the run; its data as it is to be measured.
    names: of dials; None: all that there are.
    data: other data sets, NAME:VARIANT or NAME:VARIANT=DIR.

  Raises:
    UserError: one that was asked for by name cannot be had.
  """
  wanted = list(names or DIALS)
  if data and "data" not in wanted:
    wanted.append("data")
  found, left_out = [], {}
  for name in wanted:
    levels = _levels(name, config, data)
    if not isinstance(levels, str):
      found.append(Dial(name, levels))
    elif names:
      raise UserError(f"--dials={name}: {levels}")
    else:
      left_out[name] = levels
  return found, left_out
