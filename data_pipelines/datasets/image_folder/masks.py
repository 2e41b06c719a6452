"""What the masks of an image hold, by the values in their files or from outlines."""

import numpy as np

from data_pipelines.datasets.image_folder.layers import Example
from data_pipelines.datasets.image_folder.outlines import Outlines, labelme
from data_pipelines.datasets.mask_values import Ids, packed
from data_pipelines.reading.file_trees import Folder
from data_pipelines.reading.images import ALL_FORMATS, decoded


def usual_ids(title: str) -> Ids:
  """What values mean by the convention of masks whose folders and names are called so."""
  if "trimap" in title.lower():  # Oxford-IIIT Pets: 1 the animal, 2 background, 3 the border
    return Ids(((2, 2),), ((3, 3),))
  if "instanceIds" in title:  # Cityscapes: 1000 * class + number, and below classes of regions
    return Ids(((0, 999),))
  return Ids()


def mask_values(
  tree: Folder, example: Example, size: tuple[int, int], outlines: dict[str, Outlines]
) -> np.ndarray:
  """The values [H, W] of a mask file, or ids from several files or from outlines.

  Args:
    size: of the image, (width, height).
    outlines: of COCO, by the path of the image.

  Raises:
    ValueError: a file is missing or damaged, or of another size than the image.
  """
  if example.kind in ("coco", "labelme"):
    try:
      if example.kind == "coco":
        return outlines[example.image].ids(*size)
      return labelme(tree.read(example.masks[0]), *size)
    except (ValueError, TypeError) as error:
      raise ValueError(f"its mask in {example.masks[0]}: {error}") from None
  parts = [_values(tree, path, size) for path in example.masks]
  if example.kind == "map":
    return parts[0]
  ids = np.zeros(parts[0].shape, np.int32)
  for number, part in enumerate(parts, start=1):
    ids[part > 0] = number
  return ids


def _values(tree: Folder, path: str, size: tuple[int, int]) -> np.ndarray:
  try:
    values, _ = packed(decoded(tree.read(path), ALL_FORMATS))
  except ValueError as error:
    raise ValueError(f"its mask {path}: {error}") from None
  height, width = values.shape
  if (width, height) != size:
    raise ValueError(f"its mask {path} is {width}x{height} pixels instead of {size[0]}x{size[1]}")
  return values
