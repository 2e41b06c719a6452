"""Trees of images that Pillow writes as published, and what is read of them."""

import ml_collections
import numpy as np
from PIL import Image

import data_pipelines


def make_config(name, root, **changes):
  fields = dict(name=name, variant="default", source="files", data_dir=root and str(root),
                image_size=16, resize="bilinear", on_corrupt="error", limit=0, shuffle_buffer=20,
                standin_scenes=10, num_val=10, num_test=10)  # fmt: skip
  return ml_collections.ConfigDict(fields | changes)


def read(config, split="train", **arguments):
  """All images of a split in one batch."""
  options = dict(split=split, batch_size=1000, epochs=1) | arguments
  (batch,) = data_pipelines.batches(config, **options)
  return batch


def save(path, array, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  image = array if isinstance(array, Image.Image) else Image.fromarray(array)
  image.save(path, **({"format": "PNG"} | options))


def picture(seed, height=20, width=20):
  """Blocks of random colours, which survive resizing better than noise."""
  small = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
  return np.kron(small, np.ones((4, 4, 1), np.uint8))
