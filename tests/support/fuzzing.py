"""Random and mutated bytes for everything that reads what others wrote.

    python -m tests.support.fuzzing                        # 10,000 cases; a few minutes
    python -m tests.support.fuzzing --cases=500 --seed=7 wire torch
    fuzzing.run("wire", cases=100, seed=0, folder=tmp_path)

A reader may succeed or raise the exceptions that it declares, within seconds and without filling
the memory; anything else is a failure. Each case follows from its target, the seed and its number.
"""

import argparse
import collections
import contextlib
import faulthandler
import gzip
import io
import json
import pathlib
import resource
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # with -m only the folder above is there
import torch_writer  # noqa: E402

SECONDS = 20  # that a case may take on a busy machine; all are done in milliseconds
MEGABYTES = 500  # that the program may grow by

JUNK = (
  0,
  -1,
  1,
  2**31,
  2**63,
  1e308,
  float("nan"),
  "",
  "x",
  "é" * 50,
  True,
  None,
  [],
  [1],
  {},
  {"a": 1},
)


class Hang(BaseException):
  """A case takes too long; not an Exception, which readers may catch."""


class Target(NamedTuple):
  """A reader.

  Attributes:
    read: calls it; takes a case.
    make: generator of random numbers -> a case.
    allowed: exceptions that it declares.
  """

  read: Callable
  make: Callable
  allowed: tuple[type[Exception], ...]


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
  """A copy with bytes flipped, replaced, inserted, repeated or cut off; sometimes only noise."""
  if rng.random() < 0.05:
    return rng.bytes(int(rng.integers(0, 200)))
  damaged = bytearray(content)
  for _ in range(int(rng.choice([1, 1, 1, 2, 4]))):
    at = int(rng.integers(len(damaged) + 1))
    kind = int(rng.choice(6, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.1]))
    if kind <= 1 and at < len(damaged):
      damaged[at] ^= 1 << int(rng.integers(8))
    elif kind == 2:
      damaged[at : at + int(rng.integers(1, 9))] = rng.bytes(int(rng.integers(0, 9)))
    elif kind == 3:  # numbers that lengths are often mistaken about
      damaged[at : at + 4] = struct.pack("<I", int(rng.choice([0, 1, 127, 2**31 - 1, 2**32 - 1])))
    elif kind == 4:
      damaged[at:at] = damaged[: int(rng.integers(0, 400))]
    else:
      damaged[at : at + int(rng.integers(len(damaged) + 1))] = b""
  return bytes(damaged)


def mutated_json(value, rng: np.random.Generator):
  """A copy of a JSON value with an entry somewhere replaced, left out or added."""
  if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
    return JUNK[int(rng.integers(len(JUNK)))]
  copy = value.copy()
  key = (
    list(copy)[int(rng.integers(len(copy)))]
    if isinstance(copy, dict)
    else int(rng.integers(len(copy)))
  )
  kind = rng.random()
  if kind < 0.15:
    del copy[key]
  elif kind < 0.2 and isinstance(copy, dict):
    copy["unknown"] = JUNK[int(rng.integers(len(JUNK)))]
  else:
    copy[key] = mutated_json(copy[key], rng)
  return copy


def _json_bytes(value: dict, rng: np.random.Generator) -> bytes:
  if rng.random() < 0.5:
    return mutated(json.dumps(value).encode(), rng)
  return json.dumps(mutated_json(value, rng)).encode()


def _framed(records: list[bytes]) -> bytes:
  """A tfrecord file, written by TensorFlow."""
  import tensorflow as tf

  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, "records")
    with tf.io.TFRecordWriter(str(path)) as writer:
      for record in records:
        writer.write(record)
    return path.read_bytes()


def _header(length: int) -> bytes:
  """Header of a record of any length, with its proper checksum."""
  from data_pipelines.reading import gzipped

  packed = struct.pack("<Q", length)
  return packed + struct.pack("<I", gzipped.masked_crc(packed))


