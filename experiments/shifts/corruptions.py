"""What is done to images of any data set: grey squares, crops, contrast, noise, blur, JPEG.

    CORRUPTIONS["blur"].levels                          # values, `usual` that of training
    corrupted(batch, CORRUPTIONS["blur"], 0.04)         # a batch of data_pipelines.sample

What is drawn depends on the image's place in its split alone: the same for all models.
Occlusion and crop are as in Dittadi et al. 2022 (arXiv:2107.00637): a square at that of five places
where it hides least of the objects, which then counts as background; and the middle, enlarged.
"""

import dataclasses
import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

SEED = 4_000_037  # unlike any seed of a run
PLACES = 5  # that a grey square is tried at
GREY = 128


@dataclasses.dataclass(frozen=True)
class Corruption:
  """One kind.

  Attributes:
    apply: (image uint8 `[S,S,3]`, ids int32 `[S,S]`, value, rng) -> image and ids.
    usual: the value that changes nothing; None: not to apply it at all.
    levels: all values, in the order of the axis.
    form: how a value is written.
  """

  apply: Callable
  usual: float | None
  levels: tuple[float | None, ...]
  form: str = "{:g}"

  def label(self, value: float | None) -> str:
    """A value for people."""
    return "none" if value is None else self.form.format(value)


def _occluded(image, ids, side: float, rng):
  size = len(image)
  width = int(size * side)
  corners = rng.integers(0, size - width + 1, (PLACES, 2))
  squares = [(slice(y, y + width), slice(x, x + width)) for y, x in corners]
  square = min(squares, key=lambda place: np.count_nonzero(ids[place]))
  image, ids = image.copy(), ids.copy()
  image[square], ids[square] = GREY, 0
  return image, ids


def _cropped(image, ids, part: float, rng):
  del rng
  size = len(image)
  width = int(size * part)
  first = (size - width) // 2
  middle = (slice(first, first + width),) * 2
  whole = (size, size)
  image = Image.fromarray(image[middle]).resize(whole, Image.Resampling.BILINEAR)
  ids = Image.fromarray(ids[middle]).resize(whole, Image.Resampling.NEAREST)
  return np.asarray(image), np.asarray(ids)


def _to_bytes(image: np.ndarray) -> np.ndarray:
  return np.round(np.clip(image, 0, 255)).astype(np.uint8)


def _faded(image, ids, contrast: float, rng):
  del rng
  mean = image.mean((0, 1))
  return _to_bytes(mean + contrast * (image - mean)), ids


def _noisy(image, ids, std: float, rng):
  return _to_bytes(image + 255 * std * rng.standard_normal(image.shape)), ids


def _blurred(image, ids, std: float, rng):
  del rng
  blur = ImageFilter.GaussianBlur(std * len(image))
  return np.asarray(Image.fromarray(image).filter(blur)), ids


def _compressed(image, ids, quality: float, rng):
  del rng
  file = io.BytesIO()
  Image.fromarray(image).save(file, "JPEG", quality=int(quality))
  return np.asarray(Image.open(file)), ids


CORRUPTIONS = {
  "occlusion": Corruption(_occluded, 0.0, (0.0, 0.2, 0.3, 0.4, 0.5), "{:.0%}"),
  "crop": Corruption(_cropped, 1.0, (1.0, 0.8, 0.667, 0.5), "{:.0%}"),
  "contrast": Corruption(_faded, 1.0, (1.0, 0.6, 0.35, 0.2, 0.1), "{:.0%}"),
  "noise": Corruption(_noisy, 0.0, (0.0, 0.03, 0.06, 0.12, 0.25)),
  "blur": Corruption(_blurred, 0.0, (0.0, 0.01, 0.02, 0.04, 0.08), "{:.0%}"),
  "jpeg": Corruption(_compressed, None, (None, 75.0, 40.0, 20.0, 10.0)),
}


def corrupted(
  batch: dict[str, np.ndarray], corruption: Corruption, value: float
) -> dict[str, np.ndarray]:
  """A batch with "image", "index" and maybe "instances", all of whose images are corrupted."""
  images = batch["image"]
  ids = batch.get("instances", np.zeros(images.shape[:3], np.int32))
  changed = [
    corruption.apply(image, own, value, np.random.default_rng([SEED, place]))
    for image, own, place in zip(images, ids, batch["index"], strict=True)
  ]
  batch = batch | {"image": np.stack([image for image, _ in changed])}
  if "instances" in batch:
    batch["instances"] = np.stack([own for _, own in changed])
  return batch
