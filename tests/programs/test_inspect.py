"""The programs that look at data before training: what they count, and how they fail."""

import gzip
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import data_pipelines
from configs.loading import ConfigError, load_config
from configs.settings import settings
from data_pipelines import benchmark, inspect
from data_pipelines.datasets.multi_object import reader as multi_object
from data_pipelines.datasets.multi_object import wire
from data_pipelines.reading.indexed import Indexed
from data_pipelines.reading.records import Range, Records
from data_pipelines.sources import DataError

ROOT = Path(__file__).parents[2]
CONFIG = f"--config={ROOT}/configs/genesis_gqn.py"


def run(capsys, *words) -> tuple[int, str, str]:
  try:
    status = inspect.main([*map(str, words)])
  except SystemExit as stopped:
    status = stopped.code
  out, err = capsys.readouterr()
  return status, out, err


def cells(out: str, name: str) -> list[str]:
  """The cells of a row of the table."""
  rows = [re.split(r"  +", line.strip()) for line in out.splitlines()]
  (row,) = (row for row in rows if row[0] == name)
  return row[1:]


def damaged(root: Path, folder: Path) -> Path:
  """A copy whose first training record is broken."""
  shutil.copytree(root / "rooms_ring_camera", folder / "rooms_ring_camera")
  path = folder / "rooms_ring_camera" / "train" / "01-of-60.tfrecord"
  data = bytearray(path.read_bytes())
  data[5000] ^= 255
  path.write_bytes(data)
  return folder


def test_a_table_of_all_splits(gqn_root, capsys, tmp_path):
  report = tmp_path / "report.json"
  status, out, err = run(capsys, CONFIG, f"--config.data.data_dir={gqn_root}", "--json", report)
  assert status == 0 and not err
  assert out.splitlines()[1].split() == ["train", "val", "test"]
  assert cells(out, "images") == ["80", "40", "40"]
  assert cells(out, "image") == ["uint8 64x64x3"] * 3
  assert cells(out, "damaged records") == ["0"] * 3
  saved = json.loads(report.read_text())
  assert saved["source"]["name"] == "gqn"
  config = load_config(CONFIG.removeprefix("--config="), [f"--config.data.data_dir={gqn_root}"])
  (whole,) = data_pipelines.batches(config.data, split="val", batch_size=40, epochs=1)
  found = saved["splits"]["val"]
  assert found["looked_at"] == 40 and found["promised"] == 40
  assert found["smallest"] == whole["image"].min() and found["largest"] == whole["image"].max()
  np.testing.assert_allclose(found["channel_means"], whole["image"].mean((0, 1, 2)), rtol=1e-6)


def test_one_split_in_part(gqn_root, capsys, monkeypatch):
  monkeypatch.chdir(ROOT)
  words = "--config", "configs/genesis_gqn.py", "--config.data.data_dir", gqn_root
  words = *words, "--split", "train", "--num", "17"
  status, out, _ = run(capsys, *words)
  assert status == 0
  assert cells(out, "images") == ["80"] and cells(out, "looked at") == ["17"]


def test_damage_is_counted_and_tells(gqn_root, capsys, tmp_path):
  folder = damaged(gqn_root, tmp_path)
  status, out, _ = run(capsys, CONFIG, f"--config.data.data_dir={folder}", "--split", "train")
  assert status == 1
  assert cells(out, "damaged records") == ["1"] and cells(out, "looked at") == ["70"]


