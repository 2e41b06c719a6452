"""What a prepared set is called, what its card says, and where sets are found; no TensorFlow.

    card = read_card(Path("data/prepared/apc/default_128px_bilinear/1.0.0"))
    card.differences(config)      # ["image_size is 128, wanted 64"]: it does not fit

A set is a folder of tfrecords as TensorFlow Datasets lays them out, `<name>/<config>/<version>`,
with a card, `prepared.json`, that says from what and how it was made.
"""

import dataclasses
import functools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from data_pipelines.sources import SHARED_FIELDS, DataError
from data_pipelines.stores.cache import given

VERSION = "1.0.0"  # of the format
CARD_FILE = "prepared.json"
IGNORED = 2**16 - 1  # in the files, in place of the id -1
PLACES = ("data/prepared", "data")  # searched when no data_dir is given
KINDS = {  # of the entries of a card
  **dict.fromkeys(("dataset", "variant", "resize", "on_corrupt", "source", "fingerprint"), str),
  **dict.fromkeys(("image_size", "limit", "num_val", "num_test"), int),
  **dict.fromkeys(("labels", "versions"), dict),
  "protocol": str | None,
  "stand_in": dict | None,
  "instances": bool,
  "choices": dict,
}


@dataclasses.dataclass(frozen=True)
class Split:
  """A split of a prepared set.

  Attributes:
    promised: images that the source announced.
    damaged: records of the source that were left out.
    shard_images: per shard, images.
    shard_bytes: per shard, size of the file.
  """

  promised: int
  damaged: int
  shard_images: list[int]
  shard_bytes: list[int]

  @property
  def num_images(self) -> int:
    """Images that were written."""
    return sum(self.shard_images)


@dataclasses.dataclass(frozen=True)
class Card:
  """From what and how a set was made; dataset to num_test are as in a configuration.

  Attributes:
    stand_in: the notes of the rendered scenes that were its source; None: published images.
    source: description of the source.
    fingerprint: of the source's list of files.
    instances: whether there are ids of instances.
    labels: per label, its type and its shape for one image.
    splits: by name.
    versions: of what made it.
    choices: fields of the configuration that only this data set has, as far as they were set.
  """

  dataset: str
  variant: str
  protocol: str | None
  image_size: int
  resize: str
  limit: int
  on_corrupt: str
  num_val: int
  num_test: int
  stand_in: dict | None
  source: str
  fingerprint: str
  instances: bool
  labels: dict[str, tuple[str, list[int]]]
  splits: dict[str, Split]
  versions: dict[str, str]
  choices: dict = dataclasses.field(default_factory=dict)

  def differences(self, config) -> list[str]:
    """What keeps the set from being what a configuration asks for."""
    wanted = dict(
      dataset=config.name,
      variant=config.variant,
      protocol=getattr(config, "protocol", None),
      image_size=config.image_size,
      resize=config.resize,
    )
    found = {field: getattr(self, field) for field in wanted}
    pairs = [(field, found[field], wanted[field]) for field in wanted]
    choices = own_choices(config)
    for field in sorted(choices.keys() | self.choices.keys()):
      pairs.append((field, self.choices.get(field), choices.get(field)))
    if self.limit and not 0 < config.limit <= self.limit:
      pairs.append(("limit", self.limit, config.limit))
    return [f"{field} is {is_}, wanted {want}" for field, is_, want in pairs if is_ != want]

  def to_json(self) -> str:
    """The text of the card."""
    return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def own_choices(config) -> dict[str, str]:
  """What is set of the fields that only this data set has, as text."""
  own = [field for field in config if field not in SHARED_FIELDS]
  return {field: str(config[field]) for field in own if config[field] is not None}


