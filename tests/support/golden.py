"""Golden cases: numbers computed by the original implementation, and how to rebuild its weights."""

import json
import os
import pathlib
import zlib

import numpy as np

# GENESIS_JAX_GOLDEN names a folder with further cases.
FOLDERS = [pathlib.Path(__file__).parents[1] / "data" / "golden"]
if "GENESIS_JAX_GOLDEN" in os.environ:
  FOLDERS.append(pathlib.Path(os.environ["GENESIS_JAX_GOLDEN"]))


def files() -> dict[str, pathlib.Path]:
  """Name -> file of every case."""
  return {file.stem: file for folder in FOLDERS for file in sorted(folder.glob("*.npz"))}


def model_cases() -> list[str]:
  """Names of the cases of a model."""
  return [name for name, file in files().items() if "model" in Case(file).meta]


class Case:
  """One file of golden numbers."""

  def __init__(self, file):
    self.arrays = dict(np.load(file))
    self.meta = json.loads(bytes(self.arrays.pop("meta", b"{}")))

  def group(self, prefix: str) -> dict[str, np.ndarray]:
    """Arrays whose names start with `prefix/`, without it."""
    prefix += "/"
    return {k[len(prefix):]: v for k, v in self.arrays.items() if k.startswith(prefix)}  # fmt: skip

  @property
  def state_dict(self) -> dict[str, np.ndarray]:
    """The original's weights, which the file describes by a seed for each name."""

    def draw(name, shape, scale, shift):
      rng = np.random.default_rng(zlib.crc32(name.encode()))
      return (shift + scale * rng.standard_normal(shape)).astype(np.float32)

    return {entry[0]: draw(*entry) for entry in self.meta["state_dict"]}


def to_float(images: np.ndarray) -> np.ndarray:
  """Uint8 images as float32 in [0, 1]."""
  return images.astype(np.float32) / 255
