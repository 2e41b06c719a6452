"""A wooden shelf bin with one object in it, or none: after the Amazon Picking Challenge's.

scene = jax.jit(partial(shelf_scene, image_size=128))(jax.random.key(0))
scene["image"]        # uint8 [128, 128, 3]
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from genesis_jax.scenes import raycast
from genesis_jax.scenes.raycast import SHAPES, Solids, Surface, Vector

ASPECT = 3 / 4  # height of a frame by its width; models see the square in the middle
# The bin's opening is in the plane y = 0; a unit is 10 cm.
HALF_WIDTH, HEIGHT, DEPTH = 1.5, 2.2, 3.0
DISTANCE, EYE = 2.3, 1.75  # of the camera before the opening, and above the bin's floor
FIELD_OF_VIEW = 1.0  # radians across a frame
EMPTY_PART = 0.08  # of the scenes that have no object
COLORS = ((0.05, 0.25, 0.85), (0.05, 0.62, 0.15), (0.95, 0.85, 0.05), (0.9, 0.9, 0.92),
          (0.95, 0.30, 0.60), (0.1, 0.7, 0.75), (0.55, 0.1, 0.7))  # fmt: skip


def _wood(across: Array, along: Array) -> Array:
  """Brightness of grain that runs along."""
  wave = jnp.sin(9 * across + 0.8 * jnp.sin(1.7 * along)) + 0.5 * jnp.sin(23 * across + 0.5 * along)
  return 1 + 0.07 * wave


def shelf_bin(shade: Array):
  """The inside of a bin and the front of the shelf around it, for rays from before it."""

  def backdrop(origin: Vector, direction: Vector) -> Surface:
    (x, y, z), (dx, dy, dz) = origin, direction
    zero = jnp.zeros_like(x)
    to_front = -y / jnp.maximum(dy, 1e-9)
    at_x, at_z = x + to_front * dx, z + to_front * dz
    is_front = (jnp.abs(at_x) > HALF_WIDTH) | (at_z < 0) | (at_z > HEIGHT)
    # The inside is convex: a ray leaves it through the first of its planes that it heads for.
    to_side = (jnp.sign(dx) * HALF_WIDTH - x) / raycast.away_from_zero(dx)
    to_flat = (jnp.where(dz < 0, 0.0, HEIGHT) - z) / raycast.away_from_zero(dz)
    to_back = (DEPTH - y) / jnp.maximum(dy, 1e-9)
    inside = jnp.minimum(jnp.minimum(to_side, to_flat), to_back)
    distance = jnp.where(is_front, to_front, inside)
    x, y, z = x + distance * dx, y + distance * dy, z + distance * dz
    is_side, is_flat = ~is_front & (inside == to_side), ~is_front & (inside == to_flat)
    normal = (
      jnp.where(is_side, -jnp.sign(dx), zero),
      jnp.where(is_side | is_flat, zero, -1.0),
      jnp.where(is_flat, -jnp.sign(dz), zero),
    )
    grain = _wood(jnp.where(is_side, z, jnp.where(is_flat, x, z)), jnp.where(is_front, x, y))
    depth = 1 - 0.16 * jnp.clip(y, 0, DEPTH)  # less light reaches the back
    light = jnp.where(is_front, 1.0, depth * jnp.where(is_flat & (dz > 0), 0.7, 1.0)) * grain
    wood = (0.86, 0.50, 0.32)
    frame = (0.72, 0.18, 0.13)  # painted red
    color = tuple(
      shade * light * jnp.where(is_front, f, w) for f, w in zip(frame, wood, strict=True)
    )
    return Surface(distance, normal, color, zero, jnp.ones_like(is_front))

  return backdrop


def _object(key: Array) -> Solids:
  """A solid of any shape and colour that lies on the floor of the bin, or does not exist."""
  keys = jax.random.split(key, 6)
  half_size = jax.random.uniform(
    keys[0], (1, 3), minval=jnp.array([0.35, 0.25, 0.3]), maxval=jnp.array([0.75, 0.6, 0.8])
  )
  place = jax.random.uniform(
    keys[1], (1, 2), minval=jnp.array([-0.65, 0.85]), maxval=jnp.array([0.65, 1.7])
  )
  color = jnp.array(COLORS)[jax.random.randint(keys[2], (1,), 0, len(COLORS))]
  return Solids(
    shape=jax.random.randint(keys[3], (1,), 0, len(SHAPES)),
    centre=jnp.concatenate([place, half_size[:, 2:]], -1),
    half_size=half_size,
    yaw=jax.random.uniform(keys[4], (1,), maxval=2 * jnp.pi),
    color=color,
    gloss=jnp.full((1,), 0.3),
    exists=jax.random.uniform(keys[5], (1,)) >= EMPTY_PART,
  )


def _render(key: Array, frame: Int[Array, ""], width: int, height: int, fov: Array, samples: int):
  object_key, shade_key, camera_key = jax.random.split(key, 3)
  solids = _object(object_key)
  shade = 0.85 + 0.25 * jax.random.uniform(shade_key)
  move = jax.random.uniform(jax.random.fold_in(camera_key, frame), (4,), minval=-1, maxval=1)
  x, z = 0.6 * move[0], EYE + 0.25 * move[1]
  yaw = jnp.pi / 2 + jnp.arctan2(x, DISTANCE + 1.2) + 0.06 * move[2]
  pitch = -jnp.arctan2(z - 0.7, DISTANCE + 1.2) + 0.04 * move[3]
  camera = jnp.stack([x, -DISTANCE, z, yaw, pitch])
  light = jnp.array([0.25, -0.75, 0.75])
  light = light / jnp.linalg.norm(light)
  rays = slice((width - height) // 2 * width, (width + height) // 2 * width)  # rows of a square
  total = (jnp.zeros(width * height),) * 4
  for i in range(samples**2):
    offset = ((i // samples + 0.5) / samples, (i % samples + 0.5) / samples)
    origin, direction = raycast.camera_rays(camera, width, fov, offset)
    origin, direction = (tuple(part[rays] for part in vector) for vector in (origin, direction))
    colors, ids = raycast.trace(solids, shelf_bin(shade), origin, direction, light, shadows=False)
    total = tuple(a + b for a, b in zip(total, (*colors, ids.astype(jnp.float32)), strict=True))
  *colors, ids = (sums / samples**2 for sums in total)
  image = jnp.stack(colors, -1).reshape(height, width, 3)
  return {
    "image": jnp.round(image * 255).astype(jnp.uint8),
    "instances": (ids > 0.5).astype(jnp.int32).reshape(height, width),
    "factors": solids._asdict(),
  }


def shelf_frame(key: Array, frame: Int[Array, ""], *, width: int = 320) -> dict:
  """Renders one frame of a scene; the key decides the scene, the frame where the camera is.

  Returns a dict as `shelf_scene` does, with `image` [3/4 width, width, 3] and `instances` alike.
  """
  return _render(key, frame, width, int(width * ASPECT), jnp.array(FIELD_OF_VIEW), samples=1)


def shelf_scene(key: Array, *, image_size: int = 128, samples: int = 2) -> dict:
  """Renders the square in the middle of a frame.

  Returns a dict of
    image: uint8 [S, S, 3].
    instances: int32 [S, S]; 0 for the shelf, 1 for the object.
    factors: dict of the fields of `raycast.Solids`, [1] or [1, 3] each.
  """
  zoomed = 2 * jnp.arctan(jnp.tan(FIELD_OF_VIEW / 2) * ASPECT)
  return _render(key, jnp.array(0), image_size, image_size, zoomed, samples)
