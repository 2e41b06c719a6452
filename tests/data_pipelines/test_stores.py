"""Files in stores: asked for by ranges, copied, and kept as a folder of this machine.

The stores are real servers on loopback: an emulator of Google's, and one for the web that fails.
"""

import io
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from conftest import ON_ONE_DEVICE, TEST_IMAGES
from web_server import WebServer

import data_pipelines
from configs import datasets as configurations
from data_pipelines.stores import cache, copies, files, remote
from data_pipelines.stores.files import StoreError

DATA = np.random.default_rng(0).bytes(95_000)
BUCKET = "published"


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
  """A cache of its own for each test, short waits, and small pieces."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  monkeypatch.setattr(cache, "_CACHE", cache._Cache())
  monkeypatch.setattr(cache, "SPARE", 0)
  monkeypatch.setattr(files, "FIRST_WAIT_SECONDS", 0.01)
  monkeypatch.setattr(remote, "PIECE", 10_000)


@pytest.fixture(scope="module")
def emulator():
  """Google's store on loopback, with one bucket."""
  from gcp_storage_emulator.server import create_server

  server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
  server.start()
  port = server._api._httpd.server_port
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv(files.EMULATOR, f"http://127.0.0.1:{port}")
    yield server
  server.stop()


def upload(folder: pathlib.Path, to: str) -> None:
  system, path = files.open_store(to)
  for file in folder.rglob("*"):
    if file.is_file():
      system.pipe_file(f"{path}/{file.relative_to(folder)}", file.read_bytes())


def gqn(data_dir: str, **changes):
  config = configurations.gqn()
  config.update(dict(image_size=16, data_dir=data_dir, shuffle_buffer=20) | changes)
  return config


def images(config, split="train", epochs=1):
  found = data_pipelines.batches(config, split=split, batch_size=8, epochs=epochs)
  return np.concatenate([batch["image"] for batch in found])


def test_a_broken_answer_is_asked_for_again(tmp_path):
  with WebServer({"a/b.bin": DATA, "a/c/d.bin": b"123"}) as server:
    file = remote.found(f"{server.url}/a/b.bin")
    server.failures.extend(["503", "cut", "429", "cut"])
    copies.copy(file, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == DATA
    assert [(f.name, f.size) for f in remote.listed(f"{server.url}/a")] == [
      ("b.bin", len(DATA)),
      ("c/d.bin", 3),
    ]
    server.has_ranges = False  # as Python's own server
    server.failures.append("cut")
    file = remote.found(f"{server.url}/a/b.bin")
    copies.copy(file, tmp_path / "all")
    copies.copy(file, tmp_path / "beginning", limit=1000)
  assert (tmp_path / "all").read_bytes() == DATA
  assert (tmp_path / "beginning").read_bytes() == DATA[:1000]


@pytest.mark.parametrize(
  "failures, message",
  [
    (["404"], "is not there; see that the bucket and the path are spelt as in the store"),
    (["403"], "may not be read by you"),
    (["401"], "may not be read by you"),
    (["html"], "is no store (it sends a page of HTML), but perhaps a proxy"),
    (["503"] * files.TRIES, "the server has trouble (status 503); wait, then give the same"),
  ],
)
def test_what_fails_is_said_in_one_line(failures, message):
  with WebServer({"a.bin": DATA}) as server:
    server.failures.extend(failures)
    with pytest.raises(StoreError) as error:
      remote.found(f"{server.url}/a.bin")
  assert message in str(error.value) and server.url in str(error.value)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  "failure, message", [("html", "is no store"), ("403", "ask its owner"), ("404", "is not there")]
)
def test_what_fails_in_a_bucket_is_said_as_well(failure, message, monkeypatch):
  with WebServer({}) as server:
    monkeypatch.setenv(files.EMULATOR, server.url)
    for ask in (remote.found, remote.listed):
      server.failures.extend([failure] * 4)
      with pytest.raises(StoreError, match=message) as error:
        ask("gs://bucket/a.bin")
      assert "gs://bucket/a.bin" in str(error.value) and "\n" not in str(error.value)
      server.failures.clear()


