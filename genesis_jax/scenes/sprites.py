"""Flat sprites on a plain background: after dSprites, and Multi-dSprites of the GENESIS paper.

    scene = jax.jit(sprites_scene)(jax.random.key(0))
    scene["image"]        # uint8 [64, 64, 3]
    mask = sprite_mask(HEART, 1.0, 0.0, 0.5, 0.5, 64)     # bool [64, 64]

Factors and their order are those of dSprites (Matthey et al. 2017), whose images were drawn from
vectors and binarised. How large the vectors were was never published. Here sizes are such that the
sprites cover as much as the archive's do on average (4.3% of the pixels), positions move by a
little more than a pixel, and no sprite leaves the image; outlines may differ by a pixel or two.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, UInt8

from genesis_jax.scenes.textures import PATTERNS, pattern

SQUARE, ELLIPSE, HEART = range(3)
SHAPES = ("square", "ellipse", "heart")
TRIANGLE, CROSS, RING = range(3, 6)  # in no data set
UNSEEN_SHAPES = ("triangle", "cross", "ring")
NUM_SCALES, NUM_ORIENTATIONS, NUM_POSITIONS = 6, 40, 32
NUM_SPRITES = len(SHAPES) * NUM_SCALES * NUM_ORIENTATIONS * NUM_POSITIONS**2
SCALES = (0.5, 1.0)  # first and last
LAST_ORIENTATION = 2 * jnp.pi  # the same as the first
# Lengths as parts of the image's side, at scale 1.
SQUARE_SIDE = 20 / 64
ELLIPSE_AXES = (24 / 64, 12 / 64)
HEART_WIDTH = 20.5 / 64
UNSEEN_WIDTH = 22 / 64
FIRST_CENTRE, LAST_CENTRE = 0.25, 0.75  # of the sprites at position 0 and 1
LEVELS = (0, 63, 127, 191, 255)  # of each colour channel
UNSEEN_LEVELS = (31, 95, 159, 223)  # as far from those as can be
TEXTURE_REPEATS = (3.0, 8.0)  # of a pattern across an image, by chance
PALETTES = ("levels", "continuous")
BACKGROUNDS = ("levels", "gray", "black", "continuous")


def sprite_factors(index: Int[ArrayLike, "..."]) -> dict[str, Array]:
  """What dSprites' image number `index` shows.

  Returns a dict of shape (int32; square, ellipse, heart), scale 0.5 to 1, orientation 0 to 2 pi,
  and x and y 0 to 1, each of the shape of `index`. The last varies fastest with the index.
  """
  sizes = (len(SHAPES), NUM_SCALES, NUM_ORIENTATIONS, NUM_POSITIONS, NUM_POSITIONS)
  shape, scale, orientation, x, y = jnp.unravel_index(index, sizes)
  return {
    "shape": shape.astype(jnp.int32),
    "scale": SCALES[0] + (SCALES[1] - SCALES[0]) * scale / (NUM_SCALES - 1),
    "orientation": LAST_ORIENTATION * orientation / (NUM_ORIENTATIONS - 1),
    "x": x / (NUM_POSITIONS - 1),
    "y": y / (NUM_POSITIONS - 1),
  }


def _in_heart(u: Array, v: Array) -> Array:
  """Whether points lie in an upright heart of width 1 in the middle (v points down).

  It is a square on its corner with a half disc on each of its upper sides.
  """
  side = 1 / (1 + 0.5**0.5)  # of the square, for a total width of 1
  lobe = side * 0.5**1.5  # how far right and up of the square's centre the discs' centres are
  v = v + (side * 0.5**0.5 - (lobe + side / 2)) / 2  # half of it is above the middle
  in_square = jnp.abs(u) + jnp.abs(v) <= side * 0.5**0.5
  return in_square | ((jnp.abs(u) - lobe) ** 2 + (v + lobe) ** 2 <= (side / 2) ** 2)


def _in_unseen(shape: Int[ArrayLike, ""], u: Array, v: Array) -> Array:
  """Whether points lie in one of `UNSEEN_SHAPES`, upright, of about width 1 in the middle."""
  width, height = jnp.abs(u), jnp.abs(v)
  in_triangle = (v <= 0.4) & (v >= 2 * width - 0.6)
  in_cross = (jnp.minimum(width, height) <= 0.17) & (jnp.maximum(width, height) <= 0.5)
  radius = u**2 + v**2
  in_ring = (radius <= 0.25) & (radius >= 0.0729)
  return jnp.where(shape == TRIANGLE, in_triangle, jnp.where(shape == CROSS, in_cross, in_ring))


def sprite_mask(
  shape: Int[ArrayLike, ""],
  scale: Float[ArrayLike, ""],
  orientation: Float[ArrayLike, ""],
  x: Float[ArrayLike, ""],
  y: Float[ArrayLike, ""],
  size: int,
) -> Bool[Array, "S S"]:
  """Pixels of one sprite in an image of `size` pixels a side; the factors as in dSprites.

  Args:
    shape: index into SHAPES, or beyond them into UNSEEN_SHAPES.
    scale: 1 for the largest of dSprites.
    orientation: radians, clockwise.
    x: from left, 0 to 1; the sprite stays inside the image.
    y: from above, 0 to 1.
    size: pixels.
  """
  pixel = (jnp.arange(size) + 0.5) / size  # centres
  right = pixel[None, :] - (FIRST_CENTRE + (LAST_CENTRE - FIRST_CENTRE) * x)
  down = pixel[:, None] - (FIRST_CENTRE + (LAST_CENTRE - FIRST_CENTRE) * y)
  cos, sin = jnp.cos(orientation), jnp.sin(orientation)
  u, v = (cos * right + sin * down) / scale, (cos * down - sin * right) / scale
  in_square = jnp.maximum(jnp.abs(u), jnp.abs(v)) <= SQUARE_SIDE / 2
  in_ellipse = (u / ELLIPSE_AXES[0]) ** 2 + (v / ELLIPSE_AXES[1]) ** 2 <= 0.25
  in_heart = _in_heart(u / HEART_WIDTH, v / HEART_WIDTH)
  in_unseen = _in_unseen(shape, u / UNSEEN_WIDTH, v / UNSEEN_WIDTH)
  seen = jnp.where(shape == SQUARE, in_square, jnp.where(shape == ELLIPSE, in_ellipse, in_heart))
  return jnp.where(jnp.asarray(shape) < len(SHAPES), seen, in_unseen)


def paint_sprites(
  background: UInt8[Array, "3"], factors: dict[str, Array], *, image_size: int
) -> dict[str, Array]:
  """Paints sprites one over the other, the first one lowest.

  Args:
    background: its colour.
    factors: of N sprites, as `sprites_scene` returns them.
    image_size: side in pixels.

  Returns:
    A dict of image uint8 [S, S, 3] and instances int32 [S, S]: 0, or 1 + number of the sprite.
  """
  geometry = (factors[name] for name in ("shape", "scale", "orientation", "x", "y"))
  masks = jax.vmap(lambda *values: sprite_mask(*values, image_size))(*geometry)
  ids = jnp.where(factors["exists"], jnp.arange(1, len(masks) + 1), 0)
  instances = (masks * ids[:, None, None]).max(0)
  colors = jnp.concatenate([background[None], factors["color"]])
  return {"image": colors[instances], "instances": instances.astype(jnp.int32)}


def _background(key: Array, kind: str) -> UInt8[Array, "3"]:
  if kind == "black":
    return jnp.zeros(3, jnp.uint8)
  if kind == "levels":
    return jax.random.choice(key, jnp.array(LEVELS, jnp.uint8), (3,))
  channels = 1 if kind == "gray" else 3
  color = jax.random.randint(key, (channels,), 0, 256).astype(jnp.uint8)
  return jnp.broadcast_to(color, (3,))


def _unique_levels(key: Array, num: int, background: UInt8[Array, "3"]) -> UInt8[Array, "N 3"]:
  """Different colours of five levels a channel, none of them the background's."""
  levels = jnp.array(LEVELS, jnp.uint8)
  colors = jnp.stack(jnp.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
  colors = jax.random.permutation(key, colors)
  taken = (colors == background).all(-1)
  return colors[jnp.argsort(taken)[:num]]  # keeps the order, and moves the taken one to the end


def _unseen(key: Array, factors: dict[str, Array], shapes: float, colors: float):
  """Factors of which about these shares have a shape, and a colour, that no data set has."""
  num = len(factors["shape"])
  pick = jax.random.split(key, 4)
  if shapes:
    other = len(SHAPES) + jax.random.randint(pick[0], (num,), 0, len(UNSEEN_SHAPES))
    chosen = jax.random.uniform(pick[1], (num,)) < shapes
    factors = factors | {"shape": jnp.where(chosen, other, factors["shape"])}
  if colors:
    other = jax.random.choice(pick[2], jnp.array(UNSEEN_LEVELS, jnp.uint8), (num, 3))
    chosen = jax.random.uniform(pick[3], (num, 1)) < colors
    factors = factors | {"color": jnp.where(chosen, other, factors["color"])}
  return factors


def textured(key: Array, color: UInt8[Array, "3"], strength: float, size: int):
  """A background uint8 `[S,S,3]` of a pattern around a colour, which varies by so much of 255."""
  code_key, turn_key, repeats_key = jax.random.split(key, 3)
  angle = jax.random.uniform(turn_key, maxval=2 * jnp.pi)
  repeats = jax.random.uniform(repeats_key, minval=TEXTURE_REPEATS[0], maxval=TEXTURE_REPEATS[1])
  down, right = jnp.meshgrid(*[(jnp.arange(size) + 0.5) / size * repeats] * 2, indexing="ij")
  along = jnp.cos(angle) * right + jnp.sin(angle) * down
  across = jnp.cos(angle) * down - jnp.sin(angle) * right
  code = jax.random.randint(code_key, (), 0, len(PATTERNS))
  change = 255 * strength * (pattern(code, along.ravel(), across.ravel()) - 0.5)
  colors = color.astype(jnp.float32) + change.reshape(size, size, 1)
  return jnp.round(jnp.clip(colors, 0, 255)).astype(jnp.uint8)


def _check(palette: str, background: str, unique: bool, fewest: int, most: int) -> None:
  for name, value, allowed in (
    ("palette", palette, PALETTES),
    ("background", background, BACKGROUNDS),
  ):
    if value not in allowed:
      raise ValueError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")
  if unique and palette != "levels":
    raise ValueError(f'unique_colors needs palette "levels", not {palette!r}')
  if not 0 <= fewest <= most or most < 1:
    raise ValueError(f"there cannot be from {fewest} to {most} sprites")
  if unique and most >= len(LEVELS) ** 3:
    raise ValueError(f"{most} sprites: there are only {len(LEVELS) ** 3} colours")


def sprites_scene(
  key: Array,
  *,
  image_size: int = 64,
  min_sprites: int = 1,
  max_sprites: int = 4,
  palette: str = "levels",
  unique_colors: bool = False,
  background: str = "levels",
  size: float = 1.0,
  spread: float = 1.0,
  unseen_shapes: float = 0.0,
  unseen_colors: float = 0.0,
  texture: float = 0.0,
) -> dict:
  """Draws an image of Multi-dSprites; later sprites cover earlier ones.

  Args:
    key: decides everything.
    image_size: side in pixels.
    min_sprites: as many at least ...
    max_sprites: ... and at most, equally likely; some may be hidden.
    palette: of the sprites: "levels" (five per channel) or "continuous" (256).
    unique_colors: no two sprites, nor a sprite and the background, share a colour (levels only).
    background: "levels" or "continuous" colours, "gray" (256 values) or "black".
    size: factor of the sprites' sizes; those above 1 may leave the image.
    spread: factor of the distances of their centres from the image's; below 1 more is hidden.
    unseen_shapes: share of sprites, about, with one of UNSEEN_SHAPES.
    unseen_colors: share of sprites, about, with a colour of UNSEEN_LEVELS.
    texture: by how much of 255 a pattern changes the background.

  Returns:
    A dict of image uint8 [S, S, 3]; instances int32 [S, S], 0 for background and n for the n-th
    sprite from 1; factors, a dict of arrays [N] for N = max_sprites: exists (bool), shape, scale,
    orientation, x and y as in `sprite_factors`, and color uint8 [N, 3].

  Raises:
    ValueError: an unknown palette or background, or an impossible number of sprites.
  """
  _check(palette, background, unique_colors, min_sprites, max_sprites)
  count_key, sprite_key, color_key, background_key = jax.random.split(key, 4)
  count = jax.random.randint(count_key, (), min_sprites, max_sprites + 1)
  index = jax.random.randint(sprite_key, (max_sprites,), 0, NUM_SPRITES)
  behind = _background(background_key, background)
  if unique_colors:
    color = _unique_levels(color_key, max_sprites, behind)
  elif palette == "levels":
    color = jax.random.choice(color_key, jnp.array(LEVELS, jnp.uint8), (max_sprites, 3))
  else:
    color = jax.random.randint(color_key, (max_sprites, 3), 0, 256).astype(jnp.uint8)
  exists = jnp.arange(max_sprites) < count
  factors = {"exists": exists, **sprite_factors(index), "color": color}
  factors = _unseen(jax.random.fold_in(key, 1), factors, unseen_shapes, unseen_colors)
  if size != 1:
    factors["scale"] = factors["scale"] * size
  if spread != 1:
    factors |= {name: 0.5 + spread * (factors[name] - 0.5) for name in ("x", "y")}
  scene = paint_sprites(behind, factors, image_size=image_size)
  if texture:
    ground = textured(jax.random.fold_in(key, 2), behind, texture, image_size)
    scene["image"] = jnp.where(scene["instances"][..., None] > 0, scene["image"], ground)
  return scene | {"factors": factors}
