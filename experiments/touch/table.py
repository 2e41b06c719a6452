"""From a state, a small JSON value, to pictures: all that the page asks for, without a browser.

  table = Table.open([workdir])
  state = {"start": {"run": 0, "image": 3}, "edits": [["mark", "hidden", [1]]]}
  state = edited(state, ["move", 2, "component", 5, 1.5])
  table.pictures(state)                           # JSON, with PNGs as base64
  print(table.lines(state))                       # Python that makes the same scene

A scene starts from an image ("image": number of a test image; "png": one's own) or from the prior
("draw": seed, perhaps "slots"). An edit is the name of a method of `Scene` and its arguments, where
another scene is its state.
"""

import base64
import io
import json
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from data_pipelines.reading import images as files
from data_pipelines.sources import RESIZE
from experiments.console.errors import explained
from experiments.figures.data import chosen
from experiments.figures.galleries import STEPS
from experiments.figures.panels import PALETTE, coloured_instances, grey, png, to_uint8
from experiments.runs.opening import opened
from experiments.touch.scenes import MARKS, Scene, SceneError, from_image, from_prior
from experiments.touch.stage import Stage

EDITS = ("mark", "move", "draw", "draw_rest", "add", "copy", "put", "swap")  # methods of `Scene`
MOST_EDITS = 300  # of a state, with those of the states within it
CACHED = 600  # scenes


def edited(state: dict, edit: list) -> dict:
  """The state after one more edit."""
  return state | {"edits": [*state["edits"], edit]}


def encoded(pixels: np.ndarray) -> str:
  """Uint8 pixels as a PNG, in base64."""
  return base64.b64encode(png(Image.fromarray(pixels))).decode()


def _num_edits(state: dict) -> int:
  within = (value for edit in state["edits"] for value in edit if isinstance(value, dict))
  return len(state["edits"]) + sum(map(_num_edits, within))


