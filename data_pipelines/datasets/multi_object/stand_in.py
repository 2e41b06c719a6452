"""Renders scenes in the files of the Multi-Object Datasets, for when these are not at hand.

    write("data/mine", dataset="tetrominoes", variant="train", num_scenes=2000)

Records have all published features. A set appears under its name only once it is complete;
`STAND_IN.json` says what it is.
"""

import functools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import tensorflow as tf

from data_pipelines.datasets import Planned
from data_pipelines.datasets.multi_object.codec import Form
from data_pipelines.datasets.multi_object.reader import LAYOUTS, file_name, folder_name
from data_pipelines.datasets.multi_object.wire import encode
from data_pipelines.datasets.stand_ins import check_least, check_request, render
from data_pipelines.sources import check_choice
from genesis_jax.scenes.clevr import clevr_scene
from genesis_jax.scenes.multi_object import ROOMS, SPRITES
from genesis_jax.scenes.rooms import room_scene
from genesis_jax.scenes.tetrominoes import tetrominoes_scene

VERSION = 2  # of the pictures; raise it when they change
MIN_SCENES = 10  # so that a tenth is one
VIEWS = 10  # images of a room


class _Drawing(NamedTuple):
  """How a variant is drawn: (key, numbers of scenes) -> scenes, of `views` images each."""

  scenes: Callable[[jax.Array, np.ndarray], dict]
  batch: int  # scenes that are drawn at once, at most
  views: int = 1


@functools.cache  # compiled once
def _drawing(dataset: str, variant: str) -> _Drawing:
  batch, views, size = 50, 1, LAYOUTS[dataset].forms[variant].width
  if dataset == "objects_room":
    scene, batch, views = partial(room_scene, num_views=VIEWS, **ROOMS[variant]), 4, VIEWS
  elif dataset == "clevr":
    scene, batch = partial(clevr_scene, wide=True), 4
  else:
    scene = tetrominoes_scene if dataset == "tetrominoes" else SPRITES[variant]

  def draw(key, number):
    return scene(jax.random.fold_in(key, number), image_size=size)

  return _Drawing(jax.jit(jax.vmap(draw, (None, 0))), batch, views)


def _masks(ids: np.ndarray, form: Form) -> np.ndarray:
  """Ids of instances [H, W] -> one mask per entity; all background is entity 0."""
  entity = np.where(ids > 0, ids + form.num_background - 1, 0).astype(np.uint8)
  numbers = np.arange(form.num_entities, dtype=np.uint8)
  seen = entity[..., None] == numbers if form.entities_last else entity == numbers[:, None, None]
  return (seen * np.uint8(255))[..., None]


def _factors(factors: dict[str, np.ndarray], form: Form) -> dict[str, np.ndarray]:
  """Published factors, a row per entity; 0 where there is none, as codes count from 1."""
  exists, rows = factors["exists"], {}
  for name, factor in form.factors.items():
    values = exists if name == "visibility" else factors[name]
    if values.dtype == np.int32:  # an index
      values = values + 1
    elif values.dtype == np.uint8:  # a colour
      values = values[:, : factor.width] / np.float32(255)
    dtype = np.uint8 if factor.kind == "bytes" else np.float32
    rows[name] = np.zeros((form.num_entities, *values.shape[1:]), dtype)
    ours = slice(form.num_background, form.num_background + len(values))
    rows[name][ours] = np.where(exists.reshape(-1, *(1,) * (values.ndim - 1)), values, 0)
  rows["visibility"][: form.num_background] = 1
  return rows


def _record(image: np.ndarray, ids: np.ndarray, factors: dict, form: Form) -> bytes:
  arrays = {"image": image[..., : form.channels], "mask": _masks(ids, form)}
  return encode(arrays | (_factors(factors, form) if form.factors else {}))


def _records(drawing: _Drawing, form: Form, num_scenes: int, seed: int) -> Iterator[bytes]:
  """Records of scenes that are rendered some at a time."""
  key, batch = jax.random.key(seed), min(drawing.batch, num_scenes)
  for first in range(0, num_scenes, batch):
    scenes = jax.device_get(drawing.scenes(key, np.arange(first, first + batch)))
    for n in range(min(batch, num_scenes - first)):
      factors = {name: values[n] for name, values in scenes["factors"].items()}
      images = scenes["image"][n].reshape(-1, form.height, form.width, 3)
      all_ids = scenes["instances"][n].reshape(-1, form.height, form.width)
      for image, ids in zip(images, all_ids, strict=True):
        yield _record(image, ids, factors, form)


def _steps(folder: Path, name: str, records: Iterator[bytes]) -> Iterator[None]:
  """Writes the file, record by record."""
  options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)
  with tf.io.TFRecordWriter(str(folder / name), options) as writer:
    for record in records:
      yield writer.write(record)


def planned(config) -> Planned:
  """The stand-in that a configuration asks for."""
  scenes = max(MIN_SCENES, config.standin_scenes)
  below = str(folder_name(LAYOUTS[config.name], config.variant))
  return Planned(f"{config.name}_{scenes}_scenes_v{VERSION}", below, dict(num_scenes=scenes))


def write(
  out_dir: str | Path, *, dataset: str, variant: str, num_scenes: int, seed: int = 0
) -> Path:
  """Renders a variant in the published form, in a folder that `data.data_dir` may name.

  Args:
    out_dir: folder, made if need be; gets the published folder, and in that one per variant if
      there are several.
    dataset: objects_room, clevr, tetrominoes or multi_dsprites_colored.
    variant: one of the data set's.
    num_scenes: images, or rooms of ten images; at least 10.
    seed: decides every scene.

  Returns:
    The folder of the file. A complete set that is there already is left as it is.

  Raises:
    ValueError: unknown data set or variant, impossible seed, or too few scenes for all splits.
    FileExistsError: the folder is in use for something else.
  """
  check_choice("dataset", dataset, LAYOUTS)
  layout = LAYOUTS[dataset]
  check_request(variant, layout.forms, seed)
  check_least(num_scenes, MIN_SCENES, f"train, val and test need at least {MIN_SCENES}")
  form = layout.forms[variant]
  drawing = _drawing(dataset, variant)
  num_images = num_scenes * drawing.views
  notes = dict(
    what=f"scenes rendered in place of the published images of {dataset}",
    entities="all background is entity 0; indices of factors count from 1, and 0 is none",
    variant=variant,
    num_images=num_images,
    image_size=[form.height, form.width],
    seed=seed,
    renderer="genesis_jax.scenes",
    version=VERSION,
  )
  records = _records(drawing, form, num_scenes, seed)
  steps = partial(_steps, name=file_name(layout, variant), records=records)
  return render(Path(out_dir) / folder_name(layout, variant), notes, steps, num_images, "image")
