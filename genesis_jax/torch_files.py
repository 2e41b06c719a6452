"""Reads files of PyTorch's `torch.save` without PyTorch, and without executing them.

    checkpoint = load_torch("model.ckpt-FINAL")
    checkpoint["model_state_dict"]["prior_linear.weight"]      # a numpy array

A pickle is a program that names the functions to call. Here it can make tensors, numbers, strings
and containers; any other name is refused. A few bytes can also describe something that takes
forever to hash, compare or print. Hence keys must be text or numbers, and the result is a tree no
larger than its file. Both formats are read: the zip archive of PyTorch 1.6 and later (an entry
data.pkl, and one entry per storage), and the one before (several pickles, then the storages).
"""

import collections
import dataclasses
import io
import math
import pathlib
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # the first two pickles of the older format
ZIP_START = b"PK\x03\x04"

# An expanded tensor (stride 0) may have more elements than its storage, up to this many: a damaged
# size must not make an array that fills the memory once it is copied.
MAX_EXPANDED = 2**20

MAX_DEPTH = 64  # of containers in each other; a checkpoint has four
MAX_DIMS = 64  # of a tensor, as in numpy
MAX_KEY = 1000  # characters

ELEMENT_TYPES = {
  "Float": np.float32,
  "Double": np.float64,
  "Half": np.float16,
  "BFloat16": ml_dtypes.bfloat16,
  "Long": np.int64,
  "Int": np.int32,
  "Short": np.int16,
  "Char": np.int8,
  "Byte": np.uint8,
  "Bool": np.bool_,
  "Untyped": np.uint8,
}
DTYPES = {
  name: np.dtype(getattr(ml_dtypes if name == "bfloat16" else np, name))
  for name in "float16 float32 float64 bfloat16 int8 int16 int32 int64 "
  "uint8 uint16 uint32 uint64".split()
} | {"bool": np.dtype(bool)}


class _Unreadable(ValueError):
  """What is wrong with a file, for people."""


@dataclasses.dataclass(frozen=True)
class _Storage:
  """Memory that tensors are views of; a class of its own, so that no tensor passes for one."""

  array: np.ndarray  # [numel], contiguous


def _rebuild_tensor(storage, offset, size, stride, *unused) -> np.ndarray:
  """A view of a storage; `unused` says whether the tensor wants a gradient, and hooks."""
  del unused
  if not isinstance(storage, _Storage):
    raise _Unreadable("has a tensor without a storage")
  if max(len(size), len(stride)) > MAX_DIMS or not all(
    isinstance(number, int) for number in [offset, *size, *stride]
  ):
    raise _Unreadable("has a tensor whose size or stride is not a few whole numbers")
  array, count = storage.array, math.prod(size)
  if len(size) != len(stride) or min([offset, *size, *stride]) < 0:
    raise _Unreadable(f"has a tensor of impossible size {size} and stride {stride}")
  if count == 0:
    return np.zeros(size, array.dtype)
  last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
  if last >= len(array) or count > max(len(array), MAX_EXPANDED):
    raise _Unreadable(f"has a tensor of size {size} that exceeds its {len(array)} stored elements")
  strides = [step * array.itemsize for step in stride]
  return np.lib.stride_tricks.as_strided(array[offset:], size, strides)


def _rebuild_tensor_v3(storage, offset, size, stride, grad, hooks, dtype, *unused) -> np.ndarray:
  """As above, from a storage of bytes."""
  if not isinstance(storage, _Storage) or not isinstance(dtype, np.dtype):
    raise _Unreadable("has a tensor without a storage or a type")
  return _rebuild_tensor(_Storage(storage.array.view(dtype)), offset, size, stride)


def _first(value, *unused):
  """The array of a parameter, or the type of a device."""
  return value


def _check_keys(keys) -> None:
  """Raises unless all keys are quick to hash and compare."""
  for key in keys:
    if not isinstance(key, str | int | float | None) or len(str(key)) > MAX_KEY:
      raise _Unreadable("has a key or an item of a set that is neither short text nor a number")


def _ordered_dict(pairs=()) -> collections.OrderedDict:
  _check_keys(key for key, _ in pairs)
  return collections.OrderedDict(pairs)


def _set(items=()) -> set:
  _check_keys(items)
  return set(items)


NAMES = {
  "collections.OrderedDict": _ordered_dict,
  "builtins.set": _set,
  "__builtin__.set": _set,  # as Python 2 called it, and so pickle's protocol 2
  "torch.Size": tuple,
  "torch.device": _first,
  "torch._utils._rebuild_tensor": _rebuild_tensor,
  "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
  "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
  "torch._utils._rebuild_parameter": _first,
  "torch.storage.UntypedStorage": np.dtype(np.uint8),
}
NAMES |= {f"torch.{name}": dtype for name, dtype in DTYPES.items()}
NAMES |= {
  f"{module}.{name}Storage": np.dtype(dtype)
  for module in ("torch", "torch.cuda")
  for name, dtype in ELEMENT_TYPES.items()
}

