"""Faults that nothing saved may suffer from; `tests.support.fault_injection` has all of them."""

import json
import shutil
import time

import fault_injection
import numpy as np
import orbax.checkpoint as ocp
import pytest

from experiments.console.errors import UserError
from experiments.runs import logbook, records
from genesis_jax import runs

STATE = {
  "step": np.int32(3),
  "params": {"a": np.arange(4000, dtype=np.float32).reshape(40, 100), "b": np.float32(2)},
  "opt_state": {"0": {}, "1": {"mu": np.ones((7, 3), np.float16)}},
  "key": np.array([1, 2], np.uint32),
}
FIELDS = {name: value for name, value in runs.AS_BEFORE.items() if "." not in name}
ORIGIN = {"config": {"seed": 0, "name": "vae"} | FIELDS, "source": {"stand_in": False}}


def write(workdir, sums=True):
  items = dict(state=ocp.args.StandardSave(STATE), origin=ocp.args.JsonSave(ORIGIN))
  if sums:
    items["checksums"] = ocp.args.JsonSave(runs.checksums(STATE, ORIGIN))
  with ocp.CheckpointManager(workdir / runs.FOLDER) as manager:
    manager.save(3, args=ocp.args.Composite(**items))
  return workdir / runs.FOLDER / "3"


def flipped(content: bytes, bit: int) -> bytes:
  changed = bytearray(content)
  changed[bit // 8] ^= 1 << bit % 8
  return bytes(changed)


def test_no_flipped_bit_of_a_checkpoint_goes_unnoticed(tmp_path):
  folder, rng, noticed = write(tmp_path), np.random.default_rng(0), 0
  expected = runs.checksums(*runs.read_checkpoint(tmp_path, 3))
  assert expected == runs.checksums(STATE, ORIGIN)
  for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size):
    content = path.read_bytes()
    for bit in rng.integers(8 * len(content), size=4):
      path.write_bytes(flipped(content, int(bit)))
      try:
        found = runs.checksums(*runs.read_checkpoint(tmp_path, 3))
      except Exception:  # noqa: BLE001 - Orbax raises many kinds
        noticed += 1
      else:
        assert found == expected, path
    path.write_bytes(content)
  assert noticed >= 10
  runs.read_checkpoint(tmp_path, 3)


def test_every_flipped_bit_of_numbers_and_origin_changes_the_checksums():
  sums = runs.checksums(STATE, ORIGIN)
  array = STATE["params"]["a"].copy()
  array.view(np.uint32)[17, 3] ^= 1
  for state, origin in (
    (STATE | {"params": STATE["params"] | {"a": array}}, ORIGIN),
    (STATE | {"params": STATE["params"] | {"b": np.float64(2)}}, ORIGIN),
    (STATE | {"params": {"a": STATE["params"]["a"]}}, ORIGIN),
    (STATE, ORIGIN | {"config": {"seed": 1, "name": "vae"}}),
  ):
    changed = runs.checksums(state, origin)
    assert sum(changed.get(name) != value for name, value in sums.items()) == 1


def test_checkpoints_of_earlier_versions_have_no_checksums(tmp_path):
  write(tmp_path, sums=False)
  state, origin = runs.read_checkpoint(tmp_path, 3)
  assert runs.checksums(state, origin) == runs.checksums(STATE, ORIGIN)


def test_missing_checksum_is_damage(tmp_path):
  path = write(tmp_path) / "checksums" / "metadata"
  sums = json.loads(path.read_text())
  path.write_text(json.dumps({name: value for name, value in sums.items() if name != "origin"}))
  with pytest.raises(ValueError, match="1 of 6 parts are not what was saved: origin was absent"):
    runs.read_checkpoint(tmp_path, 3)


def test_clock_that_is_set_back_stands_still(tmp_path, monkeypatch):
  clock = iter([1000.0, 2000.0, 500.0, 2001.0])
  monkeypatch.setattr(logbook, "clu_writer", lambda folder: None)
  with logbook.Logbook(tmp_path, 0) as book:
    monkeypatch.setattr(time, "time", lambda: next(clock))
    for step in range(1, 5):
      book.scalars(step, {"a": 0.0})
    monkeypatch.undo()
  rows = records.read_rows(tmp_path / "metrics.jsonl")[0]
  assert [row["time"] for row in rows] == [1000.0, 2000.0, 2000.0, 2001.0]


def test_full_disk_and_damaged_lines_of_the_logbook(tmp_path, monkeypatch):
  monkeypatch.setattr(logbook, "clu_writer", lambda folder: None)
  path = tmp_path / "metrics.jsonl"
  path.write_bytes(b'{"step": 1, "a": 5}\n[]\n7\n{"a": 1}\n\xff\xfe\n{"step": "x"}\n{"st')
  with logbook.Logbook(tmp_path, 9) as book:
    assert records.read_rows(path)[0] == [{"step": 1, "a": 5}]
    path.unlink()
    path.symlink_to("/dev/full")
    with pytest.raises(UserError, match=f"cannot write {path}: No space left on device"):
      book.scalars(2, {"a": 6.0})


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
  bench = fault_injection.Bench(tmp_path_factory.mktemp("faults"))
  yield bench
  shutil.rmtree(bench.folder)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["disk_full", "damaged_checkpoint", "vanishing_data"])
def test_fault_ends_in_one_line_or_in_exact_resumption(bench, fault):
  getattr(fault_injection, fault)(bench)
