"""Three to ten solids on grey ground: after CLEVR (Johnson et al. 2017).

    scene = jax.jit(partial(clevr_scene, image_size=128))(jax.random.key(0))
    scene["image"]        # uint8 [128, 128, 3]: the central square of CLEVR's wide picture

Shapes, sizes, colours, distances and the camera are those of CLEVR's generator. The light is
simpler: one sun, hard shadows, and a highlight in place of reflections.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from genesis_jax.scenes import raycast
from genesis_jax.scenes.raycast import SHAPES, Solids, Surface

MIN_OBJECTS, MAX_OBJECTS = 3, 10
SOLIDS = ("box", "sphere", "cylinder")  # of which shapes; the index is the factor
SIZES = (0.35, 0.7)  # radius of small and large ones, in units of about a hand
MATERIALS = ("rubber", "metal")
GLOSS = (0.0, 0.75)
# Grey, red, blue, green, brown, purple, cyan, yellow.
COLORS = (
  np.array(
    [
      (87, 87, 87),
      (173, 35, 35),
      (42, 75, 215),
      (29, 105, 20),
      (129, 74, 25),
      (129, 38, 192),
      (41, 208, 208),
      (255, 238, 51),
    ],
    np.float32,
  )
  / 255
)
GROUND = 0.47  # grey; the lights make it brighter
HALF_GROUND = 3.0  # centres of objects lie within this of the middle, along x and y
GAP = 0.25  # at least so much room between two objects
NUM_TRIES = 64  # places drawn for each object; the first that keeps the distance is used
CAMERA = (7.48, -6.50, 5.34)
CAMERA_JITTER = 0.5  # along each axis
AIM = (0.0, 0.0, 0.25)
WIDE_VIEW = 2 * float(np.arctan(32 / 70))  # radians: a lens of 35 mm on a sensor 32 mm wide
WIDE_WIDTH, WIDE_HEIGHT, SQUARE = 320, 240, 192  # pixels of the picture and of its central square
FOG = (18.0, 40.0)  # where the ground begins and ends to fade
HORIZON = 0.72
TO_LIGHT = (0.45, -0.25, 0.86)


def placed(key: Array, radius: Float[Array, "N"], exists: Bool[Array, "N"]):
  """Places on the ground [N, 2], one after the other, and which objects found room."""
  tries = jax.random.uniform(
    key, (MAX_OBJECTS, NUM_TRIES, 2), minval=-HALF_GROUND, maxval=HALF_GROUND
  )

  def place(carry, one):
    places, standing = carry
    number, tried = one
    apart = jnp.linalg.norm(tried[:, None] - places, axis=-1)
    room = jnp.where(standing, apart - radius - radius[number], jnp.inf).min(1)
    best = jnp.argmax(jnp.minimum(room, GAP))
    stands = exists[number] & (room[best] >= GAP)
    places = places.at[number].set(tried[best])
    return (places, standing.at[number].set(stands)), None

  start = jnp.zeros((MAX_OBJECTS, 2)), jnp.zeros(MAX_OBJECTS, bool)
  return jax.lax.scan(place, start, (jnp.arange(MAX_OBJECTS), tries))[0]


def _objects(key: Array) -> tuple[Solids, dict[str, Int[Array, "N"]]]:
  """Solids on the ground, and the codes of their shape, size, material and color."""
  keys = jax.random.split(key, 7)
  each = (MAX_OBJECTS,)
  count = jax.random.randint(keys[0], (), MIN_OBJECTS, MAX_OBJECTS + 1)
  codes = {
    "shape": jax.random.randint(keys[1], each, 0, len(SOLIDS)),
    "size": jax.random.randint(keys[2], each, 0, len(SIZES)),
    "material": jax.random.randint(keys[3], each, 0, len(MATERIALS)),
    "color": jax.random.randint(keys[4], each, 0, len(COLORS)),
  }
  radius = jnp.array(SIZES)[codes["size"]]
  places, exists = placed(keys[5], radius, jnp.arange(MAX_OBJECTS) < count)
  shape = jnp.array([SHAPES.index(name) for name in SOLIDS])[codes["shape"]]
  # A cube's corners are as far from its middle as the side of a cylinder is.
  half = radius * jnp.where(shape == raycast.BOX, 0.5**0.5, 1.0)
  solids = Solids(
    shape=shape,
    centre=jnp.concatenate([places, half[:, None]], -1),
    half_size=jnp.stack([half] * 3, -1),
    yaw=jax.random.uniform(keys[6], each, maxval=2 * jnp.pi),
    color=jnp.array(COLORS)[codes["color"]],
    gloss=jnp.array(GLOSS)[codes["material"]],
    exists=exists,
  )
  return solids, codes


def _ground(origin: raycast.Vector, direction: raycast.Vector) -> Surface:
  """An endless grey plane that fades into the haze."""
  (x, _, z), (_, _, dz) = origin, direction
  distance = jnp.minimum(-z / jnp.minimum(dz, -1e-9), 1e3)
  haze = jnp.clip((distance - FOG[0]) / (FOG[1] - FOG[0]), 0.0, 1.0)
  shade = GROUND + haze * (HORIZON - GROUND)
  zero = jnp.zeros_like(x)
  return Surface(distance, (zero, zero, zero + 1), (shade,) * 3, zero, haze < 1)


def camera(key: Array) -> Float[Array, "5"]:
  """About where CLEVR's is, looking at the middle of the ground."""
  jitter = jax.random.uniform(key, (3,), minval=-CAMERA_JITTER, maxval=CAMERA_JITTER)
  place = jnp.array(CAMERA) + jitter
  x, y, z = jnp.array(AIM) - place
  return jnp.concatenate([place, jnp.stack([jnp.arctan2(y, x), jnp.arctan2(z, jnp.hypot(x, y))])])


