"""Records on the wire: the fast reader, the slow one and protobuf agree, whatever the layout."""

import numpy as np
import pytest
import tensorflow as tf

from data_pipelines.datasets.multi_object import wire
from data_pipelines.datasets.multi_object.wire import Field

FIELDS = {
  "image": Field(300),
  "code": Field(4),
  "x": Field(4, "floats"),
  "rgb": Field(12, "floats"),
}


@pytest.fixture
def arrays():
  rng = np.random.default_rng(0)
  return {
    "image": rng.integers(0, 256, 300, dtype=np.uint8),
    "code": np.array([0, 10, 1, 255], np.uint8),  # bytes that occur in the frame, too
    "x": np.array([0.5, -1e9, np.inf, 0], np.float32),
    "rgb": rng.normal(size=12).astype(np.float32),
  }


def feature(values):
  if values.dtype == np.float32:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values.tolist()))
  single = [bytes([value]) for value in values]
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=single))


def example(features):
  return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def assert_equal(found, expected):
  assert found.keys() == expected.keys()
  for name, values in expected.items():
    assert found[name].dtype == values.dtype
    np.testing.assert_array_equal(found[name], values)


def test_both_readers_take_what_protobuf_writes(arrays):
  record = example({name: feature(values) for name, values in arrays.items()})
  assert_equal(wire.read_fast(record, FIELDS), arrays)
  assert_equal(wire.read_slowly(record, FIELDS), arrays)
  assert wire.names(record) == set(FIELDS)
  some = {"x": FIELDS["x"], "code": FIELDS["code"]}  # others may be there
  assert_equal(wire.read_fast(record, some), {name: arrays[name] for name in some})


def test_protobuf_takes_what_is_encoded(arrays):
  record = wire.encode(arrays)
  assert_equal(wire.read_slowly(record, FIELDS), arrays)
  assert_equal(wire.read_fast(record, FIELDS), arrays)
  parsed = tf.io.parse_single_example(
    record,
    {"image": tf.io.FixedLenFeature([300], tf.string), "x": tf.io.FixedLenFeature([4], tf.float32)},
  )
  np.testing.assert_array_equal(tf.io.decode_raw(parsed["image"], tf.uint8)[:, 0], arrays["image"])
  np.testing.assert_array_equal(parsed["x"], arrays["x"])
  with pytest.raises(TypeError, match="`x` is float64"):
    wire.encode({"x": np.zeros(4)})


def unusual(arrays):
  """Records with the same features, laid out as protobuf may, but does not."""
  whole = {name: feature(values) for name, values in arrays.items()}
  halves = [example({n: whole[n]}) for n in ("image", "x")]
  halves.append(example({n: whole[n] for n in ("code", "rgb")}))
  together = b"".join(halves)  # the same message in parts means their union
  unknown = together + b"\x78\x01"  # field 15, a number
  # Floats one by one: tag of field 1 of four bytes, then the value.
  singly = b"".join(b"\x0d" + value.tobytes() for value in arrays["x"])
  entry = b"\x0a\x01x\x12" + bytes([len(singly) + 2, 0x12, len(singly)]) + singly
  feats = b"\x0a" + bytes([len(entry)]) + entry
  others = example({n: whole[n] for n in whole if n != "x"})
  return {
    "parts": together,
    "unknown": unknown,
    "floats": others + b"\x0a" + bytes([len(feats)]) + feats,
  }


@pytest.mark.parametrize("layout", ["parts", "unknown", "floats"])
def test_unusual_layouts_are_read_all_the_same(arrays, layout):
  record = unusual(arrays)[layout]
  assert_equal(wire.read_slowly(record, FIELDS), arrays)  # protobuf thinks it is fine
  assert_equal(wire.read(record, FIELDS), arrays)
  if layout != "parts":
    with pytest.raises(ValueError):
      wire.read_fast(record, FIELDS)


DAMAGE = {
  "has no feature `code`": ("code", None),
  "`image` has 299 entries instead of 300": ("image", lambda v: feature(v[1:])),
  "`image` has 301 entries instead of 300": ("image", lambda v: feature(np.append(v, v[:1]))),
  "`x` has 3 entries instead of 4": ("x", lambda v: feature(v[1:])),
  "`code` has 0 entries instead of 4": ("code", lambda v: feature(v.astype(np.float32))),
  "`rgb` has 0 entries instead of 12": ("rgb", lambda v: feature(v.astype(np.uint8))),
  "`x` has 0 entries instead of 4": ("x", lambda v: tf.train.Feature()),
  "`image` has entries that are not one byte": (
    "image",
    lambda v: tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"ab", b""] * 150)),
  ),
}


@pytest.mark.parametrize("cause", DAMAGE)
def test_damage_is_named(arrays, cause):
  name, change = DAMAGE[cause]
  features = {n: feature(values) for n, values in arrays.items()}
  if change:
    features[name] = change(arrays[name])
  else:
    del features[name]
  with pytest.raises(ValueError, match=cause):
    wire.read(example(features), FIELDS)


def test_no_prefix_of_a_record_is_a_record(arrays):
  record = wire.encode(arrays)
  for end in {*range(40), *range(len(record) - 90, len(record)), 500, 700}:
    with pytest.raises(ValueError):
      wire.read(record[:end], FIELDS)


def test_a_changed_frame_is_never_taken_for_values(arrays):
  """Whatever byte is changed, the fast reader refuses or finds what protobuf finds."""
  record, rng = wire.encode(arrays), np.random.default_rng(1)
  for _ in range(400):
    changed = bytearray(record)
    changed[rng.integers(len(record))] ^= int(rng.integers(1, 256))
    try:
      fast = wire.read_fast(bytes(changed), FIELDS)
    except (ValueError, IndexError):
      continue
    assert_equal(fast, wire.read_slowly(bytes(changed), FIELDS))
