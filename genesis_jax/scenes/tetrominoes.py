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


def _placements() -> tuple[np.ndarray, np.ndarray]:
  """Squares that each orientation covers when its corner is at each square, and where that fits.

  bool [17, 49, 49] and bool [17, 49].
  """
  covered = np.zeros((len(ORIENTATIONS), GRID, GRID, GRID, GRID), bool)
  fits = np.zeros(covered.shape[:3], bool)
  for number, piece in enumerate(ORIENTATIONS):
    height, width = piece.shape
    for row in range(GRID - height + 1):
      for column in range(GRID - width + 1):
        covered[number, row, column, row : row + height, column : column + width] = piece
        fits[number, row, column] = True
  flat = GRID * GRID
  return covered.reshape(-1, flat, flat), fits.reshape(-1, flat)


_COVERED, _FITS = _placements()


def tetrominoes_scene(key: Array, *, image_size: int = 35) -> dict:
  """Draws three pieces, each anywhere where it overlaps none before it.

  Returns a dict of
    image: uint8 [S, S, 3]; a side that is no multiple of 7 takes the nearest square.
    instances: int32 [S, S]; 0 for the background, n for piece n, from 1.
    factors: dict of exists bool [3], shape int32 [3] (index in ORIENTATIONS), x and y float32 [3]
      (centre of the piece's box in squares, from the left and the top) and color float32 [3, 3].
  """
  shape_key, places_key, color_key = jax.random.split(key, 3)
  shape = jax.random.randint(shape_key, (NUM_PIECES,), 0, len(ORIENTATIONS))
  covered, fits = jnp.asarray(_COVERED)[shape], jnp.asarray(_FITS)[shape]
  ids = jnp.zeros(GRID * GRID, jnp.int32)
  places = []
  for n, place_key in enumerate(jax.random.split(places_key, NUM_PIECES)):
    free = fits[n] & ~(covered[n] & (ids > 0)).any(1)  # two pieces always leave room for a third
    place = jax.random.categorical(place_key, jnp.where(free, 0.0, -jnp.inf))
    ids = jnp.where(covered[n, place], n + 1, ids)
    places.append(place)
  color = jax.random.choice(color_key, jnp.asarray(COLORS), (NUM_PIECES,))
  square = jnp.arange(image_size) * GRID // image_size
  instances = ids.reshape(GRID, GRID)[square[:, None], square]
  palette = jnp.concatenate([jnp.zeros((1, 3)), color])
  size = jnp.array([piece.shape for piece in ORIENTATIONS], jnp.float32)[shape]
  row, column = jnp.divmod(jnp.stack(places), GRID)
  return {
    "image": (palette[instances] * 255).astype(jnp.uint8),
    "instances": instances,
    "factors": {
      "exists": jnp.ones(NUM_PIECES, bool),
      "shape": shape,
      "x": column + size[:, 1] / 2,
      "y": row + size[:, 0] / 2,
      "color": color,
    },
  }
