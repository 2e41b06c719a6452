"""A small ray caster: solids on a backdrop, one light with hard shadows, antialiased.

    solids = Solids(shape=..., centre=..., half_size=..., yaw=..., color=..., gloss=..., exists=...)
    image, ids = render(solids, backdrop, camera, to_light, image_size=64)

World coordinates are x, y on the ground and z up. Inside, a vector is a tuple of three arrays with
one entry per ray: stacked vectors keep XLA from fusing, at fifty times the cost. Everything has
static shapes, and works under jit, vmap and on any device.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
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
SHININESS = 32  # exponent of the highlight

# x, y and z, each [R], or [] where all rays share one.
Vector = tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]
Scalar = Float[ArrayLike, ""]


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
  """What rays meet; `lit` is False where the colour is its own light, as the sky's."""

  distance: Float[Array, "R"]
  normal: Vector
  color: Vector
  gloss: Float[Array, "R"]
  lit: Bool[Array, "R"]


# Which solid each ray meets [R], and where on it, in lengths along its own axes -> its colour.
Paint = Callable[[Int[Array, "R"], Vector], Vector]
Backdrop = Callable[[Vector, Vector], Surface]  # origins and unit directions -> what lies behind


class _Solid(NamedTuple):
  """One solid in scalars, or with one entry per ray the solid that each of them meets."""

  centre: Vector
  half_size: Vector
  turn: tuple[Array, Array]  # cosine and sine of the yaw
  quadric: Vector  # a, b, c
  is_box: Bool[Array, ""]
  color: Vector
  gloss: Float[Array, ""]
  exists: Bool[Array, ""]


def _each(solids: Solids) -> list[_Solid]:
  quadrics = jnp.array([*_QUADRICS.values(), (0.0, 0.0, 0.0)])[solids.shape]
  return [
    _Solid(
      centre=tuple(solids.centre[n]),
      half_size=tuple(solids.half_size[n]),
      turn=(jnp.cos(solids.yaw[n]), jnp.sin(solids.yaw[n])),
      quadric=tuple(quadrics[n]),
      is_box=solids.shape[n] == BOX,
      color=tuple(solids.color[n]),
      gloss=solids.gloss[n],
      exists=solids.exists[n],
    )
    for n in range(solids.shape.shape[0])
  ]


def away_from_zero(x: Array) -> Array:
  """x, but nothing that is too small to divide by."""
  return jnp.where(jnp.abs(x) < _TINY, _TINY, x)


def _dot(a: Vector, b: Vector) -> Float[Array, "..."]:
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _along(origin: Vector, distance: Float[ArrayLike, "..."], direction: Vector) -> Vector:
  return tuple(o + distance * d for o, d in zip(origin, direction, strict=True))


def _normalise(vector: Vector) -> Vector:
  scale = jax.lax.rsqrt(_dot(vector, vector) + _TINY)
  return tuple(component * scale for component in vector)


def _to_local(vector: Vector, solid: _Solid) -> Vector:
  """A direction in the frame in which a solid reaches from -1 to 1."""
  (cos, sin), (x, y, z), (sx, sy, sz) = solid.turn, vector, solid.half_size
  return (cos * x + sin * y) / sx, (cos * y - sin * x) / sy, z / sz


def _hit_round(quadric: Vector, origin: Vector, direction: Vector) -> Float[Array, "R"]:
  """Distance to a solid of revolution in its own frame, infinite where the ray passes it by."""
  (a, b, c), (x, y, z), (dx, dy, dz) = quadric, origin, direction
  second = away_from_zero(dx * dx + dy * dy + a * dz * dz)
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
    t = (cap - z) / away_from_zero(dz)
    inside = (x + t * dx) ** 2 + (y + t * dy) ** 2 <= -(a + b * cap + c)
    nearest = jnp.where(inside & (t > _NEAR), jnp.minimum(nearest, t), nearest)
  return nearest


