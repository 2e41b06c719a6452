"""Towers of two to six blocks in a room, some of which would fall over: after ShapeStacks.

scene = jax.jit(partial(stacks_scene, image_size=64))(jax.random.key(0))
scene["image"]        # uint8 [64, 64, 3]
scene["factors"]["vcom"], scene["factors"]["vpsf"]     # 0, 0 for a tower that stands
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genesis_jax.scenes import raycast
from genesis_jax.scenes.raycast import SHAPES, Solids
from genesis_jax.scenes.rooms import room

MIN_BLOCKS, MAX_BLOCKS = 2, 6
NUM_VIEWS = 16  # cameras, as published: four times three around the tower, then four from above
CROP = 196 / 224  # part of a published image that models see
BOXES_ONLY = {
  "default": 0.5,
  "blocks_all": 1.0,
  "ccs_all": 0.0,
}  # part of the towers, by split list
# What is above a block is centred over its inner half; or, where it must fall, so far outside.
SAFE, UNSAFE = 0.5, (1.08, 1.15)  # in half sizes of the block
ON_SPHERE = 0.3  # the same over a sphere, whose top has to carry
SHIFT = 0.25  # of the tower from the middle of the room, at most
FIELD_OF_VIEW = 1.0  # radians
RING = ((2.75, 1.55), (2.1, 2.7))  # distance from the middle and height: of cameras 1-12 and 13-16
AIM = 0.85  # height of the point that they look at
COLORS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1))  # as published
BOX, CYLINDER, SPHERE = (SHAPES.index(name) for name in ("box", "cylinder", "sphere"))


def _faults(key: Array, count: Array, boxes_only: Array) -> tuple[Array, Array]:
  """vcom and vpsf: 0, or the block (from 1 at the bottom) that does not hold those above it."""
  kind_key, block_key = jax.random.split(key)
  kind = jax.random.uniform(kind_key)
  block = jax.random.randint(block_key, (), 1, count)  # any but the top one
  rounded = (kind > 0.75) & ~boxes_only
  return jnp.where((kind > 0.5) & ~rounded, block, 0), jnp.where(rounded, block, 0)


def _blocks(key: Array, count: Array, vpsf: Array, boxes_only: Array):
  """Shapes [N] and half sizes [N, 3]: spheres only on top, or where a surface is at fault."""
  shape_key, top_key, size_key = jax.random.split(key, 3)
  number = jnp.arange(1, MAX_BLOCKS + 1)
  flat = jnp.where(jax.random.bernoulli(shape_key, 0.5, (MAX_BLOCKS,)), BOX, CYLINDER)
  top_is_sphere = jax.random.bernoulli(top_key, 1 / 3)
  shape = jnp.where((number == vpsf) | ((number == count) & top_is_sphere), SPHERE, flat)
  shape = jnp.where(boxes_only, BOX, shape)
  low, high = jnp.array([0.17, 0.17, 0.12]), jnp.array([0.26, 0.26, 0.18])
  half_size = jax.random.uniform(size_key, (MAX_BLOCKS, 3), minval=low, maxval=high)
  x, _, z = half_size.T
  radius = z + 0.03
  half_size = jnp.where((shape == BOX)[:, None], half_size, jnp.stack([x, x, z], -1))
  return shape, jnp.where((shape == SPHERE)[:, None], radius[:, None], half_size)


def _volume(shape: Int[Array, "N"], half_size: Float[Array, "N 3"]) -> Float[Array, "N"]:
  part = jnp.array([4 / 3 * jnp.pi, 2 * jnp.pi, 8.0])
  part = jnp.where(shape == SPHERE, part[0], jnp.where(shape == CYLINDER, part[1], part[2]))
  return part * half_size.prod(-1)


def _places(key: Array, solids: Solids, vcom: Array) -> Float[Array, "N 2"]:
  """Where the blocks' centres are, seen from above.

  From the top down, each block is put under the centre of mass of those above it: so that it holds
  them, or at the block `vcom` so that it does not. As that centre also is over the block above,
  which is convex, the two always touch.
  """
  offset_key, axis_key, sign_key = jax.random.split(key, 3)
  inner = jax.random.uniform(offset_key, (MAX_BLOCKS, 2), minval=-SAFE, maxval=SAFE)
  inner = jnp.where((solids.shape == SPHERE)[:, None], inner * ON_SPHERE / SAFE, inner)
  beyond = jax.random.uniform(axis_key, (), minval=UNSAFE[0], maxval=UNSAFE[1])
  side = jax.random.randint(sign_key, (), 0, 4)
  fallen = jnp.where(jnp.arange(2) == side // 2, beyond * (1 - side % 2 * 2), inner)
  offset = jnp.where((jnp.arange(MAX_BLOCKS) + 1 == vcom)[:, None], fallen, inner)
  x, y = (offset * solids.half_size[:, :2]).T
  cos, sin = jnp.cos(solids.yaw), jnp.sin(solids.yaw)
  offset = jnp.stack([cos * x - sin * y, sin * x + cos * y], -1)
  mass = jnp.where(solids.exists, _volume(solids.shape, solids.half_size), 0.0)
  places, centre, above = [], jnp.zeros(2), jnp.array(0.0)
  for n in reversed(range(MAX_BLOCKS)):
    place = centre + jnp.where(above > 0, offset[n], 0.0)
    above = above + mass[n]
    centre = centre + (place - centre) * mass[n] / jnp.maximum(above, 1e-9)
    places.insert(0, place)
  return jnp.stack(places) - places[0]


def tower(key: Array, *, variant: str = "default") -> tuple[Solids, dict[str, Array]]:
  """A tower, its blocks from the bottom up, and what its scenario's name says.

  The latter are `height` (number of blocks), `vcom` and `vpsf` (0, or the number of the block that
  does not hold those above it: their centre of mass is not over it, or its surface is round) and
  `boxes_only`, all whole numbers.
  """
  keys = jax.random.split(key, 8)
  boxes_only = jax.random.uniform(keys[0]) < BOXES_ONLY[variant]
  count = jax.random.randint(keys[1], (), MIN_BLOCKS, MAX_BLOCKS + 1)
  vcom, vpsf = _faults(keys[2], count, boxes_only)
  shape, half_size = _blocks(keys[3], count, vpsf, boxes_only)
  height = half_size[:, 2]
  solids = Solids(
    shape=shape,
    centre=jnp.zeros((MAX_BLOCKS, 3)).at[:, 2].set(2 * jnp.cumsum(height) - height),
    half_size=half_size,
    yaw=jax.random.uniform(keys[4], (MAX_BLOCKS,), maxval=2 * jnp.pi),
    color=0.06 + 0.86 * jax.random.permutation(keys[5], jnp.array(COLORS, jnp.float32)),
    gloss=jnp.full((MAX_BLOCKS,), 0.2),
    exists=jnp.arange(MAX_BLOCKS) < count,
  )
  shift = jax.random.uniform(keys[6], (2,), minval=-SHIFT, maxval=SHIFT)
  places = _places(keys[7], solids, vcom) + shift
  solids = solids._replace(centre=solids.centre.at[:, :2].set(places))
  name = dict(height=count, vcom=vcom, vpsf=vpsf, boxes_only=boxes_only.astype(jnp.int32))
  return solids, name


def _camera(number: Int[Array, ""]) -> Float[Array, "5"]:
  """Camera 0 to 15 (cam_1 to cam_16)."""
  is_above = number >= 12
  distance, height = (jnp.where(is_above, high, low) for low, high in zip(*RING, strict=True))
  corner = jnp.where(is_above, number - 12, number // 3)
  aside = jnp.where(is_above, 0.0, jnp.array([0.0, -0.55, 0.55])[number % 3])
  angle = jnp.pi / 4 + corner * jnp.pi / 2 + aside
  pitch = -jnp.arctan2(height - AIM, distance)
  x, y = distance * jnp.cos(angle), distance * jnp.sin(angle)
  return jnp.stack([x, y, height, (angle + 2 * jnp.pi) % (2 * jnp.pi) - jnp.pi, pitch])


def stacks_view(
  key: Array,
  camera: Int[Array, ""],
  *,
  image_size: int = 224,
  variant: str = "default",
  part: float = 1.0,
  samples: int = 1,
) -> dict:
  """Renders a tower from one of its sixteen cameras (0 to 15); the key alone decides the tower.

  Only the central `part` of the view fills the image. Returns a dict as `stacks_scene` does.
  """
  tower_key, room_key, light_key = jax.random.split(key, 3)
  solids, name = tower(tower_key, variant=variant)
  turn = jax.random.uniform(light_key, maxval=2 * jnp.pi)
  level, rise = jnp.cos(0.85), jnp.sin(0.85)  # of the light, which stands at 0.85 radians
  image, ids = raycast.render(
    solids,
    room(room_key),
    _camera(camera),
    jnp.stack([jnp.cos(turn) * level, jnp.sin(turn) * level, rise]),
    image_size=image_size,
    field_of_view=2 * jnp.arctan(jnp.tan(FIELD_OF_VIEW / 2) * part),
    samples=samples,
  )
  return {
    "image": jnp.round(image * 255).astype(jnp.uint8),
    "instances": ids,
    "factors": solids._asdict() | name,
  }


def stacks_scene(
  key: Array, *, image_size: int = 64, variant: str = "default", samples: int = 2
) -> dict:
  """Renders what models see of a tower from one of its cameras, any by chance.

  `variant` names a split list: "blocks_all" are boxes, "ccs_all" cylinders and spheres as well.

  Returns a dict of
    image: uint8 [S, S, 3].
    instances: int32 [S, S]; 0 for the room, n for the block n, from 1 at the bottom.
    factors: dict of the fields of `raycast.Solids`, [6] or [6, 3] each, and of `tower`'s numbers.
  """
  camera = jax.random.randint(jax.random.fold_in(key, 1), (), 0, NUM_VIEWS)
  return stacks_view(
    key, camera, image_size=image_size, variant=variant, part=CROP, samples=samples
  )
