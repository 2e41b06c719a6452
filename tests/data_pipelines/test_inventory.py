"""What files a data set has: noticed when it changes, quick where it is large."""

import os
import time

import pytest

from data_pipelines.datasets import inventory
from data_pipelines.durable import local_path
from data_pipelines.sources import Source


def source(root, parts=("",), stand_in=False) -> Source:
  return Source("x", "y", root, stand_in, "", {}, parts=parts)


def filled(root, *names):
  for name in names:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(name)
  return root


def test_names_and_sizes_but_of_hidden_files(tmp_path):
  filled(tmp_path, "a/b.png", "c.png", ".hidden", "a/.b.partial", "other/d.png")
  assert inventory.taken(source(tmp_path)) == {"a/b.png": 7, "c.png": 5, "other/d.png": 11}
  assert inventory.taken(source(tmp_path, ("a", "c.png", "absent"))) == {"a/b.png": 7, "c.png": 5}
  assert inventory.taken(source(tmp_path / "c.png")) == {"archive": 5}
  assert inventory.taken(source(None)) is None


def test_links_are_followed_but_not_in_circles(tmp_path):
  filled(tmp_path, "elsewhere/b.png", "root/a.png")
  (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
  (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere")
  (tmp_path / "root" / "nowhere").symlink_to(tmp_path / "nowhere")
  files = inventory.taken(source(tmp_path / "root"))
  assert files == {"a.png": 10, "linked/b.png": 15}


def test_a_stand_in_is_what_it_says_of_itself(tmp_path):
  filled(tmp_path, "a.png")
  (tmp_path / "STAND_IN.json").write_text('{"num_images": 40, "what": "sprites"}')
  before = inventory.taken(source(tmp_path, stand_in=True))
  (tmp_path / "a.png").write_text("the same, encoded by another library")
  assert inventory.taken(source(tmp_path, stand_in=True)) == before
  (tmp_path / "STAND_IN.json").write_text('{"num_images": 80, "what": "sprites"}')
  then = inventory.condensed(before)
  words = inventory.difference(then, inventory.taken(source(tmp_path, stand_in=True)))
  assert words == (
    "1 added (STAND_IN.json, num_images 80); 1 missing (STAND_IN.json, num_images 40)"
  )


def test_differences_have_names(tmp_path):
  old = {f"{i}.png": 1 for i in range(6)}
  new = old | {"0.png": 2, "6.png": 1}
  del new["1.png"]
  then = inventory.condensed(old)
  assert inventory.difference(then, old) == ""
  words = "1 added (6.png); 1 missing (1.png); 1 changed (0.png: 1 -> 2)"
  assert inventory.difference(then, new) == words
  assert inventory.difference(then, {}) == "6 missing (0.png, 1.png, 2.png, ...)"
  assert inventory.digest(old) != inventory.digest(new)
  assert inventory.digest(old) == inventory.digest(dict(reversed(old.items())))


def test_many_files_are_condensed_to_folders():
  old = {f"train/{i}/{j}.png": 1 for i in range(10) for j in range(inventory.MOST)}
  then = inventory.condensed(old)
  assert then["depth"] == 2 and len(then["entries"]) == 10
  assert inventory.difference(then, old | {"train/3/new.png": 1}).startswith(
    f"1 changed (train/3/: {inventory.MOST} files, "
  )


def test_ten_thousand_files_take_no_time(tmp_path):
  for folder in range(100):
    (tmp_path / str(folder)).mkdir()
    for file in range(100):
      os.mknod(tmp_path / str(folder) / f"{file}.png")
  start = time.process_time()
  files = inventory.taken(source(tmp_path))
  inventory.digest(files), inventory.condensed(files)
  assert time.process_time() - start < 1 and len(files) == 10_000


@pytest.mark.parametrize("address", ["gs://bucket/run", "gs:/bucket/run", "s3://b", "file:///tmp"])
def test_addresses_elsewhere_are_refused(address):
  with pytest.raises(ValueError, match=f"begin with {address.partition(':')[0]}:// are not"):
    local_path(address)


@pytest.mark.parametrize("path", ["runs/a", "/a:b/c", "C:/a", "a b", "./gs:/a", "é"])
def test_paths_are_paths(path):
  assert str(local_path(path)) == str(os.path.normpath(path))
