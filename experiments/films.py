"""The training film: the same images at each checkpoint of a run, as an animated GIF.

frames = [film_frame(view, step) for each checkpoint]
path.write_bytes(gif(frames))
"""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from experiments.galleries import View, segments
from experiments.pictures import BACKGROUND, PALETTE, coloured_instances, to_uint8
from experiments.sheets import MARGIN, Row, Sheet, table, titled

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
  reduced = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
  buffer = io.BytesIO()
  durations = [each] * (len(frames) - 1) + [LAST]
  reduced[0].save(buffer, "GIF", save_all=True, append_images=reduced[1:], duration=durations,
                  loop=0, optimize=False)  # fmt: skip
  return buffer.getvalue()


def _palette(frames: Sequence[Image.Image]) -> Image.Image:
  """One palette for all frames, so that what does not change does not flicker.

  It has the colours of segments exactly, and those that stand best for some frames.
  """
  exact = np.concatenate([PALETTE, [BACKGROUND, (0, 0, 0), (255, 255, 255)]])
  together = Image.fromarray(np.concatenate([np.asarray(frame) for frame in frames]))
  others = together.quantize(256 - len(exact), Image.Quantize.MEDIANCUT).getpalette()
  image = Image.new("P", (1, 1))
  image.putpalette([*exact.ravel().tolist(), *others[: 3 * (256 - len(exact))]])
  return image
