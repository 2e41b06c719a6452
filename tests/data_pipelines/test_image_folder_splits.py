"""How images are divided: by folders, by lists, by a hash; and links, which are followed."""

import os

import pytest
from image_trees import id_map, make_config, photo, put, read
from test_image_folder_layouts import davis, look, masked, num

import data_pipelines
from data_pipelines import DataError, inspect
from data_pipelines.reading import file_trees


def names(contents, split):
  return {example.image.rpartition("/")[2] for example in contents.examples[split]}


IMAGES = {f"pics/{i}.jpg": photo() for i in range(10)}


def test_without_validation_some_is_held_out_of_training(tmp_path):
  put(tmp_path, {f"{split}/{i}.jpg": photo() for split in ("train", "test") for i in range(3)})
  contents = look(tmp_path)
  assert num(contents) == [2, 1, 3] and "val held out of train by a hash" in contents.description


def test_a_lone_folder_for_training_is_divided_unless_it_is_tiny(tmp_path):
  assert num(look(put(tmp_path, {f"train/{i}.jpg": photo() for i in range(9)}))) == [9, 0, 0]
  assert min(num(look(put(tmp_path, {f"train/{i}.jpg": photo() for i in range(20)})))) > 0


@pytest.mark.parametrize("entry", [
  "pics/{}.jpg", "{}", "{}.jpg", "./pics/{}.jpg 1 1", "/pics/{}.jpg /masks/{}.png", "pics/{},label",
  "/elsewhere/mine/pics/{}.jpg", "{}.png",
])  # fmt: skip
def test_lists(tmp_path, entry):
  lists = {"train.txt": range(5), "val.txt": (5, 6), "test.txt": (7, 8)}
  lines = {name: "".join(f"{entry}\n".format(i, i) for i in there) for name, there in lists.items()}
  contents = look(put(tmp_path, IMAGES | lines))
  assert num(contents) == [5, 2, 2] and names(contents, "test") == {"7.jpg", "8.jpg"}
  assert "split by lists train.txt, val.txt, test.txt; left out: 1 images in no list" in (
    contents.description
  )


def test_lists_of_folders_keep_films_together(tmp_path):
  contents = look(put(tmp_path, davis()))
  folders = [{e.image.split("/")[2] for e in examples} for examples in contents.examples.values()]
  assert sorted(map(len, folders)) == [1, 1, 1] and folders[1] == {"cat"}


def test_what_is_tested_is_not_trained_on(tmp_path):
  contents = look(put(tmp_path, IMAGES | {"trainval.txt": "1\n2\n3\n", "val.txt": "2\n3\n"}))
  assert names(contents, "val") == {"2.jpg", "3.jpg"}
  assert not names(contents, "train") & names(contents, "val")


@pytest.mark.parametrize("lines, message", [
  ("1\n../../etc/passwd\n", "train.txt line 2 leads out of the folder"),
  ("1\n/etc/passwd\n", "train.txt line 2 names a file out of the folder"),
  ("elephant\n", "train.txt lists 1 names, none of an image that is there"),
  ("x\n", "line 1 names 2 images: 'x' is a/x.jpg or b/x.jpg; write their folders too"),
])  # fmt: skip
def test_lists_that_make_no_sense(tmp_path, lines, message):
  put(tmp_path, IMAGES | {"a/x.jpg": photo(), "b/x.jpg": photo(), "train.txt": lines})
  with pytest.raises(DataError, match=message):
    look(tmp_path)
  assert sum(num(look(tmp_path, split_by="image"))) == 12


def test_folders_can_be_kept_together_and_lists_chosen(tmp_path):
  films = {f"film{i}/{t:03d}.jpg": photo() for i in range(12) for t in range(4)}
  put(tmp_path, films | {"lists/b/train.txt": "film1\nfilm2\n", "lists/b/val.txt": "film3\n"})
  contents = look(tmp_path, split_by="image")
  assert "12 folders, such as film0, have numbered images" in contents.doubts[0]
  assert num(look(tmp_path, split_by="lists/b"))[1] == 4
  with pytest.raises(DataError, match="data.split_by is 'lists', but .* has no train.txt there"):
    look(tmp_path, split_by="lists")
  for path in (tmp_path / "lists/b").iterdir():
    path.unlink()
  contents = look(tmp_path, split_by="folder")
  folders = [{e.image.split("/")[0] for e in examples} for examples in contents.examples.values()]
  assert sum(map(len, folders)) == 12 and all(folders) and not contents.doubts


def test_images_without_a_mask(tmp_path):
  """They train; where masks are scored they are left out."""
  for split in ("train", "val"):
    put(tmp_path, {f"{split}/{i}.png": photo() for i in range(4)})
    put(tmp_path, {f"{split}/{i}_mask.png": id_map(1, 2) for i in range(2)})
  contents = look(tmp_path)
  assert masked(contents) == 4 and len(contents.examples["val"]) == 2
  assert "masks of 4 of 8 images" in contents.description
  assert "2 val images without a mask" in contents.description
  batch = read(make_config("image_folder", tmp_path, on_corrupt="error"))
  without = (batch["instances"] == -1).all((1, 2))
  assert len(without) == len(contents.examples["train"]) and without.any() and not without.all()
  report = inspect.Report()
  inspect._add(report, batch)
  assert report.instances == {-1: without.sum(), 2: (~without).sum()}
  assert "without a mask" in inspect.table({"train": report})


def test_links_are_followed_but_not_round_in_circles(tmp_path):
  root = put(tmp_path / "mine", {"train/a.png": photo()})
  put(tmp_path / "elsewhere", {"deep/b.png": photo()})
  (root / "train/c.png").symlink_to(tmp_path / "elsewhere/deep/b.png")
  (root / "val").symlink_to(tmp_path / "elsewhere")
  (root / "val/round").symlink_to(root)
  (root / "val/self").symlink_to(tmp_path / "elsewhere")
  (root / "lost.png").symlink_to(tmp_path / "nowhere.png")
  contents = look(root)
  assert contents.examples["val"][0].image == "val/deep/b.png"
  assert "2 links that lead round in circles" in contents.description
  assert "1 links to nothing" in contents.description
  assert len(read(make_config("image_folder", root))["image"]) == num(contents)[0]
  with pytest.raises(ValueError, match="its name leads out of"):
    file_trees.Folder(root).read("../elsewhere/deep/b.png")


def test_a_folder_is_looked_through_once(tmp_path, monkeypatch):
  put(tmp_path, IMAGES)
  for path in (tmp_path, tmp_path / "pics"):  # nothing that changed just now is relied on
    os.utime(path, (1e9, 1e9))
  walks, listing = [], file_trees.Folder.listing
  monkeypatch.setattr(
    file_trees.Folder, "listing", lambda *args: walks.append(args) or listing(*args)
  )
  config = make_config("image_folder", tmp_path)
  assert data_pipelines.num_examples(config, "train") + data_pipelines.num_examples(config, "val")
  read(config, "train")
  assert len(walks) == 1
  put(tmp_path, {"pics/new.jpg": photo()})
  assert sum(num(look(tmp_path))) == 11 and len(walks) == 2
