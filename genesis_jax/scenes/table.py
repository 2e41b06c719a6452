"""A robot's table with solids in a sunken basket, seen by two cameras: after Sketchy's.

scene = jax.jit(partial(table_scene, image_size=128))(jax.random.key(0))
scene["image"]        # uint8 [128, 128, 3]
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from genesis_jax.scenes import raycast
from genesis_jax.scenes.raycast import SHAPES, Solids, Surface, Vector

MAX_OBJECTS = 4
FRAME = (600, 960)  # rows and columns of the frames that the cameras record
CENTRE = 448  # side of the square in the middle of a frame that `table_scene` shows
NUM_CAMERAS = 2
GRIPPER = MAX_OBJECTS + 1  # id of the gripper; objects have 1 to MAX_OBJECTS

# The table is the plane z = 0, and the origin is the middle of the basket; a unit is 10 cm.
OPENING, BOTTOM, DEPTH = 2.2, 1.65, 0.55  # half sides of the basket's opening and floor, depth
WALL = 5.0  # distance of the curtains from the origin
RAIL, GROOVE = 0.30, (0.10, 0.16)  # height of the rail at the table's edge, and of its dark groove
DISTANCE, HEIGHT = 5.6, 3.7  # of the cameras, from the axis and above the table
PITCH = -0.50  # radians; aims behind the basket, which so lies low in the picture
FIELD_OF_VIEW = 1.05  # radians across a frame

TABLE, BASKET, FLOOR = (0.36, 0.40, 0.34), (0.30, 0.34, 0.29), (0.34, 0.37, 0.32)
CURTAIN, METAL, SHADE = (0.74, 0.82, 0.66), (0.52, 0.56, 0.48), (0.22, 0.24, 0.21)
COLORS = ((0.90, 0.16, 0.18), (0.08, 0.70, 0.16), (0.10, 0.26, 0.85), (0.95, 0.78, 0.10))


def _basket(origin: Vector, direction: Vector) -> tuple[Array, Vector]:
  """Distance to the inside of the basket along rays that enter it, and the normal there.

  The basket is convex: a ray leaves it through the first of its planes that it heads for.
  """
  slope = (OPENING - BOTTOM) / DEPTH
  scale = 1 / (1 + slope**2) ** 0.5
  (x, y, z), (dx, dy, dz) = origin, direction
  distance = (-DEPTH - z) / jnp.minimum(dz, -1e-9)
  normal = jnp.zeros_like(x), jnp.zeros_like(x), jnp.ones_like(x)
  for sign in (-1.0, 1.0):
    for axis in (0, 1):
      # On the wall: sign * (x or y) = OPENING + slope * z.
      speed = sign * (dx, dy)[axis] - slope * dz
      gap = OPENING + slope * z - sign * (x, y)[axis]
      here = jnp.where(speed > 1e-9, gap / raycast.away_from_zero(speed), jnp.inf)
      inward = [0.0, 0.0, slope * scale]
      inward[axis] = -sign * scale
      first = here < distance
      distance = jnp.where(first, here, distance)
      normal = tuple(
        jnp.where(first, one, other) for one, other in zip(inward, normal, strict=True)
      )
  return distance, normal


def _choose(condition: Array, one: tuple, other: tuple) -> tuple:
  return tuple(jnp.where(condition, a, b) for a, b in zip(one, other, strict=True))


def table(origin: Vector, direction: Vector) -> Surface:
  """The table with its basket, a rail at its edges and curtains behind, for rays from above."""
  (x, y, z), (dx, dy, dz) = origin, direction
  zero = jnp.zeros_like(x)
  to_table = jnp.where(dz < 0, -z / jnp.minimum(dz, -1e-9), jnp.inf)
  to_x = (jnp.sign(dx) * WALL - x) / raycast.away_from_zero(dx)
  to_y = (jnp.sign(dy) * WALL - y) / raycast.away_from_zero(dy)
  to_wall = jnp.minimum(to_x, to_y)
  is_wall = to_wall < to_table
  distance = jnp.minimum(to_wall, to_table)
  wall_normal = _choose(to_x < to_y, (-jnp.sign(dx), zero, zero), (zero, -jnp.sign(dy), zero))
  across, height = jnp.where(to_x < to_y, y + distance * dy, x + distance * dx), z + distance * dz
  folds = 0.93 + 0.07 * jnp.sin(2.1 * across + 0.6 * jnp.sin(1.3 * across + height))
  in_groove = (height > GROOVE[0]) & (height < GROOVE[1])
  rail = _choose(in_groove, SHADE, METAL)
  wall = _choose(height < RAIL, rail, tuple(folds * one for one in CURTAIN))
  entered = jnp.maximum(jnp.abs(x + distance * dx), jnp.abs(y + distance * dy)) < OPENING
  entered &= ~is_wall
  inside, inside_normal = _basket(origin, direction)
  on_floor = inside_normal[2] > 0.99
  ground = _choose(entered, _choose(on_floor, FLOOR, BASKET), TABLE)
  normal = _choose(entered, inside_normal, (zero, zero, zero + 1))
  return Surface(
    jnp.where(entered, inside, distance),
    _choose(is_wall, wall_normal, normal),
    _choose(is_wall, wall, ground),
    jnp.where(is_wall, 0.0, 0.06) + zero,
    ~is_wall,  # the curtains shine through
  )


def _objects(key: Array) -> Solids:
  """Two to four solids of different colours on the basket's floor, each in its own quarter."""
  keys = jax.random.split(key, 8)
  each = (MAX_OBJECTS,)
  shapes = jnp.array([SHAPES.index(name) for name in ("box", "cylinder", "sphere")])
  shape = shapes[jax.random.randint(keys[0], each, 0, len(shapes))]
  radius = jax.random.uniform(keys[1], each, minval=0.30, maxval=0.46)
  half_size = jnp.stack([radius, radius, radius], -1)
  quarter = BOTTOM / 2
  corners = quarter * jnp.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])
  free = quarter - radius * jnp.where(shape == raycast.BOX, 2**0.5, 1.0)
  shift = jax.random.uniform(keys[2], (MAX_OBJECTS, 2), minval=-1.0, maxval=1.0)
  place = jax.random.permutation(keys[3], corners) + free[:, None] * shift
  tint = jax.random.uniform(keys[4], (MAX_OBJECTS, 3), minval=-0.06, maxval=0.06)
  count = jax.random.randint(keys[5], (), 2, MAX_OBJECTS + 1)
  return Solids(
    shape=shape,
    centre=jnp.concatenate([place, (radius - DEPTH)[:, None]], -1),
    half_size=half_size,
    yaw=jax.random.uniform(keys[6], each, maxval=2 * jnp.pi),
    color=jnp.clip(jnp.array(COLORS) + tint, 0.0, 1.0),
    gloss=jnp.full(each, 0.15),
    exists=jax.random.permutation(keys[7], jnp.arange(MAX_OBJECTS) < count),
  )


