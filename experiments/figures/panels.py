"""Pictures of what a model sees: for TensorBoard, and as one PNG.

A row for each image: input, reconstruction, segmentations by attention and by decoded masks, then
for each slot the mask that makes the picture and the appearance; below them samples from the prior.
"""

import io

import jax
import numpy as np
from PIL import Image

from experiments.figures.sheets import MARGIN, Row, arranged, table, titled
from genesis_jax.noise import draw_noise
from genesis_jax.training import to_float

NUM_IMAGES = 8
KEY = 7  # of the latents and of the samples: the same in all pictures of a run

# Okabe & Ito's colours for all kinds of colour vision, some of Paul Tol's "muted" scheme, and
# those farthest from all before them as three kinds of dichromats see them (Machado et al. 2009).
PALETTE = np.array(
  [
    (0x56, 0xB4, 0xE9), (0xE6, 0x9F, 0x00), (0x00, 0x9E, 0x73), (0xF0, 0xE4, 0x42),
    (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0xCC, 0x79, 0xA7), (0xDD, 0xDD, 0xDD),
    (0x33, 0x22, 0x88), (0x88, 0x22, 0x55), (0x99, 0x99, 0x33), (0xAA, 0xFF, 0x88),
    (0x99, 0x11, 0xFF), (0x88, 0x00, 0x00), (0x99, 0x77, 0xFF), (0x55, 0x00, 0x55),
  ],
  np.uint8,
)  # fmt: skip
BACKGROUND = np.array((40, 40, 40), np.uint8)


def coloured(ids: np.ndarray) -> np.ndarray:
  """Segments as colours: integer ids `[...]` -> uint8 `[..., 3]`; negative ones are black."""
  colours = PALETTE[ids % len(PALETTE)]
  return np.where(ids[..., None] < 0, np.uint8(0), colours)


def coloured_instances(ids: np.ndarray) -> np.ndarray:
  """As `coloured`, with the background, id 0, in dark grey."""
  return np.where(ids[..., None] == 0, BACKGROUND, coloured(ids - 1))


def to_uint8(images: np.ndarray) -> np.ndarray:
  """Intensities in [0, 1] as uint8."""
  return (np.clip(np.asarray(images, np.float32), 0, 1) * 255 + 0.5).astype(np.uint8)


def grey(values: np.ndarray) -> np.ndarray:
  """Values in [0, 1], `[...]`, as shades of grey, uint8 `[..., 3]`."""
  return to_uint8(np.repeat(values[..., None], 3, -1))


class Painter:
  """Makes pictures of one model on the same images; compiled once.

  Args:
    model: of `genesis_jax.build_model`.
    batch: "image" uint8 `[N,S,S,3]`, and "instances" `[N,S,S]` where there are any.
  """

  def __init__(self, model, batch: dict[str, np.ndarray]):
    self._batch = {name: value[:NUM_IMAGES] for name, value in batch.items()}
    self._mixed = "decoded" if model.MIXES_DECODED_MASKS else "attention"
    count = len(self._batch["image"])
    key = jax.random.key(KEY)

    @jax.jit
    def look(variables, images):
      noise = draw_noise(key, model.noise_spec(), jax.numpy.arange(count))
      out = model.apply(variables, to_float(images), train=False, noise=noise)
      samples = model.apply(variables, 2 * NUM_IMAGES, method="sample", rngs={"noise": key})
      return out, samples

    self._look = look

  def outputs(self, variables):
    """(Outputs on the images, Samples), as numpy arrays."""
    return jax.device_get(self._look(variables, self._batch["image"]))

  def panels(self, out, samples) -> dict[str, np.ndarray]:
    """The parts of a picture: title -> uint8 `[N,S,S,3]`, or `[N,K,S,S,3]` for what slots have.

    The masks that the reconstruction is mixed with come before the others.
    """
    panels = {"input": self._batch["image"], "reconstruction": to_uint8(out.recon)}
    kinds = {"attention": out.log_masks, "decoded": out.log_masks_recon}
    kinds = {kind: np.asarray(x, np.float32) for kind, x in kinds.items() if x is not None}
    panels |= {kind: coloured(log_masks.argmax(1)) for kind, log_masks in kinds.items()}
    if "instances" in self._batch:
      panels["instances"] = coloured_instances(self._batch["instances"])
    for kind in sorted(kinds, key=lambda kind: kind != self._mixed):
      panels[f"{kind} mask"] = grey(np.exp(kinds[kind]))
    if kinds:
      masks = np.exp(kinds[self._mixed])
      panels["appearance"] = to_uint8(out.components)
      panels["masked appearance"] = to_uint8(masks[..., None] * out.components)
    return panels | {"samples": to_uint8(samples.images)}


def for_tensorboard(panels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Panels as uint8 `[N,H,W,3]`, with the slots of an image side by side."""

  def flat(panel):
    if panel.ndim == 4:
      return panel
    n, k, h, w, c = panel.shape
    return panel.transpose(0, 2, 1, 3, 4).reshape(n, h, k * w, c)

  return {f"images/{title.replace(' ', '_')}": flat(panel) for title, panel in panels.items()}


def _columns(panels: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
  whole = [(title, panel) for title, panel in panels.items() if panel.ndim == 4]
  columns = [(title, panel) for title, panel in whole if title != "samples"]
  title = next((title for title in panels if title.endswith(" mask")), None)
  for k in range(panels[title].shape[1] if title else 0):
    columns += [(f"{title} {k + 1}", panels[title][:, k])]
    columns += [(f"slot {k + 1}", panels["appearance"][:, k])]
  return columns


def grid(panels: dict[str, np.ndarray], caption: str = "") -> Image.Image:
  """One picture of all panels, with titles above the columns and samples below."""
  columns = _columns(panels)
  rows = [Row("", [panel[i] for _, panel in columns]) for i in range(len(panels["input"]))]
  images = table(rows, [title for title, _ in columns])
  samples, width = panels["samples"], max(len(columns), NUM_IMAGES)
  samples = samples[: max(1, len(samples) // width) * width]  # whole rows
  rows = [Row("", list(samples[i : i + width])) for i in range(0, len(samples), width)]
  below = titled(table(rows), "samples from the prior")
  return titled(arranged([images, below], 1), caption, MARGIN).image()


def png(image: Image.Image) -> bytes:
  """A picture in PNG format."""
  buffer = io.BytesIO()
  image.save(buffer, "PNG")
  return buffer.getvalue()
