"""The published experiments' data settings, for programs that are run without a configuration.

    config = settings("clevr", data_dir="data/multi-object-datasets", limit=100)
    config.image_size                 # 128

`configs/datasets.py` declares the same fields and values for experiments; neither package imports
the other, and a test compares them.
"""

import shlex
from types import SimpleNamespace
from typing import NamedTuple

from data_pipelines.sources import check_choice


class Defaults(NamedTuple):
  """What differs between data sets; `protocol` only where a set has several."""

  variant: str
  image_size: int
  resize: str = "nearest"
  protocol: str | None = None
  shuffle_buffer: int = 10_000
  standin_scenes: int = 2_000


# Fields that only one data set has, unset.
OWN_FIELDS = {"image_folder": ("images", "masks", "ignore_ids", "background_ids", "split_by")}
DEFAULTS = {
  "gqn": Defaults("rooms_ring_camera", 64),
  "multi_dsprites": Defaults("default", 64),
  "objects_room": Defaults("train", 64),
  "clevr": Defaults("train", 128, "protocol", "genesis", shuffle_buffer=2_000, standin_scenes=500),
  "tetrominoes": Defaults("train", 32, "protocol", "genesis"),
  "multi_dsprites_colored": Defaults("colored_on_colored", 64),
  "shapestacks": Defaults("default", 64, "bilinear"),
  "sketchy": Defaults("default", 128, "bilinear"),
  "apc": Defaults("default", 128, "bilinear"),
  "image_folder": Defaults("default", 64, "bilinear"),
}


def settings(name: str, **changes) -> SimpleNamespace:
  """Fields as in `config.data`; changes that are None are left at the published value.

  Raises:
    ValueError: unknown data set, or a field that it does not have.
  """
  check_choice("data set", name, DEFAULTS)
  published = {k: v for k, v in DEFAULTS[name]._asdict().items() if v is not None}
  fields = published | dict(
    name=name,
    source="files",
    data_dir=None,
    on_corrupt="error",
    limit=0,
    resident=False,
    num_val=10_000,
    num_test=10_000,
    **dict.fromkeys(OWN_FIELDS.get(name, ())),
  )
  for field, value in changes.items():
    if value is None:
      continue
    if field not in fields:
      raise ValueError(f"{name} has no {field}; it is {value!r}, leave it out")
    fields[field] = value
  return SimpleNamespace(**fields)


def training_command(config: SimpleNamespace, data_dir: str) -> str:
  """The command, for a shell, that trains on what is in a folder, with these settings."""
  published = settings(config.name)
  words = ["python", "-m", "experiments.main"]
  words.append(f"--config=configs/experiment.py:genesis,{config.name}")
  words.append(f"--config.data.data_dir={data_dir}")
  own = OWN_FIELDS.get(config.name, ())
  for field in ("variant", "protocol", "resize", "limit", "image_size", *own):
    value = getattr(config, field, None)
    if value != getattr(published, field, None):
      words.append(f"--config.{'model' if field == 'image_size' else 'data'}.{field}={value}")
  return shlex.join(words)
