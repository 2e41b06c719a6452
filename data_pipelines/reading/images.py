"""Pictures and maps of ids in files: decoded, cropped and resized one at a time.

    image = read_rgb(path.read_bytes())                  # PIL, 8 bits, 3 channels
    small = resize_rgb(centre_cropped(image, 196), 64, "bilinear")         # uint8 [64, 64, 3]
    features = encode(small, ids)                        # what `Indexed.load` returns ...
    decode = partial(decode_batch, size=64, has_ids=True, labels=())       # ... and what reads it

Pillow decodes and resizes: the published preprocessing of ShapeStacks and APC used it, so theirs is
reproduced bit for bit, and a truncated file is noticed before it is part of a batch.
"""

import functools
import io
import warnings
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
  import tensorflow as tf

MAX_PIXELS = 2**26  # per file; more are a mistake or an attack
FORMATS = ("PNG", "JPEG")  # of published data sets
ALL_FORMATS = (*FORMATS, "WEBP", "BMP", "TIFF", "GIF")  # of people's own
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "area": Image.Resampling.BOX}
_JPEG = b"\xff\xd8"
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # refused anyway
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I")  # Pillow's modes for grey PNGs of 16 bits


def decoded(
  data: bytes, formats: tuple[str, ...] = FORMATS, *, upright: bool = True
) -> Image.Image:
  """An image, the right way up; ValueError if it is damaged or, before decoding, too large."""
  try:
    image = Image.open(io.BytesIO(data), formats=formats)
  except Image.DecompressionBombError as error:
    raise ValueError(f"it is too large: {error}") from None
  except Image.UnidentifiedImageError:
    names = f"{', '.join(formats[:-1])} or {formats[-1]}"
    raise ValueError(f"it is no {names} with a readable header") from None
  except Exception as error:  # Pillow has many ways to say that a header is broken
    raise ValueError(f"its header is broken: {error}") from None
  width, height = image.size
  if width * height > MAX_PIXELS:
    raise ValueError(f"it has {width}x{height} pixels, more than the {MAX_PIXELS} allowed")
  try:
    image.load()
    if upright:
      ImageOps.exif_transpose(image, in_place=True)
  except Exception as error:  # as above
    raise ValueError(f"it cannot be decoded: {error}") from None
  if image.mode == "F":
    raise ValueError("its pixels are floating-point numbers; save it with 8 or 16 bits")
  return image


def read_rgb(
  data: bytes, formats: tuple[str, ...] = FORMATS, *, upright: bool = True
) -> Image.Image:
  """A picture as 8-bit RGB, the right way up.

  Of 16 bits the upper 8 are used; transparent parts become black; of an animation the first frame
  is used; the camera's rotation (EXIF) is applied, unless `upright` is False.

  Raises:
    ValueError: it has none of these formats, is damaged, or has more than `MAX_PIXELS`.
  """
  image = decoded(data, formats, upright=upright)
  if image.mode in _SIXTEEN_BITS:
    grey = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255)
    image = Image.fromarray(grey.astype(np.uint8))
  elif image.has_transparency_data:
    image = image.convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
  return image if image.mode == "RGB" else image.convert("RGB")


def read_map(data: bytes) -> np.ndarray:
  """A map of whole numbers: [H, W] of grey or palette indices, or [H, W, C] of colour channels.

  Raises:
    ValueError: it is not a PNG (JPEG would blur the values), is damaged, or too large.
  """
  if data[:2] == _JPEG:
    raise ValueError("it is a JPEG; ids must be in a PNG, which keeps them as they are")
  image = decoded(data)
  if image.mode == "LA":
    image = image.getchannel("L")
  return np.asarray(image)


def centre_cropped(image: Image.Image, size: int) -> Image.Image:
  """The central square of `size` pixels; like torchvision's, which rounds half margins to even.

  Raises:
    ValueError: the image is smaller than that.
  """
  width, height = image.size
  if min(width, height) < size:
    raise ValueError(f"it has {width}x{height} pixels; both must be at least {size}")
  left, top = _margins(width, height, size)
  return image.crop((left, top, left + size, top + size))


def _margins(width: int, height: int, size: int) -> tuple[int, int]:
  """Columns on the left and rows above that a central crop leaves out."""
  return round((width - size) / 2), round((height - size) / 2)