def tfrecord_target(folder: pathlib.Path) -> Target:
  """Files of records: framing, counting, finding damage and rescuing."""
  from data_pipelines.reading import tfrecords

  rng = np.random.default_rng(0)
  records = [rng.bytes(int(n)) for n in rng.integers(0, 300, 12)]
  whole, path = _framed(records), folder / "records"

  def make(rng):
    content = mutated(whole, rng)
    if rng.random() < 0.1:
      content += _header((2**20, 2**40, 2**63 - 17, 2**63, 2**64 - 1)[int(rng.integers(5))])
    if rng.random() < 0.4:
      content = gzip.compress(content, 1, mtime=0)
      content = mutated(content, rng) if rng.random() < 0.5 else content
    return content, rng.random() < 0.2

  def read(case):
    content, with_tensorflow = case
    path.write_bytes(content)
    count = tfrecords.num_records(path)
    good, bad = tfrecords.rescue(path, 0)
    assert set(good) | {damage.index for damage in bad} <= set(range(count + 1))
    if not tfrecords.compression(path):
      assert len(good) == count - len({damage.index for damage in bad} & set(range(count)))
    if with_tensorflow:
      tfrecords.find_damage(path)

  return Target(read, make, ())


def wire_target(folder: pathlib.Path) -> Target:
  """Records of the Multi-Object Datasets, up to pixels."""
  from data_pipelines.datasets.multi_object import codec as multi_object_codec
  from data_pipelines.datasets.multi_object import wire

  del folder
  factors = {"x": multi_object_codec.Factor("floats"), "shape": multi_object_codec.Factor("bytes")}
  form = multi_object_codec.Form(8, 8, 3, factors=factors)
  rng = np.random.default_rng(0)
  arrays = {
    name: rng.integers(0, 256, field.size, np.uint8) if field.kind == "bytes"
    else rng.standard_normal(field.size, np.float32)
    for name, field in form.fields().items()
  }  # fmt: skip
  codec, whole = multi_object_codec.Codec(form, (0, 8, 0, 8)), wire.encode(arrays)
  size = len(codec.unpack(whole)[0][0])

  def make(rng):
    if rng.random() < 0.02:  # a length that never ends
      return b"\x0a" + b"\xff" * int(rng.integers(1, 300_000))
    if rng.random() < 0.02:
      return b"\0" + rng.bytes(int(rng.integers(0, 300)))
    return mutated(whole, rng)

  def read(record):
    small = codec.compact(record)
    assert len(codec.unpack(small)[0][0]) == size
    assert codec.unpack(record) == codec.unpack(small)
    wire.names(record)

  return Target(read, make, (ValueError,))


def _example(features: dict) -> bytes:
  import tensorflow as tf

  kinds = {bytes: ("bytes_list", tf.train.BytesList), float: ("float_list", tf.train.FloatList)}
  kinds[int] = "int64_list", tf.train.Int64List
  entries = {}
  for name, values in features.items():
    field, kind = kinds[type(values[0])]
    entries[name] = tf.train.Feature(**{field: kind(value=values)})
  return tf.train.Example(features=tf.train.Features(feature=entries)).SerializeToString()


def _encoded(array: np.ndarray, kind: str) -> bytes:
  from PIL import Image

  buffer = io.BytesIO()
  Image.fromarray(array).save(buffer, kind)
  return buffer.getvalue()


def _decoding(unpack: Callable, decode: Callable) -> Callable:
  """A reader of records that decodes what it takes for whole, as the pipeline does."""
  import tensorflow as tf

  def read(record):
    features = zip(*unpack(record), strict=True)
    try:
      decode(*(tf.constant(list(feature)) for feature in features))
    except tf.errors.OpError as error:
      raise ValueError(str(error)) from error

  return read


def gqn_target(folder: pathlib.Path) -> Target:
  """Records of GQN: JPEGs and ids, a part of them decoded."""
  from functools import partial

  from data_pipelines.datasets.gqn import reader as gqn

  del folder
  rng = np.random.default_rng(0)
  frames = [_encoded(rng.integers(0, 256, (16, 16, 3), np.uint8), "JPEG") for _ in range(2)]
  ids = [_encoded(rng.integers(0, 5, (16, 16), np.uint8), "PNG") for _ in range(2)]

  def make(rng):
    parts = [mutated(x, rng) if rng.random() < 0.5 else x for x in frames + ids]
    record = _example({"frames": parts[:2], "instances": parts[2:], "cameras": [0.0] * 10})
    return mutated(record, rng) if rng.random() < 0.5 else record

  unpack = partial(gqn._unpack, side=16, views=2, instances=True)
  read = _decoding(unpack, partial(gqn._decode, side=16, size=8, resize="nearest"))
  return Target(read, make, (ValueError,))


