"""Files of records as downloads leave them: packed or not, cut, empty, of another set."""

import gzip
import os

import numpy as np
import pytest
import tensorflow as tf

import data_pipelines
from configs.settings import settings
from data_pipelines import DataError
from data_pipelines.datasets.gqn import files
from data_pipelines.reading import gzipped, tfrecords
from data_pipelines.reading.batches import Batches
from data_pipelines.reading.record_files import is_empty, left_out
from data_pipelines.reading.records import Range, Records

NUM = 50


def write(path, records, compression=""):
  path.parent.mkdir(parents=True, exist_ok=True)
  with tf.io.TFRecordWriter(str(path), compression) as writer:
    for record in records:
      writer.write(record)
  return path.read_bytes()


@pytest.fixture(scope="module")
def encoded() -> list[bytes]:
  """Records of several lengths that begin with their number, and are hard to compress."""
  rng = np.random.default_rng(0)
  return [bytes([number]) + rng.bytes(300 + number) for number in range(NUM)]


@pytest.fixture(scope="module")
def plain(encoded, tmp_path_factory) -> bytes:
  return write(tmp_path_factory.mktemp("plain") / "records", encoded)


def records_of(*ranges: Range) -> Records:
  def decode(numbers):
    return {"image": tf.reshape(tf.io.decode_raw(numbers, tf.uint8), [-1, 1, 1, 1])}

  return Records(ranges, 1, lambda record: [(record[:1],)], 1, decode, "fetch it again")


def numbers(*ranges: Range, on_corrupt="error", epochs=1, shuffle=False) -> tuple[list[int], int]:
  """The numbers of the records that are read, and how many damaged ones were met."""
  stream = Batches(
    records_of(*ranges), batch_size=8, epochs=epochs, shuffle=shuffle, on_corrupt=on_corrupt
  )
  found = [int(image) for batch in stream for image in batch["image"].ravel()]
  return found, stream.num_corrupt


def flipped(content: bytes, at: int) -> bytes:
  return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


