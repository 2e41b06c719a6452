"""The images below a folder, each with its masks, and by which convention these were found.

    found = find(Folder(root), listing.paths, Choices())
    found.examples[0]            # Example("images/a.jpg", ("masks/a.png",), "map")
    found.layers                 # [Layer("masks/", ...)]

Masks that a name gives away come first (`names`), then what structure and content give
away (`structure`), then JSON. Where an image has masks of several kinds, instances
come before anything else, before classes, before drawings for people; two of equal rank are for the
user to choose from.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from data_pipelines.datasets.image_folder.json import json_layers
from data_pipelines.datasets.image_folder.layers import (
  NONE,
  UNNAMED,
  Choices,
  Example,
  Layer,
  best_layers,
  choice_parts,
  fits,
  rank_of,
)
from data_pipelines.datasets.image_folder.looks import Look, spread
from data_pipelines.datasets.image_folder.matching import conflict, match
from data_pipelines.datasets.image_folder.names import ENDINGS, Name, Vocabulary
from data_pipelines.datasets.image_folder.outlines import Outlines
from data_pipelines.datasets.image_folder.structure import unnamed
from data_pipelines.reading.file_trees import Folder
from data_pipelines.sources import DataError

MOST_TITLES = 5  # names of parallel folders, such as trainannot, valannot
_LABELME_FOLDER = "_json"  # what labelme_json_to_dataset adds to a name


class Found(NamedTuple):
  """What is below a folder.

  Attributes:
    examples: sorted by the path of the image.
    layers: those that are used.
    outlines: of COCO, by the path of the image.
    left_out: files, by reason.
  """

  examples: list[Example]
  layers: list[Layer]
  outlines: dict[str, Outlines]
  left_out: Counter[str]


def find(tree: Folder, paths: Sequence[str], choices: Choices) -> Found:
  """Looks through the files of a folder, of which it reads a few.

  Raises:
    DataError: masks belong to no image, or it is for the user to choose.
  """
  visible = [path for path in paths if not _is_hidden(path)]
  pictures = [Name.of(path) for path in visible if path.lower().endswith(ENDINGS)]
  jsons = [Name.of(path) for path in visible if path.lower().endswith(".json")]
  vocabulary = Vocabulary(_chosen_names(tree, [*pictures, *jsons], choices))
  left_out = Counter({"hidden": len(paths) - len(visible)})
  images, masks, others = _divided(pictures, choices, vocabulary, left_out)
  layers = _named_layers(tree, images, masks, vocabulary, left_out, choices)
  _leave_out_others(tree, images, others, vocabulary, left_out)
  if choices.masks is None:
    layers += _unnamed_layers(tree, images, left_out)
  outlines = {}
  if choices.masks != NONE:
    in_json, outlines = json_layers(tree, jsons, images, vocabulary, choices.masks)
    layers += in_json
  best = best_layers(tree.root, layers, left_out)
  examples = [_example(name.path, best.get(name.path)) for name in sorted(images)]
  used = [layer for layer in layers if any(best[image] is layer for image in layer.masks)]
  read = {path for layer in layers for paths in layer.masks.values() for path in paths}
  unread = {path for path in visible if not path.lower().endswith(ENDINGS)} - read
  left_out.update(f"{_ending(path)} files" for path in unread)
  own = {e.image: outlines[e.masks[0], e.image] for e in examples if e.kind == "coco"}
  return Found(examples, used, own, left_out)


def _example(image: str, layer: Layer | None) -> Example:
  return Example(image, layer.masks[image], layer.kind) if layer else Example(image)


def _is_hidden(path: str) -> bool:
  return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def _ending(path: str) -> str:
  name = path.rpartition("/")[2]
  return f".{name.rpartition('.')[2].lower()}" if "." in name else "nameless"


def _chosen_names(tree: Folder, names: Sequence[Name], choices: Choices) -> dict[str, str]:
  """What a user chose as images or masks -> "image" or "mask", if it does not say so itself.

  Raises:
    DataError: no file fits a choice.
  """
  plain, chosen = Vocabulary(), {}
  for role, choice in (("image", choices.images), ("mask", choices.masks)):
    if choice in (None, NONE):
      continue
    if not any(fits(choice, name) for name in names):
      raise DataError(
        f"data.{role}s is {choice!r}, but no file below {tree.root} is so; name a folder, such as "
        "labels, or the end of file names, such as _seg"
      )
    for part in choice_parts(choice):
      if plain.of_name(part) not in (role, "drawn"):
        chosen[part] = role
  return chosen


def _divided(
  pictures: Sequence[Name], choices: Choices, vocabulary: Vocabulary, left_out: Counter[str]
) -> tuple[list[Name], dict[str, list[Name]], list[Name]]:
  """Images; masks by kind; and what is something else (such as depth) if there are images."""
  images, masks, others = [], defaultdict(list), []
  for name in pictures:
    role = _role(name, choices, vocabulary)
    if role in ("mask", "drawn"):
      masks["chosen" if choices.masks else vocabulary.kind(name)].append(name)
    elif role == "unchosen":
      left_out["pictures that were not chosen"] += 1
    else:
      (others if role == "other" else images).append(name)
  return (images, masks, others) if images else (others, masks, [])


def _role(name: Name, choices: Choices, vocabulary: Vocabulary) -> str | None:
  """As `Vocabulary.role`, but as a user chose; "unchosen": no image, since others were chosen."""
  if choices.images is not None and fits(choices.images, name):
    return "image"
  if choices.masks == NONE:
    return "image" if choices.images is None else "unchosen"
  if choices.masks is not None and fits(choices.masks, name):
    return "mask"
  role = vocabulary.role(name)
  if role in ("mask", "drawn"):
    return role if choices.masks is None else "other"
  return role if choices.images is None or role == "other" else "unchosen"


def _named_layers(
  tree: Folder,
  images: list[Name],
  masks: dict[str, list[Name]],
  vocabulary: Vocabulary,
  left_out: Counter[str],
  choices: Choices,
) -> list[Layer]:
  """Masks that their names give away; those that turn out to be images are added to these.

  Raises:
    DataError: they belong with no image, or with several.
  """
  layers, unmatched = [], []
  copies = _labelme_copies(images)
  left_out["copies of images by labelme"] += len(copies)
  images[:] = [image for image in images if image.path not in copies]
  for names in masks.values():
    found = match(names, images, vocabulary)
    if found:
      titles = {vocabulary.title(name) for name in spread(names, MOST_TITLES)}
      title = choices.masks or ",".join(sorted(titles))
      layers.append(_layer(title, vocabulary.role(names[0]), found))
      left_out["masks without an image"] += len(names) - len(found)
    else:
      unmatched.append(names)
  only_masks = not images
  for names in unmatched:
    looks_like_masks = Look.at(tree, [name.path for name in names]).maps
    if choices.masks or (looks_like_masks and not only_masks):
      raise _unmatched(tree, names, images, vocabulary)
    images += names
  return layers


def _labelme_copies(images: Sequence[Name]) -> set[str]:
  """`a_json/img.png` beside `a.jpg`."""
  known = {(*image.folders, f"{image.stem}{_LABELME_FOLDER}") for image in images}
  return {image.path for image in images if image.stem == "img" and image.folders in known}


def _layer(title: str, role: str | None, found: dict[str, str]) -> Layer:
  masks = defaultdict(list)
  for mask, image in found.items():
    masks[image].append(mask)
  sorted_masks = {image: tuple(sorted(paths)) for image, paths in masks.items()}
  if any(len(paths) > 1 for paths in masks.values()):
    return Layer(f"{title} (a file an object)", rank_of(title, role), "objects", sorted_masks)
  return Layer(title, rank_of(title, role), "map", sorted_masks)


def _unmatched(
  tree: Folder, names: Sequence[Name], images: Sequence[Name], vocabulary: Vocabulary
) -> DataError:
  """The error for masks without images."""
  if found := conflict(names, images, vocabulary):
    mask, one, other = (tree.root / path for path in found)
    return DataError(f"{mask} is a mask of {one} or of {other}; rename one")
  key = vocabulary.trimmed(names[0].stem)
  return DataError(
    f"{tree.root / names[0].path} is a mask without an image; add {key}.png or .jpg, or remove it; "
    "if it is an image, say which are masks: --config.data.masks=FOLDER, or none"
  )


def _leave_out_others(
  tree: Folder,
  images: list[Name],
  others: Sequence[Name],
  vocabulary: Vocabulary,
  left_out: Counter[str],
) -> None:
  """Depth and the like of images is no image, nor are masks that were not chosen; else it is."""
  groups = defaultdict(list)
  for name in others:
    groups[vocabulary.kind(name)].append(name)
  for names in groups.values():
    found = match(names, images, vocabulary)
    are_masks = vocabulary.role(names[0]) in ("mask", "drawn")
    if are_masks and not found and Look.at(tree, [name.path for name in names]).maps:
      found = {name.path: "" for name in names}
    images += [name for name in names if name.path not in found]
    left_out[f"{vocabulary.title(names[0])} beside images"] += len(found)


def _unnamed_layers(tree: Folder, images: list[Name], left_out: Counter[str]) -> list[Layer]:
  """Masks that structure and content give away; takes them from the images."""
  layers = []
  for group in unnamed(tree, images):
    images[:] = [image for image in images if image.path not in group.images]
    if group.are_masks:
      masks = {image: (mask,) for mask, image in group.images.items()}
      layers.append(Layer(group.title, UNNAMED, "map", masks))
    else:
      left_out[f"{group.title} beside images, grey but no ids"] += len(group.images)
  return layers