class Table:
  """Checkpoints, test images uint8 `[N,S,S,3]`, and the scenes that were looked at last.

  `origin` is Python that makes this table.
  """

  def __init__(self, stages: Sequence[Stage], images: np.ndarray, origin: str):
    self.stages, self.images, self._origin = stages, images, origin
    self._scenes: dict[str, Scene] = {}

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
    """Each checkpoint of each run, and images of the first run's data.

    Raises:
      UserError, DataError: in one line.
    """
    arguments = f"{list(map(str, workdirs))}, {list(steps)}, {num}, {split!r}, {seed}, {data_dir!r}"
    stages, images = [], None
    for workdir in map(pathlib.Path, workdirs):
      for step in steps:
        with explained():
          step, model, variables, config = opened(workdir, step, data_dir)
          if images is None:
            images = chosen(config.data, split, num, seed)["image"]
        # On CPUs bfloat16 takes ten times as long.
        if jax.default_backend() == "cpu" and hasattr(model, "dtype"):
          model = model.clone(dtype=jnp.float32)
        size, method = config.model.image_size, config.data.resize
        method = method if method in RESIZE else "area"  # a protocol of its data set
        own = [files.fitted_rgb(Image.fromarray(image), size, method) for image in images]
        name = f"{config.model.name}, {workdir.name}, step {step}"
        stages.append(Stage(name, model, jax.device_put(variables), np.stack(own), method))
    return cls(stages, images, f"Table.open({arguments})")

  # Scenes.

  def start(self, run: int, image=None, png=None, draw=None, slots=None) -> Scene:
    """The scene that edits begin with; see above."""
    stage = self.stages[run]
    if draw is not None:
      return from_prior(stage, draw, slots)
    pixels = stage.images[image] if png is None else self.cropped(base64.b64decode(png), run)
    return from_image(stage, pixels)

  def cropped(self, data: bytes, run: int = 0) -> np.ndarray:
    """A file as an image for a model: its central square, resized to the size in training.

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
    try:
      if _num_edits(state) > MOST_EDITS:
        raise SceneError(f"There are more than {MOST_EDITS} edits: undo some, or start anew.")
      return self._scene(state)
    except SceneError:
      raise
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
      raise SceneError("This link does not describe a scene.") from error

  def _scene(self, state: dict) -> Scene:
    todo, edits = [], state["edits"]
    while (key := json.dumps([state["start"], edits])) not in self._scenes and edits:
      todo.append((key, edits[-1]))
      edits = edits[:-1]
    scene = self._scenes.get(key) or self.start(**state["start"])
    self._scenes[key] = scene
    for key, (name, *arguments) in reversed(todo):
      if name not in EDITS:
        raise SceneError(f"There is no edit {name!r}.")
      arguments = [self._scene(x) if isinstance(x, dict) else x for x in arguments]
      scene = self._scenes[key] = getattr(scene, name)(*arguments)
    for key in list(self._scenes)[:-CACHED]:
      del self._scenes[key]
    return scene

  # What the page shows.

  def about(self) -> dict:
    """What there is, as JSON."""
    runs = [
      dict(name=stage.name, slots=stage.has_slots, counts=list(stage.counts), draws=stage.draws,
           size=stage.images.shape[1], resize=stage.resize, dims=stage.dims)
      for stage in self.stages
    ]  # fmt: skip
    images, outs = [encoded(image) for image in self.images], self.stages[0].outs
    busy = [len(np.unique(out.log_masks.argmax(1))) for out in outs if out.log_masks is not None]
    return {"images": images, "palette": PALETTE.tolist(), "steps": STEPS, "runs": runs,
            "first": int(np.argmax([*busy, 0]))}  # fmt: skip

  def pictures(self, state: dict) -> dict:
    """What a state looks like, as JSON."""
    scene = self.scene(state)
    pictures = {
      "picture": encoded(scene.picture),
      "segments": encoded(coloured_instances(scene.ids + 1)),
      "ids": scene.ids.ravel().tolist(),
      "can_add": scene.can_add,
      "slots": [self._slot(scene, slot) for slot in range(len(scene.parts))],
    }
    if scene.image is not None:
      error = scene.samples.images[0] - scene.image.astype(np.float32) / 255
      pictures |= {"input": encoded(scene.image), "mse": float((error**2).mean())}
    return pictures

  def _slot(self, scene: Scene, slot: int) -> dict:
    mask, appearance = scene.alone(slot)
    owner, number = scene.owner(slot)
    nats = owner.nats[number]
    return {
      "mask": encoded(grey(mask)),
      "appearance": encoded(to_uint8(appearance)),
      "masked": encoded(to_uint8(mask[..., None] * appearance)),
      "share": float(mask.mean()),
      "nats": None if np.isnan(nats) else float(nats),
      "moves": [[name, dim, by] for (k, name, dim), by in owner.moves.items() if k == number],
      "is_rest": scene.is_rest(slot),
      "can_draw": scene.can_draw(slot),
      "put": owner is not scene,
      **{how: slot in scene.marks[how] for how in MARKS},
    }

  def strip(self, state: dict, slot: int, latent: str, dim: int) -> list[str]:
    """What a number of a slot does: pictures at `STEPS` standard deviations of its prior."""
    moves = [["move", slot, latent, dim, by] for by in STEPS]
    return [encoded(self.scene(edited(state, move)).picture) for move in moves]

  # What can be kept.

  def saved(self, state: dict, what: str) -> bytes:
    """A file: "picture.png", "masks.png" (ids, in the figures' colours), "latents.npz", "scene.py".

    Raises:
      KeyError: there is no such file.
    """
    return {
      "picture.png": lambda scene: png(Image.fromarray(scene.picture)),
      "masks.png": _palette_png,
      "latents.npz": _npz,
      "scene.py": lambda scene: self.lines(state).encode(),
    }[what](self.scene(state))

  def lines(self, state: dict) -> str:
    """Python that makes the scene, edit by edit."""
    lines = []

    def write(state: dict, name: str) -> str:
      options = ", ".join(f"{key}={value!r}" for key, value in state["start"].items())
      lines.append(f"{name} = table.start({options})")
      for i, (edit, *values) in enumerate(state["edits"]):
        words = [write(x, f"{name}_{i}") if isinstance(x, dict) else repr(x) for x in values]
        lines.append(f"{name} = {name}.{edit}({', '.join(words)})")
      return name

    write(state, "scene")
    return "\n".join([
      f"from experiments.touch.table import Table\n\ntable = {self._origin}",
      *lines,
      "image = scene.picture  # uint8 [S,S,4]; scene.ids: the slot of each pixel",
      "latents = scene.moved  # name -> [1,K,D], as model.decode takes them\n",
    ])  # fmt: skip


def _palette_png(scene: Scene) -> bytes:
  image = Image.fromarray(scene.ids.astype(np.uint8))
  image.putpalette(PALETTE.ravel().tolist())
  return png(image)


def _npz(scene: Scene) -> bytes:
  rows = [scene.owner(slot) for slot in range(len(scene.parts))]
  arrays = {name: np.stack([z.moved[name][0, k] for z, k in rows]) for name in scene.latents}
  buffer = io.BytesIO()
  np.savez(buffer, **arrays, log_masks=scene.samples.log_masks[0], order=scene.order)
  return buffer.getvalue()
