"""Data sets fetched from servers on loopback, then read as published."""

import collections
import io
import re
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile

import numpy as np
import pytest
from conftest import ON_ONE_DEVICE
from web_server import WebServer

import data_pipelines
from configs.settings import settings
from data_pipelines import datasets, fetch
from data_pipelines.stores import archives, copies, files, jobs, remote
from data_pipelines.stores.published import PUBLISHED, command, published
from tests.data_pipelines.test_apc import write_shelves
from tests.data_pipelines.test_multi_object import example, features
from tests.data_pipelines.test_multi_object import write as write_objects
from tests.data_pipelines.test_shapestacks import write_stacks

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def small_and_quick(monkeypatch):
  monkeypatch.setattr(files, "FIRST_WAIT_SECONDS", 0.01)
  monkeypatch.setattr(remote, "PIECE", 2000)
  monkeypatch.setattr(archives, "GAP", 1000)


def bytes_below(folder):
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


def images(name, folder, split="train", **changes):
  config = settings(name, data_dir=str(folder), image_size=16, **changes)
  batches = data_pipelines.batches(config, split=split, batch_size=8, epochs=1)
  return np.concatenate([batch["image"] for batch in batches])


def test_gqn_comes_from_a_bucket_in_part_or_all(gqn_root, tmp_path, monkeypatch, capsys):
  from gcp_storage_emulator.server import create_server

  server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="gqn-dataset")
  server.start()
  try:
    monkeypatch.setenv(files.EMULATOR, f"127.0.0.1:{server._api._httpd.server_port}")
    published_files = bytes_below(gqn_root)
    system, _ = files.open_store("gs://gqn-dataset")
    for name, content in published_files.items():
      system.pipe_file(f"gqn-dataset/{name}", content)
    out = tmp_path / "rooms"
    assert fetch.main(["gqn", "--num_files", "2", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "3 files" in said and "GB that are free" in said and "train on it: python -m" in said
    there = [path for path in out.rglob("*.tfrecord")]
    assert sorted(path.name for path in there) == ["01-of-60.tfrecord", "02-of-60.tfrecord",
                                                   "1-of-1.tfrecord"]  # fmt: skip
    before = {path: path.stat().st_mtime_ns for path in there}
    assert fetch.main(["gqn", "--out", str(out)]) == 0
    assert "3 of them there already" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == before[path] for path in there)
    content = {f"rooms_ring_camera/{name}": data for name, data in bytes_below(out).items()}
    assert {name: content[name] for name in published_files} == published_files
    assert len(images("gqn", out)) == 80
    assert fetch.main(["gqn", "--max_gb", "1e-9", "--out", str(out)]) == 2
    assert "the least that is of use" in capsys.readouterr().err
    assert fetch.main(["gqn", "--variant", "jaco", "--out", str(out)]) == 1
    assert "gs://gqn-dataset/jaco is not there" in capsys.readouterr().err
  finally:
    server.stop()


def test_the_beginning_of_a_packed_file_is_read_up_to_the_cut(tmp_path, capsys):
  path = write_objects(tmp_path / "served", [example(features(i)) for i in range(24)])
  content = path.read_bytes()
  out = tmp_path / "objects_room"
  with WebServer({path.name: content}) as server:
    words = ["objects_room", "--source", server.url, "--out", str(out)]
    assert fetch.main([*words, "--max_gb", str(len(content) / 2e9)]) == 0
    assert "of which" not in capsys.readouterr().err
    part = images("objects_room", out, num_test=4, num_val=4)
    size = (out / path.name).stat().st_size
    assert fetch.main([*words, "--max_gb", str(len(content) / 4e9)]) == 0  # less is there already
    assert (out / path.name).stat().st_size == size
    assert 1 <= len(part) < 10
    config = settings("objects_room", data_dir=str(out))
    assert "only the beginning" in data_pipelines.resolve(config).description
    assert fetch.main([*words, "--max_gb", str(len(content) / 1.5e9)]) == 0
    assert len(images("objects_room", out, num_test=4, num_val=4)) > len(part)
    assert fetch.main(words) == 0
    assert server.sent[path.name] < 1.1 * len(content)  # each time the rest alone
  assert (out / path.name).read_bytes() == content
  assert len(images("objects_room", out, num_test=4, num_val=4)) == 16
  assert bytes_below(out).keys() == {path.name, ".fetched/lock"}


def tar(folder, mode):
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode=mode) as archive:
    for path in sorted(folder.rglob("*")):
      if path.is_file():
        archive.add(path, f"./{path.relative_to(folder)}")
  return buffer.getvalue()


def test_archives_are_unpacked_as_far_as_they_are_needed(tmp_path, capsys):
  stacks = write_stacks(tmp_path / "stacks")
  (stacks / "recordings" / "depth.bin").write_bytes(bytes(1000))
  parts = {}
  kinds = [("meta.tar.gz", "splits", "w:gz"), ("rgb.tar.bz2", "recordings", "w:bz2")]
  for name, folder, mode in [*kinds, ("maps", "iseg", "w:gz")]:
    shutil.copytree(stacks / folder, tmp_path / name / folder)
    parts[name] = tar(tmp_path / name, mode)
  out = tmp_path / "out"
  with WebServer(parts) as server:
    sources = [word for name in parts for word in ("--source", f"{server.url}/{name}")]
    words = ["shapestacks", *sources, "--out", str(out)]
    server.failures.extend(["503", "cut", "cut"])
    assert fetch.main(words) == 0
    sent = server.sent.total()
    assert fetch.main(words) == 0 and server.sent.total() < sent + 10  # nothing comes again
  np.testing.assert_array_equal(images("shapestacks", out), images("shapestacks", stacks))
  unneeded = {name for name in bytes_below(stacks) if name.endswith(("_log.txt", ".bin"))}
  there = {name for name in bytes_below(out) if not name.startswith(jobs.STATE)}
  assert there == bytes_below(stacks).keys() - unneeded
  assert not any("tar" in name and "." not in name for name in bytes_below(out))


