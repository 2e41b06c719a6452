"""The draws that make up Multi-dSprites of the GENESIS paper, and the archive they draw from.

    images = list(draws("default", "test"))                     # 10,000 of them, always the same
    sprites = load_sprites(path, [draw.index for draw in images[0].sprites])
    image, ids = compose(images[0], sprites)                    # uint8 [64, 64, 3], [64, 64]

The published images follow from one stream of Python's `random`, seeded with 0: the splits train,
val and test of the default variant, then those of the unique one. (Sequence and sizes: original
GENESIS code, 2020. Archive: Matthey et al. 2017, https://github.com/google-deepmind/dsprites-dataset)
"""

import functools
import random
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipelines.reading.progress import with_progress
from data_pipelines.sources import DataError, check_choice
from data_pipelines.stores.cache import here
from data_pipelines.stores.published import command

ARCHIVE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
SIDE = 64  # of the images, pixels
NUM_SPRITES = 3 * 6 * 40 * 32 * 32  # shape, scale, orientation, x, y; the last varies fastest
MAX_SPRITES = 4  # in an image
LEVELS = (0, 63, 127, 191, 255)  # of a colour channel
VARIANTS = ("default", "unique")  # unique: no colour twice in an image
SIZES = {"train": 50_000, "val": 10_000, "test": 10_000}
CHUNK = 4096  # sprites that are unpacked at a time, 16 MiB

Color = tuple[int, int, int]


class Sprite(NamedTuple):
  """One sprite of an image: its number in the archive and its colour."""

  index: int
  color: Color


class Draw(NamedTuple):
  """What an image is made of; later sprites cover earlier ones."""

  background: Color
  sprites: tuple[Sprite, ...]


def _color(rng: random.Random) -> Color:
  return rng.choice(LEVELS), rng.choice(LEVELS), rng.choice(LEVELS)


def _draw(rng: random.Random, unique: bool) -> Draw:
  """Draws an image. The order of the calls is what makes the published images come out."""
  background = _color(rng)
  used, sprites = {background}, []
  for _ in range(rng.randint(1, MAX_SPRITES)):
    index, color = rng.randint(0, NUM_SPRITES - 1), _color(rng)
    while unique and color in used:
      color = _color(rng)
    used.add(color)
    sprites.append(Sprite(index, color))
  return Draw(background, tuple(sprites))


def draws(variant: str, split: str, *, seed: int = 0) -> Iterator[Draw]:
  """The images of a split in order; with the default seed, the published ones.

  Everything that comes before them in the stream is drawn too, which takes a second or two, once.

  Raises:
    ValueError: an unknown variant or split.
  """
  check_choice("variant", variant, VARIANTS)
  check_choice("split", split, SIZES)
  parts = [(each, size) for each in VARIANTS for size in SIZES.values()]
  number = VARIANTS.index(variant) * len(SIZES) + list(SIZES).index(split)
  rng = random.Random()
  rng.setstate(_state_after(seed, tuple(parts[:number])))
  for _ in range(SIZES[split]):
    yield _draw(rng, variant == "unique")


@functools.cache  # each part goes on where the one before it ended
def _state_after(seed: int, parts: tuple[tuple[str, int], ...]) -> tuple:
  """State of the stream once so many images of these variants were drawn."""
  if not parts:
    return random.Random(seed).getstate()
  rng, (variant, size) = random.Random(), parts[-1]
  rng.setstate(_state_after(seed, parts[:-1]))
  for _ in range(size):
    _draw(rng, variant == "unique")
  return rng.getstate()


def compose(draw: Draw, sprites) -> tuple[np.ndarray, np.ndarray]:
  """Paints an image.

  Args:
    draw: what to paint.
    sprites: gives a mask [S, S], not 0 where the sprite is, for each number in `draw`.

  Returns:
    Image, uint8 [S, S, 3], and ids, uint8 [S, S]: 0 for background, else 1 + number of the sprite.
  """
  ids = np.zeros((SIDE, SIDE), np.uint8)
  for number, sprite in enumerate(draw.sprites, start=1):
    ids[sprites[sprite.index] != 0] = number
  palette = np.array([draw.background, *(sprite.color for sprite in draw.sprites)], np.uint8)
  return palette[ids], ids


class Sprites:
  """Some of the archive's sprites, one bit a pixel: `sprites[number]` is a mask [64, 64]."""

  def __init__(self, numbers: np.ndarray, bits: np.ndarray):
    self._numbers, self._bits = numbers, bits  # ascending [N]; uint8 [N, 512]

  def __getitem__(self, number: int) -> np.ndarray:
    row = np.searchsorted(self._numbers, number)
    if row == len(self._numbers) or self._numbers[row] != number:
      raise KeyError(f"sprite {number} was not loaded")
    return np.unpackbits(self._bits[row]).reshape(SIDE, SIDE)


def _check_header(member) -> None:
  """Reads the header of `imgs`; ValueError if that is not what it should be."""
  version = np.lib.format.read_magic(member)
  read = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }.get(version)
  if read is None:
    raise ValueError(f"its `imgs` are of NumPy's file format {version}")
  shape, fortran_order, dtype = read(member)
  expected = (NUM_SPRITES, SIDE, SIDE)
  if (shape, fortran_order, dtype) != (expected, False, np.uint8):
    raise ValueError(f"its `imgs` are {dtype}{list(shape)} instead of uint8{list(expected)}")


def _chunks(member) -> Iterator[tuple[int, np.ndarray]]:
  """Number of the first sprite, and sprites [n, 4096], until the file ends."""
  area = SIDE * SIDE
  for first in range(0, NUM_SPRITES, CHUNK):
    wanted = min(CHUNK, NUM_SPRITES - first) * area
    data = member.read(wanted)
    if len(data) < wanted:
      raise ValueError("it ends too early")
    yield first, np.frombuffer(data, np.uint8).reshape(-1, area)
  member.read(1)  # at the end the checksum is compared


def load_sprites(path: str | Path, numbers: Collection[int]) -> Sprites:
  """Reads sprites from the archive, without ever having its 3 GB in memory; takes some seconds.

  Raises:
    DataError: it is not the archive, or damaged.
  """
  numbers = np.unique(np.fromiter(numbers, np.int64, len(numbers)))
  bits = np.empty((len(numbers), SIDE * SIDE // 8), np.uint8)
  try:
    with zipfile.ZipFile(here(path)) as archive, archive.open("imgs.npy") as member:
      _check_header(member)
      num_chunks = -(-NUM_SPRITES // CHUNK)
      for first, sprites in with_progress(_chunks(member), num_chunks, "unpacking", "part"):
        begin, end = np.searchsorted(numbers, [first, first + len(sprites)])
        bits[begin:end] = np.packbits(sprites[numbers[begin:end] - first] != 0, axis=1)
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
    cause = str(error).strip("'\"")
    raise DataError(
      f"{path} is not the dSprites archive, or damaged: {cause}; remove it and fetch it again: "
      f"{command('multi_dsprites', 'default', path.parent)}"
    ) from None
  return Sprites(numbers, bits)