# What a file holds that is as good as the plain one.
WHOLE = {
  "plain": lambda plain: plain,
  "gzip": gzip.compress,
  "zeros_after_gzip": lambda plain: gzip.compress(plain) + bytes(700),
  "few_zeros_after_gzip": lambda plain: gzip.compress(plain) + bytes(3),
  "members": lambda plain: gzip.compress(plain[:5000]) + gzip.compress(plain[5000:]),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_files_are_read_packed_or_not(tmp_path, plain, kind):
  path = tmp_path / "records"
  path.write_bytes(WHOLE[kind](plain))
  assert numbers(Range(path)) == (list(range(NUM)), 0)
  part = Range(path, 5, 40)
  assert numbers(part, on_corrupt="skip", epochs=2) == ([*range(5, 45)] * 2, 0)
  assert tfrecords.num_records(path) == NUM and tfrecords.find_damage(path) is None


# What a file holds; index of the damaged record; what is said of it.
DAMAGED = {
  "cut_in_header": (lambda plain: plain + plain[:7], NUM, "the file ends inside the record"),
  "cut_in_gzipped_header": (lambda plain: gzip.compress(plain + plain[:7]), NUM, "ends inside"),
  "no_end_of_gzip": (lambda plain: gzip.compress(plain)[:-8], NUM, "the file ends inside"),
  "half_an_end_of_gzip": (lambda plain: gzip.compress(plain)[:-3], NUM, "the file ends inside"),
  "more_after_gzip": (lambda plain: gzip.compress(plain) + b"<html>", NUM, "GZIP stream is damag"),
  "flip": (lambda plain: flipped(plain, len(plain) - 50), NUM - 1, "checksum of the data is wrong"),
  "gzipped_flip": (
    lambda plain: gzip.compress(flipped(plain, len(plain) - 50)),
    NUM - 1,
    "checksum of the data is wrong",
  ),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_placed_and_what_comes_before_it_is_used(tmp_path, plain, kind):
  damage, index, cause = DAMAGED[kind]
  path = tmp_path / "records"
  path.write_bytes(damage(plain))
  with pytest.raises(DataError, match=rf"{path}: record {index} \(from 0\) .*{cause}.*fetch it ag"):
    numbers(Range(path))
  assert numbers(Range(path), on_corrupt="skip", epochs=2) == ([*range(index)] * 2, 1)
  # What is not read has no influence.
  assert numbers(Range(path, 3, 20)) == (list(range(3, 23)), 0)


def test_damage_in_a_part_that_is_not_used(tmp_path, plain):
  path = tmp_path / "records"
  path.write_bytes(flipped(plain, 40))
  assert numbers(Range(path, 5)) == (list(range(5, NUM)), 0)
  path.write_bytes(flipped(plain, 1))  # a length: nothing is found after it
  with pytest.raises(DataError, match="record 0 .*checksum of the length"):
    numbers(Range(path, 5))


def test_packed_and_plain_files_of_one_set(tmp_path, plain):
  (tmp_path / "a").write_bytes(plain)
  (tmp_path / "b").write_bytes(gzip.compress(plain))
  ranges = Range(tmp_path / "a"), Range(tmp_path / "b")
  assert numbers(*ranges) == ([*range(NUM)] * 2, 0)
  assert sorted(numbers(*ranges, shuffle=True)[0]) == sorted([*range(NUM)] * 2)


def test_a_length_that_looks_like_gzip_is_plain(tmp_path):
  path = tmp_path / "records"
  write(path, [bytes([number]) + bytes(0x088B1F - 1) for number in range(2)])
  assert path.read_bytes()[:3] == gzip.compress(b"")[:3]
  assert numbers(Range(path)) == ([0, 1], 0)


def test_a_file_that_goes_away_is_one_line(tmp_path, plain):
  path = tmp_path / "records"
  path.write_bytes(plain)
  stream = Batches(records_of(Range(path)), batch_size=8, shuffle=False)
  path.unlink()
  with pytest.raises(DataError, match=f"{path} cannot be read .No such file.*give the same comm"):
    list(stream)


@pytest.fixture
def short_start(monkeypatch):
  """The start that tells of a file is short, and nothing may be counted."""
  monkeypatch.setattr(gzipped, "SAMPLE", 4096)
  gzipped._estimate.cache_clear()
  yield monkeypatch
  gzipped._estimate.cache_clear()


@pytest.mark.parametrize("on_corrupt", ["error", "skip"])
def test_gzip_is_read_once(tmp_path, plain, short_start, on_corrupt):
  path = tmp_path / "records"
  path.write_bytes(gzip.compress(plain))
  short_start.setattr(gzipped, "walk", lambda *_: pytest.fail("unpacked once more"))
  short_start.setattr(tfrecords, "num_leading", lambda *_: pytest.fail("read once more"))
  part = records_of(Range(path, 10)).limited(20)
  assert part.num_images(most=20) == 20
  assert numbers(*part.ranges, on_corrupt=on_corrupt) == (list(range(10, 30)), 0)
  assert numbers(Range(path, 10), on_corrupt=on_corrupt) == (list(range(10, NUM)), 0)


def test_headers_are_walked_over_once(tmp_path, plain, monkeypatch):
  path = tmp_path / "records"
  path.write_bytes(gzip.compress(plain))
  passed, pass_over_one = [], gzipped._Walk._pass_over_one
  monkeypatch.setattr(
    gzipped._Walk, "_pass_over_one", lambda walk: passed.append(1) or pass_over_one(walk)
  )
  assert [tfrecords.num_records(path, most) for most in (20, 5, 30, None)] == [20, 5, 30, NUM]
  assert len(passed) == NUM + 1


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_the_start_tells_how_many_there_are(tmp_path, plain, short_start, pack):
  path = tmp_path / "records"
  path.write_bytes(pack(plain))
  found = gzipped.estimate(path)
  assert found.num_records == pytest.approx(NUM, rel=0.15)
  assert found.unpacked == pytest.approx(len(plain), rel=0.1)
  assert records_of(Range(path), Range(path, 10)).about() == pytest.approx(2 * NUM - 10, rel=0.15)
  assert records_of(Range(path, 10, 7)).about() == 7
  path.write_bytes(pack(b"<html>" * 2000))
  assert gzipped.estimate(path).num_records == 0


def test_a_file_cut_on_purpose(tmp_path, plain, encoded):
  path = tmp_path / "records"
  path.write_bytes(gzip.compress(plain)[: len(plain) // 2])
  with pytest.raises(DataError, match="ends inside"):
    numbers(Range(path))
  (tmp_path / "records.cut").touch()
  found, num_corrupt = numbers(Range(path))
  assert found == list(range(len(found))) and NUM // 4 < len(found) < NUM and not num_corrupt


# Which files are there, and what is said of it.


def test_empty_files(tmp_path):
  for name, content in (
    ("a", b""),
    ("b", gzip.compress(b"")),
    ("c", b"\0"),
    ("d", b"\x1f\x8b\x08"),
  ):
    (tmp_path / name).write_bytes(content)
  assert [is_empty(tmp_path / name) for name in "abcd"] == [True, True, False, False]


def test_leftovers_are_counted_by_kind(tmp_path):
  for name in ("x.tfrecord_.gstmp", "y.zip", "Z.ZIP", "readme.txt", "x.tfrecord", "w.tar.bz2"):
    (tmp_path / name).touch()
  assert left_out([tmp_path], empty=1) == "; left out: 1 empty file, 1 .bz2, 1 .gstmp, 2 .zip"
  assert left_out([tmp_path], prefix="x.") == "; left out: 1 .gstmp"
  assert left_out([tmp_path / "none"], empty=0) == ""


def gqn(root, variant="rooms_ring_camera"):
  return settings("gqn", data_dir=str(root), variant=variant)


def test_gqn_says_what_it_leaves_out(tmp_path, encoded):
  folder = tmp_path / "rooms_ring_camera" / "train"
  for i in (1, 2, 3):
    write(folder / f"{i:04d}-of-2160.tfrecord", encoded[:1])
  (folder / "0002-of-2160.tfrecord").write_bytes(b"")
  (folder / "0004-of-2160.tfrecord_.gstmp").touch()
  source = data_pipelines.resolve(gqn(tmp_path))
  assert source.num_files == {"train": 2, "test": 0}
  assert "2 of 2160 train files, 0 of 240 test files" in source.description
  assert source.description.endswith("; left out: 1 empty file, 1 .gstmp")
  for path in folder.glob("*.tfrecord"):
    path.write_bytes(b"")
  with pytest.raises(DataError, match="has no GQN records; left out: 3 empty files, 1 .gstmp; exp"):
    data_pipelines.resolve(gqn(tmp_path))


def test_another_gqn_set_is_not_relabelled(tmp_path, encoded):
  write(tmp_path / "mine" / "train" / "0001-of-2034.tfrecord", encoded[:1])
  with pytest.raises(DataError, match="train files that count to 2034, as rooms_free_camera_with"):
    data_pipelines.resolve(gqn(tmp_path / "mine"))
  (tmp_path / "mine").rename(tmp_path / "jaco")
  with pytest.raises(DataError, match="is named jaco.*--config.data.variant=jaco"):
    data_pipelines.resolve(gqn(tmp_path / "jaco"))
  write(tmp_path / "own" / "train" / "1-of-7.tfrecord", encoded[:1])
  assert "1 of 7 train files (2160 were published)" in (
    data_pipelines.resolve(gqn(tmp_path / "own")).description
  )
  assert len(files.VARIANTS) == 7


def test_sketchy_says_what_it_leaves_out(tmp_path, encoded):
  write(tmp_path / "records" / "a.tfrecord", encoded[:1])
  (tmp_path / "records" / "b.tfrecord").touch()
  (tmp_path / "lift.tar.bz2").touch()
  source = data_pipelines.resolve(settings("sketchy", data_dir=str(tmp_path)))
  assert source.num_files == {"all": 1}
  assert source.description.endswith("; left out: 1 empty file, 1 .bz2")


def test_multi_object_says_what_it_leaves_out(tmp_path, plain):
  config = settings("objects_room", data_dir=str(tmp_path))
  path = tmp_path / "objects_room_train.tfrecords"
  for name in (f"{path.name}.gz", f"{path.name}_.gstmp", "other.zip"):
    (tmp_path / name).touch()
  with pytest.raises(DataError, match=f"has no {path.name}; left out: 1 .gstmp, 1 .gz; expected"):
    data_pipelines.resolve(config)
  path.touch()
  with pytest.raises(DataError, match=f"{path} is empty; fetch it again"):
    data_pipelines.resolve(config)
  path.write_bytes(plain)
  assert data_pipelines.resolve(config).description.endswith("left out: 1 .gstmp, 1 .gz")
  os.truncate(path, 1000)
  (tmp_path / f"{path.name}.cut").touch()
  assert "of which only the beginning (1e-06 GB)" in data_pipelines.resolve(config).description
