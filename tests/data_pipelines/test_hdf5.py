"""Files of the Object-Centric Library, written here in its layout."""

import h5py
import numpy as np
import pytest
from image_trees import read

import data_pipelines
from configs.settings import settings
from data_pipelines import DataError

TOTAL, SIDE = 20, 16


@pytest.fixture(scope="module")
def arrays():
  rng = np.random.default_rng(0)
  return dict(
    image=rng.integers(0, 256, (TOTAL, SIDE, SIDE, 3), np.uint8),
    mask=np.kron(rng.integers(0, 6, (TOTAL, 4, 4, 1)), np.ones((1, 4, 4, 1))).astype(np.uint8),
    num_actual_objects=rng.integers(1, 6, (TOTAL, 1)).astype(np.uint8),
    visibility=rng.integers(0, 2, (TOTAL, 6)).astype(np.float64),
    color=rng.random((TOTAL, 6, 3)).astype(np.float32),
    shape=rng.integers(0, 3, (TOTAL, 6, 1)),
  )


@pytest.fixture(scope="module")
def folder(arrays, tmp_path_factory):
  folder = tmp_path_factory.mktemp("hdf5")
  with h5py.File(folder / "tetrominoes-full.hdf5", "w") as file:
    for name, values in arrays.items():
      file.create_dataset(name, data=values)
    file["names"] = np.array([b"text"] * TOTAL)
  np.save(folder / "tetrominoes-metadata.npy", {"shape": {"type": "categorical"}})
  return folder


def config_of(place, **changes):
  return settings("hdf5", data_dir=str(place), **dict(image_size=SIDE) | changes)


def test_images_ids_and_labels_are_read(folder, arrays):
  config = config_of(folder)
  assert "16 train, 2 val, 2 test images of 20, with masks" in (
    data_pipelines.resolve(config).description
  )
  batch = read(config, "test")
  np.testing.assert_array_equal(batch["image"], arrays["image"][18:])
  entity = arrays["mask"][18:, ..., 0].astype(int)
  np.testing.assert_array_equal(batch["instances"], np.where(entity, entity + 1, 0))
  assert set(batch) == {"image", "instances", "num_actual_objects", "visibility", "color", "shape"}
  for name, dtype in dict(color=np.float32, visibility=np.float32, shape=np.int32).items():
    assert batch[name].dtype == dtype
    np.testing.assert_array_equal(batch[name], arrays[name][18:].reshape(batch[name].shape))
  assert batch["shape"].shape == (2, 6) and batch["num_actual_objects"].shape == (2,)
  np.testing.assert_array_equal(read(config, "val")["image"], arrays["image"][16:18])
  rooms = read(config_of(folder, num_background=4, image_size=8, resize="nearest"), "test")
  np.testing.assert_array_equal(
    rooms["instances"], np.where(entity < 4, 0, entity + 1)[:, ::2, ::2]
  )


def test_any_batch_is_reached_and_samples_are_drawn(folder, arrays):
  path = folder / "tetrominoes-full.hdf5"  # the file itself
  stream = data_pipelines.batches(config_of(path), split="train", batch_size=6, seed=2)
  third = [next(stream) for _ in range(3)][-1]["image"]
  again = data_pipelines.batches(
    config_of(path),
    split="train",
    batch_size=6,
    seed=2,
    first_batch=2,
    shard_index=1,
    shard_count=2,
  )
  np.testing.assert_array_equal(next(again)["image"], third[3:])
  (batch,) = data_pipelines.sample(config_of(folder, limit=10), "train", 4, batch_size=4)
  np.testing.assert_array_equal(batch["image"], arrays["image"][batch["index"]])


def test_what_is_no_such_file_is_named(folder, tmp_path):
  with pytest.raises(DataError, match="has no HDF5 file; expected a file such as clevr_10-full"):
    data_pipelines.resolve(config_of(tmp_path))
  with h5py.File(tmp_path / "a.hdf5", "w") as file:
    file["image"] = np.zeros((3, 4, 4))
  with pytest.raises(DataError, match=r"array image, uint8.N, H, W, 3.; it is float64.3, 4, 4."):
    data_pipelines.resolve(config_of(tmp_path))
  (tmp_path / "b.h5").write_bytes((folder / "tetrominoes-full.hdf5").read_bytes()[:3000])
  with pytest.raises(DataError, match="has several files; .*data.file: a.hdf5, b.h5"):
    data_pipelines.resolve(config_of(tmp_path))
  with pytest.raises(DataError, match="b.h5 is no HDF5 file that can be read .*fetch it again"):
    data_pipelines.resolve(config_of(tmp_path, file="b.h5"))
