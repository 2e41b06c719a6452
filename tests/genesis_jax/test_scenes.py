"""Ray-cast rooms: pure functions of a key with sane pictures, and solids of the right shape."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genesis_jax.scenes import raycast, room_scene, rooms
from genesis_jax.scenes.raycast import SHAPES

SIDE, VIEWS, SCENES = 32, 10, 6


KEYS = jax.random.split(jax.random.key(0), SCENES)


@pytest.fixture(scope="module")
def scenes():
  """Drawn together; see `test_a_scene_is_a_function_of_its_key`."""
  render = jax.jit(jax.vmap(partial(room_scene, image_size=SIDE)))
  together = jax.device_get(render(KEYS))
  return [jax.tree.map(lambda x: x[n], together) for n in range(SCENES)]  # noqa: B023


@pytest.mark.slow
def test_shapes_and_types(scenes):
  for scene in scenes:
    assert scene["image"].shape == (VIEWS, SIDE, SIDE, 3) and scene["image"].dtype == np.uint8
    assert scene["instances"].shape == (VIEWS, SIDE, SIDE)
    assert scene["cameras"].shape == (VIEWS, 5) and scene["cameras"].dtype == np.float32
    assert scene["factors"]["centre"].shape == (rooms.MAX_OBJECTS, 3)


@pytest.mark.slow
def test_a_scene_is_a_function_of_its_key(scenes):
  alone = jax.device_get(jax.jit(partial(room_scene, image_size=SIDE))(KEYS[1]))
  jax.tree.map(
    partial(np.testing.assert_allclose, rtol=1e-5), alone["factors"], scenes[1]["factors"]
  )
  assert np.mean(alone["instances"] != scenes[1]["instances"]) < 0.01
  difference = np.abs(alone["image"].astype(int) - scenes[1]["image"])
  assert np.mean(difference > 1) < 0.01  # a ray along an edge may fall to either side
  assert not np.array_equal(scenes[0]["image"], scenes[1]["image"])


def test_every_object_is_seen_and_nothing_else(scenes):
  for scene in scenes:
    exists = scene["factors"]["exists"]
    assert 1 <= exists.sum() <= rooms.MAX_OBJECTS
    assert set(np.unique(scene["instances"])) == {0, *(np.flatnonzero(exists) + 1)}
    background = np.mean(scene["instances"] == 0)
    assert 0.4 < background < 0.97


def test_pictures_are_neither_flat_nor_burnt_out(scenes):
  images = np.stack([scene["image"] for scene in scenes])
  assert images.std() > 30 and 60 < images.mean() < 200
  assert np.mean((images == 0) | (images == 255)) < 0.1
  assert (images.std((2, 3, 4)) > 10).all()


def test_objects_look_like_their_colors(scenes):
  """The colour channel that is strongest in an object is strongest in its pixels."""
  for scene in scenes:
    for n in np.flatnonzero(scene["factors"]["exists"]):
      pixels = scene["image"][scene["instances"] == n + 1].mean(0)
      assert pixels.argmax() == scene["factors"]["color"][n].argmax()


def test_objects_stand_apart_on_the_floor(scenes):
  for scene in scenes:
    factors, exists = scene["factors"], scene["factors"]["exists"]
    bottom = factors["centre"][:, 2] - factors["half_size"][:, 2]
    np.testing.assert_allclose(bottom, 0, atol=1e-6)
    place, radius = factors["centre"][exists, :2], factors["half_size"][exists, 0]
    for i in range(len(place)):
      for j in range(i):
        assert np.linalg.norm(place[i] - place[j]) > radius[i] + radius[j]


def one_solid(shape, half_size=(1.0, 1.0, 1.0), yaw=0.0):
  return raycast.Solids(
    shape=jnp.array([SHAPES.index(shape)]),
    centre=jnp.zeros((1, 3)),
    half_size=jnp.array([half_size]),
    yaw=jnp.array([yaw]),
    color=jnp.ones((1, 3)),
    gloss=jnp.zeros(1),
    exists=jnp.ones(1, bool),
  )


def radius_at(shape, z):
  """Radius of the unit solids by plain geometry."""
  return {
    "sphere": np.sqrt(np.maximum(1 - z**2, 0)),
    "cylinder": np.ones_like(z),
    "cone": (1 - z) / 2,
    "frustum": 1 - 0.5 * (z + 1) / 2,
    "dome": np.sqrt((1 - z) / 2),
  }[shape]


@pytest.mark.parametrize("shape", SHAPES)
def test_solids_stop_rays_where_geometry_says(shape):
  half_size, yaw = np.array([0.5, 0.8, 1.2]), 0.7
  solid = raycast._each(one_solid(shape, tuple(half_size), yaw))
  rng = np.random.default_rng(0)
  origin = rng.normal(size=(3, 400)) * 0.3 + np.array([[4.0], [1.0], [0.5]])
  direction = rng.normal(size=(3, 400)) * 0.5 - origin
  direction /= np.linalg.norm(direction, axis=0)
  distance, _ = raycast._nearest(solid, tuple(jnp.array(origin)), tuple(jnp.array(direction)))
  steps = np.linspace(0, 10, 20_001)
  points = origin[..., None] + steps * direction[..., None]
  cos, sin = np.cos(yaw), np.sin(yaw)
  x, y, z = points
  x, y, z = (cos * x + sin * y) / 0.5, (cos * y - sin * x) / 0.8, z / 1.2
  if shape == "box":
    inside = np.maximum(np.maximum(abs(x), abs(y)), abs(z)) <= 1
  else:
    inside = (abs(z) <= 1) & (np.hypot(x, y) <= radius_at(shape, np.clip(z, -1, 1)))
  expected = np.where(inside.any(1), steps[inside.argmax(1)], np.inf)
  agree = np.isclose(distance, expected, atol=2e-3) | (np.isinf(distance) & np.isinf(expected))
  assert 0.3 < np.isfinite(expected).mean() and agree.mean() > 0.99  # marching misses thin edges


def test_normals_of_a_sphere_point_outward():
  solid = raycast._each(one_solid("sphere"))[0]
  points = np.random.default_rng(1).normal(size=(3, 50))
  points /= np.linalg.norm(points, axis=0)
  normal = np.stack(raycast._normal(solid, tuple(jnp.array(points))))
  np.testing.assert_allclose(normal, points, atol=1e-5)
