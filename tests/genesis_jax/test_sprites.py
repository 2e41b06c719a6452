"""Sprites against their definition: size, place, turn, order; scenes against their factors."""

from functools import partial

import jax
import numpy as np
import pytest

from genesis_jax.scenes import sprite_factors, sprite_mask, sprites_scene
from genesis_jax.scenes.sprites import ELLIPSE, HEART, NUM_SPRITES, SHAPES, SQUARE

SIZES = (3, 6, 40, 32, 32)  # shape, scale, orientation, x, y
LEVELS = {0, 63, 127, 191, 255}

masks_of = jax.jit(jax.vmap(lambda index: sprite_mask(**sprite_factors(index), size=64)))


one_mask = jax.jit(sprite_mask, static_argnames="size")


def mask(shape, scale=1.0, orientation=0.0, x=0.5, y=0.5, size=64):
  return np.asarray(one_mask(np.int32(shape), *np.float32([scale, orientation, x, y]), size=size))


@pytest.fixture(scope="module")
def scenes():
  draw = jax.jit(jax.vmap(partial(sprites_scene, image_size=32)))
  return jax.device_get(draw(jax.random.split(jax.random.key(1), 200)))


def test_factors_are_in_the_order_of_the_archive():
  index = np.random.default_rng(0).integers(0, NUM_SPRITES, 500)
  index[:3] = 0, NUM_SPRITES - 1, 1
  shape, scale, orientation, x, y = np.unravel_index(index, SIZES)
  factors = jax.device_get(sprite_factors(index))
  np.testing.assert_array_equal(factors["shape"], shape)
  np.testing.assert_allclose(factors["scale"], np.linspace(0.5, 1, 6)[scale], rtol=1e-6)
  turns = np.linspace(0, 2 * np.pi, 40)
  np.testing.assert_allclose(factors["orientation"], turns[orientation], rtol=1e-6)
  np.testing.assert_allclose(factors["x"], np.linspace(0, 1, 32)[x], rtol=1e-6)
  np.testing.assert_allclose(factors["y"], np.linspace(0, 1, 32)[y], rtol=1e-6)
  assert [SHAPES[i] for i in (SQUARE, ELLIPSE, HEART)] == ["square", "ellipse", "heart"]


def test_an_upright_square_is_exact():
  expected = np.zeros((64, 64), bool)
  expected[22:42, 22:42] = True
  np.testing.assert_array_equal(mask(SQUARE), expected)
  expected = np.zeros((64, 64), bool)
  expected[43:53, 11:21] = True  # x = 0 is a quarter from the left, y = 1 one from below
  np.testing.assert_array_equal(mask(SQUARE, scale=0.5, x=0.0, y=1.0), expected)
  np.testing.assert_array_equal(mask(SQUARE, size=32), mask(SQUARE)[::2, ::2])


@pytest.mark.parametrize("shape", [SQUARE, ELLIPSE, HEART])
def test_a_sprite_turns_clockwise_and_shrinks(shape):
  upright = mask(shape, scale=0.93)
  turned = mask(shape, scale=0.93, orientation=np.pi / 2)
  np.testing.assert_array_equal(turned, np.rot90(upright, -1))
  np.testing.assert_array_equal(upright, upright[:, ::-1])
  large, small = mask(shape, size=256).sum(), mask(shape, scale=0.5, size=256).sum()
  assert large / small == pytest.approx(4, rel=0.02)


