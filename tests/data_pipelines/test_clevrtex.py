"""ClevrTex, on folders written here as published, and its stand-in."""

import json

import numpy as np
import pytest
from image_trees import make_config, palette, picture, read, save
from PIL import Image

import data_pipelines
from data_pipelines import DataError
from data_pipelines.datasets.clevrtex import names

TOTAL = 20


def flat(number):
  """Ids 0 to 3 in blocks, uint8 [240, 320]."""
  blocks = np.random.default_rng(number).integers(0, 4, (30, 40))
  return np.kron(blocks, np.ones((8, 8), int)).astype(np.uint8)


def write(root, variant="full", numbers=range(TOTAL)):
  for number in numbers:
    stem = root / f"clevrtex_{variant}" / str(number // 10) / f"CLEVRTEX_{variant}_{number:06d}"
    image = np.dstack([picture(number, 240, 320), np.full((240, 320), 255, np.uint8)])
    save(stem.with_suffix(".png"), image)
    save(stem.with_name(f"{stem.name}_depth_0001.png"), flat(number))
    save(stem.with_name(f"{stem.name}_flat.png"), palette(flat(number)))
    objects = [
      dict(index=2, material="PoliigonBricks01", shape="monkey", size="large", rotation=90.5,
           color="red"),
      dict(index=1, material="rubber", shape="cube", size="small", rotation=number, color="gray"),
    ]  # fmt: skip
    notes = dict(objects=objects, ground_material="poliigongroundforest003", num_objects=2)
    stem.with_suffix(".json").write_text(json.dumps(notes))
  return root


@pytest.fixture(scope="module")
def full(tmp_path_factory):
  return write(tmp_path_factory.mktemp("clevrtex"))


def config_of(root, variant="full", **changes):
  return make_config("clevrtex", root, variant=variant, image_size=128, **changes)


def test_images_are_cropped_and_divided_as_published(full):
  config = config_of(full)
  assert "16 train, 2 val, 2 test images" in data_pipelines.resolve(config).description
  batch = read(config, "val")
  assert batch["image"].shape == (2, 128, 128, 3) and batch["instances"].dtype == np.int32
  for image, ids, number in zip(batch["image"], batch["instances"], (2, 3), strict=True):
    whole = Image.fromarray(picture(number, 240, 320)).crop((64, 24, 256, 216))
    np.testing.assert_array_equal(image, whole.resize((128, 128), Image.BILINEAR))
    whole = Image.fromarray(flat(number)).crop((64, 24, 256, 216))
    np.testing.assert_array_equal(ids, whole.resize((128, 128), Image.NEAREST))
  np.testing.assert_array_equal(read(config, "test")["rotation"][:, 0], [0, 1])


def test_factors_are_in_the_order_of_ids(full):
  batch = read(config_of(full), "test")
  assert batch["shape"].shape == (2, 10) and batch["shape"].dtype == np.int32
  assert batch["shape"][0, :3].tolist() == [1, 4, 0] and batch["size"][0, :3].tolist() == [1, 3, 0]
  assert batch["material"][0, :2].tolist() == [61, 1] and "color" not in batch
  assert batch["rotation"][1, :3].tolist() == [1, 90.5, 0]
  assert batch["ground_material"].tolist() == [19, 19]
  assert names.code("PoliigonNewStone", names.MATERIALS) > len(names.MATERIALS)


def test_variants_have_folders_of_their_own(full, tmp_path):
  with pytest.raises(DataError, match="no images of ClevrTex camo; expected .*clevrtex_camo/0/CLE"):
    data_pipelines.resolve(config_of(full, "camo"))
  write(tmp_path, "outd", range(4))
  for root in (tmp_path, tmp_path / "clevrtex_outd"):
    config = config_of(root, "outd")
    assert "each is all of it" in data_pipelines.resolve(config).description
    assert len(read(config, "test")["image"]) == len(read(config)["image"]) == 4
  write(tmp_path, "vbg", range(10))
  assert read(config_of(tmp_path, "vbg"), "test")["color"][0, :2].tolist() == [1, 2]


@pytest.mark.parametrize("ending, content, message", [
  ("_flat.png", None, "_flat.png: there is no such file"),
  (".json", "{}", "json: it has no 'objects'"),
  (".json", "{", "json: Expecting"),
])  # fmt: skip
def test_what_is_missing_or_damaged_is_named(tmp_path, ending, content, message):
  path = write(tmp_path) / "clevrtex_full/0" / f"CLEVRTEX_full_000003{ending}"
  path.unlink() if content is None else path.write_text(content)
  with pytest.raises(
    DataError, match=rf"CLEVRTEX_full_000003.png is damaged: its file .*{message}"
  ):
    read(config_of(tmp_path), "val")
  stream = data_pipelines.batches(
    config_of(tmp_path, on_corrupt="skip"), split="val", batch_size=4, epochs=1
  )
  assert [len(batch["image"]) for batch in stream] == [1] and stream.num_corrupt == 1


@pytest.mark.slow
def test_rendered_scenes_are_in_the_published_layout(tmp_path, monkeypatch):
  from data_pipelines.datasets.clevrtex import stand_in
  from genesis_jax.scenes import clevrtex

  monkeypatch.setattr(stand_in, "WIDTH", 32)
  root = stand_in.write(tmp_path, variant="camo", num_scenes=10, seed=1)
  assert root == tmp_path / "clevrtex_camo"
  with Image.open(root / "0/CLEVRTEX_camo_000000.png") as image:
    assert image.size == (32, 24) and image.mode == "RGBA"
  with Image.open(root / "0/CLEVRTEX_camo_000000_flat.png") as ids:
    assert ids.mode == "P"
  notes = json.loads((root / "0/CLEVRTEX_camo_000000.json").read_text())
  assert {one["material"] for one in notes["objects"]} == {notes["ground_material"]}
  assert data_pipelines.resolve(config_of(tmp_path, "camo")).stand_in
  batch = read(config_of(tmp_path, "camo"))
  there = batch["material"] > 0
  assert (there.sum(1) >= 3).all() and len(batch["image"]) == 8
  ground = np.broadcast_to(batch["ground_material"][:, None], there.shape)
  np.testing.assert_array_equal(batch["material"][there], ground[there])
  # The lists of names go with the renderer's.
  assert len(names.MATERIALS) == len(clevrtex.LIBRARY.code)
  assert names.MATERIALS[clevrtex.GRASS] == "groundforest003"
  assert names.MATERIALS[clevrtex.BLANK] == "tabularasa"
  assert (len(names.SHAPES), len(names.SIZES)) == (len(clevrtex.SHAPES), len(clevrtex.SIZES))