def _hit_box(origin: Vector, direction: Vector) -> Float[Array, "R"]:
  """Distance to the cube from -1 to 1, infinite where the ray passes it by."""
  enter, leave = -jnp.inf, jnp.inf
  for o, d in zip(origin, direction, strict=True):
    inverse = 1 / away_from_zero(d)
    middle, half = -o * inverse, jnp.abs(inverse)
    enter, leave = jnp.maximum(enter, middle - half), jnp.minimum(leave, middle + half)
  return jnp.where((enter < leave) & (enter > _NEAR), enter, jnp.inf)


def _hit(solid: _Solid, origin: Vector, direction: Vector) -> Float[Array, "R"]:
  """Distance along the rays to one solid, infinite for a miss."""
  from_centre = tuple(o - c for o, c in zip(origin, solid.centre, strict=True))
  # An affine map keeps distances along a ray.
  local_origin, local_direction = _to_local(from_centre, solid), _to_local(direction, solid)
  distance = jnp.where(
    solid.is_box,
    _hit_box(local_origin, local_direction),
    _hit_round(solid.quadric, local_origin, local_direction),
  )
  return jnp.where(solid.exists, distance, jnp.inf)


def _nearest(solids: list[_Solid], origin: Vector, direction: Vector):
  """Distance to the nearest solid [R], and its index [R] (0 where there is none)."""

  def closer(best, solid_and_index):
    solid, number = solid_and_index
    (closest, index), distance = best, _hit(solid, origin, direction)
    return (jnp.minimum(distance, closest), jnp.where(distance < closest, number, index)), None

  shape = origin[0].shape
  start = jnp.full(shape, jnp.inf), jnp.zeros(shape, jnp.int32)
  stacked = jax.tree.map(lambda *fields: jnp.stack(fields), *solids)
  return jax.lax.scan(closer, start, (stacked, jnp.arange(len(solids))))[0]


def _normal(solid: _Solid, point: Vector) -> Vector:
  """Outward unit normals at points on the surface, each on a solid of its own."""
  from_centre = tuple(p - c for p, c in zip(point, solid.centre, strict=True))
  (a, b, c), (x, y, z) = solid.quadric, _to_local(from_centre, solid)
  end = jnp.sign(z)
  on_end = (jnp.abs(z) > 1 - 1e-3) & (x * x + y * y < -(a + b * end + c))
  side = x, y, a * z + b / 2
  outermost = jnp.maximum(jnp.maximum(jnp.abs(x), jnp.abs(y)), jnp.abs(z))
  normal = []
  for component, around, cap, size in zip(
    (x, y, z), side, (0, 0, end), solid.half_size, strict=True
  ):
    face = jnp.where(jnp.abs(component) >= outermost, jnp.sign(component), 0.0)
    normal.append(jnp.where(solid.is_box, face, jnp.where(on_end, cap, around)) / size)
  (cos, sin), (x, y, z) = solid.turn, normal
  return _normalise((cos * x - sin * y, sin * x + cos * y, z))


def _surface(
  solids: list[_Solid],
  backdrop: Backdrop,
  origin: Vector,
  direction: Vector,
  paint: Paint | None,
):
  """The first surface on each ray, and which solid that is: 0 for none, else index + 1."""
  behind = backdrop(origin, direction)
  distance, index = _nearest(solids, origin, direction)
  is_solid = distance < behind.distance
  mine = solids[0]
  for n, solid in enumerate(solids[1:], start=1):  # indexing with `index` is far slower
    mine = jax.tree.map(lambda one, other, n=n: jnp.where(index == n, other, one), mine, solid)
  point = _along(origin, jnp.where(is_solid, distance, 0.0), direction)
  color = mine.color
  if paint is not None:
    local = _to_local(tuple(p - c for p, c in zip(point, mine.centre, strict=True)), mine)
    color = paint(index, tuple(a * size for a, size in zip(local, mine.half_size, strict=True)))
  front = Surface(distance, _normal(mine, point), color, mine.gloss, is_solid)
  seen = jax.tree.map(lambda ours, theirs: jnp.where(is_solid, ours, theirs), front, behind)
  return jax.lax.optimization_barrier(seen), jnp.where(is_solid, index + 1, 0)


