"""Masks in JSON files: which files are COCO's or labelme's, and of which images.

layers, outlines = json_layers(tree, jsons, images, vocabulary, choice=None)
"""

from collections import defaultdict
from collections.abc import Sequence

from data_pipelines.datasets.image_folder.layers import LABELME, Layer, fits, rank_of
from data_pipelines.datasets.image_folder.matching import match
from data_pipelines.datasets.image_folder.names import SPLIT_WORDS, Name, Vocabulary, words
from data_pipelines.datasets.image_folder.outlines import Outlines, coco, is_labelme
from data_pipelines.reading.file_trees import Folder
from data_pipelines.sources import DataError


def json_layers(
  tree: Folder,
  jsons: Sequence[Name],
  images: Sequence[Name],
  vocabulary: Vocabulary,
  choice: str | None,
) -> tuple[list[Layer], dict[tuple[str, str], Outlines]]:
  """Layers of JSON files that fit a choice, and COCO's outlines by path of the JSON and image.

  Raises:
    DataError: a file looks like COCO's, but something is missing in it.
  """
  jsons = [name for name in jsons if choice is None or fits(choice, name)]
  if not jsons or not images:
    return [], {}
  found = match(jsons, images, vocabulary)
  layers, outlines = [], {}
  if found and is_labelme(tree.read(next(iter(found)))):
    masks = {image: (path,) for path, image in found.items()}
    layers.append(Layer("*.json (labelme)", LABELME, "labelme", masks))
    jsons = [name for name in jsons if name.path not in found]
  for name in jsons:
    data = tree.read(name.path)
    try:
      by_file_name = coco(data)
    except ValueError as error:
      raise DataError(
        f"{tree.root / name.path} looks like COCO's, but cannot be read: {error}; mend or remove it"
      ) from None
    by_image = _by_image(name.path, by_file_name, images) if by_file_name else None
    if by_image:
      masks = dict.fromkeys(by_image, (name.path,))
      layers.append(Layer(f"{name.path} (COCO)", rank_of(name.stem, "mask"), "coco", masks))
      outlines |= {(name.path, image): outline for image, outline in by_image.items()}
  return layers, outlines


def _by_image(
  path: str, outlines: dict[str, Outlines], images: Sequence[Name]
) -> dict[str, Outlines]:
  """Outlines by the path of the image that ends as they say.

  Of several that do, the one that lies beside the JSON or whose folder has the JSON's split.
  """
  named: dict[str, list[str]] = defaultdict(list)
  for image in images:
    named[image.path.rpartition("/")[2]].append(image.path)
  place, splits = path.rpartition("/")[0], set(words(path)) & SPLIT_WORDS.keys()
  found = {}
  for file_name, outline in outlines.items():
    wanted = file_name.replace("\\", "/").removeprefix("./")
    there = named.get(wanted.rpartition("/")[2], [])
    there = [image for image in there if f"/{image}".endswith(f"/{wanted}")] or there
    if len(there) > 1:
      beside = [image for image in there if image.rpartition("/")[0] == place]
      there = beside or [i for i in there if set(words(i.rpartition("/")[0])) & splits]
    if len(there) == 1:
      found[there[0]] = outline
  return found
