"""From the values in a mask to ids of instances: 0 background, from 1 instances, -1 ignored.

values, colours = packed(image)                # one number a pixel
numbered(values, Ids(background=((0, 0),), ignore=((255, 255),)))
"""

import re
from typing import NamedTuple

import numpy as np
from PIL import Image

VOID_COLOUR = 0xE0E0C0  # borders and what is difficult in masks of Pascal VOC
VOID = -1
BLUR = 48  # of 255: how far values in a JPEG of two values stray from these ...
MOST_BLURRED = 0.05  # ... but for so many, at edges
_SPAN = re.compile(r"(\d+)(?:-(\d+))?|#([0-9a-fA-F]{6})")


class Ids(NamedTuple):
  """Values with a meaning of their own, as spans (first, last)."""

  background: tuple[tuple[int, int], ...] = ((0, 0),)
  ignore: tuple[tuple[int, int], ...] = ()

  def __str__(self):
    texts = [f"{name} {_text(spans)}" for name, spans in self._asdict().items() if spans]
    return ", ".join(texts)


def _text(spans: tuple[tuple[int, int], ...]) -> str:
  return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def parse_ids(field: str, value) -> tuple[tuple[int, int], ...]:
  """Spans of `255`, `(0, 255)`, "0-999", "7,255" or "#e0e0c0".

  Raises:
    ValueError: it is something else; names the field.
  """
  parts = value.split(",") if isinstance(value, str) else value
  parts = [parts] if isinstance(parts, int) else parts
  spans = []
  try:
    for part in map(str, parts):
      first, last, colour = _SPAN.fullmatch(part.strip()).groups()
      span = (int(colour, 16),) * 2 if colour else (int(first), int(last or first))
      spans.append(span)
  except (AttributeError, TypeError):
    raise ValueError(
      f"{field} is {value!r}; allowed: whole numbers from 0, such as 255 or 7,255, spans such as "
      "0-999, and colours such as #e0e0c0"
    ) from None
  return tuple(spans)


def packed(image: Image.Image) -> tuple[np.ndarray, bool]:
  """One number a pixel, int32 [H, W], and whether the numbers are colours, red * 65536 and so on.

  Grey in three channels is grey; what is transparent is 0; VOC's borders are `VOID`.

  Raises:
    ValueError: it is a JPEG of more than two values.
  """
  if image.format == "JPEG":
    return _two_values(image), False
  if image.mode in ("P", "PA"):
    indices = np.asarray(image if image.mode == "P" else image.getchannel("P")).astype(np.int32)
    palette = np.array(image.getpalette() or [], int).reshape(-1, 3)
    is_void = len(palette) == 256 and palette[255].tolist() == [*VOID_COLOUR.to_bytes(3)]
    return (np.where(indices == 255, VOID, indices) if is_void else indices), False
  if image.mode == "LA":
    image = image.getchannel("L")
  elif len(image.getbands()) > 1 and image.mode not in ("RGB", "RGBA"):
    image = image.convert("RGB")
  values = np.asarray(image).astype(np.int32)
  if values.ndim == 2:
    return values, False
  red, green, blue, *alpha = np.moveaxis(values, -1, 0)
  grey = bool((red == green).all() and (green == blue).all())
  numbers = red if grey else (red << 16) + (green << 8) + blue
  numbers = np.where(numbers == VOID_COLOUR, VOID, numbers)
  return (np.where(alpha[0] == 0, 0, numbers) if alpha else numbers), not grey


def _two_values(image: Image.Image) -> np.ndarray:
  """0 or 1 from a JPEG of black and white."""
  values = np.asarray(image.convert("L"))
  if np.mean((values > BLUR) & (values < 255 - BLUR)) > MOST_BLURRED:
    raise ValueError("it is a JPEG; ids must be in a PNG, which keeps them as they are")
  return (values > 127).astype(np.int32)


def within(values: np.ndarray, spans: tuple[tuple[int, int], ...]) -> np.ndarray:
  """Where values lie in one of some spans."""
  inside = np.zeros(values.shape, bool)
  for first, last in spans:
    inside |= (values >= first) & (values <= last)
  return inside


def numbered(values: np.ndarray, ids: Ids) -> np.ndarray:
  """Values as ids: instances from 1 in the order of their values."""
  void = (values == VOID) | within(values, ids.ignore)
  values = np.where(void | within(values, ids.background), -1, values)
  return np.where(void, -1, np.searchsorted(np.union1d(values, [-1]), values))
