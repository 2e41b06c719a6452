"""What is done to images, and which dials a run has."""

import numpy as np
import pytest

from configs.experiment import compose
from experiments.console.errors import UserError
from experiments.shifts import catalogue, corruptions, dials
from genesis_jax.scenes import shifts

SIDE = 32


def batch(count=3) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (count, 8, 8, 3), np.uint8).repeat(4, 1).repeat(4, 2)
  ids = np.zeros((count, SIDE, SIDE), np.int32)
  ids[:, 4:14, 4:14] = 1
  ids[:, 18:30, 6:20] = 2
  return {"image": image, "instances": ids, "index": np.arange(count) + 7}


def changed(name: str, value: float) -> dict[str, np.ndarray]:
  return corruptions.corrupted(batch(), corruptions.CORRUPTIONS[name], value)


@pytest.mark.parametrize("name", corruptions.CORRUPTIONS)
def test_corruptions_grow_with_their_level_and_are_repeatable(name):
  kind, before = corruptions.CORRUPTIONS[name], batch()
  errors = []
  for value in kind.levels:
    if value == kind.usual:
      continue
    after = changed(name, value)
    np.testing.assert_array_equal(after["image"], changed(name, value)["image"])
    assert after["image"].dtype == np.uint8 and after["image"].shape == before["image"].shape
    if name not in ("occlusion", "crop"):
      np.testing.assert_array_equal(after["instances"], before["instances"])
    errors.append(np.square(after["image"].astype(float) - before["image"]).mean())
  if name != "crop":
    assert errors == sorted(errors) and errors[0] > 0
  np.testing.assert_array_equal(before["image"], batch()["image"])  # the input is left alone


def test_corruptions_do_what_they_say():
  before = batch()
  after = changed("occlusion", 0.5)
  for image, ids, own in zip(after["image"], after["instances"], before["instances"], strict=True):
    grey = (image == corruptions.GREY).all(-1)
    assert grey.sum() >= (SIDE // 2) ** 2 and (ids[grey] == 0).all()
    np.testing.assert_array_equal(ids[~grey], own[~grey])
  after = changed("crop", 0.5)
  np.testing.assert_array_equal(after["instances"][:, ::2, ::2], before["instances"][:, 8:24, 8:24])
  contrast = changed("contrast", 0.2)["image"].std((1, 2)) / before["image"].std((1, 2))
  np.testing.assert_allclose(contrast, 0.2, rtol=0.02)
  grey = {"image": np.full((1, 64, 64, 3), 127, np.uint8), "index": np.array([0])}
  noisy = corruptions.corrupted(grey, corruptions.CORRUPTIONS["noise"], 0.1)["image"]
  assert noisy.std() == pytest.approx(25.5, rel=0.05)


def config(model="genesis", **data):
  made = compose(model, "multi_dsprites")
  made.data.update(data)
  return made


def test_dials_of_a_run_and_why_it_lacks_others():
  found, left_out = dials.chosen(config(source="generator"), None, [])
  names = [dial.name for dial in found]
  assert [*names, *left_out].sort() == [*catalogue.DIALS].sort()
  assert set(left_out) == {"camera", "data"}
  assert all(sum(level.is_training for level in dial.levels) == 1 for dial in found)
  assert set(catalogue.SCENES) == set(shifts.DIALS)
  assert set(catalogue.IMAGES) == set(corruptions.CORRUPTIONS)
  files, left_out = dials.chosen(config("vae"), None, ["multi_dsprites:unique"])
  assert [dial.name for dial in files] == [*catalogue.IMAGES, "data"]
  assert "--source=generator" in left_out["objects"] and "no slots" in left_out["slots"]
  usual, other = files[-1].levels
  assert (usual.label, other.data.variant) == ("multi_dsprites:default", "unique")


@pytest.mark.parametrize(
  "names, data, words",
  [
    (["camera"], [], "--dials=camera: the scenes are flat"),
    (["data"], [], "pass --data=NAME:VARIANT"),
    (["noise"], ["objects_rooms"], 'Did you mean "objects_room"'),
  ],
)
def test_what_cannot_be_had_is_an_error_where_it_is_asked_for(names, data, words):
  with pytest.raises(UserError, match=words):
    dials.chosen(config(source="generator"), names, data)