def _check_types(card: Card) -> None:
  """Raises TypeError or ValueError where a card that was edited or damaged holds other things."""

  def check(name: str, value: object, kinds):
    if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is int):
      raise TypeError(f"{name} is {value!r:.40}")

  for name, kind in KINDS.items():
    check(name, getattr(card, name), kind)
  for name, (dtype, shape) in card.labels.items():
    check(f"label {name}", shape, list)
    if np.dtype(dtype).kind not in "biuf":
      raise TypeError(f"label {name} is of type {dtype!r:.40}")
    for size in shape:
      check(f"label {name}", size, int)
  for name, split in card.splits.items():
    for number in (split.promised, split.damaged, *split.shard_images, *split.shard_bytes):
      check(f"splits.{name}", number, int)
    if len(split.shard_images) != len(split.shard_bytes):
      raise ValueError(f"splits.{name} has shards without a size")


def read_card(root: Path) -> Card:
  """The card of a set.

  Raises:
    DataError: it cannot be read, or is of another version of the format.
  """
  path = root / CARD_FILE
  try:
    fields = json.loads(path.read_text())
    splits = {name: Split(**split) for name, split in fields.pop("splits").items()}
    card = Card(**fields, splits=splits)
    _check_types(card)
    return card
  except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
    what = f"{type(error).__name__}: {error}"
    raise DataError(f"{path} is not the card of a prepared set ({what}); prepare again") from None


def config_name(config) -> str:
  """The folder of a set, for example `train_genesis_128px_nearest`."""
  parts = [config.variant, getattr(config, "protocol", None), f"{config.image_size}px"]
  return "_".join([part for part in parts if part] + [config.resize])


def folder(out: str | Path, config) -> Path:
  """Where a set is prepared under the folder `out`."""
  return Path(out) / config.name / config_name(config) / VERSION


def shard_name(dataset: str, split: str, index: int, count: int) -> str:
  """File name of a shard (index from 0), as TensorFlow Datasets has it."""
  return f"{dataset}-{split}.tfrecord-{index:05d}-of-{count:05d}"


def _sets(config) -> list[Path]:
  """Folders of prepared sets of a data set in the places where a configuration looks."""
  if config.data_dir is None:
    places = [Path(place) for place in PLACES]
    patterns = [f"{config.name}/*/{VERSION}/{CARD_FILE}"]
  else:
    root = given(config)
    places = [root]
    patterns = [CARD_FILE, f"{VERSION}/{CARD_FILE}", f"{config.name}/*/{VERSION}/{CARD_FILE}"]
    if root.name == config.name:
      patterns.append(f"*/{VERSION}/{CARD_FILE}")
  return [
    path.parent for place in places for pattern in patterns for path in sorted(place.glob(pattern))
  ]


@functools.cache
def _say_once(message: str) -> None:
  logging.info("%s", message)


class Found(NamedTuple):
  """What lies where a configuration looks for prepared sets.

  Attributes:
    root: folder of the set that the configuration asks for; None: there is none.
    misfits: one line each for sets in place of it, which say what differs.
    is_last_resort: whether the set is a stand-in that nobody asked for, good enough only where
      there are no published files.
  """

  root: Path | None
  misfits: list[str]
  is_last_resort: bool = False


def find(config) -> Found:
  """Looks for the prepared set that a configuration asks for.

  Raises:
    DataError: a set's card cannot be read.
  """
  last_resort, misfits = None, []
  for root in _sets(config):
    card = read_card(root)
    differences, unasked = card.differences(config), card.stand_in and config.data_dir is None
    if not differences and not unasked:
      return Found(root, [])
    if not differences:
      last_resort = last_resort or root
      continue
    message = f"the prepared set {root} does not fit: {', '.join(differences)}"
    _say_once(f"{message}; it is not used")
    if not unasked:
      misfits.append(message)
  return Found(last_resort, misfits, last_resort is not None)


def advice(config, misfits: list[str]) -> str:
  """What is wrong with the prepared sets that are there, and how to prepare what is wanted."""
  options = dict(variant=config.variant, image_size=config.image_size, resize=config.resize)
  if hasattr(config, "protocol"):
    options["protocol"] = config.protocol
  options |= own_choices(config)
  command = " ".join(f"--{option} {value}" for option, value in options.items())
  return (
    f"{'; '.join(misfits)}; configure what was prepared, or prepare this: "
    f"python -m data_pipelines.prepare {getattr(config, 'module', None) or config.name} "
    f"--source DIR {command}"
  )
