"""The figures of a checkpoint: reconstructions, slots, samples and edits.

  view = View(model, variables, Network(model), batch)  # of view.py
  for figure in drawn("reconstructions", view):
    figure.sheet.image().save(f"{figure.name}.png")

A row of `catalogue.FIGURES` is drawn by the function of its name.
A slot, and the segment it makes, has the same colour in all of them.
"""

import dataclasses

import numpy as np

from experiments.figures.panels import coloured_instances, grey, to_uint8
from experiments.figures.sheets import Row, Sheet, Tile, arranged, table
from experiments.figures.view import View, plain_labels
from genesis_jax import editing

STEPS = (-2.0, -1.0, 0.0, 1.0, 2.0)  # of traversals, standard deviations of the prior
PORTRAIT = 1.2  # largest height of a page of blocks, in widths


@dataclasses.dataclass(frozen=True)
class Figure:
  """A sheet with a name for its file, and a sentence or two below it."""

  name: str
  sheet: Sheet
  caption: str


def drawn(name: str, view: View) -> list[Figure]:
  """The figures of a row of `catalogue.FIGURES`."""
  return globals()[name](view)


def segments(log_masks: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Colour of the slot whose mask is the largest, uint8 `[N,S,S,3]`."""
  owner = log_masks.argmax(1)
  return coloured_instances(np.take_along_axis(labels[:, :, None, None], owner[:, None], 1)[:, 0])


def whole_images(view: View) -> dict[str, np.ndarray]:
  """Heading -> uint8 `[N,S,S,3]`: what there is of images and segmentations."""
  out, batch = view.out, view.batch
  panels = {"input": batch["image"], "reconstruction": to_uint8(out.recon)}
  if "instances" in batch:
    panels["instances"] = coloured_instances(batch["instances"])
  if out.log_masks is not None:
    panels["attention"] = segments(out.log_masks, view.labels)
  if out.log_masks_recon is not None:
    panels["decoded"] = segments(out.log_masks_recon, view.labels)
  return panels


def slot_tiles(pixels: np.ndarray, labels: np.ndarray) -> list[Tile]:
  """One image's slots uint8 `[K,S,S,3]` under strips in their colours, in the labels' order."""
  colours = coloured_instances(labels)
  return [Tile(pixels[k], colours[k]) for k in labels.argsort(kind="stable")]


def _shares(log_masks, components) -> np.ndarray:
  return to_uint8(np.exp(log_masks)[..., None] * components)


def _slot_headings(count: int, matched: bool = False) -> list[str]:
  # Where slots are matched a column has other slots of each image.
  return [f"{'match' if matched else 'slot'} {k + 1}" for k in range(count)]


def _means(view: View) -> str:
  order = ", in the order and colours of the instances they overlap with" if view.match else ""
  return f"Latents are at the means of their posteriors; slots have one colour throughout{order}."


def _own_masks(view: View) -> str:
  """A word on models whose masks come from the image, and not from latents."""
  if not view.keeps_attention:
    return ""
  return " Masks are those of the attention, as in training: they go with slots, renormalised."


def _both_masks(view: View) -> str:
  """What the two segmentations of a model with two kinds of masks are."""
  if view.out.log_masks_recon is None:
    return ""
  mixed, other = "the reconstruction is mixed with", "no pixel of the reconstruction uses them"
  if view.keeps_attention:
    return (
      f" Attention: masks that {mixed}; decoded: what the latents alone tell of these, as for "
      f"samples ({other}, so that they may be coarse)."
    )
  return f" Attention: masks that choose what a slot sees ({other}); decoded: masks that {mixed}."


def reconstructions(view: View) -> list[Figure]:
  """A row for each image: whole images, then mask x appearance of each slot."""
  panels, slots = whole_images(view), view.num_slots
  shares = _shares(view.log_masks, view.out.components) if slots else None
  rows = []
  for i in range(len(view.batch["image"])):
    tiles = [panel[i] for panel in panels.values()]
    rows.append(Row(str(i + 1), tiles + (slot_tiles(shares[i], view.labels[i]) if slots else [])))
  groups = {len(panels): "mask x appearance"} if slots else {}
  sheet = table(rows, [*panels, *_slot_headings(slots, view.match)], groups)
  caption = "Images and their reconstructions"
  if slots:
    caption += ", segmentations by the largest mask, and the part of each slot"
  return [Figure("reconstructions", sheet, f"{caption}.{_both_masks(view)} {_means(view)}")]


def slots(view: View) -> list[Figure]:
  """A block for each image: everything that there is of its slots."""
  panels, out = whole_images(view), view.out
  parts = {
    "mask x appearance": _shares(view.log_masks, out.components),
    "appearance": to_uint8(out.components),
  }
  masks = {"attention mask": out.log_masks, "scope": out.log_scopes,
           "decoded mask": out.log_masks_recon}  # fmt: skip
  parts |= {name: grey(np.exp(x)) for name, x in masks.items() if x is not None}
  count = max(len(panels), len(parts))
  lefts = [*panels.items()] + [("", None)] * (count - len(panels))
  rights = [*parts.items()] + [("", None)] * (count - len(parts))

  def row(image, left, right):
    whole = None if left[1] is None else left[1][image]
    no_slots = [None] * view.num_slots
    tiles = no_slots if right[1] is None else slot_tiles(right[1][image], view.labels[image])
    return Row(left[0], [whole, *tiles], right[0])

  headings = _slot_headings(view.num_slots, view.match)
  blocks = [
    table([row(i, *pair) for pair in zip(lefts, rights, strict=True)],
          [f"image {i + 1}", *headings], {1: ""})
    for i in range(len(view.batch["image"]))
  ]  # fmt: skip
  caption = "What each slot contributes to the reconstruction of each image."
  caption += f"{_both_masks(view)} {_means(view)}"
  return [Figure("slots", _page(blocks), caption)]


def _page(blocks: list[Sheet]) -> Sheet:
  """Blocks side by side until the page is no higher than a sheet of paper."""
  for columns in range(1, len(blocks) + 1):
    page = arranged(blocks, columns)
    if page.height <= PORTRAIT * page.width:
      break
  return page


def samples(view: View) -> list[Figure]:
  """A row for each sample from the prior, with its slots; images alone without slots."""
  drawn = view.samples
  images = to_uint8(drawn.images)
  if not view.num_slots:
    rows = [Row("", list(images[i : i + 8])) for i in range(0, len(images), 8)]
    rows[-1] = Row("", [*rows[-1].tiles, *[None] * (len(rows[0].tiles) - len(rows[-1].tiles))])
    return [Figure("samples", table(rows), "Samples from the prior.")]
  labels = plain_labels(len(images), view.num_slots)
  colours = segments(drawn.log_masks, labels)
  shares, appearances = _shares(drawn.log_masks, drawn.components), to_uint8(drawn.components)
  rows = [
    Row(str(i + 1), [images[i], colours[i], *slot_tiles(shares[i], labels[i]),
                     *slot_tiles(appearances[i], labels[i])])
    for i in range(len(images))
  ]  # fmt: skip
  headings = ["sample", "segments", *2 * _slot_headings(view.num_slots)]
  sheet = table(rows, headings, {2: "mask x appearance", 2 + view.num_slots: "appearance"})
  caption = "Samples drawn slot after slot from the prior, and the slots they are made of."
  return [Figure("samples", sheet, caption)]


def cumulative(view: View) -> list[Figure]:
  """Samples as they are put together: the first slot, the first two, and so on."""
  stages = [to_uint8(stage) for stage in editing.cumulative(view.samples)]
  rows = [Row(str(i + 1), [stage[i] for stage in stages]) for i in range(len(stages[0]))]
  sheet = table(rows, ["slot 1", *(f"slots 1-{k}" for k in range(2, len(stages) + 1))])
  caption = "Samples from the prior, built slot by slot; black is what no slot has taken yet."
  return [Figure("cumulative", sheet, caption)]


def traversals(view: View) -> list[Figure]:
  """For each latent a figure: a row for each slot, a group of columns for each number moved."""
  return [_traversal(view, name, view.edit[0]) for name in view.model.latent_names()]


def _traversal(view: View, name: str, image: int) -> Figure:
  latent, start = view.out.latents[name], editing.one(view.latents, image)
  nats = editing.nats_per_dim(latent)
  dims = np.argsort(-nats, kind="stable")[: view.num_dims].tolist()
  std = np.ones_like(latent.mean) if latent.prior_std is None else latent.prior_std
  slots = range(view.num_slots) if view.num_slots else [None]
  edits = []
  for slot in slots:
    for dim in dims:
      where = (image, dim) if slot is None else (image, slot, dim)
      values = latent.mean[where] + np.array(STEPS) * std[where]
      edits.append(editing.moved(start, name, slot, dim, values.tolist()))
  images = to_uint8(view.decode(editing.joined(edits)).images)
  images = images.reshape(len(slots), len(dims), len(STEPS), *images.shape[1:])
  titles = [f"{name} dim {dim} ({nats[dim]:.2g} nats)" for dim in dims]
  steps = ["mean" if s == 0 else f"{s:+g} std" for s in STEPS]
  caption = (
    f"Image {image + 1}: one number of the {name} latent moved by so many standard deviations of "
    "its prior from the posterior's mean, everything else fixed; the numbers whose posteriors are "
    f"farthest from their priors (KL, mean over images and slots).{_own_masks(view)}"
  )
  if view.num_slots:
    if name == "mask" and "component" in view.out.latents:
      caption += " The last slot takes what the others leave: its mask latent moves nothing."
    # Columns in front: what is traversed.
    part = _shares(view.decoded.log_masks[image], view.decoded.components[image])
    colours = coloured_instances(view.labels[image])
    rows = [
      Row(f"slot {k + 1}", [Tile(part[k], colours[k]), *images[k].reshape(-1, *images.shape[3:])])
      for k in slots
    ]
    groups = {1 + i * len(STEPS): title for i, title in enumerate(titles)}
    sheet = table(rows, ["slot", *steps * len(dims)], groups)
  else:
    rows = [Row(title, list(row)) for title, row in zip(titles, images[0], strict=True)]
    sheet = table(rows, steps)
  return Figure(f"traversals_{name}", sheet, caption)


def swaps(view: View) -> list[Figure]:
  """Two images, with every slot of one exchanged for every slot of the other."""
  a, b = view.edit
  sheets = [_swaps(view, a, b), _swaps(view, b, a)]
  caption = (
    f"Left: image {a + 1}, with the latents of its slot at the left replaced by those of the slot "
    f"of image {b + 1} above. Right: the other way round.{_own_masks(view)}"
  )
  if "mask" in view.model.latent_names():
    caption += " Slots share out what the slots before them leave, so that later masks change too."
  return [Figure("swaps", arranged(sheets, 2), caption)]


def _swaps(view: View, into: int, source: int) -> Sheet:
  target, other = editing.one(view.latents, into), editing.one(view.latents, source)
  slots = range(view.num_slots)
  edits = [editing.exchanged(target, i, other, j) for i in slots for j in slots]
  images = to_uint8(view.decode(editing.joined(edits)).images)
  images = images.reshape(len(slots), len(slots), *images.shape[1:])
  decoded = view.decoded
  parts = _shares(decoded.log_masks, decoded.components)
  colours = coloured_instances(view.labels)
  header = [Tile(parts[source, j], colours[source, j]) for j in slots]
  first, last = to_uint8(decoded.images[into]), to_uint8(decoded.images[source])
  rows = [Row("", [first, *header, last])]
  for i in slots:
    own = Tile(parts[into, i], colours[into, i])
    rows.append(Row(f"slot {i + 1}", [own, *images[i], None], apart=i == 0))
  headings = [f"image {into + 1}", *_slot_headings(len(slots)), f"image {source + 1}"]
  return table(rows, headings, {1: f"slots of image {source + 1}", 1 + len(slots): ""})


def removal(view: View) -> list[Figure]:
  """A row for each image: decoded, then without each slot in turn."""
  decoded, slots = view.decoded, range(view.num_slots)
  fewer = [to_uint8(editing.without(decoded, k).images) for k in slots]
  images, colours = to_uint8(decoded.images), coloured_instances(view.labels)
  rows = [
    Row(str(i + 1), [view.batch["image"][i], images[i],
                     *(Tile(fewer[k][i], colours[i, k]) for k in slots)])
    for i in range(len(images))
  ]  # fmt: skip
  headings = ["input", "decoded", *(f"no slot {k + 1}" for k in slots)]
  caption = "Images decoded from their latents, whole and with one slot left out; the masks of "
  caption += "the others are renormalised. Strips have the colour of the slot that is missing."
  caption += _own_masks(view)
  return [Figure("removal", table(rows, headings, {2: ""}), caption)]
