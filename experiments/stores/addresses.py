"""Where the copy of a run in a store lies on this machine, and of which address it is one."""

import hashlib
import json
import os
import pathlib
import re

STATE = ".stored.json"  # in a copy: its address, and which of its files are as in the store


def copy_of(address: str, kind: str) -> pathlib.Path:
  """The folder for the copy of a run.

  Args:
    address: of the run, such as gs://bucket/runs/name.
    kind: "trained" for the one program that trains it; "read" for those that only read it.
  """
  cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
  name = re.sub(r"[^\w.-]", "_", address.rpartition("/")[2])  # to recognise it by
  digest = hashlib.sha256(address.encode()).hexdigest()[:12]
  return cache / "genesis_jax" / "runs" / kind / f"{name}-{digest}"


def name_of(folder: pathlib.Path) -> str:
  """What people call a run's folder: the address of the run if it is a copy, else its own path."""
  try:
    return json.loads((folder / STATE).read_text())["address"]
  except (OSError, ValueError, KeyError, TypeError):
    return str(folder)