def shrunk_size(width: int, height: int, short: int) -> tuple[int, int]:
  """Width and height with the shorter one `short`, the other rounded down as torchvision does."""
  if width <= height:
    return short, int(short * height / width)
  return int(short * width / height), short


@functools.lru_cache(maxsize=64)
def _chosen(old: int, new: int, centred: bool) -> np.ndarray:
  """Which pixels of an axis are taken, int [new]."""
  if not centred:
    return np.array([int(i * (old / new)) for i in range(new)])
  # Pillow adds up rounded steps, so that only Pillow knows where a tie falls.
  line = Image.fromarray(np.arange(old, dtype=np.int32)[None])
  return np.asarray(line.resize((new, 1), Image.Resampling.NEAREST))[0]


def _nearest(array: np.ndarray, height: int, width: int, *, centred: bool) -> np.ndarray:
  """Takes the pixel at floor(i * old / new) along both axes, or the one in the middle of these."""
  rows, columns = _chosen(array.shape[0], height, centred), _chosen(array.shape[1], width, centred)
  return array.take(rows, axis=0).take(columns, axis=1)


def resize_rgb(image: Image.Image, size: tuple[int, int] | int, method: str) -> np.ndarray:
  """uint8 [H, W, 3] of a picture resized to `size`, (width, height) or the side of a square.

  "nearest" takes pixel floor(i * old / new), as PyTorch's interpolate; "bilinear" is antialiased;
  "area" averages. The same as `sources.resize_images` does for batches.
  """
  width, height = (size, size) if isinstance(size, int) else size
  if method == "nearest":
    return _nearest(np.asarray(image), height, width, centred=False)
  return np.asarray(image.resize((width, height), _RESAMPLING[method]))


def resize_ids(ids: np.ndarray, size: tuple[int, int] | int, *, centred: bool) -> np.ndarray:
  """A map [H, W, ...] resized to `size`: one pixel each, from the middle if `centred`.

  Pillow and torchvision take the middle ones, PyTorch's interpolate the first ones.
  """
  width, height = (size, size) if isinstance(size, int) else size
  return _nearest(ids, height, width, centred=centred)


def fitted_rgb(image: Image.Image, size: int, method: str) -> np.ndarray:
  """uint8 [size, size, 3]: the short side resized to `size`, then the central square."""
  width, height = shrunk_size(*image.size, size)
  left, top = _margins(width, height, size)
  return resize_rgb(image, (width, height), method)[top : top + size, left : left + size]


def fitted_ids(ids: np.ndarray, size: int, method: str) -> np.ndarray:
  """A map [H, W, ...] as [size, size, ...], over the picture that `fitted_rgb` makes."""
  width, height = shrunk_size(ids.shape[1], ids.shape[0], size)
  resized = resize_ids(ids, (width, height), centred=method != "nearest")
  left, top = _margins(width, height, size)
  return resized[top : top + size, left : left + size]


def encode(image: np.ndarray, ids: np.ndarray | None = None, *labels: int) -> tuple[bytes, ...]:
  """A picture uint8 [S, S, 3], perhaps ids [S, S] and whole numbers, as the features of `load`."""
  features = [image.tobytes()]
  if ids is not None:
    features.append(ids.astype(np.int32).tobytes())
  return (*features, *(np.int32(label).tobytes() for label in labels))


def decode_batch(
  *features: "tf.Tensor", size: int, has_ids: bool, labels: tuple[str, ...]
) -> dict[str, "tf.Tensor"]:
  """Features of `encode` [B]: image uint8 [B, S, S, 3], instances int32 [B, S, S], labels [B]."""
  import tensorflow as tf  # which who only takes pictures from files does without

  names, shapes = ["image"], [(size, size, 3)]
  if has_ids:
    names, shapes = [*names, "instances"], [*shapes, (size, size)]
  names, shapes = [*names, *labels], [*shapes, *((),) * len(labels)]
  batch, count = {}, tf.shape(features[0])[0]
  for name, shape, feature in zip(names, shapes, features, strict=True):
    values = tf.io.decode_raw(feature, tf.uint8 if name == "image" else tf.int32)
    batch[name] = tf.ensure_shape(tf.reshape(values, (count, *shape)), (None, *shape))
  return batch
