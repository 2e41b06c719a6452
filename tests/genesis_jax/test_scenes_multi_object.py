"""Scenes after Tetrominoes, CLEVR, Objects Room's variants and coloured Multi-dSprites."""

from functools import partial

import jax
import numpy as np
import pytest

from genesis_jax.scenes import clevr, clevr_scene, room_scene, rooms, tetrominoes, tetrominoes_scene
from genesis_jax.scenes.multi_object import ROOMS, SPRITES

pytestmark = pytest.mark.slow


def draw(scene, count, seed=0):
  return jax.device_get(jax.jit(jax.vmap(scene))(jax.random.split(jax.random.key(seed), count)))


@pytest.fixture(scope="module")
def pieces():
  return draw(tetrominoes_scene, 400)


def test_orientations_are_seventeen_different_tetrominoes():
  shapes = {piece.astype(int).tobytes() + bytes(piece.shape) for piece in tetrominoes.ORIENTATIONS}
  assert len(shapes) == len(tetrominoes.ORIENTATIONS) == 17
  for piece in tetrominoes.ORIENTATIONS:
    assert piece.sum() == 4 and piece.any(0).all() and piece.any(1).all()
    assert not any(np.array_equal(piece, bar) for bar in (np.ones((1, 4)), np.ones((4, 1))))


def test_two_pieces_always_leave_room_for_a_third():
  seen = slice(len(tetrominoes.ORIENTATIONS))  # bars, which no data set has, may leave none
  covered, fits = tetrominoes._COVERED[seen], tetrominoes._FITS[seen]
  rows = covered[fits].astype(np.float32)
  apart = rows @ rows.T == 0
  owner = np.repeat(np.arange(len(fits)), fits.sum(1))
  for number in range(len(fits)):
    free = apart[owner == number].astype(np.float32)
    assert ((free.T @ free > 0) | ~apart).all()


def test_pieces_are_whole_flat_and_apart(pieces):
  assert pieces["image"].shape == (400, 35, 35, 3) and pieces["image"].dtype == np.uint8
  assert pieces["instances"].dtype == np.int32
  for image, ids, shape, x, y, color in zip(
    pieces["image"],
    pieces["instances"],
    *(pieces["factors"][name] for name in ("shape", "x", "y", "color")),
    strict=True,
  ):
    assert (image[ids == 0] == 0).all()
    for n in range(3):
      rows, columns = np.nonzero(ids == n + 1)
      box = ids[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] == n + 1
      piece = np.kron(tetrominoes.ORIENTATIONS[shape[n]], np.ones((5, 5)))
      np.testing.assert_array_equal(box, piece)  # so nothing of it is covered
      assert rows.min() % 5 == 0 and columns.min() % 5 == 0
      assert (columns.mean() + 0.5) / 5 == pytest.approx(x[n], abs=0.5)
      assert (rows.min() + rows.max() + 1) / 10 == pytest.approx(y[n])
      assert (image[ids == n + 1] == color[n] * 255).all()


def test_all_shapes_places_and_colors_occur(pieces):
  assert set(pieces["factors"]["shape"].ravel()) == set(range(17))
  colors = {tuple(color) for color in pieces["factors"]["color"].reshape(-1, 3)}
  assert colors == {tuple(color) for color in tetrominoes.COLORS} and len(colors) == 6
  assert (pieces["instances"] > 0).mean(0).min() > 0.05


def test_tetrominoes_of_another_size(pieces):
  large = draw(partial(tetrominoes_scene, image_size=70), 2)
  np.testing.assert_array_equal(large["instances"][:, ::2, ::2], pieces["instances"][:2])


@pytest.fixture(scope="module")
def wide():
  return draw(partial(clevr_scene, image_size=160, wide=True, samples=1), 12)


@pytest.fixture(scope="module")
def square():
  return draw(partial(clevr_scene, image_size=96, samples=1), 4)


def test_clevr_factors_are_within_their_ranges(wide):
  factors = wide["factors"]
  exists, radius = factors["exists"], np.array(clevr.SIZES)[factors["size"]]
  assert wide["image"].shape == (12, 120, 160, 3)
  assert wide["instances"].shape == (12, 120, 160)
  counts = exists.sum(1)
  assert counts.min() >= 3 and counts.max() <= 10 and len(set(counts)) > 3
  for n, (x, y, there) in enumerate(zip(factors["x"], factors["y"], exists, strict=True)):
    assert np.abs([x[there], y[there]]).max() <= clevr.HALF_GROUND
    for i in np.flatnonzero(there):
      for j in np.flatnonzero(there[:i]):
        apart = np.hypot(x[i] - x[j], y[i] - y[j]) - radius[n, i] - radius[n, j]
        assert apart >= clevr.GAP - 1e-5
  for name, most in (("shape", 3), ("size", 2), ("material", 2), ("color", 8)):
    assert set(factors[name].ravel()) == set(range(most))
  cube = factors["shape"] == clevr.SOLIDS.index("box")
  np.testing.assert_allclose(factors["z"], radius * np.where(cube, 0.5**0.5, 1), rtol=1e-6)


