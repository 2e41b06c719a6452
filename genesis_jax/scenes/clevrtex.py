"""Textured solids on textured ground: after ClevrTex (Karazija et al. 2021).

    scene = jax.jit(partial(clevrtex_scene, variant="camo"))(jax.random.key(0))
    scene["image"]        # uint8 [128, 128, 3]: the central square of the wide picture

Places, sizes and the camera are as in ClevrTex, whose are CLEVR's; materials are procedural.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from genesis_jax.scenes import clevr, raycast
from genesis_jax.scenes.raycast import Solids, Surface
from genesis_jax.scenes.textures import PATTERNS, pattern

MAX_OBJECTS = clevr.MAX_OBJECTS
SIZES = (0.4, 0.6, 0.9)  # radius of small, medium and large ones
# Of each shape the solid in its place, and its height by its width. The first four are those of all
# variants but outd, which has the others.
SHAPES = (
  ("box", 1.0),  # cube
  ("sphere", 1.0),
  ("cylinder", 1.0),
  ("dome", 1.0),  # monkey
  ("cone", 1.0),
  ("frustum", 1.0),  # icosahedron
  ("frustum", 0.4),  # torus
  ("cone", 0.6),  # teapot
)
NUM_SEEN = 4
# Materials: textured ones, then rubber, metal and what is plain, then those of outd alone.
TEXTURED, PLAIN, OUTD = 60, 3, 25
RUBBER, METAL, BLANK = range(TEXTURED, TEXTURED + PLAIN)
GRASS = 18  # the ground of grassbg
VARIANTS = ("full", "pbg", "vbg", "grassbg", "camo", "outd")


class Materials(NamedTuple):
  """M procedural materials, or the one of every solid."""

  code: Int[Array, "M"]  # pattern
  colors: Float[Array, "M 2 3"]  # two colours that it alternates between
  repeats: Float[Array, "M"]  # per unit
  gloss: Float[Array, "M"]


def _library() -> Materials:
  """The same ones always."""
  rng, total = np.random.default_rng(2021), TEXTURED + PLAIN + OUTD
  light = rng.uniform(0.25, 1.0, (total, 3))
  dark = light * rng.uniform(0.2, 0.75, (total, 3))
  light[GRASS], dark[GRASS] = (0.36, 0.52, 0.16), (0.16, 0.28, 0.06)
  light[BLANK] = dark[BLANK] = 0.47
  gloss = rng.uniform(0.0, 0.5, total)
  gloss[[RUBBER, METAL, BLANK]] = 0.0, 0.75, 0.0
  code, repeats = rng.integers(0, len(PATTERNS), total), rng.uniform(0.8, 2.5, total)
  arrays = (code.astype(np.int32), np.stack([dark, light], 1), repeats, gloss)
  return Materials(*(a if a.dtype == np.int32 else a.astype(np.float32) for a in arrays))


LIBRARY = _library()


def _codes(
  key: Array, variant: str, num: int, unseen_shapes: float
) -> dict[str, Int[Array, "..."]]:
  """What the objects and the ground are: indices of shape, size, color and material."""
  keys = jax.random.split(key, 5)
  each = (num,)
  textured = (TEXTURED + PLAIN, TEXTURED + PLAIN + OUTD) if variant == "outd" else (0, TEXTURED)
  shapes = (NUM_SEEN, len(SHAPES)) if variant == "outd" else (0, NUM_SEEN)
  materials = (RUBBER, METAL + 1) if variant == "vbg" else textured
  ground = {"pbg": jnp.array(BLANK), "grassbg": jnp.array(GRASS)}.get(variant)
  if ground is None:
    ground = jax.random.randint(keys[4], (), *textured)
  material = jax.random.randint(keys[3], each, *materials)
  shape = jax.random.randint(keys[0], each, *shapes)
  shape_key, num_unseen = jax.random.fold_in(key, 1), len(SHAPES) - NUM_SEEN
  return {
    "shape": clevr.unseen(shape_key, shape, NUM_SEEN, num_unseen, unseen_shapes),
    "size": jax.random.randint(keys[1], each, 0, len(SIZES)),
    "color": jax.random.randint(keys[2], each, 0, len(clevr.COLORS)),
    "material": jnp.broadcast_to(ground, each) if variant == "camo" else material,
    "ground_material": ground,
  }


def _made_of(codes: Int[Array, "..."]) -> Materials:
  return Materials(*(jnp.asarray(values)[codes] for values in LIBRARY))


def _painted(material: Materials, u: Array, v: Array) -> raycast.Vector:
  """The colour of one material, or of one for each ray, at coordinates on a surface."""
  amount = pattern(material.code, u * material.repeats, v * material.repeats)
  dark, light = (tuple(material.colors[..., end, c] for c in range(3)) for end in (0, 1))
  return tuple(a + amount * (b - a) for a, b in zip(dark, light, strict=True))


def _paint(materials: Materials):
  """Colours of the objects, as `raycast.trace` asks for them."""

  def colors(index: Int[Array, "R"], point: raycast.Vector) -> raycast.Vector:
    chosen = jax.tree.map(lambda values: values[0], materials)
    for n in range(1, len(materials.code)):  # indexing with `index` is far slower
      here = index == n
      chosen = jax.tree.map(
        lambda old, new, n=n, here=here: jnp.where(
          here.reshape(-1, *(1,) * (new.ndim - 1)), new[n], old
        ),
        chosen,
        materials,
      )
    x, y, z = point
    return _painted(chosen, x + 0.6 * z, y + 0.8 * z)  # aslant: no side is without a pattern

  return colors


def _objects(
  key: Array, codes: dict[str, Array], materials: Materials, counts: tuple[int, int], size: float
) -> Solids:
  keys = jax.random.split(key, 3)
  count = jax.random.randint(keys[0], (), counts[0], counts[1] + 1)
  radius = size * jnp.array(SIZES)[codes["size"]]
  places, exists = clevr.placed(keys[1], radius, jnp.arange(counts[1]) < count)
  solid = jnp.array([raycast.SHAPES.index(name) for name, _ in SHAPES])[codes["shape"]]
  # A cube's corners are as far from its middle as the side of a cylinder is.
  half = radius * jnp.where(solid == raycast.BOX, 0.5**0.5, 1.0)
  height = half * jnp.array([height for _, height in SHAPES])[codes["shape"]]
  return Solids(
    shape=solid,
    centre=jnp.concatenate([places, height[:, None]], -1),
    half_size=jnp.stack([half, half, height], -1),
    yaw=jax.random.uniform(keys[2], (counts[1],), maxval=2 * jnp.pi),
    color=jnp.ones((counts[1], 3)),  # painted
    gloss=materials.gloss,
    exists=exists,
  )


def _ground(material: Materials) -> raycast.Backdrop:
  """An endless plane of one material."""

  def backdrop(origin: raycast.Vector, direction: raycast.Vector) -> Surface:
    (x, y, z), (dx, dy, dz) = origin, direction
    distance = jnp.minimum(-z / jnp.minimum(dz, -1e-9), 1e3)
    color = _painted(material, x + distance * dx, y + distance * dy)
    zero = jnp.zeros_like(x)
    return Surface(distance, (zero, zero, zero + 1), color, zero, dz < 0)

  return backdrop


def clevrtex_scene(
  key: Array,
  *,
  image_size: int = 128,
  wide: bool = False,
  variant: str = "full",
  samples: int = 2,
  counts: tuple[int, int] = (clevr.MIN_OBJECTS, MAX_OBJECTS),
  size: float = 1.0,
  unseen_shapes: float = 0.0,
  camera_height: float = 1.0,
) -> dict:
  """Renders one scene.

  Args:
    key: decides everything.
    image_size: width in pixels.
    wide: the whole picture, 4:3, and not its central square.
    variant: one of `VARIANTS`.
    samples: squared, rays per pixel.
    counts, size, camera_height: as of `clevr.clevr_scene`.
    unseen_shapes: share of objects, about, with one of the shapes of outd.

  Returns a dict, for at most N objects, of
    image: uint8 [S, S, 3], or [3 S / 4, S, 3] if wide.
    instances: int32, of the same height and width; 0 for the ground, n for object n, from 1.
    factors: dict of exists bool [N]; rotation (radians) float32 [N]; shape, size, color and
      material int32 [N] (indices in SHAPES, SIZES, clevr.COLORS, LIBRARY); ground_material int32.
  """
  code_key, object_key, camera_key = jax.random.split(key, 3)
  codes = _codes(code_key, variant, counts[1], unseen_shapes)
  materials = _made_of(codes["material"])
  if variant == "vbg":  # plain objects have colours
    tint = jnp.array(clevr.COLORS)[codes["color"]]
    materials = materials._replace(colors=jnp.stack([tint, tint], 1))
  solids = _objects(object_key, codes, materials, counts, size)
  image, instances = clevr.pictured(
    solids,
    _ground(_made_of(codes["ground_material"])),
    clevr.camera(camera_key, camera_height),
    image_size=image_size,
    wide=wide,
    samples=samples,
    paint=_paint(materials),
  )
  factors = {"exists": solids.exists, "rotation": solids.yaw} | codes
  return {"image": image, "instances": instances, "factors": factors}
