"""Masks that are written down as outlines: COCO's and labelme's JSON files.

    outlines = coco(data, "instances_val2017.json")       # file name -> Outlines, or None
    ids = outlines["0001.jpg"].ids()                      # [H, W]: 1, 2, ...; crowds -1
    ids = labelme(data, 640, 480)

Formats: https://cocodataset.org/#format-data (polygons, and run lengths in both spellings) and
labelme's own (polygons, rectangles, circles and small masks).
"""

import base64
import json
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from data_pipelines.image_files import MAX_PIXELS, decoded

IGNORED_LABEL, BACKGROUND_LABEL = "__ignore__", "_background_"  # of labelme
_HALF = 0.5  # outlines run between pixels, Pillow draws from middle to middle


class Outlines(NamedTuple):
  """The objects of an image: COCO's annotations."""

  width: int
  height: int
  objects: list[dict]

  def ids(self) -> np.ndarray:
    """Ids int32 [H, W] in the order of the file; smaller objects lie on larger ones.

    Raises:
      ValueError: an outline makes no sense.
    """
    ids = np.zeros((self.height, self.width), np.int32)
    drawn = [(i + 1, self._drawn(item)) for i, item in enumerate(self.objects)]
    crowd = [bool(item.get("iscrowd")) for item in self.objects]
    for number, inside in sorted(drawn, key=lambda pair: (not crowd[pair[0] - 1], -pair[1].sum())):
      ids[inside] = -1 if crowd[number - 1] else number
    return ids

  def _drawn(self, item: dict) -> np.ndarray:
    """Where an object is, bool [H, W]."""
    outline = item.get("segmentation")
    if isinstance(outline, dict):
      return run_lengths(outline, self.width, self.height)
    canvas = Image.new("1", (self.width, self.height))
    for polygon in outline or ():
      points = np.asarray(polygon, float).reshape(-1, 2)
      _polygon(canvas, points, 1)
    return np.asarray(canvas)


def _polygon(canvas: Image.Image, points: np.ndarray, fill: int) -> None:
  if len(points) < 3 or not np.isfinite(points).all():
    raise ValueError(f"a polygon has {len(points)} points, or some that are no numbers")
  ImageDraw.Draw(canvas).polygon([tuple(point) for point in points - _HALF], fill=fill)


def run_lengths(outline: dict, width: int, height: int) -> np.ndarray:
  """bool [H, W] of COCO's run lengths, which go down the columns and begin with what is outside.

  Raises:
    ValueError: they do not fill the image.
  """
  counts = outline.get("counts")
  counts = _unpacked(counts) if isinstance(counts, str) else np.asarray(counts, np.int64)
  if list(outline.get("size", ())) != [height, width] or counts.sum() != width * height:
    raise ValueError(f"run lengths of {outline.get('size')} do not fill {[height, width]}")
  if (counts < 0).any():
    raise ValueError("a run length is negative")
  inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
  return inside.reshape(width, height).T


def _unpacked(text: str) -> np.ndarray:
  """Run lengths from COCO's short spelling.

  A number is a row of characters from "0" on, five bits each, the lowest first; the sixth bit says
  that more follow, the last one's fifth is the sign. From the fourth number on, what is written is
  the difference to the last but one.
  """
  counts, value, shift = [], 0, 0
  for character in text:
    bits = ord(character) - 48
    if not 0 <= bits < 64:
      raise ValueError(f"run lengths have the character {character!r}")
    value |= (bits & 31) << shift
    shift += 5
    if bits & 32:
      continue
    if bits & 16:
      value -= 1 << shift
    counts.append(value + counts[-2] if len(counts) > 2 else value)
    value = shift = 0
  return np.array(counts, np.int64)


def coco(data: bytes) -> dict[str, Outlines] | None:
  """Outlines by file name; None if this is no JSON of COCO's kind, or has none."""
  try:
    content = json.loads(data)
    if not any("segmentation" in item for item in content["annotations"]):
      return None
    images = {item["id"]: item for item in content["images"]}
    by_image: dict = {number: [] for number in images}
    for item in content["annotations"]:
      if item.get("segmentation"):
        kept = {key: item.get(key) for key in ("segmentation", "iscrowd")}
        by_image.setdefault(item["image_id"], []).append(kept)
    return {
      _file_name(item): _sized(item["width"], item["height"], by_image[number])
      for number, item in images.items()
    }
  except (ValueError, KeyError, TypeError):
    return None


def _file_name(item: dict) -> str:
  return item["file_name"] if "file_name" in item else item["coco_url"].rpartition("/")[2]  # LVIS


def _sized(width, height, objects) -> Outlines:
  width, height = int(width), int(height)
  if not 0 < width * height <= MAX_PIXELS:
    raise ValueError(f"an image has {width}x{height} pixels")
  return Outlines(width, height, objects)


def is_labelme(data: bytes) -> bool:
  """Whether a file is labelme's."""
  try:
    return isinstance(json.loads(data)["shapes"], list)
  except (ValueError, KeyError, TypeError):
    return False


def labelme(data: bytes, width: int, height: int) -> np.ndarray:
  """Ids int32 [H, W] of a file of labelme's; shapes of one label and group are one object.

  Raises:
    ValueError: it makes no sense, or is of an image of another size.
  """
  try:
    content = json.loads(data)
    size = content.get("imageWidth") or width, content.get("imageHeight") or height
    if size != (width, height):
      raise ValueError(f"it is of {size[0]}x{size[1]} pixels instead of {width}x{height}")
    canvas, numbers = Image.new("I", (width, height)), {}
    for index, shape in enumerate(content["shapes"]):
      label, group = shape["label"], shape.get("group_id")
      number = numbers.setdefault((label, index if group is None else group), len(numbers) + 1)
      number = {IGNORED_LABEL: -1, BACKGROUND_LABEL: 0}.get(label, number)
      _draw(canvas, shape, number)
  except (KeyError, TypeError, AttributeError) as error:
    raise ValueError(f"it is no file of labelme's: {type(error).__name__} {error}") from None
  return np.asarray(canvas).astype(np.int32)


def _draw(canvas: Image.Image, shape: dict, number: int) -> None:
  """Draws a shape that has an inside."""
  kind, points = shape.get("shape_type", "polygon"), np.asarray(shape["points"], float)
  draw = ImageDraw.Draw(canvas)
  if kind == "polygon":
    _polygon(canvas, points, number)
  elif kind == "rectangle":
    (left, top), (right, bottom) = points.min(0) - _HALF, points.max(0) - _HALF
    draw.rectangle((left, top, right, bottom), fill=number)
  elif kind == "circle":
    centre, radius = points[0] - _HALF, np.linalg.norm(points[1] - points[0])
    draw.ellipse((*(centre - radius), *(centre + radius)), fill=number)
  elif kind == "mask":
    part = decoded(base64.b64decode(shape["mask"])).convert("1")
    canvas.paste(number, tuple(points[0].astype(int)), part)
