"""The images below a folder, each with its masks, and by which convention these were found.

    found = find(Folder(root), listing, Choices())
    found.examples[0]            # Example("images/a.jpg", ("masks/a.png",), "map")
    found.layers                 # [Layer("masks/", ...)]: for people

Masks that a name gives away come first (`image_folder_names`), then what structure and content give
away (`image_folder_structure`), then outlines in JSON. Where an image has masks of several kinds,
instances come before anything else, before classes, before drawings for people; two of equal rank
are for the user to choose from.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from data_pipelines.common import DataError
from data_pipelines.file_trees import Folder
from data_pipelines.image_folder_content import Look
from data_pipelines.image_folder_matching import Match, conflict, match
from data_pipelines.image_folder_names import (
  CLASS_WORDS,
  ENDINGS,
  INSTANCE_WORDS,
  SPLIT_WORDS,
  Name,
  Vocabulary,
  words,
)
from data_pipelines.image_folder_outlines import Outlines, coco, is_labelme
from data_pipelines.image_folder_structure import unnamed

NONE = "none"  # as data.masks: all are images
INSTANCES, MASKS, CLASSES, UNNAMED, DRAWN, LABELME = range(6)  # ranks, the best first
_LABELME_FOLDER = "_json"  # what labelme_json_to_dataset adds to a name


class Choices(NamedTuple):
  """What a user says of a folder; None: it is recognised.

  Attributes:
    images: folder, or end of the file names, of the images.
    masks: the same of the masks, or a JSON file; `NONE`: there are none.
  """

  images: str | None = None
  masks: str | None = None


class Example(NamedTuple):
  """An image and what its mask is made from.

  Attributes:
    kind: map (one file of ids), objects (one file an object), coco, labelme.
  """

  image: str
  masks: tuple[str, ...] = ()
  kind: str = "map"


class Layer(NamedTuple):
  """Masks of one convention.

  Attributes:
    title: for people, and for data.masks.
    rank: of several masks of an image the one of the lowest counts.
    kind: as of an `Example`.
    masks: per image, paths.
  """

  title: str
  rank: int
  kind: str
  masks: dict[str, tuple[str, ...]]


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


def fits(choice: str, name: Name) -> bool:
  """Whether a file is what a user chose: by folder, path or end of its name."""
  folder, _, ending = choice.rpartition("*")
  folder = folder.strip("/") if ending else choice.rstrip("*").strip("/")
  ending = ending if "*" in choice else ""
  in_folder = folder in name.folders or f"/{name.path}".startswith(f"/{folder}/")
  if ending:
    return _ends(name.stem, ending) and (in_folder or not folder)
  return in_folder or _ends(name.stem, folder)


def _ends(stem: str, ending: str) -> bool:
  return stem.endswith(ending) and stem != ending


class _Finder:
  """The steps of `find`."""

  def __init__(self, tree: Folder, paths: Sequence[str], choices: Choices):
    self.tree, self.choices, self.left_out = tree, choices, Counter()
    visible = [path for path in paths if not _is_hidden(path)]
    self.left_out["hidden"] = len(paths) - len(visible)
    self.pictures = [Name.of(path) for path in visible if path.lower().endswith(ENDINGS)]
    self.jsons = [Name.of(path) for path in visible if path.lower().endswith(".json")]
    self.vocabulary = Vocabulary(self._chosen_names())
    self.outlines: dict[str, Outlines] = {}

  def _chosen_names(self) -> dict[str, str]:
    """Names that would say nothing had they not been chosen."""
    plain, chosen = Vocabulary(), {}
    for role, choice in (("image", self.choices.images), ("mask", self.choices.masks)):
      if choice in (None, NONE) or choice.lower().endswith(".json"):
        continue
      if not any(fits(choice, name) for name in self.pictures):
        raise DataError(
          f"data.{role}s is {choice!r}, but no picture below {self.tree.root} lies in such a "
          "folder or has a name that ends so; name a folder, such as labels, or an ending, such as "
          "_seg"
        )
      for part in filter(None, choice.replace("*", "/").split("/")):
        if plain.of_name(part) not in (role, "drawn"):
          chosen[part] = role
    return chosen

  def divided(self) -> tuple[list[Name], dict[str, list[Name]], list[Name]]:
    """Images; masks by kind; and what may be either something else or images after all."""
    images, masks, others = [], defaultdict(list), []
    for name in self.pictures:
      role = self._role(name)
      if role in ("mask", "drawn"):
        masks[self.vocabulary.kind(name) if self.choices.masks is None else role].append(name)
      elif role == "unchosen":
        self.left_out["pictures that were not chosen"] += 1
      else:
        (others if role == "other" else images).append(name)
    if not images:
      images, others = others, []
    return images, masks, others

  def _role(self, name: Name) -> str | None:
    if self.choices.masks == NONE:
      is_image = self.choices.images is None or fits(self.choices.images, name)
      return "image" if is_image else "unchosen"
    if self.choices.masks is not None and fits(self.choices.masks, name):
      return "mask"
    role = self.vocabulary.role(name)
    if self.choices.images is not None:
      if fits(self.choices.images, name):
        return "image"
      role = "unchosen" if role in ("image", None) else role
    if self.choices.masks is not None and role in ("mask", "drawn"):
      return "other"
    return role

  def named_layers(self, images: list[Name], masks: dict[str, list[Name]]) -> list[Layer]:
    """Masks that their names give away; those that turn out to be images are added to these."""
    layers, unmatched = [], []
    copies = self._labelme_copies(images)
    images[:] = [image for image in images if image.path not in copies]
    for kind, names in masks.items():
      found = match(names, images, self.vocabulary)
      if found.images:
        layers.append(self._layer(kind, names, found))
        self.left_out["masks without an image"] += len(names) - len(found.images)
      else:
        unmatched.append(names)
    no_images = not images
    for names in unmatched:
      if self.choices.masks is None and (no_images or not self._look(names).maps):
        images += names
      else:
        self._refuse_unmatched(names, images)
    return layers

  def _labelme_copies(self, images: list[Name]) -> set[str]:
    """`a_json/img.png` beside `a.jpg`."""
    known = {(image.folders, image.stem) for image in images}
    copies = {
      image.path
      for image in images
      if image.stem == "img"
      and image.folders
      and image.folders[-1].endswith(_LABELME_FOLDER)
      and (image.folders[:-1], image.folders[-1].removesuffix(_LABELME_FOLDER)) in known
    }
    self.left_out["copies of images by labelme"] += len(copies)
    return copies

  def _layer(self, kind: str, names: list[Name], found: Match) -> Layer:
    masks = defaultdict(list)
    for mask, image in found.images.items():
      masks[image].append(mask)
    many = any(len(paths) > 1 for paths in masks.values())
    title = self.vocabulary.title(names[0]) if self.choices.masks is None else self.choices.masks
    return Layer(
      title + (", a file an object" if many else ""),
      _rank(kind, self.vocabulary.role(names[0])),
      "objects" if many else "map",
      {image: tuple(sorted(paths)) for image, paths in masks.items()},
    )

  def _refuse_unmatched(self, names: list[Name], images: list[Name]) -> None:
    root = self.tree.root
    if found := conflict(names, images, self.vocabulary):
      mask, one, other = (root / path for path in found)
      raise DataError(f"{mask} is a mask of {one} or of {other}; rename one")
    key = self.vocabulary.trimmed(names[0].stem)
    raise DataError(
      f"{root / names[0].path} is a mask without an image; add {key}.png or .jpg, or remove it "
      "(--config.data.masks=none if it is an image, or name the folder of the masks there)"
    )

  def unnamed_layers(self, images: list[Name]) -> list[Layer]:
    """Masks that structure and content give away; takes them from the images."""
    layers = []
    if self.choices.masks is not None:
      return layers
    for group in unnamed(self.tree, images):
      taken = set(group.images)
      images[:] = [image for image in images if image.path not in taken]
      if group.are_masks:
        masks = {image: (mask,) for mask, image in group.images.items()}
        layers.append(Layer(group.title, UNNAMED, "map", masks))
      else:
        self.left_out[f"{group.title}, grey pictures beside images, no ids"] += len(taken)
    return layers

  def outline_layers(self, images: list[Name]) -> list[Layer]:
    """Masks in JSON files."""
    if self.choices.masks is not None and not self.choices.masks.lower().endswith(".json"):
      return []
    layers = []
    found = match(self.jsons, images, self.vocabulary) if self.jsons and images else Match({})
    jsons = [name for name in self.jsons if name.path in found.images]
    if jsons and is_labelme(self.tree.read(jsons[0].path)):
      masks = {image: (mask,) for mask, image in found.images.items()}
      layers.append(Layer("JSON of labelme", LABELME, "labelme", masks))
    else:
      jsons = []
    rest = {name.path for name in self.jsons} - {name.path for name in jsons}
    return layers + [layer for path in sorted(rest) if (layer := self._coco_layer(path, images))]

  def _coco_layer(self, path: str, images: list[Name]) -> Layer | None:
    if self.choices.masks is not None and not f"/{path}".endswith(f"/{self.choices.masks}"):
      return None
    outlines = coco(self.tree.read(path))
    if not outlines:
      return None
    masks = {}
    for name, image in _by_file_name(path, outlines, images).items():
      masks[image] = (path,)
      self.outlines[f"{path}:{image}"] = outlines[name]
    return Layer(path, _rank(path.rpartition("/")[2], "mask"), "coco", masks) if masks else None

  def _look(self, names: list[Name]) -> Look:
    return Look.at(self.tree, [name.path for name in names])

  def leave_out_others(self, images: list[Name], others: list[Name]) -> None:
    """Depth and the like of images is no image; without images it is."""
    groups = defaultdict(list)
    for name in others:
      groups[self.vocabulary.kind(name)].append(name)
    for names in groups.values():
      found = match(names, images, self.vocabulary).images
      images += [name for name in names if name.path not in found]
      self.left_out[f"{self.vocabulary.title(names[0])} beside images"] += len(found)


def find(tree: Folder, paths: Sequence[str], choices: Choices) -> Found:
  """Looks through the files of a folder, of which it reads a few.

  Raises:
    DataError: there are no images, masks belong to none, or it is for the user to choose.
  """
  finder = _Finder(tree, paths, choices)
  images, masks, others = finder.divided()
  layers = finder.named_layers(images, masks)
  finder.leave_out_others(images, others)
  if choices.masks != NONE:
    layers += finder.unnamed_layers(images)
    layers += finder.outline_layers(images)
  chosen = _chosen(tree, layers, finder.left_out)
  used = [layer for layer in layers if any(chosen[image] is layer for image in layer.masks)]
  examples = []
  for name in sorted(images):
    layer = chosen.get(name.path)
    masks = (layer.masks[name.path], layer.kind) if layer else ()
    examples.append(Example(name.path, *masks))
  outlines = {
    image: finder.outlines[f"{layer.masks[image][0]}:{image}"]
    for image, layer in chosen.items()
    if layer.kind == "coco"
  }
  read = {path for layer in layers for paths in layer.masks.values() for path in paths}
  unread = Counter(
    _ending(path)
    for path in paths
    if not _is_hidden(path) and not path.lower().endswith(ENDINGS) and path not in read
  )
  finder.left_out.update({f"{ending} files": count for ending, count in unread.items()})
  return Found(examples, used, outlines, +finder.left_out)


def _chosen(tree: Folder, layers: list[Layer], left_out: Counter[str]) -> dict[str, Layer]:
  """Per image, the layer of the best rank.

  Raises:
    DataError: two have the same rank.
  """
  chosen: dict[str, Layer] = {}
  for layer in sorted(layers, key=lambda layer: layer.rank):
    unused = 0
    for image, masks in layer.masks.items():
      other = chosen.setdefault(image, layer)
      if other is layer:
        continue
      unused += len(masks)
      if other.rank == layer.rank:
        raise DataError(
          f"{tree.root / other.masks[image][0]} and {tree.root / masks[0]} are masks of the same "
          f"image; choose with --config.data.masks='{_choice(other)}' or '{_choice(layer)}'"
        )
    if unused and layer.kind != "coco":
      left_out[f"masks in {layer.title}, since there are better ones"] += unused
  return chosen


def _choice(layer: Layer) -> str:
  return layer.title.partition(",")[0]


def _rank(kind: str, role: str | None) -> int:
  found = set(words(kind))
  if role == "drawn":
    return DRAWN
  if found & INSTANCE_WORDS:
    return INSTANCES
  return CLASSES if found & CLASS_WORDS or {"label", "ids"} <= found else MASKS


def _is_hidden(path: str) -> bool:
  return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def _ending(path: str) -> str:
  name = path.rpartition("/")[2]
  return f".{name.rpartition('.')[2].lower()}" if "." in name else "other"


def _by_file_name(path: str, outlines: dict, images: Sequence[Name]) -> dict[str, str]:
  """File name in a JSON of COCO's -> path of the image: the one that ends so.

  Of several that do, the one whose folder the JSON is named after, or lies in.
  """
  ends: dict[str, list[str]] = defaultdict(list)
  for image in images:
    ends[image.path.rpartition("/")[2]].append(image.path)
  found, hints = {}, set(words(path))
  folder = path.rpartition("/")[0]
  for name in outlines:
    wanted = name.replace("\\", "/").removeprefix("./")
    there = ends.get(wanted.rpartition("/")[2], [])
    whole = [image for image in there if f"/{image}".endswith(f"/{wanted}")] or there
    if len(whole) > 1:
      beside = [image for image in whole if image.rpartition("/")[0] == folder]
      named = [i for i in whole if set(words(i.rpartition("/")[0])) & hints & SPLIT_WORDS.keys()]
      whole = beside or named
    if len(whole) == 1:
      found[name] = whole[0]
  return found