def test_addresses_and_logins_that_are_wrong_name_the_cure(monkeypatch):
  import google.auth.exceptions

  for url, cure in [("foo://x", "gs://, s3://, https://"), ("ftp2:/x", "gs://")]:
    assert files.is_remote(url)
    with pytest.raises(StoreError, match=cure):
      files.open_store(url)
  assert not files.is_remote("data/gqn") and not files.is_remote("C:/data")
  monkeypatch.setitem(sys.modules, "s3fs", None)
  with pytest.raises(StoreError, match="pip install s3fs"):
    files.open_store("s3://bucket/x")
  expired = google.auth.exceptions.RefreshError("invalid_grant: Token has been expired or revoked.")
  assert "gcloud auth application-default login" in files.explained(expired, "gs://b/x")
  closed = OSError("Forbidden: https://storage.googleapis.com/b\nno storage.objects.list access")
  assert "ask its owner" in files.explained(closed, "gs://b/x")
  full = OSError(28, "No space left on device")
  assert "the disk is full" in files.explained(full, "gs://b/x")


@pytest.mark.slow
def test_a_killed_copy_goes_on_and_a_changed_file_begins_again(tmp_path):
  data = np.random.default_rng(1).bytes(4_000_000)
  program = (
    "import sys, pathlib\n"
    "from data_pipelines.stores import copies, remote\n"
    "remote.PIECE = 100_000\n"
    "copies.copy(remote.found(sys.argv[1]), pathlib.Path(sys.argv[2]),\n"
    "            told=lambda at: print(at, flush=True))\n"
  )
  with WebServer({"a.bin": data}, rate=4e6) as server:
    words = [sys.executable, "-c", program, f"{server.url}/a.bin", str(tmp_path / "a.bin")]
    with subprocess.Popen(words, env=ON_ONE_DEVICE, stdout=subprocess.PIPE, text=True) as copying:
      while int(copying.stdout.readline()) < 1_500_000:
        pass
      copying.kill()
    assert not (tmp_path / "a.bin").exists()
    server.rate = None
    copies.copy(remote.found(f"{server.url}/a.bin"), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == data
    assert server.sent["a.bin"] < 1.3 * len(data)
    old = remote.found(f"{server.url}/a.bin")
    server.files["a.bin"] = data[::-1]
    with pytest.raises(remote.Changed, match="changed while it was read"):
      copies.copy(old, tmp_path / "b.bin")
  assert os.listdir(tmp_path) == ["a.bin"]


def test_wrong_bytes_are_noticed_by_the_store_s_checksum(tmp_path, emulator, monkeypatch):
  (tmp_path / "a.bin").write_bytes(DATA)
  upload(tmp_path, f"gs://{BUCKET}/sums")
  file = remote.found(f"gs://{BUCKET}/sums/a.bin")
  assert file.checksum[0] == "crc32c"
  copies.copy(file, tmp_path / "good")
  assert (tmp_path / "good").read_bytes() == DATA
  read = emulator._storage.get_file
  monkeypatch.setattr(emulator._storage, "get_file", lambda *a: read(*a)[::-1])
  with pytest.raises(StoreError, match="arrived damaged twice: its crc32c"):
    copies.copy(file, tmp_path / "bad")
  assert not (tmp_path / "bad").exists()
  for name in (f"gs://{BUCKET}/sums/b.bin", "gs://misspelt/sums"):
    with pytest.raises(StoreError, match="is not there"):
      remote.found(name)


def test_a_prepared_set_in_a_bucket_is_read_as_from_the_disk(emulator):
  prepared = pathlib.Path(__file__).parents[1] / "data" / "before" / "prepared"
  upload(prepared, f"gs://{BUCKET}/prepared")
  config = configurations.image_folder()
  config.update(dict(image_size=32, data_dir=f"gs://{BUCKET}/prepared"))
  here = images(config)
  config.data_dir = str(prepared)
  np.testing.assert_array_equal(here, images(config))


def test_gqn_in_a_bucket_is_read_as_from_the_disk(gqn_root, emulator, tmp_path):
  upload(gqn_root, f"gs://{BUCKET}/gqn")
  local = images(gqn(str(gqn_root)), epochs=2)
  np.testing.assert_array_equal(images(gqn(f"gs://{BUCKET}/gqn"), epochs=2), local)
  source = data_pipelines.resolve(gqn(f"gs://{BUCKET}/gqn"))
  assert source.num_files == {"train": 3, "test": 1}
  folder = source.root / "train"
  assert cache._is_whole(folder / "01-of-60.tfrecord")
  assert len(images(gqn(f"gs://{BUCKET}/gqn"), "test")) == TEST_IMAGES
  with pytest.raises(data_pipelines.DataError, match=f"give the address: gs://{BUCKET}/gqn"):
    data_pipelines.resolve(gqn(str(source.root)))
  with pytest.raises(data_pipelines.DataError, match=f"gs://{BUCKET}/gqn has no objects_room_tr"):
    objects = configurations.objects_room()
    objects.data_dir = f"gs://{BUCKET}/gqn"
    data_pipelines.resolve(objects)


def test_a_small_cache_forgets_what_was_used_longest_ago(gqn_root, emulator):
  upload(gqn_root, f"gs://{BUCKET}/gqn")
  size = max(path.stat().st_size for path in gqn_root.rglob("*.tfrecord"))
  too_small = gqn(f"gs://{BUCKET}/gqn", cache_gb=0.5 * size / 1e9)
  with pytest.raises((data_pipelines.DataError, StoreError), match="set --config.data.cache_gb"):
    images(too_small)
  config = gqn(f"gs://{BUCKET}/gqn", cache_gb=2.5 * size / 1e9)
  local = images(gqn(str(gqn_root)), epochs=3)
  np.testing.assert_array_equal(images(config, epochs=3), local)
  root = data_pipelines.resolve(config).root
  there = [path for path in root.rglob("*.tfrecord") if cache._is_whole(path)]
  assert len(there) <= 2


SHADES = """
import numpy as np
import data_pipelines
from configs import datasets
def shades(address):
  config = datasets.image_folder()
  config.update(dict(image_size=16, data_dir=address))
  found = data_pipelines.batches(config, split="train", batch_size=8, epochs=1)
  return np.concatenate([batch["image"] for batch in found])[:, 0, 0, 0].tolist()
"""
READER = f"""
{SHADES}
import sys, tensorflow
print("ready", flush=True)
print(shades(sys.argv[1]))
"""


@pytest.mark.slow
def test_programs_share_a_cache_of_an_image_tree(tmp_path):
  from PIL import Image

  tree = {}
  for i in range(40):
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (i * 6, 0, 0)).save(buffer, "PNG")
    tree[f"photos/{i // 10}/{i % 10}.png"] = buffer.getvalue()
  with WebServer(tree) as server:
    words = [sys.executable, "-c", READER, f"{server.url}/photos"]
    env = ON_ONE_DEVICE | {"XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]}
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) as other:
      exec(SHADES, here := {})
      assert other.stdout.readline() == "ready\n"
      ours = here["shades"](f"{server.url}/photos")
      theirs = other.communicate()[0]
  assert theirs == f"{ours}\n" and len(set(ours)) > 20
  whole = [path for path in cache.home().rglob("*.png") if cache._is_whole(path)]
  assert all(path.read_bytes() in tree.values() for path in whole)
  empty = [path for path in cache.home().rglob("*.png") if not cache._is_whole(path)]
  assert empty  # of val and test
  if os.getuid():
    with pytest.raises(PermissionError):
      empty[0].read_bytes()
  assert whole and not list((cache.home() / cache.STATE).glob(f".*{copies.UNDER_WAY}"))
