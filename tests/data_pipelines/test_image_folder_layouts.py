"""Layouts of published data sets, in small: which masks and splits are recognised, and refused."""

import json
import re

import numpy as np
import pytest
from image_trees import id_map, make_config, palette, photo, put
from PIL import Image, ImageFilter

from data_pipelines import DataError
from data_pipelines.datasets.image_folder import contents as image_folder_contents
from data_pipelines.datasets.image_folder import outlines
from data_pipelines.datasets.image_folder.masks import mask_values
from data_pipelines.datasets.mask_values import Ids, numbered
from data_pipelines.reading.file_trees import Folder
from data_pipelines.reading.images import ALL_FORMATS, read_rgb

SQUARE = [[2, 2, 10, 2, 10, 10, 2, 10]]
THREE = id_map(1, 2, 3)
ONE = id_map(255)


def look(root, **choices):
  return image_folder_contents.contents_of(root, make_config("image_folder", root, **choices))


def ids_of(root, contents):
  """Which ids the masks have, over all splits."""
  found = set()
  for examples in contents.examples.values():
    for example in examples:
      if example.masks:
        size = read_rgb(Folder(root).read(example.image), ALL_FORMATS).size
        values = mask_values(Folder(root), example, size, contents.found.outlines)
        ids = contents.ids if example.kind == "map" else Ids()
        found |= set(np.unique(numbered(values, ids)).tolist())
  return found


def num(contents):
  return [len(contents.examples[split]) for split in ("train", "val", "test")]


def masked(contents):
  return sum(bool(example.masks) for example in contents.found.examples)


def coco(name, **outline):
  """A JSON of one image with a square, and another outline."""
  image = dict(id=5, file_name=name, width=24, height=24)
  objects = [dict(image_id=5, segmentation=SQUARE), dict(image_id=5, **outline)]
  return dict(images=[image], annotations=objects)


CROWD = dict(iscrowd=1, segmentation=dict(size=[24, 24], counts=[480, 96]))
SHAPES = dict(
  imageWidth=24,
  imageHeight=24,
  shapes=[
    dict(label="cat", shape_type="polygon", points=[[2, 2], [10, 2], [10, 10], [2, 10]]),
    dict(label="cat", shape_type="rectangle", points=[[12, 12], [20, 20]]),
  ],
)


def cityscapes():
  ids = np.where(THREE == 3, 7, np.where(THREE > 0, 26000 + THREE.astype(int), 0))
  files = {}
  for split, city in (("train", "aachen"), ("val", "lindau"), ("test", "bonn")):
    name = f"{split}/{city}/{city}_000000_000019"
    files |= {
      f"leftImg8bit/{name}_leftImg8bit.png": photo(),
      f"gtFine/{name}_gtFine_instanceIds.png": ids.astype(np.uint16),
      f"gtFine/{name}_gtFine_labelIds.png": THREE,
      f"gtFine/{name}_gtFine_color.png": np.stack([THREE * 60, THREE, THREE * 0], -1),
      f"gtFine/{name}_gtFine_polygons.json": {},
    }
  return files


