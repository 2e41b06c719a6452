"""A small ray caster: solids on a backdrop, one light with hard shadows, antialiased.

    solids = Solids(shape=..., centre=..., half_size=..., yaw=..., color=..., gloss=..., exists=...)
    image, ids = render(solids, backdrop, camera, to_light, image_size=64)

World coordinates are x, y on the ground and z up. Vectors have their three coordinates in front
([3, R] for R rays), which keeps rays contiguous in memory. Everything has static shapes, and works
under jit, vmap and on any device.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Solids of revolution in their own frame: |z| <= 1 and x^2 + y^2 + a z^2 + b z + c <= 0.
_QUADRICS = {
  "sphere": (1.0, 0.0, -1.0),
  "cylinder": (0.0, 0.0, -1.0),
  "cone": (-0.25, 0.5, -0.25),  # radius (1 - z) / 2
  "frustum": (-0.0625, 0.375, -0.5625),  # radius (3 - z) / 4: the top is half as wide
  "dome": (0.0, 0.5, -0.5),  # radius sqrt((1 - z) / 2)
}
SHAPES = (*_QUADRICS, "box")  # the shape code is the index in here
BOX = SHAPES.index("box")

_NEAR = 1e-4  # hits closer than this are the surface that the ray starts from
_TINY = 1e-9
_LIFT = 1e-3  # how far off a surface its shadow ray starts

AMBIENT, SKYLIGHT, SUNLIGHT = 0.40, 0.12, 0.60  # parts of a colour seen; more sky on upward sides
SHININESS = 40.0  # exponent of the highlight


class Solids(NamedTuple):
  """N solids, of which only those that exist are drawn."""

  shape: Int[Array, "N"]  # index in SHAPES
  centre: Float[Array, "N 3"]
  half_size: Float[Array, "N 3"]  # along the solid's own axes
  yaw: Float[Array, "N"]  # radians about z
  color: Float[Array, "N 3"]  # in [0, 1]
  gloss: Float[Array, "N"]  # strength of the highlight, in [0, 1]
  exists: Bool[Array, "N"]


class Surface(NamedTuple):
  """What rays meet; `lit` is 0 where the colour is its own light, as the sky's."""

  distance: Float[Array, "R"]
  normal: Float[Array, "3 R"]
  color: Float[Array, "3 R"]
  gloss: Float[Array, "R"]
  lit: Float[Array, "R"]


Backdrop = Callable[[Float[Array, "3 R"], Float[Array, "3 R"]], Surface]


def _dot(a: Float[Array, "3 R"], b: Float[Array, "3 R"]) -> Float[Array, "R"]:
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _normalise(vector: Float[Array, "3 R"]) -> Float[Array, "3 R"]:
  return vector * jax.lax.rsqrt(_dot(vector, vector) + _TINY)


def _away_from_zero(x: Array) -> Array:
  return jnp.where(jnp.abs(x) < _TINY, _TINY, x)


def _turn(vector: Float[Array, "3 R"], yaw: Array) -> Float[Array, "3 R"]:
  """Rotates about z by yaw."""
  cos, sin = jnp.cos(yaw), jnp.sin(yaw)
  x, y, z = vector
  return jnp.stack([cos * x - sin * y, sin * x + cos * y, z])


def _quadric(shape: Array) -> tuple[Array, Array, Array]:
  table = jnp.array([*_QUADRICS.values(), (0.0, 0.0, 0.0)])
  return tuple(table[shape].T)


