"""Rendered towers and shelves: whether the towers stand as they say, and sane pictures."""

from functools import partial

import jax
import numpy as np
import pytest

from genesis_jax.scenes import shelf, shelf_scene, stacks, stacks_scene, stacks_view
from genesis_jax.scenes.raycast import SHAPES

pytestmark = pytest.mark.slow

TOWERS, SIDE = 200, 32


def towers(variant):
  draw = jax.jit(jax.vmap(partial(stacks.tower, variant=variant)))
  solids, name = jax.device_get(draw(jax.random.split(jax.random.key(0), TOWERS)))
  fields = solids._asdict() | name
  return [{key: value[n] for key, value in fields.items()} for n in range(TOWERS)]


@pytest.fixture(scope="module")
def default_towers():
  return towers("default")


def volume(tower, n):
  x, y, z = tower["half_size"][n].astype(float)
  return {
    "box": 8 * x * y * z, "cylinder": 2 * np.pi * x * y * z, "sphere": 4 / 3 * np.pi * x * y * z
  }[SHAPES[tower["shape"][n]]]  # fmt: skip


def margin(tower, n, point):
  """How far a point is inside the top of a block, in half sizes of it; negative outside."""
  x, y = (point - tower["centre"][n, :2]).astype(float)
  cos, sin = np.cos(tower["yaw"][n]), np.sin(tower["yaw"][n])
  x, y = np.array([cos * x + sin * y, cos * y - sin * x]) / tower["half_size"][n, :2]
  return 1 - (max(abs(x), abs(y)) if SHAPES[tower["shape"][n]] == "box" else np.hypot(x, y))


def tipping(tower):
  """The blocks (from 1) off which what is above them falls, by centres of mass alone."""
  count, unstable = tower["height"], []
  for n in range(count - 1):
    masses = [volume(tower, above) for above in range(n + 1, count)]
    centre = np.average(tower["centre"][n + 1 : count, :2], axis=0, weights=masses)
    if margin(tower, n, centre) < 0:
      unstable.append(n + 1)
  return unstable


def test_names_say_what_physics_does(default_towers):
  for tower in default_towers:
    assert tipping(tower) == ([tower["vcom"]] if tower["vcom"] else [])
    shapes = [SHAPES[shape] for shape in tower["shape"][: tower["height"]]]
    round_below = [n + 1 for n, shape in enumerate(shapes[:-1]) if shape == "sphere"]
    assert round_below == ([tower["vpsf"]] if tower["vpsf"] else [])


def test_blocks_lie_on_one_another(default_towers):
  for tower in default_towers:
    bottom = (tower["centre"] - tower["half_size"])[: tower["height"], 2]
    top = (tower["centre"] + tower["half_size"])[: tower["height"], 2]
    np.testing.assert_allclose(bottom, [0, *top[:-1]], atol=1e-6)
    for n in range(tower["height"] - 1):  # they touch: some point is on both
      lower, upper = tower["centre"][n, :2], tower["centre"][n + 1, :2]
      points = lower + np.linspace(0, 1, 101)[:, None] * (upper - lower)
      assert any(margin(tower, n, p) >= 0 and margin(tower, n + 1, p) >= 0 for p in points)


def test_all_kinds_of_towers_occur(default_towers):
  stable = np.mean([tower["vcom"] == tower["vpsf"] == 0 for tower in default_towers])
  assert 0.35 < stable < 0.65
  assert {int(tower["height"]) for tower in default_towers} == {2, 3, 4, 5, 6}
  for fault in ("vcom", "vpsf"):
    assert {int(tower[fault]) for tower in default_towers} >= {0, 1, 2, 3}
    assert all(tower[fault] < tower["height"] for tower in default_towers)


@pytest.mark.parametrize("variant, shapes", [
  ("blocks_all", {"box"}), ("ccs_all", {"box", "cylinder", "sphere"}),
])  # fmt: skip
def test_variants_have_their_shapes(variant, shapes):
  drawn = towers(variant)
  seen = {SHAPES[shape] for tower in drawn for shape in tower["shape"][: tower["height"]]}
  assert seen == shapes
  assert {int(tower["boxes_only"]) for tower in drawn} == {int(variant == "blocks_all")}


render = jax.jit(partial(stacks_view, image_size=SIDE))


@pytest.fixture(scope="module")
def stack_views():
  return [[jax.device_get(render(jax.random.key(n), camera)) for camera in (0, 4, 8, 15)]
          for n in range(3)]  # fmt: skip


def test_every_camera_sees_every_block(stack_views):
  for views in stack_views:
    for view in views:
      assert view["image"].dtype == np.uint8 and view["image"].shape == (SIDE, SIDE, 3)
      assert view["instances"].dtype == np.int32
      expected = set(range(view["factors"]["height"] + 1))
      assert set(np.unique(view["instances"])) == expected
      assert np.mean(view["instances"] > 0) < 0.4
    assert not np.array_equal(views[0]["image"], views[1]["image"])
    jax.tree.map(np.testing.assert_array_equal, views[0]["factors"], views[3]["factors"])


def test_blocks_look_like_their_colors(stack_views):
  for view in (view for views in stack_views for view in views):
    for n in range(view["factors"]["height"]):
      pixels = view["image"][view["instances"] == n + 1].mean(0)
      color = view["factors"]["color"][n]
      assert pixels[color > 0.5].min() > pixels[color < 0.5].max()


def test_models_see_the_middle_of_a_view():
  key = jax.random.key(3)
  camera = jax.random.randint(jax.random.fold_in(key, 1), (), 0, stacks.NUM_VIEWS)
  scene = jax.jit(partial(stacks_scene, image_size=28, samples=1))(key)
  view = render(key, int(camera))  # 28 is to 32 as 196 to 224
  agree = np.asarray(view["instances"])[2:30, 2:30] == np.asarray(scene["instances"])
  assert agree.mean() > 0.95


def test_shelves_have_one_object_or_none():
  render = jax.jit(jax.vmap(partial(shelf_scene, image_size=SIDE, samples=1)))
  scenes = jax.device_get(render(jax.random.split(jax.random.key(0), 60)))
  exists = scenes["factors"]["exists"][:, 0]
  share = scenes["instances"].mean((1, 2))
  assert scenes["image"].shape == (60, SIDE, SIDE, 3) and scenes["instances"].dtype == np.int32
  assert 0 < (~exists).sum() < 15 and (share[~exists] == 0).all()
  assert (share[exists] > 0.02).all() and (share[exists] < 0.5).all()
  wood = scenes["image"][scenes["instances"] == 0].mean(0)
  assert wood[0] > 1.3 * wood[1] > 1.3 * wood[2]


def test_frames_of_a_shelf_show_the_same_scene_from_elsewhere():
  render = jax.jit(partial(shelf.shelf_frame, width=64))
  first, second = (jax.device_get(render(jax.random.key(0), frame)) for frame in (0, 1))
  assert first["image"].shape == (48, 64, 3) and first["instances"].shape == (48, 64)
  jax.tree.map(np.testing.assert_array_equal, first["factors"], second["factors"])
  assert not np.array_equal(first["instances"], second["instances"])
