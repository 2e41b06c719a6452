"""Some hundred damaged inputs for each reader; `tests.support.fuzzing` tries ten thousand."""

import gzip
import resource
import struct
import tracemalloc

import fuzzing
import numpy as np
import pytest

from data_pipelines import DataError
from data_pipelines.datasets.multi_object import wire
from data_pipelines.reading import tfrecords


@pytest.mark.parametrize("name", fuzzing.TARGETS)
def test_damaged_input_is_read_or_refused(name, tmp_path):
  outcomes = fuzzing.run(name, cases=120, seed=1, folder=tmp_path)
  assert sum(outcomes.values()) == 120
  assert outcomes["read"] and (outcomes["declared"] or name == "tfrecord")


def test_cases_can_be_made_again():
  content = bytes(range(256))
  cases = [
    [fuzzing.mutated(content, np.random.default_rng([0, i])) for i in range(50)] for _ in range(2)
  ]
  assert cases[0] == cases[1] and len(set(cases[0])) > 40


def test_a_length_without_end_is_refused_at_once():
  record = b"\x0a" + b"\xff" * 5_000_000
  with fuzzing._time_limit(20), pytest.raises(ValueError):
    wire.read(record, {"image": wire.Field(4)})


def test_one_large_record_does_not_widen_the_small_ones(tmp_path):
  rng = np.random.default_rng(0)
  records = [rng.bytes(int(n)) for n in rng.integers(0, 20, 4000)] + [rng.bytes(300_000)]
  content = bytearray(fuzzing._framed(records))
  content[12] ^= 1
  (tmp_path / "records").write_bytes(content)
  tracemalloc.start()
  good, bad = tfrecords.rescue(tmp_path / "records", 0)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert [good[i] for i in range(1, 4001)] == records[1:]
  assert [damage.index for damage in bad] == [0]
  assert peak < 20e6


@pytest.mark.parametrize("length", [300_000_000, 2**40, 2**63, 2**64 - 1])
def test_zipped_length_beyond_the_data_takes_no_memory(tmp_path, length):
  path = tmp_path / "records"
  with gzip.open(path, "wb", 1) as file:
    file.write(fuzzing._header(length))
    for _ in range(250):
      file.write(bytes(1_000_000))
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  assert tfrecords.framing(path) == (
    [],
    [],
    tfrecords.Damage(0, "the file ends inside the record"),
  )
  assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_a_file_that_is_gone_is_one_line(tmp_path):
  with pytest.raises(DataError, match="records cannot be read .No such file or directory.; see"):
    tfrecords.find_damage(tmp_path / "records")


def test_header_is_tensorflows():
  whole = fuzzing._framed([bytes(77)])
  assert whole[:12] == fuzzing._header(77) and struct.unpack("<Q", whole[:8]) == (77,)
