"""Reads what JPEGs and PNGs say of themselves, so that nothing unexpected is ever decoded.

jpeg_size(frame)      # (64, 64), or a ValueError that says what is wrong
png_header(ids)       # PngHeader(height=64, width=64, bits=8, colour=0), or None
"""

from typing import NamedTuple

_PNG = b"\x89PNG\r\n\x1a\n"
_START_OF_IMAGE, _END_OF_IMAGE = b"\xff\xd8", b"\xff\xd9"
_START_OF_SCAN = 0xDA
# Markers that carry the size; the three left out of 0xC0-0xCF mean other things.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


_last = b"", (0, 0)  # how a JPEG began, up to its size; files of one encoder begin alike


def jpeg_size(data: bytes) -> tuple[int, int]:
  """Height and width in pixels; ValueError unless `data` starts and ends as a JPEG does."""
  global _last
  start, size = _last
  if not start or not data.startswith(start):
    at, size = _start_of_frame(data)
    start = data[:at]
    _last = start, size
  if data.rfind(_END_OF_IMAGE) < len(start):
    raise ValueError("is a JPEG that ends too early")
  return size


def _start_of_frame(data: bytes) -> tuple[int, tuple[int, int]]:
  """Where what a JPEG says of its size ends, and height and width."""
  if data[:2] != _START_OF_IMAGE:
    raise ValueError("is not a JPEG")
  at = 2
  while at + 9 <= len(data) and data[at] == 0xFF:
    marker = data[at + 1]
    if marker in _START_OF_FRAME:
      return at + 9, (int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9]))
    if marker == _START_OF_SCAN:
      break
    if marker == 0xFF:  # a fill byte before the marker
      at += 1
      continue
    at += 2 + int.from_bytes(data[at + 2 : at + 4])
  raise ValueError("is a JPEG without a readable header")


class PngHeader(NamedTuple):
  """Height and width in pixels, bits of a channel, and type of colour: 2 is RGB, 0 grey."""

  height: int
  width: int
  bits: int
  colour: int


def png_header(data: bytes) -> PngHeader | None:
  """What a PNG says of itself; None if it is no PNG."""
  if not data.startswith(_PNG) or data[12:16] != b"IHDR" or len(data) < 26:
    return None
  return PngHeader(int.from_bytes(data[20:24]), int.from_bytes(data[16:20]), data[24], data[25])
