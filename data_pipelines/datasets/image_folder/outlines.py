"""Masks that are written down as outlines: COCO's and labelme's JSON files.

    outlines = coco(data)                                 # file name -> Outlines, or None
    ids = outlines["0001.jpg"].ids(640, 480)              # [H, W]: 1, 2, ...; crowds -1
    ids = labelme(data, 640, 480)

Formats: https://cocodataset.org/#format-data (polygons, and run lengths in both spellings) and
labelme's own (polygons, rectangles, circles and small masks).
"""

import base64
import json
from typing import NamedTuple

import numpy as np

from data_pipelines.reading.images import decoded

IGNORED_LABEL, BACKGROUND_LABEL = "__ignore__", "_background_"  # of labelme


class Outlines(NamedTuple):
  """The objects of an image: COCO's annotations.

  Attributes:
    size: of the image, (width, height), if the file says.
  """

  size: tuple[int, int] | None
  objects: list[dict]

  def ids(self, width: int, height: int) -> np.ndarray:
    """Ids int32 [H, W] in the order of the file; smaller objects lie on larger ones.

    Raises:
      ValueError: the image has another size, or an outline makes no sense.
    """
    if self.size not in (None, (width, height)):
      raise ValueError(f"is of {self.size[0]}x{self.size[1]} pixels instead of {width}x{height}")
    ids = np.zeros((height, width), np.int32)
    drawn = []
    for number, item in enumerate(self.objects, start=1):
      inside = _drawn(item["segmentation"], width, height)
      drawn.append((-1 if item["iscrowd"] else number, inside))
    for number, inside in sorted(drawn, key=lambda pair: (pair[0] > 0, -pair[1].sum())):
      ids[inside] = number
    return ids


def _drawn(outline: dict | list, width: int, height: int) -> np.ndarray:
  """Where an object is, bool [H, W]."""
  if isinstance(outline, dict):
    return run_lengths(outline, width, height)
  inside = np.zeros((height, width), bool)
  for polygon in outline:
    inside |= polygon_inside(np.asarray(polygon, float).reshape(-1, 2), width, height)
  return inside


def polygon_inside(points: np.ndarray, width: int, height: int) -> np.ndarray:
  """Pixels whose middle lies in a polygon [N, 2] of (x, y), bool [H, W].

  Raises:
    ValueError: it has too few points, or some that are no numbers.
  """
  if len(points) < 3 or not np.isfinite(points).all():
    raise ValueError(f"a polygon has {len(points)} points, or some that are no numbers")
  crossings = np.zeros((height, width + 1), np.int32)
  for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, 0), strict=True):
    first, last = np.clip(np.ceil(np.sort([y0, y1]) - 0.5), 0, height).astype(int)
    rows = np.arange(first, last)
    x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0 or 1)
    crossings[rows, np.clip(np.ceil(x - 0.5), 0, width).astype(int)] += 1
  return crossings.cumsum(1)[:, :width] % 2 == 1


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
  """Outlines by file name; None if this is no JSON of COCO's kind, or has none.

  Raises:
    ValueError: it is, but something is missing in it.
  """
  if b'"segmentation"' not in data:  # which takes less time than reading it all
    return None
  try:
    content = json.loads(data)
    images, annotations = content["images"], content["annotations"]
    if not any("segmentation" in item for item in annotations):
      return None
  except (ValueError, KeyError, TypeError):
    return None
  try:
    objects: dict = {item["id"]: [] for item in images}
    for item in annotations:
      if item.get("segmentation"):
        kept = dict(segmentation=_compact(item["segmentation"]), iscrowd=item.get("iscrowd"))
        objects.setdefault(item["image_id"], []).append(kept)
    return {_file_name(item): Outlines(_size(item), objects[item["id"]]) for item in images}
  except (KeyError, TypeError, AttributeError) as error:
    raise ValueError(f"{type(error).__name__} {error}") from None


def _compact(outline: dict | list) -> dict | list:
  """The same in a tenth of the memory; one that makes no sense as it is, until it is drawn."""
  try:
    if isinstance(outline, list):
      return [np.asarray(polygon, np.float32) for polygon in outline]
    counts = outline["counts"]
    return outline if isinstance(counts, str) else outline | {"counts": np.asarray(counts)}
  except (ValueError, KeyError, TypeError):
    return outline


def _file_name(item: dict) -> str:
  return item["file_name"] if "file_name" in item else item["coco_url"].rpartition("/")[2]  # LVIS


def _size(item: dict) -> tuple[int, int] | None:
  return (item["width"], item["height"]) if item.get("width") and item.get("height") else None


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
    ids, numbers = np.zeros((height, width), np.int32), {}
    for index, shape in enumerate(content["shapes"]):
      label, group = shape["label"], shape.get("group_id")
      number = numbers.setdefault((label, index if group is None else group), len(numbers) + 1)
      number = {IGNORED_LABEL: -1, BACKGROUND_LABEL: 0}.get(label, number)
      ids[_covered(shape, width, height)] = number
    return ids
  except (KeyError, TypeError, AttributeError) as error:
    raise ValueError(f"it is no file of labelme's: {type(error).__name__} {error}") from None


def _covered(shape: dict, width: int, height: int) -> np.ndarray:
  """Where a shape is, bool [H, W]; nowhere if it has no inside."""
  kind, points = shape.get("shape_type", "polygon"), np.asarray(shape["points"], float)
  if kind == "polygon":
    return polygon_inside(points, width, height)
  if kind == "rectangle":
    (left, top), (right, bottom) = points.min(0), points.max(0)
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    return polygon_inside(corners, width, height)
  inside = np.zeros((height, width), bool)
  if kind == "circle":
    rows, columns = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    (x, y), radius = points[0], np.linalg.norm(points[1] - points[0])
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
  if kind == "mask":
    part = np.asarray(decoded(base64.b64decode(shape["mask"]))) > 0
    left, top = points[0].astype(int)
    inside[top : top + part.shape[0], left : left + part.shape[1]] = part
  return inside
