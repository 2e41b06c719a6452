"""The figures of a checkpoint: which there are, and what a model must have for them.

A new figure is a row of `FIGURES`, and its drawing: a function of the same name in `galleries` that
takes a `View` and returns a list of figures. This module imports nothing, for those who only ask.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Kind:
  """One row.

  Attributes:
    title: of the report's tab.
    about: what it shows.
    needs_slots: whether a model without slots cannot have it.
    num_slots, num_images: that it takes at least.
  """

  title: str
  about: str
  needs_slots: bool = False
  num_slots: int = 1
  num_images: int = 1


FIGURES = {
  "reconstructions": Kind("Reconstructions", "images, segmentations, and the part of each slot"),
  "slots": Kind("Slots", "everything of every slot", needs_slots=True),
  "samples": Kind("Samples", "images drawn from the prior"),
  "cumulative": Kind("Slot by slot", "samples as they are built", needs_slots=True),
  "traversals": Kind("Traversals", "the latents that say most, moved"),
  "swaps": Kind("Swaps", "slots exchanged between two images", needs_slots=True, num_images=2),
  "removal": Kind("Removal", "images without one of their slots", needs_slots=True, num_slots=2),
  "film": Kind("Film", "the same images at every checkpoint"),  # drawn by films.py
}


def impossible(name: str, model, num_images: int) -> str | None:
  """Why a model cannot have a figure of so many images; None where it can."""
  kind = FIGURES[name]
  if kind.needs_slots and not hasattr(model, "num_slots"):
    return f"{type(model).__name__} has no slots"
  if kind.needs_slots and model.num_slots < kind.num_slots:
    return f"it takes at least {kind.num_slots} slots"
  if num_images < kind.num_images:
    return f"it takes at least {kind.num_images} images"
  return None


def titles() -> dict[str, str]:
  """Beginnings of the names of figures' files -> titles of the report's tabs, in their order."""
  return {name: FIGURES[name].title for name in ("film", *FIGURES)}