def _gripper(key: Array) -> Solids:
  """A palm, two fingers and a wrist that hang from above the picture."""
  place_key, yaw_key, open_key = jax.random.split(key, 3)
  x, y, lift = jax.random.uniform(
    place_key, (3,), minval=jnp.array([-1.4, -1.4, 0.7]), maxval=jnp.array([1.4, 1.4, 1.6])
  )
  yaw = jax.random.uniform(yaw_key, (), maxval=2 * jnp.pi)
  spread = jax.random.uniform(open_key, (), minval=0.14, maxval=0.4)
  along = spread * jnp.stack([jnp.cos(yaw), jnp.sin(yaw)])
  palm, wrist = jnp.array([x, y, lift + 1.1]), jnp.array([x, y, lift + 3.2])
  fingers = [jnp.array([x + s * along[0], y + s * along[1], lift + 0.4]) for s in (-1, 1)]
  box = raycast.BOX
  return Solids(
    shape=jnp.array([box, box, box, SHAPES.index("cylinder")]),
    centre=jnp.stack([palm, *fingers, wrist]),
    half_size=jnp.array(
      [(0.5, 0.24, 0.3), (0.08, 0.11, 0.42), (0.08, 0.11, 0.42), (0.3, 0.3, 1.9)]
    ),
    yaw=jnp.full((4,), yaw),
    color=jnp.array([(0.1, 0.1, 0.11), (0.85, 0.87, 0.8), (0.85, 0.87, 0.8), (0.5, 0.14, 0.1)]),
    gloss=jnp.full((4,), 0.2),
    exists=jnp.ones((4,), bool),
  )


