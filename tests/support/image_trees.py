"""Trees of images that Pillow writes as published, and what is read of them."""

import json

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


def photo(seed=0):
  """Noise, which nobody takes for a map of ids."""
  return np.random.default_rng(seed).integers(0, 256, (24, 24, 3), np.uint8)


def id_map(*ids, background=0):
  """Blocks of ids, uint8 [24, 24]."""
  array = np.full((24, 24), background, np.uint8)
  for i, number in enumerate(ids):
    array[1 + 6 * i : 6 + 6 * i, 3:20] = number
  return array


def palette(ids):
  """The same as VOC has it: with a palette, whose last colour is that of borders."""
  image = Image.frombytes("P", ids.shape[::-1], ids.tobytes())
  colours = np.random.default_rng(0).integers(0, 256, (256, 3))
  colours[255] = 224, 224, 192
  image.putpalette(colours.ravel().tolist())
  return image


def put(root, files):
  """Writes files: name -> array or `Image`, text, or anything else as JSON."""
  for name, content in files.items():
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, (np.ndarray, Image.Image)):
      save(path, content, format=None)
    else:
      path.write_text(content if isinstance(content, str) else json.dumps(content))
  return root
