"""Records read in lanes: the same images on any number of hosts, of which each reads its share."""

import contextlib
import dataclasses
import itertools
import os
import threading

import numpy as np
import pytest
import tensorflow as tf
from web_server import WebServer

from data_pipelines import DataError
from data_pipelines.reading.batches import Batches
from data_pipelines.reading.lanes import files, index, told
from data_pipelines.reading.lanes import plan as planning
from data_pipelines.reading.lanes.counts import Counts
from data_pipelines.reading.lanes.pipeline import LanePipeline
from data_pipelines.reading.records import Range, Records
from data_pipelines.stores import cache

VIEWS, ROWS = 3, 24


def write(path, numbers, length=300):
  """Records that hold their number; their length varies."""
  rng = np.random.default_rng(list(numbers)[0])
  with tf.io.TFRecordWriter(str(path)) as writer:
    for number in numbers:
      writer.write(
        int(number).to_bytes(4, "little") + rng.bytes(int(length * rng.uniform(0.8, 1.2)))
      )
  return Range(path)


def records_of(ranges, **changes) -> Records:
  def unpack(record):
    number = int.from_bytes(record[:4], "little")
    return [((number * VIEWS + view).to_bytes(4, "little"),) for view in range(VIEWS)]

  def decode(numbers):
    return {"image": tf.reshape(tf.io.decode_raw(numbers, tf.int32), [-1, 1, 1, 1])}

  return Records(tuple(ranges), VIEWS, unpack, 1, decode, "fetch it again", **changes)


def draw(records, num=10**6, **arguments) -> list[list[int]]:
  arguments = dict(batch_size=ROWS, seed=1, shuffle=True, shuffle_buffer=100) | arguments
  stream = Batches(records, **arguments)
  return [batch["image"].ravel().tolist() for batch, _ in zip(stream, range(num), strict=False)]


@pytest.fixture(scope="module")
def ranges(tmp_path_factory) -> list[Range]:
  """173 records in seven files of unequal size, of some of which only a part is used."""
  folder, counts, first = tmp_path_factory.mktemp("lanes"), (40, 9, 31, 1, 55, 20, 17), 0
  found = []
  for i, count in enumerate(counts):
    found.append(write(folder / f"{i}.tfrecord", range(first, first + count)))
    first += count
  return found


@pytest.fixture(params=["files", "parts", "limited"])
def case(request, ranges):
  """Records, and the images that are in them."""
  images = list(range(173 * VIEWS))
  if request.param == "parts":
    last = ranges[-1]._replace(first=2, count=5)
    records = records_of([ranges[0]._replace(first=10), *ranges[1:-1], last])
    return records, images[10 * VIEWS : 156 * VIEWS] + images[158 * VIEWS : 163 * VIEWS]
  if request.param == "limited":
    return records_of(ranges).limited(200), images[:200]
  return records_of(ranges), images


