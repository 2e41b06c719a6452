"""Folders of features: what a model makes of a split's images, and an index of what is what.

    with Writer(Path("runs/genesis_gqn/features/test_500000"), index) as writer:
      writer.add({"features": rows, "label_height": labels})      # [n, ...], some images
    folder = FeatureFolder(Path("runs/genesis_gqn/features/test_500000"))
    for shard in folder.shards(["features"]):
      shard["features"]                                           # [n, F]

DIR/index.json           arrays with shapes and meanings; model, data and noise they come from
DIR/shard_00000.npz ...  the arrays, a row for each image, in the order of the split
"""

import contextlib
import hashlib
import json
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np

from data_pipelines.durable import partial_folder
from experiments.console.errors import DAMAGED_NPZ, UserError
from experiments.runs.folder import write_json

FORMAT = 1
INDEX = "index.json"
ORIGIN = "origin"  # in every shard: the digest of what the folder's features come from
SHARD_BYTES = 64 << 20  # of arrays before compression: what is held in memory, about


def digest(content: dict) -> str:
  """A short name of a dictionary of plain values; equal for equal ones."""
  return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


class Writer:
  """Makes a folder of features that is there, whole, once the context ends without an error.

  A folder of features under that name is replaced; anything else there is left alone.

  Args:
    folder: to make.
    index: "run", "data" and "noise_seed", of which readers compare the digest, and what else
      what index.json says; "arrays" describes every array by name.

  Raises:
    UserError: something else has that name.
  """

  def __init__(self, folder: pathlib.Path, index: dict):
    if folder.exists() and not _only_features(folder):
      raise UserError(
        f"{folder} is there already and holds other things than features; choose another --out"
      )
    self._folder, self._index = folder, index
    self._origin = digest({name: index[name] for name in ("run", "data", "noise_seed")})
    self._waiting, self._waiting_bytes, self._shards = [], 0, []
    self._stack = contextlib.ExitStack()

  def __enter__(self) -> "Writer":
    self._partial = self._stack.enter_context(partial_folder(self._folder, replace=True))
    return self

  def add(self, rows: dict[str, np.ndarray]) -> None:
    """Adds some images' rows; writes a shard when there are enough."""
    self._waiting.append(rows)
    self._waiting_bytes += sum(array.nbytes for array in rows.values())
    if self._waiting_bytes >= SHARD_BYTES:
      self._write_shard()

  @property
  def num_images(self) -> int:
    """Images added so far."""
    written = sum(shard["num_images"] for shard in self._shards)
    return written + sum(len(next(iter(rows.values()))) for rows in self._waiting)

  def _write_shard(self) -> None:
    names = self._waiting[0].keys()
    arrays = {name: np.concatenate([rows[name] for rows in self._waiting]) for name in names}
    file = f"shard_{len(self._shards):05d}.npz"
    np.savez_compressed(self._partial / file, **arrays, **{ORIGIN: np.array(self._origin)})
    for name, array in arrays.items():
      self._index["arrays"][name] |= {"dtype": str(array.dtype), "shape": list(array.shape[1:])}
    self._shards.append({"file": file, "num_images": len(next(iter(arrays.values())))})
    self._waiting, self._waiting_bytes = [], 0

  def __exit__(self, *exc_info):
    if exc_info == (None, None, None):
      with self._stack:
        self._finish()
    else:
      self._stack.__exit__(*exc_info)

  def _finish(self) -> None:
    if self._waiting:
      self._write_shard()
    index = {"format": FORMAT, "origin": self._origin, "num_images": self.num_images}
    write_json(self._partial / INDEX, index | self._index | {"shards": self._shards})


def _only_features(folder: pathlib.Path) -> bool:
  """Whether a folder may be replaced: features, and what was probed in them."""
  try:
    FeatureFolder(folder)
  except UserError:
    return False
  ours = (INDEX, "shard_*.npz", "probe_*.json")
  return all(any(path.match(name) for name in ours) for path in folder.iterdir())


class FeatureFolder:
  """Reads a folder of features.

  Args:
    folder: which `experiments.extract_features` wrote.

  Attributes:
    index: what index.json says.
    labels: names of the data set's labels that there are.

  Raises:
    UserError: it is no such folder.
  """

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    try:
      self.index = json.loads((folder / INDEX).read_text())
      if self.index["format"] != FORMAT:
        raise ValueError(f"its format is {self.index['format']}, not {FORMAT}")
      self.arrays, self._shards = self.index["arrays"], self.index["shards"]
    except FileNotFoundError:
      raise UserError(
        f"{folder} holds no features ({INDEX} is not there); make them with "
        "python -m experiments.extract_features --workdir=RUN"
      ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
      raise UserError(f"{folder / INDEX} cannot be used ({error}); extract again") from error

  @property
  def labels(self) -> list[str]:
    """Names of the data set's labels, of images or of objects."""
    return [name.removeprefix("label_") for name in self.arrays if name.startswith("label_")]

  def is_of_objects(self, label: str) -> bool:
    """Whether a label has a value for every object of an image, `[E]` or `[E,C]`."""
    return bool(self.arrays[f"label_{label}"]["shape"])

  def shards(self, names: Iterable[str]) -> Iterator[dict[str, np.ndarray]]:
    """Some of the arrays, shard by shard, `[n, ...]` each.

    Raises:
      UserError: a shard is missing, damaged, or of features made in another way.
    """
    for shard in self._shards:
      path = self.folder / shard["file"]
      try:
        with np.load(path, allow_pickle=False) as arrays:
          origin = str(arrays[ORIGIN])
          loaded = {name: arrays[name] for name in names}
      except DAMAGED_NPZ as error:
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is missing or damaged ({cause}); extract again") from error
      if origin != self.index["origin"]:
        raise UserError(
          f"{path} has features of another run, split or seed than {self.folder / INDEX} says; "
          "extract again"
        )
      yield loaded