def test_the_shapes_look_like_their_names():
  rows, columns = np.nonzero(mask(ELLIPSE, size=512))
  assert np.ptp(columns) + 1 == pytest.approx(2 * (np.ptp(rows) + 1), rel=0.02)
  heart = mask(HEART, size=512)
  rows, columns = np.nonzero(heart)
  assert rows.min() + rows.max() == pytest.approx(511, abs=2)  # centred
  assert columns.min() + columns.max() == pytest.approx(511, abs=2)
  top = heart.argmax(0)[columns.min() : columns.max() + 1]
  notch = top[len(top) // 2]
  assert notch > top[len(top) // 4] + 10 and notch > top[3 * len(top) // 4] + 10
  width = heart.sum(1)[rows.min() : rows.max() + 1]
  assert width[-1] <= 4 and np.argmax(width) < len(width) / 2  # wide above, a tip below


def test_sprites_stay_inside_and_cover_as_much_as_the_archive():
  rng = np.random.default_rng(0)
  index = rng.integers(0, NUM_SPRITES, 2000)
  shape, scale, orientation, x, y = np.unravel_index(index, SIZES)
  outermost = np.ravel_multi_index((shape, 5, orientation, x // 16 * 31, y // 16 * 31), SIZES)
  edge = np.asarray(masks_of(outermost))
  assert not (edge[:, 0].any() or edge[:, -1].any() or edge[:, :, 0].any() or edge[..., -1].any())
  assert np.asarray(masks_of(index)).mean() == pytest.approx(0.0425, abs=0.002)


def test_later_sprites_cover_earlier_ones(scenes):
  for n in range(60):
    factors = {name: value[n] for name, value in scenes["factors"].items()}
    ids = np.zeros((32, 32), int)
    image = np.empty((32, 32, 3), np.uint8)
    image[:] = scenes["image"][n][scenes["instances"][n] == 0][0]
    for number in np.flatnonzero(factors["exists"]):
      where = mask(*(factors[f][number] for f in ("shape", "scale", "orientation", "x", "y")), 32)
      ids[where], image[where] = number + 1, factors["color"][number]
    np.testing.assert_array_equal(scenes["instances"][n], ids)
    np.testing.assert_array_equal(scenes["image"][n], image)


def test_a_scene_has_one_to_four_sprites_of_all_kinds(scenes):
  assert scenes["image"].dtype == np.uint8 and scenes["instances"].dtype == np.int32
  exists = scenes["factors"]["exists"]
  assert set(exists.sum(1)) == {1, 2, 3, 4}
  assert (np.sort(exists, axis=1)[:, ::-1] == exists).all()  # the first ones
  assert set(scenes["factors"]["shape"].ravel()) == {SQUARE, ELLIPSE, HEART}
  assert set(scenes["factors"]["color"].ravel()) == LEVELS == set(scenes["image"].ravel())


def test_unique_colors_differ_from_each_other_and_the_background():
  draw = jax.jit(jax.vmap(partial(sprites_scene, image_size=8, max_sprites=12, unique_colors=True)))
  scenes = jax.device_get(draw(jax.random.split(jax.random.key(0), 20)))
  for image, colors in zip(scenes["image"], scenes["factors"]["color"], strict=True):
    background = tuple(image[0, 0])  # sprites stay away from the corner
    assert len({background, *map(tuple, colors)}) == 13
    assert set(colors.ravel()) <= LEVELS


@pytest.mark.slow
@pytest.mark.parametrize("background", ["black", "gray", "levels", "continuous"])
def test_backgrounds(background):
  draw = jax.vmap(partial(sprites_scene, image_size=8, background=background, palette="continuous"))
  scenes = jax.device_get(draw(jax.random.split(jax.random.key(0), 100)))
  assert len(set(scenes["factors"]["color"].ravel())) > 200
  corners = scenes["image"][:, 0, 0]
  shades = set(corners.ravel())
  assert (shades == {0}) == (background == "black")
  assert (shades <= LEVELS) == (background in ("black", "levels"))
  assert (corners == corners[:, :1]).all() == (background in ("black", "gray"))
  assert len(np.unique(corners, axis=0)) > 50 or background == "black"


@pytest.mark.parametrize(
  "arguments",
  [
    dict(palette="pastel"),
    dict(background="striped"),
    dict(palette="continuous", unique_colors=True),
    dict(min_sprites=5),
    dict(max_sprites=125, unique_colors=True),
  ],
)
def test_impossible_scenes(arguments):
  with pytest.raises(ValueError, match=str(list(arguments.values())[0])):
    sprites_scene(jax.random.key(0), **arguments)
