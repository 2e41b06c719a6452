"""Endless streams of scenes, by data set: an image is a function of its split, seed and index.

    render = renderer("gqn", "rooms_ring_camera", image_size=64)
    batch = scene_batch(render, stream_key("train", seed=0), first + jnp.arange(32))
    batch["image"], batch["instances"]     # uint8 [32, 64, 64, 3], int32 [32, 64, 64]

Nothing else matters, neither which device draws an image nor what was drawn before it: a program on
other devices, and one that was stopped, go on with the same images. (Where the same code is
compiled in another way, a ray that grazes an edge may fall on its other side: in one pixel of ten
thousand or fewer.)
"""

from collections.abc import Callable
from functools import partial

import jax
from jaxtyping import Array, UInt32

from genesis_jax.scenes.clevr import clevr_scene
from genesis_jax.scenes.clevrtex import VARIANTS, clevrtex_scene
from genesis_jax.scenes.multi_object import ROOMS, SPRITES
from genesis_jax.scenes.rooms import room_scene
from genesis_jax.scenes.shelf import shelf_scene
from genesis_jax.scenes.sprites import sprites_scene
from genesis_jax.scenes.stacks import stacks_scene
from genesis_jax.scenes.table import table_scene
from genesis_jax.scenes.tetrominoes import tetrominoes_scene

SPLITS = ("train", "val", "test")
STREAMS_SEED = 2_000_003  # unlike any seed of a run, whose noise comes from the same generator


def room_view(key: Array, *, image_size: int, **options) -> dict:
  """A room from one side, a new one for each image: files show a room from ten."""
  scene = room_scene(key, image_size=image_size, num_views=1, **options)
  return {"image": scene["image"][0], "instances": scene["instances"][0]}


# Data set -> variant -> scene(key, image_size=S) -> {"image", "instances", ...}.
SCENES: dict[str, dict[str, Callable[..., dict]]] = {
  "gqn": dict.fromkeys(
    (
      "jaco",
      "mazes",
      "rooms_free_camera_no_object_rotations",
      "rooms_free_camera_with_object_rotations",
      "rooms_ring_camera",
      "shepard_metzler_5_parts",
      "shepard_metzler_7_parts",
    ),
    room_view,
  ),
  "multi_dsprites": {
    "default": sprites_scene,
    "unique": partial(sprites_scene, unique_colors=True),
  },
  "objects_room": {name: partial(room_view, **options) for name, options in ROOMS.items()},
  "clevr": {"train": clevr_scene},
  "clevrtex": {name: partial(clevrtex_scene, variant=name) for name in VARIANTS},
  "tetrominoes": {"train": tetrominoes_scene},
  "multi_dsprites_colored": SPRITES,
  "shapestacks": {
    name: partial(stacks_scene, variant=name) for name in ("default", "blocks_all", "ccs_all")
  },
  "sketchy": {"default": table_scene},
  "apc": {"default": shelf_scene},
}


def renderer(name: str, variant: str, *, image_size: int, **shift) -> Callable[[Array], dict]:
  """The function key -> scene of a data set, with "image" `[S,S,3]` and "instances" `[S,S]`.

  `shift` are options of the scene that make it another than the data set's; see shifts.py.

  Raises:
    ValueError: no scenes are drawn after this data set, or it has no such variant.
  """
  if name not in SCENES:
    raise ValueError(f"no scenes are rendered after {name!r}, only after: {', '.join(SCENES)}")
  if variant not in SCENES[name]:
    raise ValueError(f"data.variant is {variant!r}; allowed: {', '.join(sorted(SCENES[name]))}")
  return partial(SCENES[name][variant], image_size=image_size, **shift)


def stream_key(split: str, seed: int) -> Array:
  """Key of a stream; the seed changes "train" alone, so that all runs are scored on the same."""
  key = jax.random.fold_in(jax.random.key(STREAMS_SEED), SPLITS.index(split))
  return jax.random.fold_in(key, seed) if split == "train" else key


def scene_batch(
  render: Callable[[Array], dict], key: Array, indices: UInt32[Array, "B"]
) -> dict[str, Array]:
  """Images of a stream: uint8 `[B,S,S,3]`, and their instances, int32 `[B,S,S]`, 0 for background.

  Args:
    render: from `renderer`.
    key: from `stream_key`.
    indices: of the images in the stream, uint32.
  """

  def draw(index):
    scene = render(jax.random.fold_in(key, index))
    return {name: scene[name] for name in ("image", "instances")}

  # Behind a barrier, lest pictures are compiled into a model in other ways than by themselves.
  return jax.lax.optimization_barrier(jax.vmap(draw)(indices))