def _hit_round(shape: Array, origin: Array, direction: Array) -> Float[Array, "R"]:
  """Distance to a solid of revolution in its own frame, infinite where the ray passes it by."""
  a, b, c = _quadric(shape)
  (x, y, z), (dx, dy, dz) = origin, direction
  second = _away_from_zero(dx * dx + dy * dy + a * dz * dz)
  first = x * dx + y * dy + a * z * dz + b * dz / 2
  zeroth = x * x + y * y + a * z * z + b * z + c
  discriminant = first * first - second * zeroth
  root = jnp.sqrt(jnp.maximum(discriminant, 0.0))
  nearest = jnp.full_like(x, jnp.inf)
  for sign in (-1.0, 1.0):  # the curved side, twice
    t = (-first + sign * root) / second
    inside = (discriminant > 0) & (jnp.abs(z + t * dz) <= 1)
    nearest = jnp.where(inside & (t > _NEAR), jnp.minimum(nearest, t), nearest)
  for cap in (-1.0, 1.0):  # the flat ends
    t = (cap - z) / _away_from_zero(dz)
    inside = (x + t * dx) ** 2 + (y + t * dy) ** 2 <= -(a + b * cap + c)
    nearest = jnp.where(inside & (t > _NEAR), jnp.minimum(nearest, t), nearest)
  return nearest


def _hit_box(origin: Array, direction: Array) -> Float[Array, "R"]:
  """Distance to the cube from -1 to 1, infinite where the ray passes it by."""
  inverse = 1 / _away_from_zero(direction)
  one, other = (-1 - origin) * inverse, (1 - origin) * inverse
  enter = jnp.max(jnp.minimum(one, other), 0)
  leave = jnp.min(jnp.maximum(one, other), 0)
  return jnp.where((enter < leave) & (enter > _NEAR), enter, jnp.inf)


def _hit(solid: Solids, origin: Array, direction: Array) -> Float[Array, "R"]:
  """Distance along the rays to one solid (fields without the axis N), infinite for a miss."""
  scale = solid.half_size[:, None]  # an affine map leaves distances along a ray as they are
  local_origin = _turn(origin - solid.centre[:, None], -solid.yaw) / scale
  local_direction = _turn(direction, -solid.yaw) / scale
  distance = jnp.where(
    solid.shape == BOX,
    _hit_box(local_origin, local_direction),
    _hit_round(solid.shape, local_origin, local_direction),
  )
  return jnp.where(solid.exists, distance, jnp.inf)


def _nearest(solids: Solids, origin: Array, direction: Array) -> tuple[Array, Int[Array, "R"]]:
  """Distance to the nearest solid, and its index (0 where there is none)."""

  def closer(best, solid_and_index):
    solid, index = solid_and_index
    distance = _hit(solid, origin, direction)
    closest, which = best
    return (jnp.minimum(distance, closest), jnp.where(distance < closest, index, which)), None

  rays, count = origin.shape[1], solids.shape.shape[0]
  start = jnp.full(rays, jnp.inf), jnp.zeros(rays, jnp.int32)
  best, _ = jax.lax.scan(closer, start, (solids, jnp.arange(count)), unroll=min(count, 4))
  return best


def _normal(solid: Solids, point: Float[Array, "3 R"]) -> Float[Array, "3 R"]:
  """Outward unit normals at points on the surface; here every ray has a solid of its own."""
  local = _turn(point - solid.centre.T, -solid.yaw) / solid.half_size.T
  a, b, c = _quadric(solid.shape)
  x, y, z = local
  side = jnp.stack([x, y, a * z + b / 2])
  end = jnp.stack([jnp.zeros_like(x), jnp.zeros_like(x), jnp.sign(z)])
  on_end = (jnp.abs(z) > 1 - 1e-3) & (x * x + y * y < -(a + b * jnp.sign(z) + c))
  size = jnp.abs(local)
  face = jnp.where(size >= jnp.max(size, 0), jnp.sign(local), 0.0)
  normal = jnp.where(solid.shape == BOX, face, jnp.where(on_end, end, side))
  return _turn(_normalise(normal / solid.half_size.T), solid.yaw)


