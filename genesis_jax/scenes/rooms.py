"""Rooms with a few solids, seen from a ring: after GQN's `rooms_ring_camera` and Objects Room.

scene = jax.jit(partial(room_scene, image_size=64))(jax.random.key(0))
scene["image"]        # uint8 [10, 64, 64, 3]
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from genesis_jax.scenes import raycast
from genesis_jax.scenes.raycast import SHAPES, Solids, Surface
from genesis_jax.scenes.textures import PATTERNS, pattern

MAX_OBJECTS = 3  # unless asked for more
HALF_ROOM = 3.2  # from the middle of the room to a wall; one unit is about a metre
WALL_HEIGHT = 2.4
RING = 2.9  # distance of the camera from the vertical axis of the room
SPREAD = 1.35  # objects lie within this distance of that axis
GAP = 0.15  # at least so much room between two objects
REPEATS = 1.25  # of a pattern per unit
HORIZON = (0.80, 0.87, 0.93)  # colour of the sky above the walls
FIELD_OF_VIEW = 1.05  # radians
NUM_LAYOUTS = 64  # drawn at random; the first without a collision is used
CROWDED_LAYOUTS = 1024  # of more objects


def _hsv(hue: Array, saturation: Array, value: Array) -> Float[Array, "... 3"]:
  """Colours from hue, saturation and value, all in [0, 1]."""
  ramp = jnp.abs((hue[..., None] + jnp.array([0.0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1
  return value[..., None] * (1 + saturation[..., None] * (jnp.clip(ramp, 0, 1) - 1))


def _positions(key: Array, radius: Float[Array, "N"], exists: Bool[Array, "N"]):
  """Places on the floor [N, 2] where objects of the given radius keep apart."""
  angle_key, distance_key = jax.random.split(key)
  num_objects = len(radius)
  shape = (NUM_LAYOUTS if num_objects <= MAX_OBJECTS else CROWDED_LAYOUTS, num_objects)
  angle = jax.random.uniform(angle_key, shape, maxval=2 * jnp.pi)
  distance = SPREAD * jnp.sqrt(jax.random.uniform(distance_key, shape))
  layouts = distance[..., None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
  apart = jnp.linalg.norm(layouts[:, :, None] - layouts[:, None], axis=-1)
  gaps = apart - radius[:, None] - radius
  matters = exists[:, None] & exists & ~jnp.eye(num_objects, dtype=bool)
  gap = jnp.where(matters, gaps, jnp.inf).min((1, 2))
  return layouts[jnp.argmax(jnp.minimum(gap, GAP))]  # the roomiest where none is free of collisions


def _objects(
  key: Array,
  counts: tuple[int, int],
  same_color: bool,
  size: float = 1.0,
  unseen_colors: float = 0.0,
) -> Solids:
  """From counts[0] to counts[1] vividly coloured solids that stand on the floor."""
  keys = jax.random.split(key, 8)
  num_objects = max(counts[1], 1)
  each = (num_objects,)
  count = jax.random.randint(keys[0], (), counts[0], counts[1] + 1)
  exists = jnp.arange(num_objects) < count
  shape = jax.random.randint(keys[1], each, 0, len(SHAPES))
  radius = jax.random.uniform(keys[2], each, minval=0.42, maxval=0.68)
  if num_objects > MAX_OBJECTS:  # the floor that they share is no larger
    radius = radius * (MAX_OBJECTS / num_objects) ** 0.75
  if size != 1:
    radius = radius * size
  is_sphere = shape == SHAPES.index("sphere")
  height = jnp.where(is_sphere, 1.0, jax.random.uniform(keys[3], each, minval=0.75, maxval=1.25))
  width = radius * jnp.where(shape == raycast.BOX, 0.8, 1.0)  # its corners reach farther
  half_size = jnp.stack([width, width, radius * height], -1)
  place = _positions(keys[4], width * jnp.where(shape == raycast.BOX, 2**0.5, 1.0), exists)
  # Three are nearly red, green and blue, no two alike: a model can learn that in minutes.
  tint = jax.random.uniform(keys[5], (3, num_objects))
  first = jax.random.permutation(keys[6], num_objects)
  hue = (first / num_objects + 0.08 * (tint[0] - 0.5)) % 1
  if unseen_colors:  # halfway between: three are nearly yellow, cyan and magenta
    chosen = jax.random.uniform(jax.random.fold_in(key, 1), each) < unseen_colors
    hue = jnp.where(chosen, (hue + 0.5 / num_objects) % 1, hue)
  color = _hsv(hue, 0.85 + 0.15 * tint[1], 0.85 + 0.15 * tint[2])
  return Solids(
    shape=shape,
    centre=jnp.concatenate([place, half_size[:, 2:]], -1),
    half_size=half_size,
    yaw=jax.random.uniform(keys[7], each, maxval=2 * jnp.pi),
    color=jnp.broadcast_to(color[0], color.shape) if same_color else color,
    gloss=jnp.full(each, 0.35),
    exists=exists,
  )


def _paint(key: Array, patterns: tuple[int, ...]):
  """A muted colour with a slightly darker one, and a pattern of the two: (code, [2, 3])."""
  code_key, color_key = jax.random.split(key)
  hue, saturation, value, contrast = jax.random.uniform(color_key, (4,))
  light = _hsv(hue, 0.05 + 0.15 * saturation, 0.62 + 0.33 * value)
  code = jnp.array(patterns)[jax.random.randint(code_key, (), 0, len(patterns))]
  return code, jnp.stack([light * (0.72 + 0.14 * contrast), light])


def _mix(ends: Float[Array, "2"], amount: Array) -> Array:
  return ends[0] + amount * (ends[1] - ends[0])


def room(key: Array) -> raycast.Backdrop:
  """A square room, open above, with painted walls and floor, for rays from inside."""
  floor_key, wall_key, sky_key = jax.random.split(key, 3)
  names = [draw.__name__ for draw in PATTERNS]
  floor_code, floor_colors = _paint(
    floor_key, (names.index("_checks"), names.index("_planks"), names.index("_dots"))
  )
  wall_code, wall_colors = _paint(wall_key, tuple(range(len(PATTERNS))))
  zenith = jnp.array([0.40, 0.60, 0.85]) + 0.12 * jax.random.uniform(sky_key)

  def backdrop(origin, direction):
    (x, y, z), (dx, dy, dz) = origin, direction
    to_x_wall = (jnp.sign(dx) * HALF_ROOM - x) / raycast.away_from_zero(dx)
    to_y_wall = (jnp.sign(dy) * HALF_ROOM - y) / raycast.away_from_zero(dy)
    to_wall = jnp.minimum(to_x_wall, to_y_wall)
    to_floor = -z / jnp.minimum(dz, -1e-9)
    distance = jnp.minimum(to_floor, to_wall)
    x, y, z = x + distance * dx, y + distance * dy, z + distance * dz
    is_floor, is_x_wall = to_floor < to_wall, to_x_wall < to_y_wall
    is_sky = ~is_floor & (z > WALL_HEIGHT)
    normal = (
      jnp.where(is_floor | ~is_x_wall, 0.0, -jnp.sign(dx)),
      jnp.where(is_floor | is_x_wall, 0.0, -jnp.sign(dy)),
      jnp.where(is_floor, 1.0, 0.0),
    )
    floor = pattern(floor_code, x * REPEATS, y * REPEATS)
    wall = pattern(wall_code, jnp.where(is_x_wall, y, x) * REPEATS, z * REPEATS)
    height = jnp.clip(1.5 * dz, 0, 1)
    color = tuple(
      jnp.where(
        is_sky,
        HORIZON[i] + height * (zenith[i] - HORIZON[i]),
        jnp.where(is_floor, _mix(floor_colors[:, i], floor), _mix(wall_colors[:, i], wall)),
      )
      for i in range(3)
    )
    return Surface(jnp.where(is_sky, 1e3, distance), normal, color, jnp.zeros_like(x), ~is_sky)

  return backdrop


def _ring_cameras(key: Array, num_views: int, height: float = 1.0) -> Float[Array, "V 5"]:
  """Cameras all around the room that look at its middle, give or take a little."""
  start_key, jitter_key = jax.random.split(key)
  jitter = jax.random.uniform(jitter_key, (4, num_views), minval=-1.0, maxval=1.0)
  turn = jax.random.uniform(start_key) + (jnp.arange(num_views) + 0.4 * jitter[0]) / num_views
  angle = 2 * jnp.pi * turn
  x, y, z = RING * jnp.cos(angle), RING * jnp.sin(angle), 1.45 + 0.25 * jitter[1]
  if height != 1:
    z = z * height
  pitch = -jnp.arctan2(z - 0.5, RING) + 0.04 * jitter[2]
  yaw = (angle + jnp.pi + 0.06 * jitter[3] + jnp.pi) % (2 * jnp.pi) - jnp.pi
  return jnp.stack([x, y, z, yaw, pitch], -1)


def _to_sun(key: Array) -> Float[Array, "3"]:
  """The direction of light from anywhere around."""
  angle, elevation = jax.random.uniform(key, maxval=2 * jnp.pi), 1.0  # radians above the horizon
  x, y = (turn(angle) * jnp.cos(elevation) for turn in (jnp.cos, jnp.sin))
  return jnp.stack([x, y, jnp.sin(elevation)])


def room_scene(
  key: Array,
  *,
  image_size: int = 64,
  num_views: int = 10,
  samples: int = 2,
  counts: tuple[int, int] = (1, MAX_OBJECTS),
  same_color: bool = False,
  size: float = 1.0,
  unseen_colors: float = 0.0,
  camera_height: float = 1.0,
) -> dict:
  """Renders one room.

  Args:
    key: decides everything.
    image_size: side in pixels.
    num_views: how many cameras, all around.
    samples: squared, rays per pixel.
    counts: least and most objects; six find room.
    same_color: whether all objects of a room have one colour.
    size: factor of the objects' sizes; the largest may touch.
    unseen_colors: share of objects, about, with hues halfway between those that there are.
    camera_height: factor of the cameras' heights; they look at the same point.

  Returns a dict of
    image: uint8 [V, S, S, 3].
    instances: int32 [V, S, S]; 0 for floor, walls and sky, n for object n, from 1.
    cameras: float32 [V, 5]; x, y, z in metres, yaw and pitch in radians.
    factors: dict of the fields of `raycast.Solids`, [N] or [N, 3] each.
  """
  object_key, room_key, camera_key, light_key = jax.random.split(key, 4)
  solids = _objects(object_key, counts, same_color, size, unseen_colors)
  backdrop = room(room_key)
  cameras = _ring_cameras(camera_key, num_views, camera_height)
  to_light = _to_sun(light_key)

  def view(camera):
    return raycast.render(
      solids,
      backdrop,
      camera,
      to_light,
      image_size=image_size,
      field_of_view=FIELD_OF_VIEW,
      samples=samples,
    )

  image, instances = jax.vmap(view)(cameras)
  return {
    "image": jnp.round(image * 255).astype(jnp.uint8),
    "instances": instances,
    "cameras": cameras,
    "factors": solids._asdict(),
  }
