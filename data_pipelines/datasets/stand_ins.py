"""What stand-ins have in common: checks, a folder that appears once it is complete, compressing.

    def write(out_dir, *, variant, num_scenes, seed=0):
      check_request(variant, VARIANTS, seed)
      check_least(num_scenes, 10, "all splits need at least 10 images")
      notes = dict(what="...", variant=variant, ..., version=VERSION)
      return render(Path(out_dir), notes, partial(_images, seed=seed), num_scenes, "image")

    def _images(folder, seed):           # one step for each image that is written into the folder
      yield from beside(partial(save, path(n), image) for n, image in rendered)

A killed program leaves a hidden folder behind at most, never half a data set under its name.
"""

import contextlib
import io
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_pipelines.durable import NameTaken, partial_folder
from data_pipelines.reading.progress import in_order, with_progress
from data_pipelines.sources import STAND_IN_FILE, check_choice, check_seed

WORKERS = 2  # threads that compress while the next scenes render
QUEUE = 16  # results that may wait for them


def check_request(variant: str, variants: Iterable[str], seed: int) -> None:
  """Raises a ValueError for an unknown variant or an impossible seed."""
  check_choice("variant", variant, variants)
  check_seed(seed)


def check_least(num_scenes: int, least: int, why: str) -> None:
  """Raises a ValueError, which says why, if there are fewer scenes."""
  if num_scenes < least:
    raise ValueError(f"num_scenes is {num_scenes}; {why}")


def render(
  final: Path, notes: dict, steps: Callable[[Path], Iterable], total: int, unit: str
) -> Path:
  """Renders a stand-in, unless a complete one is there already.

  Args:
    final: folder of the files, made if need be.
    notes: what the stand-in says of itself.
    steps: writes into the folder that it is given, step by step.
    total: how many steps.
    unit: what a step makes.

  Returns:
    `final`.

  Raises:
    FileExistsError: `final` is in use for something else.
  """
  if not (final / STAND_IN_FILE).exists():
    with published(final, notes) as folder:
      for _ in with_progress(steps(folder), total, f"rendering {final}", unit):
        pass
  return final


@contextlib.contextmanager
def published(final: Path, notes: dict) -> Iterator[Path]:
  """A folder to fill; it gets the name `final`, with the notes in it, when the body is done.

  If another process was faster, its folder stays and this one is dropped.

  Raises:
    FileExistsError: `final` is in use for something that is no stand-in.
  """
  if final.exists() and any(final.iterdir()) and not (final / STAND_IN_FILE).exists():
    raise FileExistsError(f"{final} exists and is not a stand-in; remove it")
  try:
    with partial_folder(final) as partial:
      yield partial
      (partial / STAND_IN_FILE).write_text(json.dumps(notes, indent=2) + "\n")
  except NameTaken:
    if not (final / STAND_IN_FILE).exists():
      raise FileExistsError(f"{final} exists and is not a stand-in; remove it") from None


def jpeg(image: np.ndarray, **options) -> bytes:
  """An image uint8 [H, W] or [H, W, 3] as a JPEG; `options` are Pillow's."""
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, "JPEG", **options)
  return buffer.getvalue()


def png(ids: np.ndarray) -> bytes:
  """Ids of instances [H, W], below 256, as a PNG."""
  buffer = io.BytesIO()
  Image.fromarray(ids.astype(np.uint8)).save(buffer, "PNG", compress_level=1)
  return buffer.getvalue()


def save(path: Path, image: np.ndarray | Image.Image) -> None:
  """Writes an image, uint8 [H, W], [H, W, 3] or [H, W, 4], as its name ends; else as a PNG."""
  image = image if isinstance(image, Image.Image) else Image.fromarray(image)
  path.parent.mkdir(parents=True, exist_ok=True)
  if path.suffix == ".jpg":
    # Colour at full resolution: the objects are told apart by it.
    image.save(path, "JPEG", quality=95, subsampling=0)
  else:
    image.save(path, "PNG", compress_level=1)


def beside(jobs: Iterable[Callable[[], Any]], queue: int = QUEUE) -> Iterator[Any]:
  """Runs jobs in threads while the next ones are made; yields what they return, in order."""
  with ThreadPoolExecutor(WORKERS) as pool:
    yield from in_order(pool, lambda job: job(), jobs, queue)
