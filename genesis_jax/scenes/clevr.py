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
from genesis_jax.scenes.textures import PATTERNS, pattern

MIN_OBJECTS, MAX_OBJECTS = 3, 10
SOLIDS = ("box", "sphere", "cylinder")  # of which shapes; the index is the factor
UNSEEN_SOLIDS = ("cone", "frustum", "dome")  # indices after those
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
# Orange, pink, white, olive, navy, lime, black, turquoise: of no CLEVR.
UNSEEN_COLORS = (
  np.array(
    [
      (255, 128, 0),
      (255, 130, 190),
      (245, 245, 245),
      (128, 128, 0),
      (0, 0, 90),
      (150, 255, 60),
      (12, 12, 12),
      (0, 130, 120),
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
  num = len(radius)
  tries = jax.random.uniform(key, (num, NUM_TRIES, 2), minval=-HALF_GROUND, maxval=HALF_GROUND)

  def place(carry, one):
    places, standing = carry
    number, tried = one
    apart = jnp.linalg.norm(tried[:, None] - places, axis=-1)
    room = jnp.where(standing, apart - radius - radius[number], jnp.inf).min(1)
    best = jnp.argmax(jnp.minimum(room, GAP))
    stands = exists[number] & (room[best] >= GAP)
    places = places.at[number].set(tried[best])
    return (places, standing.at[number].set(stands)), None

  start = jnp.zeros((num, 2)), jnp.zeros(num, bool)
  return jax.lax.scan(place, start, (jnp.arange(num), tries))[0]


def unseen(key: Array, codes: Int[Array, "N"], seen: int, num: int, share: float):
  """Codes of which about this share is from `num` ones after the `seen` ones."""
  if not share:
    return codes
  other_key, pick_key = jax.random.split(key)
  other = seen + jax.random.randint(other_key, codes.shape, 0, num)
  return jnp.where(jax.random.uniform(pick_key, codes.shape) < share, other, codes)


def _objects(
  key: Array, counts: tuple[int, int], size: float, shapes: float, colors: float
) -> tuple[Solids, dict[str, Int[Array, "N"]]]:
  """Solids on the ground, and the codes of their shape, size, material and color."""
  keys = jax.random.split(key, 7)
  each = (counts[1],)
  count = jax.random.randint(keys[0], (), counts[0], counts[1] + 1)
  codes = {
    "shape": jax.random.randint(keys[1], each, 0, len(SOLIDS)),
    "size": jax.random.randint(keys[2], each, 0, len(SIZES)),
    "material": jax.random.randint(keys[3], each, 0, len(MATERIALS)),
    "color": jax.random.randint(keys[4], each, 0, len(COLORS)),
  }
  codes["shape"] = unseen(
    jax.random.fold_in(key, 1), codes["shape"], len(SOLIDS), len(UNSEEN_SOLIDS), shapes
  )
  codes["color"] = unseen(
    jax.random.fold_in(key, 2), codes["color"], len(COLORS), len(UNSEEN_COLORS), colors
  )
  radius = size * jnp.array(SIZES)[codes["size"]]
  places, exists = placed(keys[5], radius, jnp.arange(counts[1]) < count)
  shape = jnp.array([SHAPES.index(name) for name in SOLIDS + UNSEEN_SOLIDS])[codes["shape"]]
  # A cube's corners are as far from its middle as the side of a cylinder is.
  half = radius * jnp.where(shape == raycast.BOX, 0.5**0.5, 1.0)
  solids = Solids(
    shape=shape,
    centre=jnp.concatenate([places, half[:, None]], -1),
    half_size=jnp.stack([half] * 3, -1),
    yaw=jax.random.uniform(keys[6], each, maxval=2 * jnp.pi),
    color=jnp.concatenate([COLORS, UNSEEN_COLORS])[codes["color"]],
    gloss=jnp.array(GLOSS)[codes["material"]],
    exists=exists,
  )
  return solids, codes


def _ground(key: Array, texture: float) -> raycast.Backdrop:
  """An endless plane that fades into the haze: grey, or with a pattern."""
  code = jax.random.randint(key, (), 0, len(PATTERNS))

  def backdrop(origin: raycast.Vector, direction: raycast.Vector) -> Surface:
    (x, y, z), (dx, dy, dz) = origin, direction
    distance = jnp.minimum(-z / jnp.minimum(dz, -1e-9), 1e3)
    haze = jnp.clip((distance - FOG[0]) / (FOG[1] - FOG[0]), 0.0, 1.0)
    grey = GROUND
    if texture:
      grey += texture * (pattern(code, x + distance * dx, y + distance * dy) - 0.5)
    shade = grey + haze * (HORIZON - grey)
    zero = jnp.zeros_like(x)
    return Surface(distance, (zero, zero, zero + 1), (shade,) * 3, zero, haze < 1)

  return backdrop


def camera(key: Array, height: float = 1.0) -> Float[Array, "5"]:
  """About where CLEVR's is, or so much higher, looking at the middle of the ground."""
  jitter = jax.random.uniform(key, (3,), minval=-CAMERA_JITTER, maxval=CAMERA_JITTER)
  place = jnp.array(CAMERA) + jitter
  if height != 1:
    place = place.at[2].multiply(height)
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


def clevr_scene(
  key: Array,
  *,
  image_size: int = 128,
  wide: bool = False,
  samples: int = 2,
  counts: tuple[int, int] = (MIN_OBJECTS, MAX_OBJECTS),
  size: float = 1.0,
  unseen_shapes: float = 0.0,
  unseen_colors: float = 0.0,
  texture: float = 0.0,
  camera_height: float = 1.0,
) -> dict:
  """Renders one scene.

  Args:
    key: decides everything.
    image_size: width in pixels.
    wide: the whole picture, 4:3, and not its central square.
    samples: squared, rays per pixel.
    counts: least and most objects; those that find no room do not exist.
    size: factor of the objects' sizes.
    unseen_shapes: share of objects, about, with one of UNSEEN_SOLIDS.
    unseen_colors: share of objects, about, with one of UNSEEN_COLORS.
    texture: by how much of white a pattern changes the ground.
    camera_height: factor of the camera's height; it looks at the same point.

  Returns a dict, for at most N objects, of
    image: uint8 [S, S, 3], or [3 S / 4, S, 3] if wide.
    instances: int32, of the same height and width; 0 for the ground, n for object n, from 1.
    factors: dict of exists bool [N]; x, y, z and rotation (radians) float32 [N]; pixel_coords
      float32 [N, 3] (column and row in the wide picture of 320 x 240, distance ahead); shape,
      size, material and color int32 [N] (indices in SOLIDS, SIZES, MATERIALS, COLORS; of shapes and
      colours those that are unseen come after).
  """
  object_key, camera_key = jax.random.split(key)
  solids, codes = _objects(object_key, counts, size, unseen_shapes, unseen_colors)
  view = camera(camera_key, camera_height)
  ground = _ground(jax.random.fold_in(key, 2), texture)
  image, instances = pictured(
    solids, ground, view, image_size=image_size, wide=wide, samples=samples
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
