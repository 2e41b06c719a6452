"""Three tetrominoes on black: after the Tetrominoes of the Multi-Object Datasets.

    scene = jax.jit(tetrominoes_scene)(jax.random.key(0))
    scene["image"]        # uint8 [35, 35, 3]

Published (Kabra et al. 2019): images of 35 pixels, pieces of four squares of 5 pixels, 17 oriented
shapes, six colours, no overlap. Which 17 of the 19 orientations was not; here the two straight bars
are left out. Squares lie on a grid of 7 x 7, and two pieces may have the same colour.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from genesis_jax.scenes.sprites import textured

GRID = 7  # squares along each side
NUM_PIECES = 3
# One orientation of each piece; turning them gives the rest.
_PIECES = {
  "O": ["##", "##"],
  "S": [".##", "##."],
  "Z": ["##.", ".##"],
  "T": ["###", ".#."],
  "L": ["#.", "#.", "##"],
  "J": [".#", ".#", "##"],
}
# Red, green, blue, yellow, magenta, cyan.
COLORS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]], np.float32)
# In no data set: the straight bars, and white, grey, orange, violet, lime and sky blue.
_BARS = [np.ones((1, 4), bool), np.ones((4, 1), bool)]
UNSEEN_COLORS = np.array(
  [[1, 1, 1], [0.5, 0.5, 0.5], [1, 0.5, 0], [0.5, 0, 1], [0.5, 1, 0], [0, 0.5, 1]], np.float32
)


def _orientations() -> list[np.ndarray]:
  """Each piece in all its different orientations, as bool arrays of its height and width."""
  found = []
  for rows in _PIECES.values():
    piece = np.array([[cell == "#" for cell in row] for row in rows])
    for turns in range(4):
      turned = np.rot90(piece, turns)
      if not any(np.array_equal(turned, other) for other in found):
        found.append(turned)
  return found


ORIENTATIONS = _orientations()


def _placements(pieces: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
  """Squares that each piece covers when its corner is at each square, and where that fits.

  bool [P, 49, 49] and bool [P, 49].
  """
  covered = np.zeros((len(pieces), GRID, GRID, GRID, GRID), bool)
  fits = np.zeros(covered.shape[:3], bool)
  for number, piece in enumerate(pieces):
    height, width = piece.shape
    for row in range(GRID - height + 1):
      for column in range(GRID - width + 1):
        covered[number, row, column, row : row + height, column : column + width] = piece
        fits[number, row, column] = True
  flat = GRID * GRID
  return covered.reshape(-1, flat, flat), fits.reshape(-1, flat)


_COVERED, _FITS = _placements(ORIENTATIONS + _BARS)


def _unseen(key: Array, shape: Array, color: Array, shapes: float, colors: float):
  """Shapes and colours, of which about these shares are in no data set."""
  pick, num = jax.random.split(key, 4), len(shape)
  if shapes:
    other = len(ORIENTATIONS) + jax.random.randint(pick[0], (num,), 0, len(_BARS))
    shape = jnp.where(jax.random.uniform(pick[1], (num,)) < shapes, other, shape)
  if colors:
    other = jax.random.choice(pick[2], jnp.asarray(UNSEEN_COLORS), (num,))
    color = jnp.where(jax.random.uniform(pick[3], (num, 1)) < colors, other, color)
  return shape, color


def tetrominoes_scene(
  key: Array,
  *,
  image_size: int = 35,
  num_pieces: int = NUM_PIECES,
  unseen_shapes: float = 0.0,
  unseen_colors: float = 0.0,
  texture: float = 0.0,
) -> dict:
  """Draws pieces, each anywhere where it overlaps none before it.

  Args:
    key: decides everything.
    image_size: side in pixels.
    num_pieces: of more than three, those that find no room do not exist.
    unseen_shapes: share of pieces, about, that are straight bars.
    unseen_colors: share of pieces, about, with one of UNSEEN_COLORS.
    texture: by how much of 255 a pattern changes the background.

  Returns a dict of
    image: uint8 [S, S, 3]; a side that is no multiple of 7 takes the nearest square.
    instances: int32 [S, S]; 0 for the background, n for piece n, from 1.
    factors: dict of exists bool [N], shape int32 [N] (index in ORIENTATIONS, or after them the
      bars), x and y float32 [N] (centre of the piece's box in squares, from the left and the top)
      and color float32 [N, 3].
  """
  shape_key, places_key, color_key = jax.random.split(key, 3)
  shape = jax.random.randint(shape_key, (num_pieces,), 0, len(ORIENTATIONS))
  color = jax.random.choice(color_key, jnp.asarray(COLORS), (num_pieces,))
  unseen = jax.random.fold_in(key, 1), shape, color, unseen_shapes, unseen_colors
  shape, color = _unseen(*unseen)
  covered, fits = jnp.asarray(_COVERED)[shape], jnp.asarray(_FITS)[shape]
  ids = jnp.zeros(GRID * GRID, jnp.int32)
  places, exists = [], []
  for n, place_key in enumerate(jax.random.split(places_key, num_pieces)):
    free = fits[n] & ~(covered[n] & (ids > 0)).any(1)
    exists.append(free.any())  # as the third does, if there are no bars
    place = jax.random.categorical(place_key, jnp.where(free, 0.0, -jnp.inf))
    ids = jnp.where(covered[n, place] & exists[n], n + 1, ids)
    places.append(place)
  square = jnp.arange(image_size) * GRID // image_size
  instances = ids.reshape(GRID, GRID)[square[:, None], square]
  palette = jnp.concatenate([jnp.zeros((1, 3)), color])
  size = jnp.array([piece.shape for piece in ORIENTATIONS + _BARS], jnp.float32)[shape]
  row, column = jnp.divmod(jnp.stack(places), GRID)
  image = (palette[instances] * 255).astype(jnp.uint8)
  if texture:
    black = jnp.zeros(3, jnp.uint8)
    # Twice as strong: a pattern's darker half is lost in black.
    ground = textured(jax.random.fold_in(key, 2), black, 2 * texture, image_size)
    image = jnp.where(instances[..., None] > 0, image, ground)
  return {
    "image": image,
    "instances": instances,
    "factors": {
      "exists": jnp.stack(exists),
      "shape": shape,
      "x": column + size[:, 1] / 2,
      "y": row + size[:, 0] / 2,
      "color": color,
    },
  }