def _surface(solids: Solids, backdrop: Backdrop, origin: Array, direction: Array):
  """The first surface on each ray, and which solid that is: 0 for none, else index + 1."""
  behind = backdrop(origin, direction)
  distance, index = _nearest(solids, origin, direction)
  is_solid = distance < behind.distance
  mine = jax.tree.map(lambda field: field[index], solids)
  point = origin + jnp.where(is_solid, distance, 0.0) * direction
  front = Surface(distance, _normal(mine, point), mine.color.T, mine.gloss, jnp.ones_like(distance))
  seen = jax.tree.map(lambda ours, theirs: jnp.where(is_solid, ours, theirs), front, behind)
  return seen, jnp.where(is_solid, index + 1, 0)


def trace(
  solids: Solids,
  backdrop: Backdrop,
  origin: Float[Array, "3 R"],
  direction: Float[Array, "3 R"],
  to_light: Float[Array, "3"],
  *,
  shadows: bool = True,
) -> tuple[Float[Array, "3 R"], Int[Array, "R"]]:
  """Colours in [0, 1] that rays see, and ids: 0 for the backdrop, n + 1 for solid n.

  `direction` and `to_light` have unit length.
  """
  surface, ids = _surface(solids, backdrop, origin, direction)
  light = to_light[:, None]
  facing = jnp.maximum(_dot(surface.normal, light), 0.0)
  if shadows:
    start = origin + surface.distance * direction + _LIFT * surface.normal
    blocked, _ = _nearest(solids, start, jnp.broadcast_to(light, start.shape))
    facing = jnp.where(jnp.isinf(blocked), facing, 0.0)
  halfway = _normalise(light - direction)
  highlight = jnp.maximum(_dot(surface.normal, halfway), 0.0) ** SHININESS
  diffuse = AMBIENT + SKYLIGHT * surface.normal[2] + SUNLIGHT * facing
  shaded = surface.color * diffuse + surface.gloss * highlight * (facing > 0)
  color = jnp.where(surface.lit > 0, shaded, surface.color)
  return jnp.clip(color, 0.0, 1.0), ids


def camera_rays(
  camera: Float[Array, "5"], side: int, field_of_view: float
) -> tuple[Float[Array, "3 R"], Float[Array, "3 R"]]:
  """Origins and unit directions through side x side points of a picture, row by row.

  A camera is x, y, z, yaw, pitch in radians, as in GQN; yaw 0 looks along x.
  """
  yaw, pitch = camera[3], camera[4]
  cos, sin = jnp.cos(yaw), jnp.sin(yaw)
  forward = jnp.stack([cos * jnp.cos(pitch), sin * jnp.cos(pitch), jnp.sin(pitch)])
  right = jnp.stack([sin, -cos, jnp.zeros_like(yaw)])
  up = jnp.cross(right, forward)
  steps = ((jnp.arange(side) + 0.5) * 2 / side - 1) * jnp.tan(field_of_view / 2)
  down, across = (axis.ravel() for axis in jnp.meshgrid(steps, steps, indexing="ij"))
  direction = forward[:, None] + across * right[:, None] - down * up[:, None]
  return jnp.broadcast_to(camera[:3, None], direction.shape), _normalise(direction)


def render(
  solids: Solids,
  backdrop: Backdrop,
  camera: Float[Array, "5"],
  to_light: Float[Array, "3"],
  *,
  image_size: int,
  field_of_view: float = 1.0,
  samples: int = 2,
  shadows: bool = True,
) -> tuple[Float[Array, "S S 3"], Int[Array, "S S"]]:
  """A picture in [0, 1], from samples x samples rays per pixel, and the id most of them hit."""
  side = image_size * samples
  origin, direction = camera_rays(camera, side, field_of_view)
  color, ids = trace(solids, backdrop, origin, direction, to_light, shadows=shadows)
  blocks = (image_size, samples, image_size, samples)
  image = color.reshape(3, *blocks).mean((2, 4)).transpose(1, 2, 0)
  votes = jnp.stack([(ids == n).reshape(blocks).sum((1, 3)) for n in range(len(solids.yaw) + 1)])
  return image, jnp.argmax(votes, 0).astype(jnp.int32)
