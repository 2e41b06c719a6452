"""Which features of a set of TensorFlow Datasets are pictures, and which of them are segmentations.

    found = pictures(builder.info.features)          # {"video": Pictures(...), ...}
    image, segmentation = choose(found, config.image_feature, config.segmentation_feature)

What is stored as PNG or JPEG is a picture: `Image`, `Video`, and both in sequences. In a record, a
tf.Example, each is a list of encoded files, under the names that lead to it: "video/frames".
"""

import re
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.sources import check_choice

NONE = "none"  # in place of the name of a feature: there is none
_SEGMENTS = re.compile(r"segment|mask|panoptic|instance|annotation|trimap|label", re.I)
_FIRST = re.compile(r"instance|panoptic", re.I)  # tell apart the objects of one class
_OTHERS = re.compile(r"depth|normal|flow|disparity|coordinate|edge", re.I)
_USUAL = ("image", "video", "frames", "rgb")  # names of what is looked at


class Pictures(NamedTuple):
  """A feature that is made of pictures.

  Attributes:
    name: of the feature, and of the list in a record.
    length: pictures in a record; None: it varies.
    channels: of a picture.
    dtype: of its values.
    is_labels: whether the set says that the values are classes.
  """

  name: str
  length: int | None
  channels: int | None
  dtype: np.dtype
  is_labels: bool

  @property
  def last_name(self) -> str:
    """Its name without those of what it is in."""
    return self.name.rpartition("/")[2]

  @property
  def is_segmentation(self) -> bool:
    """Whether it looks like a map of ids."""
    integers = np.issubdtype(self.dtype, np.integer)
    return integers and (self.is_labels or bool(_SEGMENTS.search(self.last_name)))

  @property
  def is_image(self) -> bool:
    """Whether it looks like what a camera sees."""
    other = self.is_segmentation or _OTHERS.search(self.last_name)
    return self.dtype == np.uint8 and not other


def pictures(features: tfds.features.FeaturesDict) -> dict[str, Pictures]:
  """All features of a set that are made of pictures, by name."""
  found = {}

  def walk(feature, info, name: str, depth: int):
    if isinstance(feature, tfds.features.FeaturesDict):
      for key, inner in sorted(feature.items()):
        walk(inner, info[key], f"{name}/{key}".lstrip("/"), depth)
    elif isinstance(feature, tfds.features.Sequence):  # a Video, too
      walk(feature.feature, info, name, depth + 1)
    elif isinstance(feature, tfds.features.Image) and depth < 2:
      of_many = len(info.shape) > len(feature.shape)  # not of a nested Dataset
      length = 1 if not depth else info.shape[0] if of_many else None
      labels = isinstance(feature, tfds.features.LabeledImage)
      dtype = np.dtype(feature.np_dtype)
      found[name] = Pictures(name, length, feature.shape[-1], dtype, labels)

  walk(features, features.get_tensor_info(), "", 0)
  return found


def choose(
  found: dict[str, Pictures], image: str | None, segmentation: str | None
) -> tuple[Pictures, Pictures | None]:
  """The feature of images and, where there is one, that of their segmentations.

  Args:
    found: from `pictures`.
    image: the name of the one to use; None: the one that looks like it.
    segmentation: likewise; "none": there is none.

  Raises:
    ValueError: there is no such feature, or several that may be meant.
  """
  chosen = _chosen(found, "data.image_feature", image, _images(found))
  if segmentation == NONE:
    return chosen, None
  maps = [one for one in found.values() if one.is_segmentation and one.length == chosen.length]
  first = [one for one in maps if _FIRST.search(one.last_name)]
  if segmentation is None and not maps:
    return chosen, None
  ids = _chosen(found, "data.segmentation_feature", segmentation, first or maps)
  if ids.length != chosen.length:
    raise ValueError(
      f"data.segmentation_feature is {ids.name!r} with {ids.length} pictures in a record, but "
      f"{chosen.name!r} has {chosen.length}"
    )
  return chosen, ids


def _images(found: dict[str, Pictures]) -> list[Pictures]:
  """Features that look like images, or the one of them that is named as usual."""
  images = [one for one in found.values() if one.is_image]
  for name in _USUAL:
    if usual := [one for one in images if one.last_name == name]:
      return usual
  return images


def _chosen(
  found: dict[str, Pictures], field: str, name: str | None, likely: list[Pictures]
) -> Pictures:
  if name is not None:
    check_choice(field, name, found)
    return found[name]
  if len(likely) == 1:
    return likely[0]
  if not likely:
    names = f"it has {', '.join(found)}: name one" if found else "no feature is an Image or Video"
    raise ValueError(f"{field} is not set, and no feature looks like it; {names}")
  names = ", ".join(one.name for one in likely)
  raise ValueError(f"{field} is not set, and several features look like it; name one of: {names}")