def voc(num=6):
  names = [f"2007_{i:06d}" for i in range(num)]
  files = {f"JPEGImages/{name}.jpg": photo() for name in names}
  files |= {f"Annotations/{name}.xml": "<annotation/>" for name in names}
  for name in names[:4]:
    files[f"SegmentationObject/{name}.png"] = palette(id_map(1, 2, 255))
    files[f"SegmentationClass/{name}.png"] = palette(id_map(15, 15, 255))
  for folder, there in (("Segmentation", 4), ("Main", num)):
    lists = dict(train=names[: there // 2], val=names[there // 2 : there], trainval=names[:there])
    files |= {f"ImageSets/{folder}/{k}.txt": "\n".join(v) for k, v in lists.items()}
  return files


def davis():
  videos = [f"480p/{video}/{t:05d}" for video in ("bear", "dog", "cat") for t in range(3)]
  files = {f"JPEGImages/{name}.jpg": photo() for name in videos}
  files |= {f"Annotations/{name}.png": palette(THREE) for name in videos}
  return files | {"ImageSets/2017/train.txt": "bear\ndog\n", "ImageSets/2017/val.txt": "cat\n"}


def pairs(image, mask, num=3, picture=THREE):
  """Images and masks of so many names."""
  return {image.format(i): photo(i) for i in range(num)} | {
    mask.format(i): picture for i in range(num)
  }


def per_object(image, mask, num=3):
  return {image.format(i): photo(i) for i in range(num)} | {
    mask.format(i, j): np.where(j == THREE, 255, 0).astype(np.uint8)
    for i in range(num)
    for j in (1, 2, 3)
  }


# name -> (files, what the description says, masked images, ids)
LAYOUTS = {
  "pets": (
    pairs("images/a_{}.jpg", "annotations/trimaps/a_{}.png", picture=id_map(1, 3, background=2))
    | {"annotations/trimaps/._a_0.png": "x", "annotations/xmls/a_0.xml": "x"},
    r"from annotations/trimaps/ \(background 2, ignore 3\).*left out: 1 hidden, 1 .xml files",
    3, {-1, 0, 1},
  ),
  "carvana": (
    pairs("train/f{}_0.jpg", "train_masks/f{}_0_mask.gif", picture=ONE)
    | {"test/g.jpg": photo()},
    r"masks of 3 of 4 images from train_masks/\*_mask; split by folders, val held out of train",
    3, {0, 1},
  ),
  "data science bowl": (
    per_object("stage1_train/ab{0}/images/ab{0}.png", "stage1_train/ab{}/masks/{}fe.png")
    | {"stage1_test/cd/images/cd.png": photo()},
    r"3 of 4 images from masks/ \(a file an object\); split by folders, val held out", 3,
    {0, 1, 2, 3},
  ),
  "davis": (davis(), "Annotations/; split by lists ImageSets/2017/train.txt", 9, {0, 1, 2, 3}),
  "clevr, folders of masks": (
    per_object("images/{:06d}.png", "masks/{:06d}/{}.png"), "from masks/ ", 3, {0, 1, 2, 3},
  ),
  "clevr, numbered masks": (
    per_object("images/{:06d}.png", "masks/{:06d}_{}.png"), "from masks/ ", 3, {0, 1, 2, 3},
  ),
  "clevrtex": (
    pairs("C_full_{:06d}.png", "C_full_{:06d}_flat.png", picture=palette(THREE)),
    r"from \*_flat", 3, {0, 1, 2, 3},
  ),
  "ade20k": (
    pairs("images/training/A_{}.jpg", "annotations/training/A_{}.png")
    | {"images/validation/B.jpg": photo(), "annotations/validation/B.png": THREE},
    "from annotations/; split by folders, test held out of train", 4, {0, 1, 2, 3},
  ),
  "cityscapes": (
    cityscapes(),
    r"3 of 3 images from gtFine/\*_gtFine_instanceIds \(background 0-999\)", 3, {0, 1, 2},
  ),
  "bsds": (
    {"images/train/1.jpg": photo(), "groundTruth/train/1.mat": "x"}, "no masks.*1 .mat files", 0,
    set(),
  ),
  "coco": (
    {"train2017/01.jpg": photo(), "val2017/01.jpg": photo(1), "test2017/02.jpg": photo(2),
     "annotations/instances_train2017.json": coco("01.jpg", **CROWD),
     "annotations/instances_val2017.json": coco("01.jpg", **CROWD),
     "annotations/captions_val2017.json": dict(images=[], annotations=[dict(caption="a")])},
    r"2 of 3 images from annotations/instances_train2017.json \(COCO\).*left out: 1 .json files",
    2, {-1, 0, 1},
  ),
  "roboflow": (
    {f"{split}/{file}": content for split in ("train", "valid", "test")
     for file, content in (("a.jpg", photo()), ("_annotations.coco.json", coco("a.jpg", **CROWD)))},
    "3 of 3 images from .*; split by folders$", 3, {-1, 0, 1},
  ),
  "labelme": (
    {"a.jpg": photo(), "a.json": SHAPES, "b.jpg": photo(1)},
    r"1 of 2 images from \*.json \(labelme\)", 1, {0, 1, 2},
  ),
  "labelme, exported": (
    {"a.jpg": photo(), "a.json": SHAPES, "a_json/img.png": photo(), "a_json/label.png": THREE,
     "a_json/label_viz.png": photo(), "a_json/label_names.txt": "x"},
    r"1 of 1 images from \*label; .*1 copies of images by labelme", 1, {0, 1, 2, 3},
  ),
  "voc": (
    voc(),
    r"4 of 6 images from SegmentationObject/; split by lists ImageSets/Segmentation/train.txt.*"
    "2 images in no list", 4, {-1, 0, 1, 2},
  ),
  "imagenet": (
    {f"{s}/n{c:04d}/n{c:04d}_{i}.JPEG": photo() for s in ("train", "val") for c in range(10)
     for i in range(2)},
    "no masks; split by folders, test held out", 0, set(),
  ),
  "a suffix": (pairs("{}.jpg", "{}_seg.png"), r"from \*_seg", 3, {0, 1, 2, 3}),
  "capitals": (pairs("A{}.JPG", "A{}_MASK.PNG"), r"from \*_MASK", 3, {0, 1, 2, 3}),
  "a dash": (pairs("a-{}.webp", "a-{}-mask.bmp"), r"from \*-mask", 3, {0, 1, 2, 3}),
  "prefixes": (pairs("image_{:03d}.png", "label_{:03d}.png"), r"from label_\*", 3, {0, 1, 2, 3}),
  "short prefixes": (pairs("im{:03d}.png", "gt{:03d}.png"), r"from gt\*", 3, {0, 1, 2, 3}),
  "twins": (pairs("Imgs/{}.jpg", "Imgs/{}.png", picture=ONE), r"from \*.png", 3, {0, 1}),
  "camvid": (
    {f"{split}{kind}/1.png": content for split in ("train", "val", "test")
     for kind, content in (("", photo()), ("annot", THREE))},
    "from testannot/,trainannot/,valannot/; split by folders$", 3, {0, 1, 2, 3},
  ),
  "isic": (
    pairs("ISIC_1-2_Training_Input/I_{}.jpg", "ISIC_1_Training_GroundTruth/I_{}_segmentation.png"),
    r"GroundTruth/\*_segmentation", 3, {0, 1, 2, 3},
  ),
  "masks in jpeg": (
    pairs("images/{}.jpg", "masks/{}.jpg", picture=id_map(255, 255)), "from masks/", 3, {0, 1},
  ),
  "a folder of any name": (pairs("pics/{}.jpg", "stuff/{}.png"), "from stuff/", 3, {0, 1, 2, 3}),
  "an ending of any name": (
    pairs("I_{:02d}L.jpg", "I_{:02d}L_1stHO.png", picture=ONE), r"from \*_1stHO", 3, {0, 1},
  ),
  "depth beside": (
    pairs("rgb/{}.png", "instance/{}.png") | {f"depth/{i}.png": photo()[..., 0] for i in range(3)},
    "from instance/; .*left out: 3 depth/ beside images", 3, {0, 1, 2, 3},
  ),
  "a folder a scene": (
    pairs("scene{}/image.png", "scene{}/mask.png"), r"from \*mask", 3, {0, 1, 2, 3},
  ),
  "mvtec": (
    pairs("b/test/broken/{:03d}.png", "b/ground_truth/broken/{:03d}_mask.png", picture=ONE)
    | {f"b/train/good/{i:03d}.png": photo() for i in range(4)},
    "3 of 7 images from ground_truth/", 3, {0, 1},
  ),
  "synthia": (
    pairs("RGB/{}.png", "GT/LABELS/{}.png")
    | {f"GT/COLOR/{i}.png": np.stack([THREE * 60, THREE, THREE], -1) for i in range(3)},
    "from GT/LABELS/; .*left out: 3 masks in GT/COLOR/", 3, {0, 1, 2, 3},
  ),
  "virtual kitti": (
    pairs("S/frames/rgb/C_0/rgb_{}.jpg", "S/frames/instanceSegmentation/C_0/instancegt_{}.png")
    | {f"S/frames/classSegmentation/C_0/classgt_{i}.png": THREE for i in range(3)}
    | {f"S/frames/depth/C_0/depth_{i}.png": THREE for i in range(3)},
    "instanceSegmentation/; .*3 masks in frames/classSegmentation/", 3, {0, 1, 2, 3},
  ),
  "penn-fudan": (
    pairs("PNGImages/F{:05d}.png", "PedMasks/F{:05d}_mask.png"), r"from PedMasks/\*_mask", 3,
    {0, 1, 2, 3},
  ),
  "cellpose": (
    pairs("train/{:03d}_img.png", "train/{:03d}_masks.png")
    | pairs("test/{:03d}_img.png", "test/{:03d}_masks.png"),
    r"from \*_masks; split by folders, val held out", 6, {0, 1, 2, 3},
  ),
  "ground truth": (pairs("{}.jpg", "{}_ground_truth.png"), r"\*_ground_truth", 3, {0, 1, 2, 3}),
  "cell tracking": (
    pairs("01/t{:03d}.tif", "01_GT/SEG/man_seg{:03d}.tif"), "from 01_GT/SEG/", 3, {0, 1, 2, 3},
  ),
  "kubric": (
    pairs("s/rgba_{:05d}.png", "s/segmentation_{:05d}.png", picture=palette(THREE))
    | {f"s/{name}_{i:05d}.png": photo(9) for i in range(3)
       for name in ("normal", "object_coordinates", "depth")},
    r"from segmentation_\*", 3, {0, 1, 2, 3},
  ),
  "videos of equal numbers": (
    {f"film{i}/{t:05d}.jpg": photo() for i in range(3) for t in range(3)}, "no masks", 0, set(),
  ),
  "photographs of masks": (
    {f"with_mask/{i}.jpg": photo() for i in range(3)}, "no masks", 0, set(),
  ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_of_published_data_sets(tmp_path, name):
  files, description, num_masked, ids = LAYOUTS[name]
  put(tmp_path, files)
  contents = look(tmp_path)
  assert re.search(description, contents.description), contents.description
  assert masked(contents) == num_masked and ids_of(tmp_path, contents) == ids
  # No mask, and nothing else beside an image, has become one.
  masks = (
    "mask",
    "seg",
    "normal",
    "coord",
    "COLOR",
    "annot",
    "label",
    "gt",
    "flat",
    "depth",
    "1st",
    "bmp",
    "stuff",
    "Ground",
  )
  images = [example.image for example in contents.found.examples]
  assert name.startswith("photographs") or not [i for i in images if any(m in i for m in masks)]


AMBIGUOUS = {
  "two folders": (
    pairs("images/{}.jpg", "labels/{}.png") | {f"masks/{i}.png": THREE for i in range(3)},
    r"are masks of the same image; choose: --config.data.masks='labels/' or 'masks/'",
  ),
  "drive": (
    {"training/images/21_training.tif": photo(), "training/1st_manual/21_manual1.gif": ONE,
     "training/mask/21_training_mask.gif": ONE},
    r"choose: --config.data.masks='1st_manual/' or 'mask/\*_mask'",
  ),
  "two grey folders": (
    {f"{folder}/{i}.png": THREE for folder in "ab" for i in range(3)},
    r"folders a and b of .* either could be the masks .*data.masks=b, or --config.data.masks=none",
  ),
}  # fmt: skip


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_is_ambiguous_is_refused_until_one_chooses(tmp_path, name):
  files, message = AMBIGUOUS[name]
  put(tmp_path, files)
  with pytest.raises(DataError, match=message) as error:
    look(tmp_path)
  assert "\n" not in str(error.value)
  for choice in re.findall(r"'([^']*)'", message.replace("\\", "")):
    contents = look(tmp_path, masks=choice)
    assert masked(contents) == len(contents.found.examples)


def test_choices(tmp_path):
  put(tmp_path, pairs("images/{}.jpg", "labels/{}.png") | pairs("other/{}.jpg", "xyz/{}_q.png"))
  assert masked(look(tmp_path, images="images", masks="labels")) == 3
  contents = look(tmp_path, images="images", masks="xyz")
  assert [e.image for e in contents.found.examples] == [f"images/{i}.jpg" for i in range(3)]
  assert "from xyz" in contents.description and "3 labels/ beside" in contents.description
  assert masked(look(tmp_path, images="images", masks="none")) == 0
  for choice in ("_q", "xyz/*_q", "*_q.png"):
    assert masked(look(tmp_path, images="other", masks=choice)) == 3
  with pytest.raises(DataError, match="data.masks is 'maks', but no file below .*name a folder"):
    look(tmp_path, masks="maks")
  with pytest.raises(ValueError, match="data.ignore_ids is 'many'; allowed: whole numbers"):
    look(tmp_path, images="images", masks="labels", ignore_ids="many")


def test_a_folder_that_was_chosen_is_no_end_of_a_name(tmp_path):
  put(tmp_path, pairs("a/thumb{}b.png", "b/thumb{}b.png"))
  contents = look(tmp_path, masks="b")
  assert masked(contents) == len(contents.found.examples) == 3


@pytest.mark.parametrize("ignore", [3, (3,), "3", "3-9", [3, 200], "#000003"])
def test_values_with_a_meaning_of_their_own(tmp_path, ignore):
  put(tmp_path, pairs("images/{}.jpg", "masks/{}.png"))
  contents = look(tmp_path, ignore_ids=ignore, background_ids="0,2")
  assert ids_of(tmp_path, contents) == {-1, 0, 1}
  assert "background 0 2, ignore 3" in contents.description


def test_a_colour_is_a_value_too(tmp_path):
  colours = np.array([[0, 0, 0], [9, 0, 0], [255, 255, 254]], np.uint8)[id_map(1, 2)]
  put(tmp_path, pairs("images/{}.jpg", "masks/{}.png", picture=colours))
  assert ids_of(tmp_path, look(tmp_path)) == {0, 1, 2}
  assert ids_of(tmp_path, look(tmp_path, ignore_ids="#fffffe")) == {-1, 0, 1}


RAMP = np.add.outer(np.arange(24), np.arange(24)).astype(np.uint8) * 4
MANY = np.random.default_rng(0).permutation(144).reshape(12, 12).repeat(2, 0).repeat(2, 1)
SOFT = Image.fromarray(np.kron(id_map(255), np.ones((6, 6), np.uint8)))


@pytest.mark.parametrize("mask, doubt", [
  (RAMP, "values in one image that form a ramp"),
  (np.arange(24, dtype=np.uint8)[:, None].repeat(24, 1), "24 values in one image that form a ramp"),
  (RAMP.T.astype(np.uint16) * 256, "values in one image that form a ramp"),
  (MANY.astype(np.uint8), "144 ids in one image"),
  (SOFT.filter(ImageFilter.GaussianBlur(2)), "most of them at edges, as a soft or resized mask"),
  (id_map(1, 2, 255), "the values 1 to 2 and 255, .*--config.data.ignore_ids=255"), (THREE, None),
])  # fmt: skip
def test_masks_that_look_like_something_else(tmp_path, mask, doubt):
  put(tmp_path, pairs("images/{}.jpg", "masks/{}.png", picture=mask))
  doubts = look(tmp_path).doubts
  assert re.search(doubt, *doubts) if doubt else not doubts


def test_run_lengths_in_both_spellings():
  inside = np.zeros((4, 5), bool)
  inside[1:3, 1:4] = True
  # Five bits a character, and from the fourth number on differences to the last but one.
  for spelling in ([5, 2, 2, 2, 2, 2, 5], "5220003"):
    found = outlines.run_lengths(dict(size=[4, 5], counts=spelling), 5, 4)
    np.testing.assert_array_equal(found, inside)
  column = outlines.run_lengths(dict(size=[2051, 1], counts="Xo0h0PP1[O"), 1, 2051)
  assert np.flatnonzero(np.diff(column[:, 0])).tolist() == [999, 1023, 2047]  # 1000, 24, 1024, 3
  with pytest.raises(ValueError, match="do not fill"):
    outlines.run_lengths(dict(size=[4, 5], counts=[5, 2]), 5, 4)


def test_outlines_cover_what_they_surround():
  found = outlines.coco(json.dumps(coco("a.jpg", **CROWD)).encode())["a.jpg"].ids(24, 24)
  expected = np.zeros((24, 24), int)
  expected[:, 20:], expected[2:10, 2:10] = -1, 1
  np.testing.assert_array_equal(found, expected)
  expected[:, 20:], expected[12:20, 12:20] = 0, 2
  np.testing.assert_array_equal(outlines.labelme(json.dumps(SHAPES).encode(), 24, 24), expected)


def test_images_that_look_like_maps(tmp_path):
  put(tmp_path, {f"photos/{i}.jpg": photo() for i in range(3)} | {"maps/q.png": THREE})
  (doubt,) = look(tmp_path).doubts
  assert re.search("images maps/.*png look like label maps; .*--config.data.masks=maps", doubt)