def prepared_target(folder: pathlib.Path) -> Target:
  """Records of prepared sets."""
  from data_pipelines.prepared import reader as prepared

  del folder
  rng = np.random.default_rng(0)
  image = _encoded(rng.integers(0, 256, (16, 16, 3), np.uint8), "PNG")
  ids = _encoded(rng.integers(0, 5, (16, 16), np.uint16), "PNG")
  codec = prepared._Codec(16, True, {"stable": ("int32", []), "angle": ("float32", [3])})

  def make(rng):
    parts = [mutated(x, rng) if rng.random() < 0.4 else x for x in (image, ids)]
    numbers = [int(rng.choice(np.array([0, 1, -1, 2**31, 2**63 - 1, -(2**63)], np.int64)))]
    angles = [float(rng.choice([0, np.nan, 1e308]))] * int(rng.integers(1, 4))
    example = {"image": parts[:1], "instances": parts[1:], "stable": numbers, "angle": angles}
    record = _example(example)
    return mutated(record, rng) if rng.random() < 0.5 else record

  return Target(_decoding(codec.unpack, codec.decode), make, (ValueError,))


def card_target(folder: pathlib.Path) -> Target:
  """Cards of prepared sets."""
  from data_pipelines import DataError
  from data_pipelines.prepared import card as prepared_format

  split = dict(promised=4, damaged=0, shard_images=[4], shard_bytes=[100])
  card = dict(
    dataset="gqn", variant="jaco", protocol=None, image_size=64, resize="nearest", limit=0,
    on_corrupt="error", num_val=0, num_test=0, stand_in=None, source="files", fingerprint="0",
    instances=False, labels={"stable": ["int32", []]}, splits={"train": split}, versions={},
  )  # fmt: skip
  path = folder / prepared_format.CARD_FILE

  def read(content):
    path.write_bytes(content)
    found = prepared_format.read_card(folder)
    sum(split.num_images + split.damaged for split in found.splits.values())
    assert all(np.dtype(dtype) and all(shape) for dtype, shape in found.labels.values())

  return Target(read, lambda rng: _json_bytes(card, rng), (DataError,))


def overrides_target(folder: pathlib.Path) -> Target:
  """Overrides of a configuration on the command line."""
  from configs.loading import ConfigError, load_config

  del folder
  specs = ("genesis,gqn", "vae,gqn", "monet,objects_room", "genesis_v2,clevr")
  root = pathlib.Path(__file__).parents[2]
  path = root / "configs" / "experiment.py"
  names = list(_names(load_config(f"{path}:genesis,gqn", [])))
  values = [
    "7", "1e-3", "True", "none", "(1,2)", "adam", "'", "(" * 500, "9" * 5000, "\0", "-1", "é",
    "1e999", "[1]", "{}", "nan", "0x10", "", "\n", "--config.seed=1", "(1,", "a\nb",
    "__import__('os')",
  ]  # fmt: skip

  def make(rng):
    words = []
    for _ in range(int(rng.integers(1, 4))):
      name = (
        str(rng.choice(names))
        if rng.random() < 0.8
        else mutated(b"model.name", rng).decode("latin1")
      )
      value = values[int(rng.integers(len(values)))]
      if rng.random() < 0.2:
        value = mutated(value.encode(), rng).decode("latin1")
      words.append(f"--config.{name}" + rng.choice(["=", "", "=="], p=[0.9, 0.05, 0.05]) + value)
    return str(rng.choice(specs)), words

  def read(case):
    load_config(f"{path}:{case[0]}", case[1])

  return Target(read, make, (ConfigError,))


def _names(config, prefix: str = "") -> Iterator[str]:
  for name, value in config.items():
    yield prefix + name
    if hasattr(value, "items"):
      yield from _names(value, f"{prefix}{name}.")


