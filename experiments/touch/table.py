"""From a state, a small JSON value, to pictures: all that the page asks for, without a browser.

  table = Table.open([workdir])
  state = {"start": {"run": 0, "image": 3}, "edits": [["hide", 1]]}
  state = edited(state, ["move", 2, "component", 5, 1.5])
  table.pictures(state)                           # JSON, with PNGs as base64
  print(table.lines(state))                       # Python that makes the same scene

A scene starts from an image ("image": number of a test image; "png": one's own) or from the prior
("draw": seed, perhaps "slots"). An edit is the name of a method of `Scene` and its arguments, where
another scene is its state.
"""

import base64
import binascii
import io
import json
import pathlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from PIL import Image

from data_pipelines.reading import images as files
from experiments.console.errors import explained
from experiments.figures.data import chosen
from experiments.figures.galleries import STEPS
from experiments.figures.panels import PALETTE, coloured_instances, grey, png, to_uint8
from experiments.runs.opening import opened
from experiments.touch.scenes import Scene, SceneError, from_image, from_prior
from experiments.touch.stage import Stage

# Edit -> kinds of its arguments.
EDITS = {
  **dict.fromkeys(("hide", "show", "solo", "take_out", "put_back"), ("slot",)),
  **dict.fromkeys(("lock", "unlock", "copy"), ("slot",)),
  "show_all": (),
  "move": ("slot", "latent", "number", "by"),
  "draw": ("slot", "seed"),
  "draw_rest": ("seed",),
  "add": ("seed",),
  "put": ("scene", "slot"),
  "swap": ("slot", "scene", "slot"),
}
KINDS = {"slot": int, "number": int, "seed": int, "latent": str, "by": (int, float), "scene": dict}
MOST_EDITS = 300  # of a state, with those of the states within it
CACHED = 600  # scenes


def edited(state: dict, edit: list) -> dict:
  """The state after one more edit."""
  return state | {"edits": [*state["edits"], edit]}


def encoded(pixels: np.ndarray) -> str:
  """Uint8 pixels as a PNG, in base64."""
  return base64.b64encode(png(Image.fromarray(pixels))).decode()


def num_edits(state) -> int:
  """How many edits a state has, with those of the states within it; SceneError if it is none."""
  try:
    edits = state["edits"]
    for name, *arguments in edits:
      kinds = EDITS[name]
      for kind, value in zip(kinds, arguments, strict=True):
        if not isinstance(value, KINDS[kind]) or isinstance(value, bool):
          raise TypeError
    if not isinstance(state["start"], dict) or state.keys() != {"start", "edits"}:
      raise TypeError
    within = (value for _, *values in edits for value in values if isinstance(value, dict))
    return len(edits) + sum(map(num_edits, within))
  except (KeyError, TypeError, ValueError, RecursionError) as error:
    raise SceneError("this link does not describe a scene") from error