def test_an_empty_split_tells(gqn_root, capsys, tmp_path):
  shutil.copytree(
    gqn_root / "rooms_ring_camera" / "train", tmp_path / "rooms_ring_camera" / "train"
  )
  status, out, err = run(capsys, CONFIG, f"--config.data.data_dir={tmp_path}")
  assert status == 1 and cells(out, "looked at") == ["80", "40", "0"]
  assert err.startswith("error: test: ") and "has no records for the test split" in err
  assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
  "words,status,message",
  [
    ((CONFIG, "--config.data.data_dir=/nowhere"), 1, "/nowhere does not exist"),
    ((CONFIG, f"--config.data.data_dir={__file__}"), 1, "is a file; name the folder that it is in"),
    ((CONFIG, "--config.data.data_dir="), 1, "data.data_dir is empty; it must name a folder"),
    ((CONFIG, "--config.data.standin_scenes=-5"), 1, "data.standin_scenes is -5; it must be at"),
    ((CONFIG, "--config.data.resize=cubic"), 1, "data.resize is 'cubic'; allowed: area"),
    ((CONFIG, "--config.data.resizee=area"), 2, 'no field resizee. Did you mean "resize"'),
    ((CONFIG, "--config.data.limit=many"), 2, "many"),
    ((CONFIG, "--split=all"), 2, "--split: invalid choice: 'all'"),
    ((CONFIG, "--num=-1"), 2, "-1 is too small"),
    ((CONFIG, "train"), 2, "unexpected argument 'train'"),
    (("--config=none.py",), 2, "'none.py' is not a file that can be read"),
    ((f"--config={ROOT}/configs/experiment.py:genesis,gq",), 2, 'did you mean "gqn"?'),
    ((), 2, "--config"),
  ],
)
def test_mistakes_are_one_line(capsys, words, status, message):
  got, _, err = run(capsys, *words)
  assert got == status and message in err
  assert err.startswith("error: ") and len(err.splitlines()) == 1


@pytest.mark.parametrize("name", sorted(set(data_pipelines.DATASETS) - {"apc"}))
def test_a_file_is_not_taken_for_a_missing_folder(name):
  """Of apc a file may be given: an archive."""
  with pytest.raises(DataError, match="is a file; name the folder that it is in$"):
    data_pipelines.resolve(settings(name, data_dir=__file__))


@pytest.mark.parametrize("name", data_pipelines.DATASETS)
def test_an_empty_name_is_not_this_folder(name):
  with pytest.raises(ValueError, match="data.data_dir is empty; it must name a folder"):
    data_pipelines.resolve(settings(name, data_dir=""))


def test_instances_are_counted_per_image():
  ids = np.zeros((4, 3, 3), np.int32)
  ids[1, 0, 0], ids[2, 0], ids[3, :, 1] = 7, [1, 2, 1], [-1, 5, 0]
  np.testing.assert_array_equal(inspect.instances_per_image(ids), [0, 1, 2, 1])


def test_labels_and_instances_are_in_the_table():
  report = inspect.Report(promised=3)
  batch = {
    "image": np.full((3, 2, 2, 3), 7, np.uint8),
    "instances": np.array([0, 1, 0] * 4).reshape(4, 3).T.reshape(3, 2, 2),
    "stable": np.array([0, 1, 1], np.int32),
    "size": np.array([[0.5, 1.0]] * 3, np.float32),
  }
  inspect._add(report, batch)
  out = inspect.table({"val": report})
  assert cells(out, "stable") == ["int32, 0: 1, 1: 2"]
  assert cells(out, "size") == ["float32[2], 0.5 to 1"]
  assert cells(out, "with 0 instances") == ["2"] and cells(out, "with 1 instance") == ["1"]


def test_a_configuration_is_read_in_one_go():
  config = load_config(f"{ROOT}/configs/experiment.py:monet,clevr", ["--config.batch_size", "3"])
  assert config.batch_size == 3 and config.data.name == "clevr"
  with pytest.raises(ConfigError, match="no field batchsize"):
    load_config(f"{ROOT}/configs/genesis_gqn.py", ["--config.batchsize=3"])
  with pytest.raises(ConfigError, match=r"no field optimizer.learning_rate\[1\]"):
    load_config(f"{ROOT}/configs/genesis_gqn.py", ["--config.optimizer.learning_rate[1]=3"])


@pytest.fixture
def hurried(monkeypatch):
  """Measures for moments."""
  for name, value in (("SECONDS", 0.05), ("WARM_UP", 1), ("ROUNDS", 1)):
    monkeypatch.setattr(benchmark, name, value)