def _scene(key: Array) -> tuple[Solids, Float[Array, "V 5"], Float[Array, "3"]]:
  """Objects and then the gripper's parts, cameras (front left, front right), and the light."""
  object_key, gripper_key, camera_key, light_key = jax.random.split(key, 4)
  parts = _objects(object_key), _gripper(gripper_key)
  solids = jax.tree.map(lambda *fields: jnp.concatenate(fields), *parts)
  jitter = jax.random.uniform(camera_key, (3, NUM_CAMERAS), minval=-1.0, maxval=1.0)
  angle = jnp.pi * jnp.array([-0.75, -0.25])  # in opposite corners in front of the table
  cameras = [
    DISTANCE * jnp.cos(angle),
    DISTANCE * jnp.sin(angle),
    HEIGHT + 0.1 * jitter[0],
    angle + jnp.pi + 0.03 * jitter[1],
    PITCH + 0.02 * jitter[2],
  ]
  light = (
    jnp.array([0.0, 0.0, 1.0])
    .at[:2]
    .set(jax.random.uniform(light_key, (2,), minval=-0.4, maxval=0.4))
  )
  return solids, jnp.stack(cameras, -1), light / jnp.linalg.norm(light)


def _merged(ids: Int[Array, "..."]) -> Int[Array, "..."]:
  """Ids of solids -> ids of instances: the parts of the gripper are one."""
  return jnp.minimum(ids, GRIPPER).astype(jnp.int32)


def _factors(solids: Solids) -> dict[str, Array]:
  return {name: value[:MAX_OBJECTS] for name, value in solids._asdict().items()}


def table_scene(key: Array, *, image_size: int = 128) -> dict:
  """Renders the middle of the frame of one camera, either by chance.

  Returns a dict of
    image: uint8 [S, S, 3].
    instances: int32 [S, S]; 0 for table and curtains, 1 to 4 for objects, 5 for the gripper.
    factors: dict of the fields of `raycast.Solids` for the objects, [4] or [4, 3] each.
  """
  scene_key, camera_key = jax.random.split(key)
  solids, cameras, light = _scene(scene_key)
  zoomed = 2 * jnp.arctan(jnp.tan(FIELD_OF_VIEW / 2) * CENTRE / FRAME[1])
  image, ids = raycast.render(
    solids,
    table,
    cameras[jax.random.randint(camera_key, (), 0, NUM_CAMERAS)],
    light,
    image_size=image_size,
    field_of_view=zoomed,
  )
  return {
    "image": jnp.round(image * 255).astype(jnp.uint8),
    "instances": _merged(ids),
    "factors": _factors(solids),
  }


def table_frames(key: Array, *, camera: Int[ArrayLike, ""]) -> dict:
  """Renders a whole frame of one camera (0: front left, 1: front right), a ray for each pixel.

  Returns a dict as `table_scene` does, with `image` uint8 [600, 960, 3] and `instances` alike.
  """
  solids, cameras, light = _scene(jax.random.split(key)[0])
  height, width = FRAME
  origin, direction = raycast.camera_rays(cameras[camera], width, FIELD_OF_VIEW)
  start = (width - height) // 2 * width  # the rays are those of a square
  rays = slice(start, start + height * width)
  origin, direction = (tuple(part[rays] for part in vector) for vector in (origin, direction))
  colors, ids = raycast.trace(solids, table, origin, direction, light)
  image = jnp.stack(colors, -1).reshape(height, width, 3)
  return {
    "image": jnp.round(image * 255).astype(jnp.uint8),
    "instances": _merged(ids).reshape(height, width),
    "factors": _factors(solids),
  }
