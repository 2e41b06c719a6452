"""The configuration that a run was made with: `--config=configs/of_run.py:runs/genesis_gqn`.

For runs with settings of their own, such as those imported from the original's checkpoints.
"""

import json
import pathlib

from ml_collections import ConfigDict

from configs.experiment import compose


def get_config(workdir: str):
  """What `config.json` in the run's folder says.

  Raises:
    ValueError: if there is none.
  """
  path = pathlib.Path(workdir) / "config.json"
  if not path.is_file():
    raise ValueError(f"{workdir} is not a run: it has no {path}")
  saved = json.loads(path.read_text()) | {"time_limit": None}  # of a program, not of the run
  # Of what somebody brings along a run knows all options; in runs num_slots is the model's alone.
  parts = saved["model"], {"num_slots": 1} | saved["data"]
  saved["trackers"] = tuple(saved.get("trackers", ()))  # JSON has lists only
  config = compose(*(ConfigDict(x) if "module" in x else x["name"] for x in parts))
  with config.ignore_type():  # such as a number where the default is None
    config.update(saved)
  return config
