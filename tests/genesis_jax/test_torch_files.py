"""Files of PyTorch are read to the last bit, and none can do harm."""

import pathlib
import pickle
import resource
import struct
import time
import zipfile

import ml_dtypes
import numpy as np
import pytest
import torch_writer

from genesis_jax.torch_files import load_torch

# Both written by PyTorch 2.13 from the same objects, whose numbers are in numbers.npz.
FOLDER = pathlib.Path(__file__).parents[1] / "data" / "torch"
FORMATS = ("zip", "older")


@pytest.mark.parametrize("kind", FORMATS)
def test_reads_what_pytorch_wrote(kind):
  checkpoint = load_torch(FOLDER / f"{kind}.pt")
  numbers = np.load(FOLDER / "numbers.npz")
  groups = {"tensors": checkpoint["tensors"], "model": checkpoint["model_state_dict"]}
  for i, state in checkpoint["optimiser_state_dict"]["state"].items():
    groups |= {f"adam/{i}": state}
  seen = 0
  for group, arrays in groups.items():
    for name, array in arrays.items():
      expected = numbers[f"{group}/{name}"]
      assert array.shape == expected.shape
      if name != "bfloat16":  # which numpy alone cannot store
        assert array.dtype == expected.dtype
      np.testing.assert_array_equal(np.asarray(array, expected.dtype), expected)
      seen += 1
  assert seen == len(numbers.files)
  assert checkpoint["tensors"]["bfloat16"].dtype == ml_dtypes.bfloat16
  plain = {name: checkpoint[name] for name in ("iter_idx", "text", "nothing", "flag", "tuple")}
  assert plain == {"iter_idx": 7, "text": "é", "nothing": None, "flag": True, "tuple": (1, 2.5)}
  assert checkpoint["set"] == {1, 2} and checkpoint["size"] == (2, 3)
  assert checkpoint["device"] == "cpu" and checkpoint["dtype"] == np.float32
  assert checkpoint["optimiser_state_dict"]["param_groups"][0]["params"] == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", FORMATS)
def test_reads_large_checkpoints(tmp_path, kind):
  rng = np.random.default_rng(0)
  state = {f"layer.{i}.weight": rng.standard_normal((64, 32, 5, 5), np.float32) for i in range(40)}
  torch_writer.write_torch(tmp_path / "file", {"state": state, "step": 3}, kind == "older")
  checkpoint = load_torch(tmp_path / "file")
  assert checkpoint["step"] == 3 and list(checkpoint["state"]) == list(state)
  for name, array in state.items():
    np.testing.assert_array_equal(checkpoint["state"][name], array)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", ["os.system", "torch.nn.Linear", "builtins.eval", "numpy.ndarray"])
def test_refuses_everything_but_data(tmp_path, kind, name):
  torch_writer.write_torch(tmp_path / "f", {"a": torch_writer.Global(name)}, kind == "older")
  with pytest.raises(ValueError, match=f"f asks for {name}, which is not data: refused"):
    load_torch(tmp_path / "f")


def pickled(path, body: bytes):
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("archive/data.pkl", b"\x80\x02" + body)
    archive.writestr("archive/data/0", bytes(16))
  return path


STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuK\4tQ"


@pytest.mark.parametrize(
  "offset, size, stride",
  [(1, (4,), (1,)), (0, (2, 3), (3, 1)), (0, (2,), (-1,)), (0, (2**40,), (0,)), (9, (1,), (1,)),
   (0, (2, 2), (1,)), (0, (2**62, 2**62), (0, 0))],
)  # fmt: skip
def test_tensors_stay_inside_their_storage(tmp_path, offset, size, stride):
  writer = torch_writer.Writer()
  arguments = [writer(x)[2:-1] for x in (offset,)]
  arguments += [torch_writer.Writer()(x)[2:-1] for x in (size, stride)]
  call = b"ctorch._utils\n_rebuild_tensor\n(" + STORAGE + b"".join(arguments) + b"tR."
  with pytest.raises(ValueError, match="has a tensor of"):
    load_torch(pickled(tmp_path / "f", call))


def doubled(start: bytes, times: int = 100) -> bytes:
  """A tuple of twice the same tuple of twice the same: 2^times items once it is written out."""
  return start + b"2\x86" * times