def _pixel_coords(points: Float[Array, "N 3"], camera: Float[Array, "5"]) -> Float[Array, "N 3"]:
  """Column and row of points in the wide picture of 320 x 240, and how far ahead they are."""
  (x, y, z), (yaw, pitch) = (points - camera[:3]).T, camera[3:]
  along = jnp.cos(yaw) * x + jnp.sin(yaw) * y
  right = jnp.sin(yaw) * x - jnp.cos(yaw) * y
  ahead = jnp.cos(pitch) * along + jnp.sin(pitch) * z
  up = jnp.cos(pitch) * z - jnp.sin(pitch) * along
  focal = WIDE_WIDTH / 2 / jnp.tan(WIDE_VIEW / 2)
  return jnp.stack(
    [WIDE_WIDTH / 2 + focal * right / ahead, WIDE_HEIGHT / 2 - focal * up / ahead, ahead], -1
  )


def pictured(
  solids: Solids,
  ground: raycast.Backdrop,
  view: Float[Array, "5"],
  *,
  image_size: int,
  wide: bool,
  samples: int,
  paint: raycast.Paint | None = None,
) -> tuple[UInt8[Array, "H S 3"], Int[Array, "H S"]]:
  """Solids on ground in CLEVR's light, and ids; see `clevr_scene` and `raycast.trace`."""
  half_view = np.tan(WIDE_VIEW / 2) * (1 if wide else SQUARE / WIDE_WIDTH)
  image, instances = raycast.render(
    solids,
    ground,
    view,
    jnp.array(TO_LIGHT) / np.linalg.norm(TO_LIGHT),
    image_size=image_size,
    image_height=image_size * 3 // 4 if wide else None,
    field_of_view=2 * float(np.arctan(half_view)),
    samples=samples,
    paint=paint,
  )
  return jnp.round(image * 255).astype(jnp.uint8), instances


def clevr_scene(key: Array, *, image_size: int = 128, wide: bool = False, samples: int = 2) -> dict:
  """Renders one scene.

  Args:
    key: decides everything.
    image_size: width in pixels.
    wide: the whole picture, 4:3, and not its central square.
    samples: squared, rays per pixel.

  Returns a dict of
    image: uint8 [S, S, 3], or [3 S / 4, S, 3] if wide.
    instances: int32, of the same height and width; 0 for the ground, n for object n, from 1.
    factors: dict of exists bool [10]; x, y, z and rotation (radians) float32 [10]; pixel_coords
      float32 [10, 3] (column and row in the wide picture of 320 x 240, distance ahead); shape,
      size, material and color int32 [10] (indices in SOLIDS, SIZES, MATERIALS, COLORS).
  """
  object_key, camera_key = jax.random.split(key)
  solids, codes = _objects(object_key)
  view = camera(camera_key)
  image, instances = pictured(
    solids, _ground, view, image_size=image_size, wide=wide, samples=samples
  )
  x, y, z = solids.centre.T
  return {
    "image": image,
    "instances": instances,
    "factors": {
      "exists": solids.exists,
      "x": x,
      "y": y,
      "z": z,
      "rotation": solids.yaw,
      "pixel_coords": _pixel_coords(solids.centre, view),
    }
    | codes,
  }