def trace(
  solids: Solids,
  backdrop: Backdrop,
  origin: Vector,
  direction: Vector,
  to_light: Float[Array, "3"],
  *,
  shadows: bool = True,
  paint: Paint | None = None,
) -> tuple[Vector, Int[Array, "R"]]:
  """Colours in [0, 1] that rays see, and ids: 0 for the backdrop, n + 1 for solid n.

  `direction` and `to_light` have unit length; `paint` takes the place of the solids' colours.
  """
  each, light = _each(solids), tuple(to_light)
  surface, ids = _surface(each, backdrop, origin, direction, paint)
  facing = jnp.maximum(_dot(surface.normal, light), 0.0)
  if shadows:
    point = _along(origin, surface.distance, direction)
    blocked, _ = _nearest(each, _along(point, _LIFT, surface.normal), light)
    facing = jnp.where(jnp.isinf(blocked), facing, 0.0)
  halfway = _normalise(tuple(to - d for to, d in zip(light, direction, strict=True)))
  highlight = jnp.maximum(_dot(surface.normal, halfway), 0.0) ** SHININESS
  shine = jnp.where(facing > 0, surface.gloss * highlight, 0.0)
  diffuse = AMBIENT + SKYLIGHT * surface.normal[2] + SUNLIGHT * facing
  shaded = (jnp.where(surface.lit, color * diffuse + shine, color) for color in surface.color)
  return tuple(jnp.clip(color, 0.0, 1.0) for color in shaded), ids


def camera_rays(
  camera: Float[Array, "5"],
  side: int,
  field_of_view: Scalar,
  offset: tuple[Scalar, Scalar] = (0.5, 0.5),
  height: int | None = None,
) -> tuple[Vector, Vector]:
  """Origins and unit directions of one ray per pixel, R = height * side, row by row.

  Of a square image of `side` pixels, `field_of_view` wide, the middle `height` rows (None: all).

  A camera is x, y, z, yaw, pitch in radians, as in GQN; yaw 0 looks along x. `offset` (row, column)
  says where in its pixel each ray passes, from 0 to 1.
  """
  x, y, z, yaw, pitch = camera
  cos, sin, rise, level = jnp.cos(yaw), jnp.sin(yaw), jnp.sin(pitch), jnp.cos(pitch)
  scale = jnp.tan(field_of_view / 2)
  steps = [((jnp.arange(side) + o) * 2 / side - 1) * scale for o in offset]
  if height is not None:
    steps[0] = steps[0][(side - height) // 2 :][:height]
  down, right = (axis.ravel() for axis in jnp.meshgrid(*steps, indexing="ij"))
  ahead = level + down * rise  # towards the yaw, over the ground
  direction = cos * ahead + sin * right, sin * ahead - cos * right, rise - down * level
  return tuple(jnp.full_like(down, start) for start in (x, y, z)), _normalise(direction)


def render(
  solids: Solids,
  backdrop: Backdrop,
  camera: Float[Array, "5"],
  to_light: Float[Array, "3"],
  *,
  image_size: int,
  field_of_view: Scalar = 1.0,
  samples: int = 2,
  shadows: bool = True,
  image_height: int | None = None,
  paint: Paint | None = None,
) -> tuple[Float[Array, "H S 3"], Int[Array, "H S"]]:
  """A picture in [0, 1], from samples x samples rays per pixel, and the id most of them hit.

  It is square, or the middle `image_height` rows of a square.
  """
  count = solids.shape.shape[0]
  height = image_size if image_height is None else image_height

  def add_sample(sums, offset):
    origin, direction = camera_rays(camera, image_size, field_of_view, tuple(offset), height)
    color, ids = trace(solids, backdrop, origin, direction, to_light, shadows=shadows, paint=paint)
    seen = (*color, *((ids == n).astype(jnp.float32) for n in range(count + 1)))
    return tuple(total + one for total, one in zip(sums, seen, strict=True)), None

  steps = (jnp.arange(samples) + 0.5) / samples
  offsets = jnp.stack(jnp.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
  start = (jnp.zeros(height * image_size),) * (3 + count + 1)
  sums, _ = jax.lax.scan(add_sample, start, offsets)
  image = jnp.stack(sums[:3], -1).reshape(height, image_size, 3) / samples**2
  ids = jnp.argmax(jnp.stack(sums[3:]), 0).astype(jnp.int32)
  return image, ids.reshape(height, image_size)
