"""Records of the Multi-Object Datasets as they lie in the file: tf.Examples of single bytes.

    fields = {"image": Field(64 * 64 * 3), "x": Field(4, "floats")}
    record = encode({"image": uint8_array, "x": float32_array})
    read(record, fields)["image"]           # uint8 [64 * 64 * 3]

A tf.Example is a protocol buffer: fields of a number, a length and content, one in the other.
Images and masks are lists of strings of one byte each, on the wire a stride of three bytes (field 1
of bytes, a length of one, the value), which numpy reads at once. TensorFlow and protobuf make
40,000 strings of them instead, which takes thirty times as long.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from data_pipelines.reading.tfrecords import example_features

_BYTES, _FLOATS = 1, 2  # numbers of a tf.Feature's two lists
_UNUSUAL = "is laid out in an unusual way"


class Field(NamedTuple):
  """A feature that is read: how many values, of what `kind`: bytes (uint8) or floats (float32)."""

  size: int
  kind: str = "bytes"


def _messages(data: memoryview) -> Iterator[tuple[int, memoryview]]:
  """Number and content of the fields of a protocol buffer that has nothing but messages in it."""
  at, end = 0, len(data)
  while at < end:
    tag, length, shift = data[at], 0, 0
    if tag & 7 != 2 or tag > 127:
      raise ValueError(_UNUSUAL)
    while True:  # a length takes seven bits a byte, the lowest first
      if shift > 63:  # damaged; adding up such a number would take minutes
        raise ValueError(_UNUSUAL)
      at += 1
      length |= (data[at] & 127) << shift
      shift += 7
      if data[at] < 128:
        break
    at += 1
    if at + length > end:
      raise ValueError(_UNUSUAL)
    yield tag >> 3, data[at : at + length]
    at += length


@functools.lru_cache
def _frame(size: int) -> tuple[np.ndarray, bytes]:
  """What is not value in a list of `size` single bytes: as a mask [3 * size], and its content."""
  return np.tile(np.array([255, 255, 0], np.uint8), size), b"\x0a\x01\0" * size


def _fast_values(values: memoryview, kind: int, field: Field) -> np.ndarray:
  """Values of a list in the usual layout; of bytes a view with a stride."""
  array = np.frombuffer(values, np.uint8)
  if field.kind == "bytes" and kind == _BYTES and len(array) == 3 * field.size:
    mask, frame = _frame(field.size)
    if (array & mask).tobytes() == frame:
      return array[2::3]
  if field.kind == "floats" and kind == _FLOATS:
    ((number, packed),) = _messages(values)
    if number == 1 and len(packed) == 4 * field.size:
      return np.frombuffer(packed, "<f4")
  raise ValueError(_UNUSUAL)


def read_fast(record: bytes, fields: Mapping[str, Field]) -> dict[str, np.ndarray]:
  """Features [size] each, of a record in the usual layout.

  Raises:
    ValueError, IndexError: it is laid out in another way (and perhaps fine all the same).
  """
  arrays = {}
  for _, features in _messages(memoryview(record)):
    for _, entry in _messages(features):
      parts = dict(_messages(entry))
      name = bytes(parts[1]).decode() if 1 in parts else ""
      if name not in fields:
        continue
      if name in arrays:
        raise ValueError(_UNUSUAL)
      ((kind, values),) = _messages(parts[2]) if 2 in parts else ((0, memoryview(b"")),)
      arrays[name] = _fast_values(values, kind, fields[name])
  if len(arrays) < len(fields):
    raise ValueError("lacks a feature")
  return arrays


def read_slowly(record: bytes, fields: Mapping[str, Field]) -> dict[str, np.ndarray]:
  """As `read_fast`, for any layout; ValueErrors say what is wrong with a damaged record."""
  features, arrays = example_features(record), {}
  for name, field in fields.items():
    if name not in features:
      raise ValueError(f"has no feature `{name}`")
    of_kind = features[name].bytes_list if field.kind == "bytes" else features[name].float_list
    values = of_kind.value
    if len(values) != field.size:
      raise ValueError(f"`{name}` has {len(values)} entries instead of {field.size}")
    if field.kind == "floats":
      arrays[name] = np.array(values, np.float32)
      continue
    if any(len(value) != 1 for value in values):
      raise ValueError(f"`{name}` has entries that are not one byte long")
    arrays[name] = np.frombuffer(b"".join(values), np.uint8)
  return arrays


def read(record: bytes, fields: Mapping[str, Field]) -> dict[str, np.ndarray]:
  """Features of a record, flat; ValueError if it is damaged."""
  try:
    return read_fast(record, fields)
  except (ValueError, IndexError):
    return read_slowly(record, fields)


def names(record: bytes) -> set[str]:
  """Features that a record has; ValueError if it is no tf.Example."""
  return set(example_features(record))


def _message(number: int, content: bytes) -> bytes:
  """A field of a protocol buffer."""
  length, rest = b"", len(content)
  while rest > 127:
    length, rest = length + bytes([rest & 127 | 128]), rest >> 7
  return bytes([number << 3 | 2]) + length + bytes([rest]) + content


def _list(values: np.ndarray) -> bytes:
  """A tf.Feature, without making a string of every byte."""
  if values.dtype == np.float32:
    return _message(_FLOATS, _message(1, values.astype("<f4").tobytes()))
  triples = np.empty((values.size, 3), np.uint8)
  triples[:] = 0x0A, 1, 0
  triples[:, 2] = values.ravel()
  return _message(_BYTES, triples.tobytes())


def encode(arrays: Mapping[str, np.ndarray]) -> bytes:
  """A tf.Example of arrays of any shape: uint8 as single bytes, float32 as floats.

  Raises:
    TypeError: an array is of another type.
  """
  entries = []
  for name, values in arrays.items():
    if values.dtype not in (np.uint8, np.float32):
      raise TypeError(f"`{name}` is {values.dtype}; records have uint8 and float32")
    entries.append(_message(1, _message(1, name.encode()) + _message(2, _list(values))))
  return _message(1, b"".join(entries))
