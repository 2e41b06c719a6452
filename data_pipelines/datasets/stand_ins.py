"""What the stand-ins that are trees of image files have in common: compressing beside rendering.

for _ in beside(partial(save, path(n), image) for n, image in rendered): ...
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

SAVERS = 2  # threads that compress while the next scenes render
QUEUE = 16  # images that may wait for them


def save(path: Path, image: np.ndarray | Image.Image) -> None:
  """Writes an image, uint8 [H, W], [H, W, 3] or [H, W, 4], as its name ends; else as a PNG."""
  image = image if isinstance(image, Image.Image) else Image.fromarray(image)
  path.parent.mkdir(parents=True, exist_ok=True)
  if path.suffix == ".jpg":
    # Colour at full resolution: the objects are told apart by it.
    image.save(path, "JPEG", quality=95, subsampling=0)
  else:
    image.save(path, "PNG", compress_level=1)


def beside(jobs: Iterable[Callable[[], None]]) -> Iterator[None]:
  """Runs jobs in threads, in order, while the next ones are made; yields as each is done."""
  with ThreadPoolExecutor(SAVERS) as pool:
    waiting = []
    for job in jobs:
      waiting.append(pool.submit(job))
      if len(waiting) > QUEUE:
        yield waiting.pop(0).result()
    yield from (one.result() for one in waiting)
