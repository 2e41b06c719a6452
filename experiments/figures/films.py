"""The training film: the same images at each checkpoint of a run, as an animated GIF.

content, caption = film(workdir, [1000, 2000], view)
"""

import dataclasses
import io
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from data_pipelines.reading.progress import with_progress
from experiments.console.errors import UserError
from experiments.figures.galleries import segments
from experiments.figures.panels import BACKGROUND, PALETTE, coloured_instances, to_uint8
from experiments.figures.sheets import MARGIN, Row, Sheet, table, titled
from experiments.figures.view import View
from experiments.runs.opening import opened

SECONDS = 8  # of a film, about
LONGEST, SHORTEST = 600, 80  # milliseconds of a frame
LAST = 2_000  # milliseconds of the last frame


def film(
  workdir: pathlib.Path,
  steps: list[int],
  view: View,
  title: str = "",
  scale: int = 1,
  raw_weights: bool = False,
) -> tuple[bytes, str]:
  """A GIF and its caption.

  Args:
    workdir: of the run.
    steps: of its checkpoints; damaged ones are left out.
    view: of the last of them.
    title: above each frame.
    scale: of pictures, see `sheets`.
    raw_weights: not their moving average, where the run keeps one.
  """
  frames, shown = [], []
  for step in with_progress(steps, len(steps), "film", "checkpoint", aside=True):
    now = view
    try:
      if step != steps[-1]:
        variables = opened(workdir, step, raw_weights=raw_weights)[2]
        now = dataclasses.replace(view, variables=variables)
      frames.append(film_frame(now, step, title).image(scale))
      shown.append(step)
    except UserError as error:
      if step == steps[-1]:
        raise
      print(f"skipped    frame of step {step}: {error}")
  if len(shown) == 1:
    print(f"note       film: one frame, since there is no checkpoint but that of step {shown[0]}")
  return gif(frames), f"The same images at the run's checkpoints: steps {shown}."


def film_frame(view: View, step: int, title: str = "") -> Sheet:
  """Images in columns: input, reconstruction and segmentations at one step."""
  panels = {"input": view.batch["image"], "reconstruction": to_uint8(view.out.recon)}
  if "instances" in view.batch:
    panels["instances"] = coloured_instances(view.batch["instances"])
  if view.num_slots:
    panels["segments"] = segments(view.log_masks, view.labels)
  rows = [Row(name, list(panel)) for name, panel in panels.items()]
  return titled(titled(table(rows), f"step {step}"), title, MARGIN)


def gif(frames: Sequence[Image.Image]) -> bytes:
  """Frames of one size as a GIF that repeats for ever and rests on the last."""
  each = min(LONGEST, max(SHORTEST, 1000 * SECONDS // len(frames)))
  palette = _palette([frames[0], frames[len(frames) // 2], frames[-1]])
  reduced = [_reduced(np.asarray(frame), palette) for frame in frames]
  buffer = io.BytesIO()
  durations = [each] * (len(frames) - 1) + [LAST]
  reduced[0].save(buffer, "GIF", save_all=True, append_images=reduced[1:], duration=durations,
                  loop=0, optimize=False)  # fmt: skip
  return buffer.getvalue()


def _palette(frames: Sequence[Image.Image]) -> np.ndarray:
  """One palette uint8 `[256,3]` for all frames: what does not change then does not flicker.

  It has the colours of segments exactly, and those that stand best for some frames.
  """
  exact = np.concatenate([PALETTE, [BACKGROUND, (0, 0, 0), (255, 255, 255)]])
  count = 256 - len(exact)
  together = Image.fromarray(np.concatenate([np.asarray(frame) for frame in frames]))
  others = np.array(together.quantize(count, Image.Quantize.MEDIANCUT).getpalette(), int)
  others = np.resize(others.reshape(-1, 3)[:count], (count, 3))
  return np.concatenate([exact, others]).astype(np.uint8)


def _reduced(pixels: np.ndarray, palette: np.ndarray) -> Image.Image:
  """A frame in the nearest colours of a palette; Pillow's own search is only about right."""
  colours, index = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
  nearest = np.empty(len(colours), np.uint8)
  for part in np.array_split(np.arange(len(colours)), len(colours) // 1000 + 1):
    distance = (colours[part, None].astype(int) - palette.astype(int)) ** 2
    nearest[part] = distance.sum(-1).argmin(1)
  image = Image.fromarray(nearest[index].reshape(pixels.shape[:2]), "P")
  image.putpalette(palette.ravel().tolist())
  return image
