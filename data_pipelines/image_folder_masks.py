"""Reads the mask of an image of a folder, whatever it is made from.

values = mask_values(tree, example, (640, 480), outlines)       # int32 [480, 640]
"""

import numpy as np

from data_pipelines.file_trees import Folder
from data_pipelines.image_files import ALL_FORMATS, decoded
from data_pipelines.image_folder_ids import packed
from data_pipelines.image_folder_outlines import Outlines, labelme
from data_pipelines.image_folder_pairs import Example


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
  if example.kind == "coco":
    found = outlines[example.image]
    _check_size(example.masks[0], (found.width, found.height), size)
    return found.ids()
  if example.kind == "labelme":
    try:
      return labelme(tree.read(example.masks[0]), *size)
    except ValueError as error:
      raise ValueError(f"its mask {example.masks[0]}: {error}") from None
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
  _check_size(path, (values.shape[1], values.shape[0]), size)
  return values


def _check_size(path: str, found: tuple[int, int], size: tuple[int, int]) -> None:
  if found != size:
    raise ValueError(
      f"its mask {path} is {found[0]}x{found[1]} pixels instead of {size[0]}x{size[1]}"
    )