def torch_target(folder: pathlib.Path) -> Target:
  """Checkpoints of PyTorch in both formats."""
  from genesis_jax.torch_files import load_torch

  rng, wholes, path = np.random.default_rng(0), [], folder / "model.ckpt"
  weights = {f"layer.{i}.weight": rng.standard_normal((4, 3, 2), np.float32) for i in range(5)}
  value = {"model_state_dict": collections.OrderedDict(weights), "iter_idx": 7, "beta": 0.5,
           "list": [1, (2.0, None, True)], "long": np.arange(9)}  # fmt: skip
  for older in (False, True):
    torch_writer.write_torch(path, value, older)
    wholes.append(path.read_bytes())

  def read(content):
    path.write_bytes(content)
    load_torch(path)

  return Target(read, lambda rng: mutated(wholes[int(rng.integers(2))], rng), (ValueError,))


FLAGS = dict(
  data_config="datasets/gqn_config.py", model_config="models/genesis_config.py", img_size=64,
  K_steps=5, batch_size=32, optimiser="adam", learning_rate=1e-4, train_iter=500_000, geco=True,
  g_goal=0.5655, g_lr=1e-5, g_alpha=0.99, g_init=1.0, g_min=1e-10, g_speedup=10.0, beta=1.0,
  beta_warmup=True, seed=0, attention_latents=64, comp_ldim=16, two_stage=True, pixel_bound=True,
  pixel_std1=0.7, pixel_std2=0.7,
)  # fmt: skip


def flags_target(folder: pathlib.Path) -> Target:
  """The original's flags.json."""
  from experiments.console.errors import UserError
  from experiments.runs.folder import dictionary_in
  from experiments.runs.original_runs import config_from_flags

  path = folder / "flags.json"

  def read(content):
    path.write_bytes(content)
    config_from_flags(dictionary_in(path))

  return Target(read, lambda rng: _json_bytes(FLAGS, rng), (ValueError, UserError))


TARGETS = {
  "tfrecord": tfrecord_target, "wire": wire_target, "gqn": gqn_target, "prepared": prepared_target,
  "card": card_target, "overrides": overrides_target, "torch": torch_target, "flags": flags_target,
}  # fmt: skip


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
  def ring(*_):
    raise Hang

  before = signal.signal(signal.SIGALRM, ring)
  signal.setitimer(signal.ITIMER_REAL, seconds)
  faulthandler.dump_traceback_later(10 * seconds, exit=True)  # where no Python runs any more
  try:
    yield
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
    faulthandler.cancel_dump_traceback_later()
    signal.signal(signal.SIGALRM, before)


def _megabytes() -> float:
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(name: str, *, cases: int, seed: int, folder: pathlib.Path) -> collections.Counter:
  """Feeds a target with cases; counts how they ended.

  Raises:
    AssertionError: with the first case that ended in another way than declared.
  """
  target, outcomes = TARGETS[name](folder), collections.Counter()
  for number in range(cases):
    case = target.make(np.random.default_rng([seed, number]))
    before = _megabytes()
    try:
      with _time_limit(SECONDS):
        target.read(case)
      outcome = "read"
    except target.allowed as error:
      outcome = "declared"
      assert "\n" not in str(error) or name in ("gqn", "prepared", "tfrecord"), f"lines: {error}"
    except (Exception, Hang) as error:
      raise AssertionError(
        f"{name}, seed {seed}, case {number}: {type(error).__name__}: {str(error)[:300]}; "
        f"{str(case)[:300]}"
      ) from error
    outcomes[outcome] += 1
    grown = _megabytes() - before
    assert number == 0 or grown < MEGABYTES, f"{name}, seed {seed}, case {number}: {grown:.0f} MB"
  return outcomes


def main() -> int:
  """Exit status: how many targets failed."""
  parser = argparse.ArgumentParser("python -m tests.support.fuzzing", description=__doc__)
  parser.add_argument("targets", nargs="*", default=list(TARGETS), help=", ".join(TARGETS))
  parser.add_argument("--cases", type=int, default=10_000, help="of all targets together")
  parser.add_argument("--seed", type=int, default=0)
  options = parser.parse_args()
  if unknown := set(options.targets) - set(TARGETS):
    parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(TARGETS)}")
  failures, cases = 0, -(-options.cases // len(options.targets))
  for name in options.targets:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
      try:
        outcomes = run(name, cases=cases, seed=options.seed, folder=pathlib.Path(folder))
        words = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
      except AssertionError as error:
        failures, words = failures + 1, f"FAILED: {error}"
    print(f"{name} ({time.monotonic() - began:.0f} s): {words}", flush=True)
  return failures


if __name__ == "__main__":
  sys.exit(main())
