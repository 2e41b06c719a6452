"""What is strange about masks, or about images that look like masks: a warning each.

for doubt in doubtful_masks(tree, layers, ids):
  logging.warning(doubt)
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from data_pipelines.file_trees import Folder
from data_pipelines.image_files import ALL_FORMATS, decoded
from data_pipelines.image_folder_content import Look, oddities, spread
from data_pipelines.image_folder_ids import Ids, packed, within
from data_pipelines.image_folder_pairs import Layer

FOLDERS = 12  # that are looked at
BORDER = 255  # in masks of grey values: a border, unless ids go up to there
MOST_IDS_BELOW = 200  # for 255 to be none of them


def doubtful_masks(tree: Folder, layers: Sequence[Layer], ids: Ids) -> list[str]:
  """What makes maps of ids doubtful, in at most one line each for a layer."""
  doubts = []
  for layer in layers:
    if layer.kind != "map":
      continue
    paths = spread([paths[0] for paths in layer.masks.values()])
    found = filter(None, (_doubt(tree, path, ids) for path in paths))
    if first := next(found, None):
      doubts.append(first)
  return doubts


def _doubt(tree: Folder, path: str, ids: Ids) -> str | None:
  try:
    values, colours = packed(decoded(tree.read(path), ALL_FORMATS))
  except (ValueError, OSError):
    return None  # is reported when it is read
  values = np.where(within(values, ids.ignore + ids.background), 0, values)
  if oddity := oddities(values, colours):
    return (
      f"the mask {path} has {oddity}; each value counts as an instance: if these are no ids, name "
      "the right masks with --config.data.masks, or none"
    )
  found = np.unique(values[values > 0])
  if not colours and len(found) > 1 and found[-1] == BORDER and found[-2] <= MOST_IDS_BELOW:
    return (
      f"the mask {path} has the values 1 to {found[-2]} and {BORDER}, which counts as an instance; "
      f"if it marks borders, say --config.data.ignore_ids={BORDER}"
    )
  return None


def doubtful_images(tree: Folder, images: Sequence[str]) -> list[str]:
  """Folders whose images look like label maps: grey ones, or coloured ones beside photographs."""
  folders = defaultdict(list)
  for image in images:
    folders[image.rpartition("/")[0], image.rpartition(".")[2]].append(image)
  looks = {key: Look.at(tree, folders[key]) for key in spread(list(folders), FOLDERS)}
  photos = any(not look.maps for look in looks.values())
  return [
    f"the images {f'{folder}/' if folder else ''}*.{ending} look like label maps; if they are "
    f"masks, say --config.data.masks={folder or 'ENDING_OF_NAMES'}"
    for (folder, ending), look in looks.items()
    if look.maps and (look.grey or photos)
  ]
