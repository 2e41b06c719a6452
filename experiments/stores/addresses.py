"""Where the copy of a run in a store lies on this machine, and of which address it is one."""

import contextlib
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


def name_of(path: pathlib.Path) -> str:
  """What people call a folder or file: its address if it is in a copy, else its own path."""
  for folder in (path, *path.parents):
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
      address = json.loads((folder / STATE).read_text())["address"]
      return "/".join([address, *path.relative_to(folder).parts])
  return str(path)