def test_benchmark_of_one_data_set(gqn_root, capsys, hurried):
  assert benchmark.main(["gqn", f"--data_dir={gqn_root}", "--batch_size=4"]) == 0
  out = capsys.readouterr().out
  assert "uint8[4, 64, 64, 3]" in out and str(gqn_root) in out and "images/s" in out
  for name in ("reading, shuffled and decoded", "JPEG decode alone (the ceiling)"):
    (line,) = (line for line in out.splitlines() if line.startswith(name))
    assert int(line.split(")")[-1].split("decoded")[-1].split()[0].replace(",", "")) > 0


def test_benchmark_of_all(gqn_root, capsys, hurried, monkeypatch, tmp_path):
  monkeypatch.setattr(
    data_pipelines, "DATASETS", {"gqn": "datasets.gqn.reader", "sketchy": "datasets.sketchy.reader"}
  )
  words = ["all", f"--data_dir={gqn_root}", "--batch_size=4", f"--cache={tmp_path / 'cache'}"]
  assert benchmark.main(words) == 1  # as there are no Sketchy episodes there
  out, err = capsys.readouterr()
  rows = {line.split()[0]: line.split() for line in out.splitlines()[1:]}
  assert (
    rows["gqn"][1] == "64"
    and rows["gqn"][4].endswith("%")
    and rows["gqn"][5:] == ["JPEG", "decode"]
  )
  assert rows["sketchy"][-2:] == ["see", "below"]
  assert err.startswith("error: sketchy: ") and len(err.splitlines()) == 1


def test_benchmark_mistakes_are_one_line(capsys):
  assert benchmark.main(["gqn", "--data_dir=/nowhere"]) == 1
  assert benchmark.main(["gqn", "--variant=rooms"]) == 1
  with pytest.raises(SystemExit) as stopped:
    benchmark.main(["gqnn"])
  assert stopped.value.code == 2
  assert capsys.readouterr().err.count("\n") == 3


def test_ceilings_of_both_kinds_of_splits(tmp_path, hurried):
  def decode(encoded):
    return {"image": tf.reshape(tf.io.decode_raw(encoded, tf.uint8), [-1, 2, 2, 3])}

  def load(number):
    return (bytes([number] * 12),)

  images = Indexed(5, load, 1, decode, str, "")
  part, rate = benchmark.decoding_ceiling(images, 2, 10)
  assert part == "raw decode" and rate > 0
  path = tmp_path / "a.tfrecord"
  with tf.io.TFRecordWriter(str(path)) as writer:
    for number in range(20):
      writer.write(bytes([number] * 12))
  (tmp_path / "a.gz").write_bytes(gzip.compress(path.read_bytes()))
  ranges = (Range(tmp_path / "a.gz", 5),)
  records = Records(ranges, 1, lambda record: [(record,)], 1, decode, "")
  assert benchmark.decoding_ceiling(records, 2, 10).rate > 0
  part, rate = benchmark.gunzip_ceiling(records)
  assert part == "gunzip" and rate > 1000


@pytest.mark.slow
def test_what_is_not_counted_is_told_from_the_beginning(tmp_path, capsys, monkeypatch):
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, 64 * 64 * 3).astype(np.uint8)
  record = wire.encode({"image": image, "mask": np.zeros(64 * 64 * 7, np.uint8)})
  path = tmp_path / "objects_room_train.tfrecords"
  with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
    for _ in range(40):
      writer.write(record)
  monkeypatch.setattr(multi_object, "COUNTABLE_UNPACKED", 0)
  config = f"--config={ROOT}/configs/experiment.py:genesis,objects_room"
  words = config, f"--config.data.data_dir={tmp_path}", "--config.data.num_test=4"
  words = *words, "--config.data.num_val=6", "--config.data.on_corrupt=error"
  status, out, err = run(capsys, *words, "--num=0")
  assert status == 0 and not err
  assert cells(out, "images") == ["about 30", "6", "4"]
  assert cells(out, "looked at") == ["30", "6", "4"]
  monkeypatch.setattr(inspect, "LONG", 0.0)
  status, out, err = run(capsys, *words, "--split=val")
  assert status == 0 and "the val split lies in a GZIP file" in err
