"""A data set's settings as in the published experiments, for programs without a configuration.

config = settings("clevr", data_dir="data/multi-object-datasets", limit=100)
config.image_size                 # 128
"""

import shlex

import ml_collections

from configs.datasets import DATASETS, common_fields
from configs.loading import load_config


def settings(name: str, **changes) -> ml_collections.ConfigDict:
  """Fields as in `config.data`; changes that are None are left at the published value.

  Args:
    name: a data set, or a configuration file, ending in ".py", that brings its own.
    **changes: values of fields.

  Raises:
    ConfigError: the configuration file cannot be read.
    ValueError: unknown data set, or a field that it does not have.
  """
  if name.endswith(".py"):
    config = load_config(name, []).data
  elif name in DATASETS:
    config = DATASETS[name]()
  else:
    raise ValueError(f"data set is {name!r}; allowed: {', '.join(sorted(DATASETS))}")
  for field, value in changes.items():
    if value is None:
      continue
    if field not in config:
      raise ValueError(f"{config.name} has no {field}; it is {value!r}, leave it out")
    config[field] = value
  return config


def training_command(name: str, config: ml_collections.ConfigDict, data_dir: str) -> str:
  """The command, for a shell, that trains on what is in a folder, with these settings.

  Args:
    name: as for `settings`, which made `config`.
    config: the settings.
    data_dir: the folder.
  """
  published, file = settings(name), f"configs/experiment.py:genesis,{name}"
  words = ["python", "-m", "experiments.main"]
  words.append(f"--config={name if name.endswith('.py') else file}")
  words.append(f"--config.data.data_dir={data_dir}")
  own = [field for field in published if field not in common_fields()]
  for field in ("variant", "resize", "limit", "image_size", *own):
    value = config[field]
    if value != published[field]:
      words.append(f"--config.{'model' if field == 'image_size' else 'data'}.{field}={value}")
  return shlex.join(words)
