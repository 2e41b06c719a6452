"""Checkpoints packed to be passed on, without Orbax: weights alone, or all that training needs.

`checkpoints/<step>.npz` holds weights as float16: a few megabytes, from which training cannot go
on. `checkpoints/<step>.state-1-of-3` and so on are the parts of one .npz with the whole state, bit
for bit, each small enough for what refuses large files.
"""

import io
import json
import math
import pathlib
import re
from collections.abc import Iterator

import numpy as np

PART_BYTES = 15_000_000  # at most, of a part
_ORIGIN = "origin"  # beside the arrays: JSON as bytes


def flat(tree: dict, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
  """The arrays in nested dictionaries, with names such as "params/encoder/kernel"."""
  for name, value in tree.items():
    if isinstance(value, dict):
      yield from flat(value, f"{prefix}{name}/")
    elif value is not None:
      yield prefix + name, np.asarray(value)


def _packed(arrays: dict[str, np.ndarray], origin: dict, save) -> bytes:
  file = io.BytesIO()
  save(file, **arrays | {_ORIGIN: np.frombuffer(json.dumps(origin).encode(), np.uint8)})
  return file.getvalue()


def weights(variables: dict, origin: dict, step: int) -> dict[str, bytes]:
  """Weights alone as float16: name of the file -> content.

  Args:
    variables: nested dictionaries of arrays: params and batch_stats.
    origin: see `genesis_jax.runs.read_checkpoint`.
    step: of the checkpoint.

  Raises:
    ValueError: if a number is not finite, or too large for float16.
  """
  arrays = {}
  for name, array in flat(variables):
    with np.errstate(over="ignore"):
      arrays[name] = array.astype(np.float16)
    if not np.isfinite(arrays[name]).all():
      raise ValueError(f"{name} has numbers that float16 cannot hold, up to {abs(array).max()}")
  return {f"{step}.npz": _packed(arrays, origin, np.savez_compressed)}


def whole_state(state: dict, origin: dict, step: int) -> dict[str, bytes]:
  """A whole checkpoint: names of files -> contents, of at most `PART_BYTES` each.

  Args:
    state, origin: see `genesis_jax.runs.read_checkpoint`.
    step: of the checkpoint.

  Raises:
    ValueError: an array has a type that .npz files do not know.
  """
  arrays = dict(flat(state))
  for name, array in arrays.items():
    if array.dtype.kind not in "biuf":
      raise ValueError(f"{name} is {array.dtype}, which a .npz file cannot hold")
  content = _packed(arrays, origin, np.savez)  # not compressed: hardly anything would be gained
  count = math.ceil(len(content) / PART_BYTES)
  return {
    f"{step}.state-{part + 1}-of-{count}": content[part * PART_BYTES : (part + 1) * PART_BYTES]
    for part in range(count)
  }


def step_of(name: str) -> str:
  """The step in the name of a packed checkpoint's file; other names as they are."""
  return re.sub(r"\.npz$|\.state-\d+-of-\d+$", "", name)


def files(folder: pathlib.Path, step: int) -> list[pathlib.Path]:
  """The files of a packed checkpoint, in their order; none if there is none.

  Raises:
    FileNotFoundError: a part is missing.
  """
  if (file := folder / f"{step}.npz").exists():
    return [file]
  for any_part in folder.glob(f"{step}.state-*[0-9]"):
    count = int(any_part.name.rpartition("-")[2])
    parts = [folder / f"{step}.state-{part}-of-{count}" for part in range(1, count + 1)]
    if missing := [part.name for part in parts if not part.exists()]:
      raise FileNotFoundError(f"{missing[0]} is missing in {folder}")
    return parts
  return []


def read(files: list[pathlib.Path]) -> tuple[dict, dict]:
  """What was packed, as nested dictionaries, float16 as float32, and its origin.

  Raises:
    Exception: of many kinds, for files that are damaged: zip has checksums.
  """
  content, state = io.BytesIO(b"".join(file.read_bytes() for file in files)), {}
  with np.load(content, allow_pickle=False) as arrays:
    origin = json.loads(arrays[_ORIGIN].tobytes())
    for path in arrays.files:
      *outer, name = path.split("/")
      if outer or name != _ORIGIN:
        node = state
        for key in outer:
          node = node.setdefault(key, {})
        array = arrays[path]
        node[name] = array.astype(np.float32) if array.dtype == np.float16 else array
  return state, origin
