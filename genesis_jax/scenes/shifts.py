"""How scenes can be made other than those of a data set, one dial at a time.

    shifts("multi_dsprites", "default")["sizes"]    # [Shift("0.5x", {"size": 0.5}), ...]
    shifts("tetrominoes", "train")["sizes"]         # "pieces lie on a grid": why there are none
    renderer("multi_dsprites", "default", image_size=64, size=0.5)

A shift changes nothing else: the scene of a key has the same places, colours and light.
"""

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import NamedTuple

from genesis_jax.scenes.rooms import room_scene
from genesis_jax.scenes.stream import SCENES, room_view

DIALS = ("objects", "colors", "shapes", "sizes", "overlap", "camera", "grounds")
MOST = {"rooms": 6}  # objects that find room


class Shift(NamedTuple):
  """A level of a dial: what it is called, and options of the scene; none: as in training."""

  label: str
  options: dict


def _levels(option: str, form: str, usual: float, *values: float) -> list[Shift]:
  """Values of an option, `usual` that of training."""
  return [Shift(form.format(x), {} if x == usual else {option: x}) for x in values]


COLORS = _levels("unseen_colors", "{:.0%}", 0.0, 0.0, 0.25, 0.5, 1.0)
NEW_SHAPES = _levels("unseen_shapes", "{:.0%}", 0.0, 0.0, 0.25, 0.5, 1.0)
SIZES = _levels("size", "{:g}x", 1.0, 0.5, 0.75, 1.0, 1.5, 2.0)
SOLID_SIZES = _levels("size", "{:g}x", 1.0, 0.5, 0.75, 1.0, 1.25, 1.5)  # larger ones would touch
OVERLAP = _levels("spread", "{:g}x", 1.0, 1.0, 0.75, 0.5, 0.25, 0.0)
CAMERA = _levels("camera_height", "{:g}x", 1.0, 0.6, 0.8, 1.0, 1.25, 1.6)
GROUNDS = _levels("texture", "{:g}", 0.0, 0.0, 0.1, 0.25, 0.5)

_FLAT = "the scenes are flat: there is no camera"
_SOLID = "solids stand side by side and hide each other as the camera sees them: see camera"
_NONE = dict.fromkeys(DIALS, "these scenes have no such option")
# Kind of scenes -> dial -> its levels, or why it has none. Numbers of objects follow from what a
# variant has: those beyond its most.
KINDS: dict[str, dict[str, list[Shift] | str | tuple[int, ...]]] = {
  "sprites": dict(
    objects=(0, 1, 2, 4), colors=COLORS, shapes=NEW_SHAPES, sizes=SIZES, overlap=OVERLAP,
    camera=_FLAT, grounds=GROUNDS,
  ),
  "tetrominoes": dict(
    objects=(1, 2), colors=COLORS, shapes=NEW_SHAPES, sizes="pieces lie on a grid",
    overlap="pieces lie on a grid, side by side", camera=_FLAT, grounds=GROUNDS,
  ),
  "rooms": dict(
    objects=(0, 1, 2, 3), colors=COLORS, shapes="all solids that there are occur in training",
    sizes=SOLID_SIZES, overlap=_SOLID, camera=CAMERA,
    grounds="walls and floors have patterns in training",
  ),
  "clevr": dict(
    objects=(0, 2, 4), colors=COLORS, shapes=NEW_SHAPES, sizes=SOLID_SIZES, overlap=_SOLID,
    camera=CAMERA, grounds=GROUNDS,
  ),
  "clevrtex": dict(
    objects=(0, 2, 4), colors="materials make the colours: measure clevrtex:outd in their place",
    shapes=NEW_SHAPES, sizes=SOLID_SIZES, overlap=_SOLID, camera=CAMERA,
    grounds="grounds have materials in training: measure clevrtex:camo in their place",
  ),
  "stacks": _NONE,
  "table": _NONE,
  "shelf": _NONE,
}  # fmt: skip
KIND_OF = {
  "multi_dsprites": "sprites",
  "multi_dsprites_colored": "sprites",
  "tetrominoes": "tetrominoes",
  "gqn": "rooms",
  "objects_room": "rooms",
  "clevr": "clevr",
  "clevrtex": "clevrtex",
  "shapestacks": "stacks",
  "sketchy": "table",
  "apc": "shelf",
}
# What single variants cannot have, though their kind can.
EXCEPTIONS: dict[tuple[str, str], dict[str, str]] = {
  ("multi_dsprites_colored", "binarized"): dict(
    colors="sprites are white", grounds="the background is black"
  ),
  ("objects_room", "empty_room"): dict.fromkeys(("colors", "sizes"), "the room is empty"),
  ("clevrtex", "outd"): dict(shapes="its shapes are the unseen ones"),
}


def _option(scene: Callable, name: str):
  """The value that an option of a scene has unless it is changed."""
  given = scene.keywords if isinstance(scene, partial) else {}
  function = scene.func if isinstance(scene, partial) else scene
  parameters = signature(room_scene if function is room_view else function).parameters
  return given[name] if name in given else parameters[name].default


def _counts(kind: str, scene: Callable, beyond: tuple[int, ...]) -> list[Shift] | str:
  """As in training, and exactly as many as there are at most and more."""
  if kind == "tetrominoes":
    most = _option(scene, "num_pieces")
    return [Shift(str(most), {})] + [Shift(str(most + n), {"num_pieces": most + n}) for n in beyond]
  if kind == "sprites":
    least, most = (_option(scene, f"{end}_sprites") for end in ("min", "max"))
    several = [dict(min_sprites=most + n, max_sprites=most + n) for n in beyond]
  else:
    least, most = _option(scene, "counts")
    several = [dict(counts=(most + n, most + n)) for n in beyond]
  levels = [
    Shift(str(most + n), one)
    for n, one in zip(beyond, several, strict=True)
    if (n or least < most) and most + n <= MOST.get(kind, most + n)
  ]
  if not levels or levels[-1].label == str(most):
    return f"no more than {most} objects find room"
  return [Shift(f"{least}-{most}" if least < most else str(most), {}), *levels]


def shifts(name: str, variant: str) -> dict[str, list[Shift] | str]:
  """Dial -> its levels, of which one has no options, or why the scenes have none.

  Args:
    name: of a data set in `stream.SCENES`.
    variant: of it.
  """
  kind, scene = KIND_OF[name], SCENES[name][variant]
  found = dict(KINDS[kind])
  if isinstance(found["objects"], tuple):
    found["objects"] = _counts(kind, scene, found["objects"])
  if variant == "unique" and name == "multi_dsprites":  # which draws from training's colours alone
    found["colors"] = [
      Shift(label, options and options | {"unique_colors": False})
      for label, options in found["colors"]
    ]
  return found | EXCEPTIONS.get((name, variant), {})