@pytest.mark.parametrize(
  "body",
  [
    b"}" + doubled(b"K\1") + b"Ns.",  # as a key
    b"}(" + doubled(b"K\1") + b"Nu.",
    b"}(N" + doubled(b"K\1") + b"d.",
    b"c__builtin__\nset\n(](" + doubled(b"K\1") + b"etR.",  # as an item of a set
    b"\x8f(" + doubled(b"K\1") + b"\x90.",
    b"(" + doubled(b"K\1") + b"\x91.",
    b"ccollections\nOrderedDict\n(](" + doubled(b"K\1") + b"N\x86etR.",
    b"}K\1" + b"\x85" * 100_000 + b"Ns.",  # so deep that hashing it ends the program
    doubled(b"K\1") + b".",  # as a value, which anyone may print or compare
    doubled(b"K\1", 40) + b".",
    b"K\1" + b"\x85" * 100_000 + b".",
    b"]q\0h\0a.",  # a list of itself
    # As a size: printed, and compared with another.
    b"ctorch._utils\n_rebuild_tensor\n(" + STORAGE + b"K\0" + doubled(b"K\1") + b")tR.",
    b"ctorch._utils\n_rebuild_tensor\n("
    + STORAGE
    + b"K\0("
    + doubled(b"K\1", 60)
    + doubled(b"K\1", 60)
    + b"t"
    + b"(K\1K\1ttR.",
    b"(X\x07\0\0\0storagectorch\nFloatStorage\n" + doubled(b"K\1") + b"X\3\0\0\0cpuK\4tQ.",
    b"X\x10\x27\0\0" + b"a" * 10_000 + b"q\0}h\0Ns.",  # a long key
    # The numbers of a tensor assigned again and again, a long list copied again and again.
    b"ctorch._utils\n_rebuild_tensor\n("
    + STORAGE
    + b"K\0K\4\x85K\1\x85tR"
    + b")K\0s" * 1000
    + b".",
    b"]q\0(" + b"N" * 10_000 + b"e" + b"ctorch\nSize\nh\0\x85R0" * 10_000 + b".",
    b"]r\xff\xff\xff\xffQ.",  # memo index of four billion
    b"\x96" + struct.pack("<Q", 10**11) + b".",  # bytearray of 100 GB
    b"\x8e" + struct.pack("<Q", 2**62) + b".",  # bytes longer than memory
    b"B\xff\xff\xff\x7f.",
    b"(" * 100_000 + b".",
    b"ctorch._utils\n_rebuild_tensor\nK\1}X\x01\0\0\0ab.",  # attributes of a function
    b"ctorch\nSize\n)\x81.",  # another way to make objects
    b"X\4\0\0\0nameQ.",
    b"",
  ],
)
def test_hostile_pickles_end_in_one_line(tmp_path, body):
  before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
  with pytest.raises(ValueError) as caught:
    load_torch(pickled(tmp_path / "f", body))
  assert time.process_time() - began < 5
  assert len(str(caught.value)) < 400 + len(str(tmp_path))
  assert str(tmp_path / "f") in str(caught.value) and "\n" not in str(caught.value)
  after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  assert after - before < 200_000  # kilobytes


def test_refuses_archives_that_torch_does_not_write(tmp_path):
  with zipfile.ZipFile(tmp_path / "f", "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("archive/data.pkl", b"\x80\x02" + b"N" * 10**6 + b".")
  with pytest.raises(ValueError, match="torch.save would not write"):
    load_torch(tmp_path / "f")
  with zipfile.ZipFile(tmp_path / "g", "w") as archive:
    archive.writestr("readme", b"")
  with pytest.raises(ValueError, match="0 entries data.pkl"):
    load_torch(tmp_path / "g")


def test_other_things_are_named(tmp_path):
  (tmp_path / "empty").touch()
  (tmp_path / "text").write_text("not a checkpoint\n")
  (tmp_path / "pickle").write_bytes(pickle.dumps({"a": 1}))
  for path in (tmp_path, tmp_path / "absent", *tmp_path.iterdir()):
    with pytest.raises(ValueError) as caught:
      load_torch(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_end_in_one_line(tmp_path, kind):
  """Random bytes changed, inserted, cut off: some data or one line; soon, in little memory."""
  content = (FOLDER / f"{kind}.pt").read_bytes()
  rng = np.random.default_rng(0)
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  for case in range(200):
    damaged = bytearray(content)
    for _ in range(rng.integers(1, 6)):
      at = int(rng.integers(len(damaged)))
      damaged[at : at + int(rng.integers(1, 5))] = rng.bytes(int(rng.integers(0, 5)))
    if case % 4 == 0:
      del damaged[int(rng.integers(len(damaged))) :]
    (tmp_path / "f").write_bytes(damaged)
    try:
      load_torch(tmp_path / "f")
    except ValueError as error:
      assert str(error).startswith(str(tmp_path / "f")) and "\n" not in str(error)
  assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes
