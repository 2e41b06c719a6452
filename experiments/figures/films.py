"""The training film: the same images at each checkpoint of a run, as an animated GIF.

frames = [film_frame(view, step) for each checkpoint]
path.write_bytes(gif(frames))
"""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from experiments.figures.galleries import View, segments
from experiments.figures.panels import BACKGROUND, PALETTE, coloured_instances, to_uint8
from experiments.figures.sheets import MARGIN, Row, Sheet, table, titled

SECONDS = 8  # of a film, about
LONGEST, SHORTEST = 600, 80  # milliseconds of a frame
LAST = 2_000  # milliseconds of the last frame


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
