"""The configuration that a run was made with: `--config=configs/of_run.py:runs/genesis_gqn`.

For runs with settings of their own, such as those imported from the original's checkpoints.
"""

import json
import pathlib

from ml_collections import ConfigDict

from configs.experiment import compose
from data_pipelines.stores import files


def get_config(workdir: str):
  """What `config.json` says in the run's folder, or at its address in a store.

  Raises:
    ValueError: if there is none.
  """
  saved = json.loads(_content(workdir)) | {"time_limit": None}  # of a program, not of the run
  # Of what somebody brings along a run knows all options; in runs num_slots is the model's alone.
  parts = saved["model"], {"num_slots": 1} | saved["data"]
  saved["trackers"] = tuple(saved.get("trackers", ()))  # JSON has lists only
  config = compose(*(ConfigDict(x) if "module" in x else x["name"] for x in parts))
  with config.ignore_type():  # such as a number where the default is None
    config.update(saved)
  return config


def _content(workdir: str) -> str | bytes:
  path = f"{workdir.rstrip('/')}/config.json"
  try:
    if not files.is_remote(path):
      return pathlib.Path(path).read_text()
    system, inner = files.open_store(path)
    return files.retried(lambda: system.cat_file(inner), path)
  except FileNotFoundError:
    raise ValueError(f"{workdir} is not a run: it has no {path}") from None
  except OSError as error:
    raise ValueError(f"{workdir} cannot be read: {error}") from None