def test_of_a_zip_file_only_the_needed_members_come(tmp_path):
  shelves = write_shelves(tmp_path / "shelves")
  packed = tmp_path / "training.zip"
  with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
    for path in sorted(shelves.rglob("*.png")):
      archive.write(path, path.relative_to(shelves))
      archive.writestr(f"training/other-{path.stat().st_ino}.bin", np.random.bytes(20_000))
  data = packed.read_bytes()
  with WebServer({"training.zip": data}) as server:
    words = ["apc", "--source", f"{server.url}/training.zip"]
    assert fetch.main([*words, "--out", str(tmp_path / "all")]) == 0
    assert server.sent["training.zip"] < 0.5 * len(data)
    assert fetch.main([*words, "--out", str(tmp_path / "some"), "--max_gb", "1e-5"]) == 0
  needed = {name: d for name, d in bytes_below(shelves).items() if "depth" not in name}
  there = bytes_below(tmp_path / "all")
  assert {name: there[name] for name in needed} == needed
  assert len(there) == len(needed) + 1  # and a lock
  scenes = {path.parent for path in (tmp_path / "some").rglob("*.color.png")}
  assert 0 < len(scenes) < 10
  for scene in scenes:
    assert len(list(scene.glob("*.png"))) == len(list(scene.glob("masks/*.png"))) == 2


def test_a_killed_fetch_goes_on_where_it_was(tmp_path, monkeypatch):
  monkeypatch.setattr(remote, "PIECE", 2**21)
  content, name = np.random.default_rng(0).bytes(2**24), "tetrominoes_train.tfrecords"
  with WebServer({name: content}, rate=1e7) as server:
    words = [sys.executable, "-m", "data_pipelines.fetch", "tetrominoes", "--out", str(tmp_path)]
    words += ["--source", f"{server.url}/{name}"]
    with subprocess.Popen(words, env=ON_ONE_DEVICE, stdout=subprocess.PIPE) as fetching:
      while not any(path.stat().st_size for path in tmp_path.glob(f".*{copies.UNDER_WAY}")):
        assert fetching.poll() is None
        time.sleep(0.01)
      fetching.kill()
    assert not (tmp_path / name).exists()
    (partial,) = tmp_path.glob(f".*{copies.UNDER_WAY}")
    there, server.rate = partial.stat().st_size, None
    server.sent = collections.Counter()
    assert fetch.main(words[3:]) == 0
  assert (tmp_path / name).read_bytes() == content
  assert server.sent[name] <= len(content) - there + 10  # but for looks at its first byte


@pytest.mark.parametrize(
  "words, status, message",
  [
    (["clever"], 2, "name is 'clever'; allowed: .*Did you mean \"clevr\""),
    (["gqn", "--variant", "jako"], 2, 'Did you mean "jaco"'),
    (["clevr", "--max_gb", "0"], 2, "--max_gb is 0.0; it must be more than 0"),
    (["clevr", "--num_files", "2"], 2, "--num_files is 2, but .* is one file; see --max_gb"),
    (["multi_dsprites", "--max_gb", "1e-6"], 2, "is of no use in part"),
    (["clevr"], 1, "has room for 1e-08 GB, but 9.5e-05 are needed: fetch less with --max_gb"),
    (["apc"], 1, "is no zip archive"),
    (["shapestacks"], 1, "is damaged"),
  ],
)
def test_mistakes_are_one_line(words, status, message, tmp_path, monkeypatch, capsys):
  if message.startswith("has room"):
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: usage)
  ending = {"apc": ".zip", "shapestacks": ".tar.gz"}.get(words[0], ".bin")
  with WebServer({f"some{ending}": np.random.bytes(95_000)}) as server:
    source = ["--source", f"{server.url}/some{ending}", "--out", str(tmp_path)]
    assert fetch.main([*words, *source]) == status
  error = capsys.readouterr().err
  assert error.count("\n") == 1 and error.startswith("error: ")
  assert re.search(message, error), error
  assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name[0] != "."
              and path.parent.name != jobs.STATE]  # fmt: skip


def test_neither_tensorflow_nor_libraries_of_stores_are_imported_to_begin():
  program = "import sys, data_pipelines.fetch; print(*sys.modules)"
  done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
  assert not {"tensorflow", "jax", "fsspec", "gcsfs", "aiohttp"} & set(done.stdout.split())


def test_the_table_knows_every_data_set_and_its_variants(tmp_path):
  assert set(data_pipelines.DATASETS) - {"image_folder", "tfds", "hdf5"} <= set(PUBLISHED)
  for name in set(data_pipelines.DATASETS) & set(PUBLISHED):
    config = settings(name)
    row = published(name, config.variant)
    assert row.variants[0] == config.variant
    for variant in row.variants:
      config.variant = variant
      datasets._check(datasets.reader(config), config)  # an unknown one is an error
      places = datasets.reader(config).PLACES
      out = published(name, variant).out
      assert any(out.startswith(place.format(variant=variant)) for place in places)
    assert command(name, row.variants[0], tmp_path).endswith(f"--out {tmp_path}")