# Opcodes that make objects in other ways than calling one of `NAMES`, allocate as much memory as a
# length in the file says, or hash what they find; torch.save writes none of them.
REFUSED_OPCODES = (
  pickle.DICT,
  pickle.FROZENSET,
  pickle.LONG4,
  pickle.INST,
  pickle.OBJ,
  pickle.NEWOBJ,
  pickle.NEWOBJ_EX,
  pickle.EXT1,
  pickle.EXT2,
  pickle.EXT4,
  pickle.BYTEARRAY8,
  pickle.NEXT_BUFFER,
  pickle.READONLY_BUFFER,
)


class _Unpickler(pickle._Unpickler):
  """Builds data only, in a time that grows with the length of the file.

  In Python, not C: there the memo is an array, and a damaged index allocates gigabytes.

  Args:
    file: to read from.
    storage: (key, dtype, numel) -> `_Storage`.
  """

  dispatch = pickle._Unpickler.dispatch.copy()
  for _opcode in REFUSED_OPCODES:
    del dispatch[_opcode[0]]

  def __init__(self, file: io.BytesIO, storage: Callable | None = None):
    super().__init__(file, encoding="utf-8")
    self._storage = storage
    self._left_to_copy = file.getbuffer().nbytes

  def find_class(self, module: str, name: str):
    full = f"{module}.{name}"
    if full not in NAMES:
      shown = full.encode("unicode_escape").decode()[:80]
      raise _Unreadable(f"asks for {shown}, which is not data: refused")
    return NAMES[full]

  def persistent_load(self, pid):
    if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or not self._storage:
      raise _Unreadable("holds objects other than tensors: refused")
    _, dtype, key, _, numel, *view = pid
    if not isinstance(dtype, np.dtype) or not isinstance(numel, int) or numel < 0:
      raise _Unreadable("has a storage of unknown type or size")
    _check_keys([key])  # as a name of what is stored
    storage = self._storage(key, dtype, numel)
    if view and view[0] is not None:
      _, first, count = view[0]
      if not 0 <= first <= first + count <= numel:
        raise _Unreadable("has a view that exceeds its storage")
      storage = _Storage(storage.array[first : first + count])
    return storage

  def _load_build(self):
    """Attributes, such as `_metadata` of a state dict, are left out; nothing here needs them."""
    self.stack.pop()
    if not isinstance(self.stack[-1], collections.OrderedDict):
      raise _Unreadable("sets attributes of things other than dictionaries: refused")

  dispatch[pickle.BUILD[0]] = _load_build

  def _load_reduce(self):
    """Calls a function; counts what it copies, as the file can name one thing again and again."""
    arguments = self.stack[-1]
    containers = [x for x in (arguments, *arguments) if isinstance(x, tuple | list | dict | set)]
    self._left_to_copy -= sum(map(len, containers))
    if self._left_to_copy < 0:
      raise _Unreadable("copies more than it holds: refused")
    super().load_reduce()

  dispatch[pickle.REDUCE[0]] = _load_reduce

  def _load_setitem(self):
    self._check_parent(self.stack[-3], dict, [self.stack[-2]])
    super().load_setitem()

  dispatch[pickle.SETITEM[0]] = _load_setitem

  def _load_setitems(self):
    self._check_parent(self.metastack[-1][-1], dict, self.stack[::2])
    super().load_setitems()

  dispatch[pickle.SETITEMS[0]] = _load_setitems

  def _load_additems(self):
    self._check_parent(self.metastack[-1][-1], set, self.stack)
    super().load_additems()

  dispatch[pickle.ADDITEMS[0]] = _load_additems

  def _check_parent(self, parent, kind: type, keys: list) -> None:
    if not isinstance(parent, kind):
      raise _Unreadable(f"puts items into something that is not a {kind.__name__}: refused")
    _check_keys(keys)


