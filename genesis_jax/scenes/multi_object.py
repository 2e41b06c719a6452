"""Which scenes are drawn after which variant of the Multi-Object Datasets (Kabra et al. 2019).

scene = SPRITES["colored_on_grayscale"](jax.random.key(0), image_size=64)
scene = room_scene(jax.random.key(0), image_size=64, **ROOMS["six_objects"])
"""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from jaxtyping import Array

from genesis_jax.scenes.sprites import sprites_scene

# Options of `room_scene`. Published are 4 to 6 objects where all have one colour.
ROOMS: dict[str, dict] = {
  "train": dict(counts=(1, 3)),
  "six_objects": dict(counts=(6, 6)),
  "empty_room": dict(counts=(0, 0)),
  "identical_color": dict(counts=(4, 6), same_color=True),
}


def white_sprites(
  key: Array, *, image_size: int = 64, min_sprites: int = 2, max_sprites: int = 3, **shift
) -> dict:
  """White sprites on black, as `sprites_scene` returns them; `shift` are more of its options."""
  counts = dict(min_sprites=min_sprites, max_sprites=max_sprites)
  scene = sprites_scene(key, image_size=image_size, background="black", **counts, **shift)
  seen = (scene["instances"] > 0)[..., None].astype(jnp.uint8)
  factors = scene["factors"] | {"color": jnp.full_like(scene["factors"]["color"], 255)}
  return scene | {"image": jnp.repeat(seen * jnp.uint8(255), 3, axis=-1), "factors": factors}


SPRITES: dict[str, Callable[..., dict]] = {
  "colored_on_colored": partial(sprites_scene, palette="continuous", background="continuous"),
  "colored_on_grayscale": partial(
    sprites_scene, min_sprites=2, max_sprites=5, palette="continuous", background="gray"
  ),
  "binarized": white_sprites,
}
