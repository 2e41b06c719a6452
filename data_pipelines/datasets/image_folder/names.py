"""What the names of files and folders say of their contents: images, masks, or something else.

    vocabulary = Vocabulary()
    vocabulary.role(Name.of("gtFine/train/aachen/a_gtFine_instanceIds.png"))      # "mask"
    split_of("images/val2017/0001.jpg")                                           # "val"

Names are read word by word: `train_masks`, `SegmentationObject` and `labelIds` are two words each.
"""

import functools
import re
from typing import NamedTuple

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")  # of pictures
MASK_WORDS = frozenset(
  "mask masks label labels labeled labelled annotation annotations annot annots anno annos seg "
  "segs segm segmentation segmentations semantic semantics gt gts groundtruth truth instance "
  "instances iseg inst ids trimap trimaps matte mattes manual panoptic parsing silhouette "
  "silhouettes bitmask bitmasks".split()
)
IMAGE_WORDS = frozenset(
  "image images img imgs im rgb rgba color colour photo photos picture pictures frame frames "
  "input inputs raw original originals".split()
)
# Beside a word for masks they make a drawing of masks for people.
DRAWN_WORDS = frozenset(
  "viz vis visualization visualizations visualisation visualisations overlay overlays preview "
  "previews colormap colormaps".split()
)
COLOUR_WORDS = frozenset(("color", "colors", "colour", "colours", "colored", "rgb"))
OTHER_QUANTITIES = frozenset(
  "depth depths disparity disparities normal normals flow flows edge edges boundary boundaries "
  "contour contours thumb thumbs thumbnail thumbnails coordinates albedo shading "
  "reflectance parts".split()
)
CLASS_WORDS = frozenset(("class", "classes", "semantic", "semantics", "stuff"))
INSTANCE_WORDS = frozenset(("instance", "instances", "inst", "object", "objects", "iseg"))
SPLIT_WORDS = {
  "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
  "dev": "val", "test": "test", "testing": "test",
}  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_FUSED = re.compile(r"(train|val|test)(.+)")
_KNOWN = re.compile("|".join(MASK_WORDS | IMAGE_WORDS | DRAWN_WORDS | OTHER_QUANTITIES))
_GROUND_TRUTH = re.compile("ground[ ._-]truth", re.IGNORECASE)
_PIECE = re.compile(rf"{_GROUND_TRUTH.pattern}|[^\s._-]+", re.IGNORECASE)


@functools.lru_cache(maxsize=2**14)
def words(name: str) -> tuple[str, ...]:
  """`train_masksPNG2` -> train, masks, png, 2; `trainannot` -> train, annot."""
  found = []
  for word in map(str.lower, _WORD.findall(_GROUND_TRUTH.sub("groundtruth", name))):
    fused = _FUSED.fullmatch(word)
    known = fused and fused[2] in MASK_WORDS | IMAGE_WORDS
    found += [fused[1], fused[2]] if known else [word]
  return tuple(found)


def split_of(path: str) -> str | None:
  """The split that the first folder with such a name stands for."""
  for folder in path.split("/")[:-1]:
    splits = {SPLIT_WORDS[word] for word in words(folder) if word in SPLIT_WORDS}
    if len(splits) == 1:
      return splits.pop()
  return None


class Name(NamedTuple):
  """A path in parts."""

  path: str
  folders: tuple[str, ...]
  stem: str

  @classmethod
  def of(cls, path: str) -> "Name":
    """Reads a path with "/"."""
    *folders, name = path.split("/")
    return cls(path, tuple(folders), name.rpartition(".")[0])