def _check_tree(value: Any, most: int) -> None:
  """Raises unless a value is a tree: at most `MAX_DEPTH` deep and, written out, `most` items.

  What is named in several places is seen once: a few bytes can name 2^100 of them.
  """
  seen: dict[int, tuple[int, int]] = {}  # id of a container -> its height and number of items

  def measure(value, depth: int) -> tuple[int, int]:
    if not isinstance(value, dict | list | tuple | set):
      return 0, 1
    if id(value) not in seen:
      if depth == MAX_DEPTH:
        raise _Unreadable(f"is nested more than {MAX_DEPTH} times: refused")
      parts = value.values() if isinstance(value, dict) else value
      measured = [measure(part, depth + 1) for part in parts]
      seen[id(value)] = (
        1 + max((height for height, _ in measured), default=0),
        1 + sum(count for _, count in measured),
      )
    height, count = seen[id(value)]
    if depth + height > MAX_DEPTH:
      raise _Unreadable(f"is nested more than {MAX_DEPTH} times: refused")
    if count > most:
      raise _Unreadable("repeats parts of itself without end: refused")
    return height, count

  measure(value, 0)


class _Storages:
  """The storages that a pickle has asked for, each made once; never more than the file holds."""

  def __init__(self, file_size: int, make: Callable[[str, np.dtype, int], np.ndarray]):
    self.made: dict[str, _Storage] = {}
    self._left, self._make = file_size, make

  def __call__(self, key: str, dtype: np.dtype, numel: int) -> _Storage:
    if key not in self.made:
      self._left -= numel * dtype.itemsize
      if self._left < 0:
        raise _Unreadable(f"is cut short: it says it holds more than it has (storage {key!r})")
      self.made[key] = _Storage(self._make(key, dtype, numel))
    storage = self.made[key]
    if storage.array.dtype != dtype or len(storage.array) != numel:
      raise _Unreadable(f"describes storage {key!r} in two ways")
    return storage


def _load_zip(file: io.BytesIO, size: int) -> Any:
  with zipfile.ZipFile(file) as archive:
    pickles = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
      raise _Unreadable(f"has {len(pickles)} entries data.pkl; a file of torch.save has one")
    root = pickles[0].removesuffix("data.pkl")

    def entry(name: str) -> bytes:
      info = archive.getinfo(root + name)
      # torch.save does not compress; so no entry can be larger than the file.
      if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
        raise _Unreadable(f"has an entry {name!r} that torch.save would not write")
      return archive.read(info)

    def make(key, dtype, numel):
      array = np.frombuffer(bytearray(entry(f"data/{key}")), dtype)
      if len(array) != numel:
        raise _Unreadable(f"has {len(array)} elements in storage {key!r}, not {numel}")
      return array

    if root + "byteorder" in archive.namelist() and entry("byteorder") != b"little":
      raise _Unreadable("was written on a big-endian machine")
    return _Unpickler(io.BytesIO(entry("data.pkl")), _Storages(size, make)).load()


def _load_older(file: io.BytesIO, size: int) -> Any:
  if _Unpickler(file).load() != MAGIC or _Unpickler(file).load() != PROTOCOL:
    raise _Unreadable("is not a file of torch.save")
  if _Unpickler(file).load().get("little_endian") is not True:
    raise _Unreadable("was written on a big-endian machine")
  # The tensors are views of memory that is filled afterwards: the numbers follow the pickle.
  storages = _Storages(size, lambda key, dtype, numel: np.zeros(numel, dtype))
  value = _Unpickler(file, storages).load()
  keys = _Unpickler(file).load()
  if not isinstance(keys, list):
    raise _Unreadable("is not a file of torch.save")
  _check_keys(keys)
  if sorted(keys) != sorted(storages.made):
    raise _Unreadable("does not hold the storages that its tensors need")
  for key in keys:
    array = storages.made[key].array
    numel = int.from_bytes(file.read(8), "little", signed=True)
    if numel != len(array) or file.readinto(array.view(np.uint8)) != array.nbytes:
      raise _Unreadable(f"is cut short or damaged in storage {key!r}")
  return value


def load_torch(path: str | pathlib.Path) -> Any:
  """What `torch.save` wrote to a file.

  Args:
    path: of the file; either format, saved from any device.

  Returns:
    Nested dictionaries, lists, tuples and sets of numbers, strings and numpy arrays. bfloat16 is
    the dtype of `ml_dtypes`. Tensors that share a storage share memory here too.

  Raises:
    ValueError: in one line, if it is not such a file, is damaged, or contains anything but a tree
      of data.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise ValueError(f"{path} is not a file")
  content = path.read_bytes()
  read = _load_zip if content.startswith(ZIP_START) else _load_older
  try:
    value = read(io.BytesIO(content), len(content))
    _check_tree(value, len(content))
    return value
  except _Unreadable as error:
    raise ValueError(f"{path} {error}") from error
  except Exception as error:  # Damaged bytes raise anything that pickle, zipfile and numpy have.
    raise ValueError(
      f"{path} is not a file of torch.save, or is damaged or cut short ({type(error).__name__})"
    ) from error