@pytest.mark.slow
def test_any_number_of_hosts_gives_the_same_from_any_batch(case, ranges):
  records, images = case
  is_plain = records.ranges == tuple(ranges)
  one = draw(records, epochs=2)
  flat = sum(one, [])
  epochs = [flat[i : i + len(images)] for i in range(0, len(flat), len(images))]
  assert len(epochs) == 2 and epochs[0] != epochs[1]
  assert all(sorted(epoch) == images for epoch in epochs)
  assert [len(batch) for batch in one[:-1]] == [ROWS] * (len(one) - 1)
  for count in (2, 3, 8) if is_plain else (3,):
    hosts = [draw(records, epochs=2, shard_index=i, shard_count=count) for i in range(count)]
    assert [sum(rows, []) for rows in zip(*hosts, strict=True)] == one, count
  for first in (1, len(one) // 3, len(one) - 2, len(one) + 1)[0 if is_plain else 1 :]:
    part = dict(first_batch=first, shard_index=1, shard_count=2)
    rows = [batch[ROWS // 2 :] for batch in one[first:]]
    assert draw(records, epochs=2, **part) == rows, first
  assert draw(records, epochs=2, on_corrupt="skip", first_batch=2) == one[2:]
  if is_plain:
    assert draw(records, len(one) - 1) == one[:-1]
    assert draw(records, 1, seed=2) != one[:1]


def test_a_large_split_is_counted_only_near_its_end(ranges, monkeypatch):
  records = records_of(ranges)
  one = draw(records, epochs=2)
  monkeypatch.setattr(planning, "SMALL_BYTES", 0)
  monkeypatch.setattr(planning, "SURE", 0.5)
  # With few lanes, each has many records.
  few = draw(records, epochs=2, batch_size=4)
  assert draw(records, epochs=2, batch_size=4, first_batch=9) == few[9:]
  monkeypatch.setattr(planning, "SMALL_BYTES", 2**31)
  assert draw(records, epochs=2, batch_size=4) == few and draw(records, epochs=2) == one
  monkeypatch.setattr(planning, "SMALL_BYTES", 0)
  monkeypatch.setattr("data_pipelines.reading.lanes.pipeline.GROUP_VIEWS", 8)
  monkeypatch.setattr(Counts, "start", lambda *_: pytest.fail("counted at the start"))
  next(LanePipeline(records, seed=1, epochs=None, shuffle_buffer=4, skip_corrupt=False,
                    shard_index=0, shard_count=1)._groups(4, 0))  # fmt: skip


@pytest.mark.parametrize("epochs", [2, None])
@pytest.mark.parametrize("lost", [[0, 3], range(5)])
def test_damage_in_a_lane_is_not_that_of_all(tmp_path, lost, epochs, monkeypatch):
  """There are fewer records than rows in a batch, so that some rows have damaged ones only."""
  monkeypatch.setattr("data_pipelines.reading.lanes.pipeline.GROUP_VIEWS", 2 * ROWS)
  part = write(tmp_path / "a.tfrecord", range(5))
  data = bytearray(part.path.read_bytes())
  for number in lost:
    data[index.frames(part.path).offsets[number] + 5] ^= 255
  part.path.write_bytes(data)
  whole = [n * VIEWS + view for n in range(5) if n not in lost for view in range(VIEWS)]
  arguments = dict(epochs=epochs, on_corrupt="skip")
  if not whole:
    with pytest.raises(DataError, match="every record is damaged"):
      draw(records_of([part]), 1, **arguments)
  elif epochs:
    assert sorted(sum(draw(records_of([part]), **arguments), [])) == sorted(whole * epochs)
  else:
    assert set(sum(draw(records_of([part]), 4, **arguments), [])) == set(whole)


def test_records_too_uneven_to_share_are_an_error(tmp_path, monkeypatch):
  monkeypatch.setattr(planning, "SMALL_BYTES", 0)
  large = write(tmp_path / "large", range(40), 3000)
  small = write(tmp_path / "small", range(40, 440), 300)
  with pytest.raises(DataError, match="cannot be shared out by bytes; .*data.order=buffer"):
    draw(records_of([large, small]), epochs=1, batch_size=2, shuffle_buffer=2)


def test_files_are_told_in_the_order_in_which_they_are_wanted(ranges, monkeypatch):
  records, opened = records_of(ranges), []
  read = files.records
  monkeypatch.setattr(files, "records", lambda path, *at: opened.append(path) or read(path, *at))

  def stream(**arguments):
    return Batches(records, **dict(batch_size=8, seed=1, shuffle=True, epochs=1) | arguments)

  hosts = [set(stream(shard_index=host, shard_count=4).files()) for host in range(4)]
  assert set.union(*hosts) == {part.path for part in ranges}
  assert all(len(found) < len(ranges) for found in hosts)
  list(stream(batch_size=1))
  assert [*dict.fromkeys(stream(batch_size=1).files())] == [*dict.fromkeys(opened)]
  assert len(list(stream(first_batch=40).files())) < len(list(stream().files()))
  before = stream(lanes=False).files()
  assert sorted(before) == sorted(part.path for part in ranges)


def test_where_records_lie_is_kept(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  monkeypatch.setattr(index, "KEPT_BYTES", 0)
  path = write(tmp_path / "records", range(30)).path
  found = index.frames(path)
  index._frames.cache_clear()
  monkeypatch.setattr("data_pipelines.reading.tfrecords.framing", lambda *_: pytest.fail("again"))
  again = index.frames(path, 20)
  np.testing.assert_array_equal(again.offsets, found.offsets[:20])
  np.testing.assert_array_equal(again.lengths, found.lengths[:20])
  os.utime(path, ns=(1, 1))  # it may hold something else now
  with contextlib.suppress(pytest.fail.Exception):
    index.frames(path)
    raise AssertionError


class Words(dict):
  """A board of hosts that are threads, or follow one another."""

  def __init__(self):
    self.put, self.has, self.everything = self.__setitem__, self.__contains__, self.copy


@pytest.fixture(scope="module")
def uneven(tmp_path_factory) -> list[Range]:
  """184 records of about 5 kB in 16 files, which are no multiple of the hosts' lanes."""
  folder = tmp_path_factory.mktemp("uneven") / "set"
  folder.mkdir()
  sizes = [12 + (-1) ** i * (i % 4) for i in range(16)]
  starts = np.cumsum(sizes) - sizes
  return [
    write(folder / f"{i:02d}", range(starts[i], starts[i] + sizes[i]), 5000) for i in range(16)
  ]


@pytest.fixture
def stored(uneven, tmp_path, monkeypatch):
  """The same in a store: a function that gives the records to a host with an empty disk."""
  monkeypatch.setattr(told, "POLL_SECONDS", 0.01)
  machines = itertools.count()

  def on_new_machine():
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"{next(machines)}"))
    monkeypatch.setattr(cache, "_CACHE", cache._Cache())
    server.sent.clear()
    root = cache.folder(f"{server.url}/set", (), 10**9)
    return records_of(Range(root / part.path.name) for part in uneven)

  with WebServer({f"set/{p.path.name}": p.path.read_bytes() for p in uneven}) as server:
    on_new_machine.sent = server.sent
    yield on_new_machine


@pytest.mark.slow
def test_a_store_gives_what_a_disk_does_and_each_host_its_share(uneven, stored):
  total = sum(part.path.stat().st_size for part in uneven)
  one = draw(records_of(uneven), epochs=2)
  board = Words()
  assert draw(stored(), epochs=2, board=board) == one
  assert sum(int(number) for number in board.values()) == 184  # a part is counted once
  for count, hosts in ((2, (1,)), (3, (0, 1, 2))):
    for i in hosts:
      rows = [batch[ROWS // count * i :][: ROWS // count] for batch in one]
      part = dict(shard_index=i, shard_count=count)
      # Without a board, headers of the others' files are asked for.
      found = draw(stored(), epochs=2, board=board if count == 3 else None, **part)
      assert found == rows, (i, count)
      assert sum(stored.sent.values()) < 1.2 / count * total, (i, count)
  last = dict(shard_index=1, shard_count=2, first_batch=len(one) - 2, board=board)
  assert draw(stored(), epochs=2, **last) == [batch[ROWS // 2 :] for batch in one[-2:]]
  assert sum(stored.sent.values()) < 0.6 * total  # also on a new machine


def test_hosts_tell_one_another_what_they_counted(uneven, stored, monkeypatch):
  """Also one who has a copy on disk, and would not need to."""
  monkeypatch.setattr(planning, "SPARSE", 0)
  monkeypatch.setattr(planning, "LATE", 0.6)
  records, board = [stored(), records_of(uneven)], Words()
  part = dict(epochs=2, board=board, shard_count=2, batch_size=4)  # so that lanes are long
  order = dict(seed=1, shuffle=True, shuffle_buffer=100)
  hosts = [Batches(records[i], shard_index=i, **order, **part) for i in range(2)]
  both = []
  for second, first in zip(hosts[1], hosts[0], strict=True):  # it must run when it is asked
    both.append(np.concatenate([first["image"].ravel(), second["image"].ravel()]))
  assert [rows.tolist() for rows in both] == draw(records_of(uneven), epochs=2, batch_size=4)
  assert told.ASKED in board
  part["board"] = Words()
  part["board"].put(told.FAILED, "the store is away")
  with pytest.raises(DataError, match="the store is away"):
    draw(records[0], **part)


def num_read() -> int:
  """Bytes that this process has read so far, by the kernel's count."""
  return int(open("/proc/self/io").readline().split()[1])


def test_two_hosts_read_half_of_the_bytes_each(tmp_path):
  """One after the other: neither has what the other read."""
  parts = [write(tmp_path / str(i), range(i * 60, i * 60 + 60 - i), 10_000) for i in range(8)]
  size = sum(part.path.stat().st_size for part in parts)
  draw(records_of(parts[:1]), epochs=1)  # what TensorFlow reads when it starts
  hosts = []
  for host in range(2):
    index._frames.cache_clear()
    before = num_read()
    part = dict(batch_size=6, shuffle_buffer=48, shard_index=host, shard_count=2)
    hosts.append(draw(records_of(parts), epochs=1, **part))
    assert 0.4 * size < num_read() - before < 1.2 / 2 * size
  rows = [sum(images, []) for images in zip(*hosts, strict=True)]
  num = sum(60 - i for i in range(8)) * VIEWS
  expected = [i * 60 * VIEWS + image for i in range(8) for image in range((60 - i) * VIEWS)]
  assert sorted(sum(rows, [])) == expected and len(expected) == num


def test_a_stream_that_is_given_up_reads_no_further(ranges, monkeypatch):
  """Not even to the end of what is read at once."""
  records, closed, read = records_of(ranges), threading.Event(), []
  close = LanePipeline.close

  def end(pipeline):
    close(pipeline)
    closed.set()

  def unpack(record):
    read.append(closed.is_set())
    if len(read) > 900:  # ahead of the first batch
      closed.wait(0.1)
    return records.unpack(record)

  monkeypatch.setattr(LanePipeline, "close", end)
  stream = Batches(dataclasses.replace(records, unpack=unpack), batch_size=ROWS, shuffle=True)
  next(stream)
  del stream
  assert closed.is_set() and sum(read) <= 1
