"""The weights of FID's Inception network: found, downloaded once, checked, converted.

The published file is pytorch-fid's `pt_inception-2015-12-05-6726825d.pth`. It is looked for in our
cache and in PyTorch's, and else downloaded. A converted `.npz` holds the same entries (name ->
float32 array, PyTorch's layouts) and the checksum of the file that they come from; it needs
neither PyTorch's format nor the network.
"""

import dataclasses
import hashlib
import io
import os
import pathlib
from typing import NamedTuple

import numpy as np
from absl import logging

from data_pipelines.durable import own_cache, write_atomically
from data_pipelines.stores.copies import copy
from data_pipelines.stores.published import PUBLISHED
from data_pipelines.stores.remote import found
from experiments.console.errors import DAMAGED_NPZ, UserError, explained
from genesis_jax.fid import inception_from_torch
from genesis_jax.torch_files import load_torch

(URL,), SHA256 = PUBLISHED["inception"].urls, PUBLISHED["inception"].sha256
FILE_NAME = URL.rpartition("/")[2]
SOURCE = "source_sha256"  # entry of a converted file


class Weights(NamedTuple):
  """A state dict for `genesis_jax.fid.inception_from_torch`.

  Attributes:
    state_dict: name -> array.
    sha256: of PyTorch's file that the weights come from.
    path: of the file that was read.
  """

  state_dict: dict[str, np.ndarray]
  sha256: str
  path: pathlib.Path

  @property
  def published(self) -> bool:
    """Whether these are the weights that published values of FID were computed with."""
    return self.sha256 == SHA256


def cache_folder() -> pathlib.Path:
  """Where weights and reference statistics are kept."""
  return own_cache() / "fid"


def _places() -> list[pathlib.Path]:
  """Where the published file may be: our cache, and PyTorch's."""
  cache = cache_folder().parents[1]
  torch = pathlib.Path(os.environ.get("TORCH_HOME") or cache / "torch").expanduser()
  return [cache_folder() / FILE_NAME, torch / "hub" / "checkpoints" / FILE_NAME]


def at_hand() -> pathlib.Path | None:
  """The published file where it was downloaded before; else None."""
  return next((path for path in _places() if path.is_file()), None)


def fetch() -> pathlib.Path:
  """The published file; downloads it if it is nowhere.

  Raises:
    UserError: if it cannot be downloaded, or arrives damaged.
  """
  if path := at_hand():
    return path
  final = _places()[0]
  by_hand = f"fetch {URL} elsewhere and put it at {final}, or name it with --inception_weights"
  try:
    file = dataclasses.replace(found(URL), checksum=("sha256", bytes.fromhex(SHA256)))
    logging.info("fetching %s, %.3g MB", URL, (file.size or 0) / 1e6)
    copy(file, final)
  except OSError as error:
    raise UserError(f"cannot download the Inception weights ({error}); {by_hand}") from error
  return final


def _read_npz(path: pathlib.Path, content: bytes) -> Weights:
  try:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
      arrays = {name: archive[name] for name in archive.files}
  except DAMAGED_NPZ as error:
    raise ValueError(f"{path} is no .npz file, or damaged ({type(error).__name__})") from error
  source = arrays.pop(SOURCE, None)
  sha256 = hashlib.sha256(content).hexdigest() if source is None else str(source)
  return Weights(arrays, sha256, path)


def read(path: str | pathlib.Path | None) -> Weights:
  """Weights from pytorch-fid's file or a converted `.npz`; None: the published ones.

  Raises:
    UserError: if there are none, or the file is damaged or something else.
  """
  path = fetch() if path is None else pathlib.Path(path)
  if not path.is_file():
    raise UserError(
      f"--inception_weights {path} is not a file; give pytorch-fid's {FILE_NAME} or a .npz of "
      "python -m experiments.inception_weights, or leave it out to download"
    )
  content = path.read_bytes()
  with explained():
    if path.suffix == ".npz":
      return _read_npz(path, content)
    sha256 = hashlib.sha256(content).hexdigest()
    if path in _places() and sha256 != SHA256:
      raise ValueError(f"{path} is damaged (SHA-256 {sha256}); remove it, and it is fetched again")
    state_dict = load_torch(path)
    if not isinstance(state_dict, dict):
      raise ValueError(f"{path} holds no dictionary of weights")
  return Weights(state_dict, sha256, path)


def convert(weights: Weights, out: pathlib.Path) -> None:
  """Writes a `.npz` that `read` takes, whole or not at all.

  Raises:
    UserError: naming the entry, if the weights are not those of the network.
  """
  if out.suffix != ".npz":
    raise UserError(f"--convert is {str(out)!r}; its name must end in .npz")
  with explained():
    inception_from_torch(weights.state_dict)
  arrays = {name: np.asarray(x, np.float32) for name, x in weights.state_dict.items()}
  buffer = io.BytesIO()
  np.savez(buffer, **arrays, **{SOURCE: np.array(weights.sha256)})
  write_atomically(out, buffer.getvalue())
