"""Which images of a split are scored: drawn at random from all of it, by a seed.

    drawn = data_pipelines.sample(config, "test", 320, seed=0, batch_size=32)
    drawn.words()                       # "320 of 10,000 test images, drawn at random (seed 0)"
    for batch in drawn:
      batch["image"], batch["index"]    # place of each in the split, in the order of its files

The draw depends only on the seed and the number of images, not on how they are stored, nor on the
number of hosts. If several images show one scene, each scene gives one before any gives two.
"""

from collections.abc import Iterator

import numpy as np

STREAM = 0x5A3D1E  # tells these draws from those of training with the same seed


def order(num_images: int, seed: int, scene: int = 1) -> np.ndarray:
  """All images of a split as they are drawn, int64 `[num_images]`; the first n are the draw of n.

  Args:
    num_images: of the split.
    seed: of the draw.
    scene: how many images in a row show the same scene; the last ones may be fewer.
  """
  rng = np.random.default_rng([seed, STREAM])
  num_scenes = -(-num_images // scene)
  scenes = rng.permutation(num_scenes)
  sizes = np.minimum(scene, num_images - scenes * scene)
  first, turns = rng.integers(sizes), np.arange(scene)[:, None]
  numbers = scenes * scene + (first + turns) % sizes
  return numbers[turns < sizes]


class Sample:
  """Iterator over dicts of numpy arrays: "image", what else the data has, "index" and "rank".

  "index" is the place of an image in its split, "rank" its place in the draw, int64 `[B]` both. A
  shard gets the rows of every batch from `batch_size / shard_count * shard_index` on.

  Args:
    split: name of the split.
    total: images of the split; None where it has no end.
    num_images: how many are wanted; None: all.
    seed: of the draw.
    scene: images of one scene, one after the other.

  Attributes:
    total: as given.
    num_images: how many will come, as far as is known before reading them.
    num_corrupt: damaged images or records met so far.
  """

  num_corrupt = 0

  def __init__(
    self, split: str, total: int | None, num_images: int | None, seed: int, scene: int = 1
  ):
    if seed < 0 or (num_images is not None and num_images < 1):
      raise ValueError(f"cannot draw {num_images} images with seed {seed}")
    if total is None and num_images is None:
      raise ValueError(f"the {split} split has no end; say how many images to draw")
    self.split, self.total, self.seed, self._scene = split, total, seed, scene
    self.num_images = min(n for n in (total, num_images) if n is not None)
    # Of an endless stream, any scenes are as good as the first.
    self._order = np.arange(num_images) if total is None else order(total, seed, scene)
    self._rows: Iterator[dict] = iter(())

  @property
  def is_whole(self) -> bool:
    """Whether it is the whole split."""
    return self.num_images == self.total

  def words(self) -> str:
    """Which images these are, for people."""
    if self.total is None:
      return f"{self.num_images:,} {self.split} images of a stream without end"
    if self.is_whole:
      return f"all {self.total:,} {self.split} images"
    text = f"{self.num_images:,} of {self.total:,} {self.split} images, drawn at random"
    if self._scene > 1 and self.num_images <= -(-self.total // self._scene):
      text += ", one of a scene"
    return f"{text} (seed {self.seed})"

  def __iter__(self) -> "Sample":
    return self

  def __next__(self) -> dict[str, np.ndarray]:
    return next(self._rows)