def test_clevr_objects_are_where_their_coordinates_say(wide):
  """A pixel at an object's centre shows it or something nearer."""
  hits = 0
  for ids, coords, there in zip(
    wide["instances"],
    wide["factors"]["pixel_coords"],
    wide["factors"]["exists"],
    strict=True,
  ):
    assert set(np.unique(ids)) <= {0, *(np.flatnonzero(there) + 1)}
    for n in np.flatnonzero(there):
      column, row, depth = coords[n]
      if not (4 < column < 316 and 4 < row < 236):
        continue
      seen = ids[int(row / 2), int(column / 2)]
      assert seen > 0 and (seen == n + 1 or coords[seen - 1, 2] < depth)
      hits += seen == n + 1
  assert hits > 30


def test_clevr_square_is_the_middle_of_the_wide_picture(wide, square):
  middle = wide["image"][:4, 12:108, 32:128].astype(int)
  assert np.mean(np.abs(square["image"] - middle) > 2) < 0.01
  assert np.mean(square["instances"] != wide["instances"][:4, 12:108, 32:128]) < 0.01


def test_clevr_colors_and_materials_show(wide):
  factors, highlights = wide["factors"], ([], [])
  for n, ids in enumerate(wide["instances"]):
    ground = wide["image"][n][ids == 0].astype(int)
    mixed = np.ptp(ground, axis=-1) > 1  # at the edges of objects
    assert mixed.mean() < 0.03 and 60 < ground.mean() < 190
    for i in np.flatnonzero(factors["exists"][n]):
      pixels = wide["image"][n][ids == i + 1].astype(float)
      if len(pixels) < 60:
        continue
      color = clevr.COLORS[factors["color"][n, i]]
      if np.ptp(color) > 0.2:
        assert np.median(pixels, 0).argmax() == color.argmax()
      if factors["shape"][n, i] == clevr.SOLIDS.index("sphere"):
        highlights[factors["material"][n, i]].append(pixels.min(-1).max())
  rubber, metal = highlights
  assert min(metal) > 100 and np.mean(metal) > 1.5 * np.mean(rubber)


@pytest.mark.parametrize("variant", ROOMS)
def test_rooms_have_as_many_objects_as_published(variant):
  least, most = {"train": (1, 3), "empty_room": (0, 0), "six_objects": (6, 6),
                 "identical_color": (4, 6)}[variant]  # fmt: skip
  options = {"same_color": False} | ROOMS[variant]
  solids = draw(partial(rooms._objects, **options), 200)
  assert set(solids.exists.sum(1)) == set(range(least, most + 1))
  for exists, color, centre, half in zip(
    solids.exists, solids.color, solids.centre, solids.half_size, strict=True
  ):
    assert len(set(map(tuple, color))) == (1 if variant == "identical_color" else len(color))
    apart = np.linalg.norm(centre[:, None, :2] - centre[:, :2], axis=-1)
    touching = (apart < half[:, :1] + half[:, 0]) & ~np.eye(len(exists), dtype=bool)
    assert not touching[exists][:, exists].any()


def test_a_room_without_objects_shows_none():
  render = partial(room_scene, image_size=16, num_views=2, samples=1, **ROOMS["empty_room"])
  assert not draw(render, 2)["instances"].any()


def test_sprites_of_each_variant():
  drawn = {name: draw(partial(scene, image_size=32), 64) for name, scene in SPRITES.items()}
  counts = {name: set(scene["factors"]["exists"].sum(1)) for name, scene in drawn.items()}
  assert counts == {
    "colored_on_colored": {1, 2, 3, 4},
    "colored_on_grayscale": {2, 3, 4, 5},
    "binarized": {2, 3},
  }
  white = drawn["binarized"]
  seen = white["instances"][..., None] > 0
  np.testing.assert_array_equal(white["image"], np.broadcast_to(seen * 255, white["image"].shape))
  assert (white["factors"]["color"] == 255).all()
  grey = drawn["colored_on_grayscale"]
  behind = grey["image"][grey["instances"] == 0]
  assert (np.ptp(behind, axis=-1) == 0).all() and len(np.unique(behind)) > 20
  colored = drawn["colored_on_colored"]
  assert np.ptp(colored["image"][colored["instances"] == 0], axis=-1).max() > 50