class Vocabulary:
  """Which names mean what.

  Args:
    chosen: names that a user chose, of folders or beginnings of file names, or of their ends, these
      with * before them -> "image" or "mask".
  """

  def __init__(self, chosen: dict[str, str] | None = None):
    self._chosen = chosen or {}
    self.of_name = functools.lru_cache(maxsize=2**14)(self._of_name)

  def _of_name(self, name: str) -> str | None:
    """The role of a folder, or of a part of a file's name."""
    if name in self._chosen:
      return self._chosen[name]
    found = set(words(name))
    if found & MASK_WORDS:
      return "drawn" if found & (DRAWN_WORDS | COLOUR_WORDS | OTHER_QUANTITIES) else "mask"
    if found & (OTHER_QUANTITIES | DRAWN_WORDS):
      return "other"
    return "image" if found & IMAGE_WORDS else None

  def role(self, name: Name) -> str | None:
    """image, mask, drawn (masks for people to look at), other (such as depth), or None.

    The nearest folder that says something counts; the file's own name only if it says more than
    that it is an image.
    """
    roles = [role for folder in name.folders if (role := self.of_name(folder))]
    by_folder = roles[-1] if roles else None
    pieces = " ".join(self._pieces(name.stem))
    by_stem = self.of_name(pieces)
    if "mask" in roles and COLOUR_WORDS & {*words(pieces), *words(name.folders[-1])}:
      return "drawn"
    if by_folder in ("mask", "drawn", "other") and by_stem in ("image", None):
      return by_folder
    return by_stem or by_folder

  def _pieces(self, stem: str) -> list[str]:
    """Parts of a file's name, between dots, dashes and so on, that have a role."""
    if ending := self._chosen_ending(stem):
      return [ending]
    if not self._chosen and not _KNOWN.search(stem.lower()):  # most names, of which there are many
      return []
    return [piece for piece in _PIECE.findall(stem) if self.of_name(piece)]

  def _chosen_ending(self, stem: str) -> str | None:
    ends = (name[1:] for name in self._chosen if name.startswith("*"))
    return next((end for end in ends if stem.endswith(end) and stem != end), None)

  def kind(self, name: Name) -> str:
    """What files of one layer have in common: their folders and ends of names with a role."""
    folders = [folder for folder in name.folders if self.of_name(folder)]
    kept = [[w for w in words(f) if w not in SPLIT_WORDS and not w.isdigit()] for f in folders]
    ending = "_".join(self._pieces(name.stem))
    return "/".join([" ".join(part) for part in kept] + [re.sub(r"\d", "", ending)])

  def title(self, name: Name) -> str:
    """The same for people, such as `SegmentationObject/` or `masks/*_mask`; data.masks takes it."""
    folders = [folder for folder in name.folders if self.of_name(folder)]
    ending = name.stem[len(self._without_end(name.stem)) :]
    pattern = f"*{ending}" if ending else re.sub(r"\d+", "*", name.stem)
    return "/".join([*folders, pattern if ending or not folders else ""])

  def _without_end(self, stem: str) -> str:
    if ending := self._chosen_ending(stem):
      return stem.removesuffix(ending).rstrip(" ._-")
    while (pieces := list(_PIECE.finditer(stem))) and self._says_nothing_else(pieces[-1][0]):
      stem = stem[: pieces[-1].start()].rstrip(" ._-")
    return stem

  def _says_nothing_else(self, piece: str) -> bool:
    """Whether a part of a name has a role and no number: gt_001, but not gt001."""
    return bool(self.of_name(piece)) and not any(map(str.isdigit, piece))

  # Keys: what an image and its mask have in common. The first say most.

  def exact(self, stem: str) -> str:
    """A file's name without its ending."""
    return stem

  def trimmed(self, stem: str) -> str:
    """Without what has a role at its end, or in front."""
    stem = self._without_end(stem)
    while (piece := _PIECE.search(stem)) and self._says_nothing_else(piece[0]):
      stem = stem[piece.end() :].lstrip(" ._-")
    return stem

  def core(self, stem: str) -> str:
    """Its words without those that have a role."""
    return " ".join(w for w in words(self._without_end(stem)) if not self.of_name(w))

  def shorter(self, stem: str) -> str | None:
    """The same without the last part; None if there is no other."""
    pieces = list(_PIECE.finditer(stem))
    return self.core(stem[: pieces[-1].start()]) if len(pieces) > 1 else None

  def unnumbered(self, stem: str) -> str | None:
    """The same without a number at its end; None if there is nothing else."""
    return re.sub(r" ?\d+$", "", self.core(stem)) or None

  def number(self, stem: str) -> str | None:
    """The number at its end; None if there is none."""
    found = re.search(r"\d+$", stem)
    return found and found[0]

  def plain_folders(self, folders: tuple[str, ...]) -> tuple[str, ...]:
    """Folders without their words that have a role."""
    return tuple(filter(None, map(self._plain_folder, folders)))

  def _plain_folder(self, folder: str) -> str:
    if not self.of_name(folder):
      return folder
    if folder in self._chosen:
      return ""
    known = MASK_WORDS | IMAGE_WORDS | DRAWN_WORDS | COLOUR_WORDS | OTHER_QUANTITIES
    return " ".join(word for word in words(folder) if word not in known)

  def other_folders(self, folders: tuple[str, ...]) -> tuple[str, ...]:
    """Folders that have no role."""
    return tuple(folder for folder in folders if not self.of_name(folder))
