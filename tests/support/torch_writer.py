"""Writes files as PyTorch's `torch.save` does, opcode by opcode; shares nothing with the reader."""

import collections
import io
import pickle
import struct
import zipfile

import numpy as np

STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage"}


class Global(str):
  """A name such as "os.system", written as what a pickle imports."""


class Writer:
  """One pickle; the storages of the arrays in it are collected in `storages`."""

  def __init__(self):
    self.storages = []
    self._out = io.BytesIO()

  def __call__(self, value) -> bytes:
    self._emit(value)
    return b"\x80\x02" + self._out.getvalue() + b"."

  def _emit(self, value):
    put = self._out.write
    if value is None:
      put(b"N")
    elif isinstance(value, bool):
      put(b"\x88" if value else b"\x89")
    elif isinstance(value, int):
      digits = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
      put(b"\x8a" + bytes([len(digits)]) + digits)
    elif isinstance(value, float):
      put(b"G" + struct.pack(">d", value))
    elif isinstance(value, Global):
      module, _, name = value.rpartition(".")
      put(f"c{module}\n{name}\n".encode())
    elif isinstance(value, str):
      put(b"X" + struct.pack("<I", len(value.encode())) + value.encode())
    elif isinstance(value, tuple | list):
      put(b"(")
      for item in value:
        self._emit(item)
      put(b"t" if isinstance(value, tuple) else b"l")
    elif isinstance(value, dict):
      if isinstance(value, collections.OrderedDict):
        put(b"ccollections\nOrderedDict\n)R(")
      else:
        put(b"}(")
      for item in (x for pair in value.items() for x in pair):
        self._emit(item)
      put(b"u")
    else:
      self._emit_tensor(value)

  def _emit_tensor(self, array):
    array = np.asarray(array)
    key = str(len(self.storages))
    self.storages.append(array)
    strides = tuple(s // array.itemsize for s in np.empty(array.shape, array.dtype).strides)
    self._emit(Global("torch._utils._rebuild_tensor_v2"))
    self._out.write(b"(")
    storage = Global(f"torch.{STORAGES[array.dtype.name]}")
    self._emit(("storage", storage, key, "cuda:0", array.size))
    self._out.write(b"Q")
    for value in (0, array.shape, strides, False, collections.OrderedDict()):
      self._emit(value)
    self._out.write(b"tR")


def write_torch(path, value, older: bool):
  """Writes `value` (containers of numbers, strings and arrays) in one of the two formats."""
  writer = Writer()
  content = writer(value)
  if older:
    info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    with open(path, "wb") as file:
      for header in (0x1950A86A20F9469CFC6C, 1001, info):
        file.write(pickle.dumps(header, 2))
      file.write(content + pickle.dumps([str(i) for i in range(len(writer.storages))], 2))
      for array in writer.storages:
        file.write(struct.pack("<q", array.size) + array.tobytes())
    return
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("archive/data.pkl", content)
    for i, array in enumerate(writer.storages):
      archive.writestr(f"archive/data/{i}", array.tobytes())
    archive.writestr("archive/version", "3\n")