class Table:
  """Checkpoints, test images, and the scenes that were looked at last.

  Args:
    stages: of the checkpoints.
    images: uint8 `[N,S,S,3]`.
    about: Python that makes this table.
  """

  def __init__(self, stages: Sequence[Stage], images: np.ndarray, about: str):
    self.stages, self.images, self._about = stages, images, about
    self._scenes: OrderedDict[str, Scene] = OrderedDict()

  @classmethod
  def open(
    cls,
    workdirs: Sequence[str],
    steps: Sequence[int | None] = (None,),
    num: int = 24,
    split: str = "test",
    seed: int = 0,
    data_dir: str | None = None,
  ) -> "Table":
    """Each checkpoint of each run; images are of the first run's data.

    Raises:
      UserError, DataError: in one line.
    """
    arguments = f"{[str(path) for path in workdirs]}, {list(steps)}, {num}, {split!r}, {seed}, "
    stages, images = [], None
    for workdir in map(pathlib.Path, workdirs):
      for step in steps:
        with explained():
          step, model, variables, config = opened(workdir, step, data_dir)
          if images is None:
            images = chosen(config.data, split, num, seed)["image"]
        own = _resized(images, config.model.image_size, config.data.resize)
        data = f"{config.model.name} on {config.data.name}, step {step} ({workdir.name})"
        stages.append(Stage(data, model, jax.device_put(variables), own, config.data.resize))
    return cls(stages, images, f"Table.open({arguments}{data_dir!r})")

  def compile(self) -> Iterator[None]:
    """Does once what would be waited for later; yields `num_programs` times."""
    for stage in self.stages:
      yield from stage.compile()

  @property
  def num_programs(self) -> int:
    """How often `compile` yields."""
    return sum(stage.num_programs for stage in self.stages)

  # Scenes.

  def start(self, run: int, image=None, png=None, draw=None, slots=None) -> Scene:
    """The scene that edits begin with; see above."""
    stage = self.stages[_index(run, len(self.stages), "model")]
    if draw is not None:
      return from_prior(stage, _index(draw, 2**32, "seed"), slots and _index(slots, 99, "slot"))
    if png is not None:
      pixels = self.cropped(base64.b64decode(png), run)
      return from_image(stage, pixels)
    return from_image(stage, stage.images[_index(image, len(self.images), "image")])

  def cropped(self, data: bytes, run: int = 0) -> np.ndarray:
    """A file as an image for a model: its central square, resized as in training.

    Raises:
      SceneError: it is too large, or no image that can be read.
    """
    stage = self.stages[run]
    try:
      image = files.read_rgb(data, files.ALL_FORMATS)
      return files.fitted_rgb(image, stage.images.shape[1], stage.resize)
    except ValueError as error:
      raise SceneError(f"This file cannot be used: {error}.") from error

  def scene(self, state: dict) -> Scene:
    """The scene of a state.

    Raises:
      SceneError: it cannot be.
    """
    if num_edits(state) > MOST_EDITS:
      raise SceneError(f"more than {MOST_EDITS} edits; undo some, or start from another image")
    todo = []
    while (key := json.dumps(state)) not in self._scenes and state["edits"]:
      todo.append((key, state["edits"][-1]))
      state = state | {"edits": state["edits"][:-1]}
    if key not in self._scenes:
      try:
        self._remember(key, self.start(**state["start"]))
      except (TypeError, binascii.Error) as error:
        raise SceneError("this link does not describe a scene") from error
    scene = self._scenes[key]
    for key, (name, *arguments) in reversed(todo):
      scene = getattr(scene, name)(*self._arguments(scene, name, arguments))
      self._remember(key, scene)
    return scene

  def _remember(self, key: str, scene: Scene) -> None:
    self._scenes[key] = scene
    while len(self._scenes) > CACHED:
      self._scenes.popitem(last=False)

  def _arguments(self, scene: Scene, name: str, values: list) -> list:
    """Values of an edit, with scenes in place of states."""
    arguments, owner = [], scene
    for kind, value in zip(EDITS[name], values, strict=True):
      if kind == "scene":
        value = owner = self.scene(value)
      elif kind in ("slot", "seed"):
        value = _index(value, len(owner.parts) if kind == "slot" else 2**32, kind)
      arguments.append(value)
    return arguments

  # What the page shows.

  def about(self) -> dict:
    """What there is, as JSON."""
    return {
      "images": [encoded(image) for image in self.images],
      "palette": PALETTE.tolist(),
      "steps": list(STEPS),
      "runs": [
        dict(name=stage.name, slots=stage.has_slots, num_slots=stage.num_slots, most=stage.most,
             draws=stage.draws, size=stage.images.shape[1], resize=stage.resize, dims=stage.dims)
        for stage in self.stages
      ],
    }  # fmt: skip

  def pictures(self, state: dict) -> dict:
    """What a state looks like, as JSON."""
    scene = self.scene(state)
    colours = coloured_instances(scene.ids + 1)
    picture = {
      "picture": encoded(scene.picture),
      "segments": encoded(colours),
      "ids": scene.ids.ravel().tolist(),
      "input": None if scene.image is None else encoded(scene.image),
      "can_add": scene.can_add,
      "slots": [self._slot(scene, slot) for slot in range(len(scene.parts))],
    }
    if scene.image is not None:
      error = scene.samples.images[0] - scene.image.astype(np.float32) / 255
      picture["mse"] = float((error**2).mean())
    return picture

  def _slot(self, scene: Scene, slot: int) -> dict:
    mask, appearance = scene.alone(slot)
    source, number = scene.parts[slot]
    owner = source or scene
    nats = float(owner.nats[number]) if number < len(owner.nats) else float("nan")
    return {
      "mask": encoded(grey(mask)),
      "appearance": encoded(to_uint8(appearance)),
      "masked": encoded(to_uint8(mask[..., None] * appearance)),
      "share": float(mask.mean()),
      "nats": None if np.isnan(nats) else nats,
      "moves": [[name, dim, by] for (own, name, dim), by in owner.moves.items() if own == number],
      "still": ["mask"] if scene.rest(slot) else [],
      "draws": scene.can_draw(slot),
      "put": source is not None,
      **{name: slot in getattr(scene, name) for name in ("hidden", "out", "locked")},
    }

  def strip(self, state: dict, slot: int, latent: str, dim: int) -> list[str]:
    """What a number of a slot does: pictures at -2 to 2 standard deviations of its prior."""
    moves = (["move", slot, latent, dim, by] for by in STEPS)
    return [encoded(self.scene(edited(state, move)).picture) for move in moves]

  # What can be kept.

  def saved(self, state: dict, what: str) -> bytes:
    """A file: "picture.png", "masks.png" (ids, in the figures' colours), "latents.npz", "scene.py".

    Raises:
      SceneError: there is no such file.
    """
    scene = self.scene(state)
    if what == "picture.png":
      return png(Image.fromarray(scene.picture))
    if what == "masks.png":
      image = Image.fromarray(scene.ids.astype(np.uint8))
      image.putpalette(PALETTE.ravel().tolist())
      return png(image)
    if what == "scene.py":
      return self.lines(state).encode()
    if what != "latents.npz":
      raise SceneError(f"{what!r} cannot be saved")
    rows = [((source or scene).moved, number) for source, number in scene.parts]
    arrays = {name: np.stack([z[name][0, k] for z, k in rows]) for name in scene.latents}
    arrays |= {"log_masks": scene.samples.log_masks[0], "order": np.array(scene.order)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()

  def lines(self, state: dict) -> str:
    """Python that makes the scene, edit by edit."""
    self.scene(state)
    lines, count = [], 0

    def write(state: dict) -> str:
      nonlocal count
      name, count = f"scene_{count}" if count else "scene", count + 1
      options = ", ".join(f"{key}={value!r}" for key, value in state["start"].items())
      lines.append(f"{name} = table.start({options})")
      for edit, *values in state["edits"]:
        words = [write(value) if isinstance(value, dict) else repr(value) for value in values]
        lines.append(f"{name} = {name}.{edit}({', '.join(words)})")
      return name

    write(state)
    return "\n".join([
      "from experiments.touch.table import Table\n",
      f"table = {self._about}", *lines,
      "image = scene.picture  # uint8 [S,S,4]; scene.ids: the slot of each pixel",
      "latents = scene.moved  # name -> [1,K,D], as model.decode takes them\n",
    ])  # fmt: skip


def _index(value, count: int, what: str) -> int:
  if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < count:
    raise SceneError(f"there is no {what} {str(value)[:40]}; they are 0 to {count - 1}")
  return value


def _resized(images: np.ndarray, size: int, method: str) -> np.ndarray:
  if images.shape[1] == size:
    return images
  return np.stack([files.fitted_rgb(Image.fromarray(image), size, method) for image in images])
