"""Segmentation scores against the original's numbers and against brute force."""

import golden
import numpy as np
import pytest

import genesis_jax
from genesis_jax import metrics


def cases():
  data = golden.Case(golden.files()["segmentation_metrics"])
  for i in sorted({name.split("/")[0] for name in data.arrays}):
    yield data.group(i)


def test_golden_scores():
  for case in cases():
    true, pred = case["instances"], case["log_masks"].argmax(1)
    ari = genesis_jax.metrics.adjusted_rand_index
    msc = genesis_jax.metrics.segmentation_covering
    np.testing.assert_allclose(ari(true, pred), case["ari"], atol=1e-5)
    np.testing.assert_allclose(ari(true, pred, foreground_only=True), case["ari_fg"], atol=1e-5)
    for name, foreground in (("msc_and_scaled", False), ("msc_fg_and_scaled", True)):
      for column, scaled in enumerate((False, True)):
        got = msc(true, pred, foreground_only=foreground, scaled=scaled)
        np.testing.assert_allclose(got, case[name][:, column], atol=1e-5)
    scores = metrics.segmentation_scores(true, case["log_masks"])
    np.testing.assert_allclose(scores["ari"], case["ari"], atol=1e-5)
    np.testing.assert_allclose(scores["ari_fg"], case["ari_fg"], atol=1e-5)
    np.testing.assert_allclose(scores["msc"], case["msc_and_scaled"][:, 0], atol=1e-5)
    np.testing.assert_allclose(scores["msc_fg"], case["msc_fg_and_scaled"][:, 0], atol=1e-5)


def brute_force_ari(true, pred):
  """Hubert & Arabie's formula over a contingency table built pixel by pixel."""
  from math import comb

  table = {}
  for t, p in zip(true, pred, strict=True):
    table[t, p] = table.get((t, p), 0) + 1
  rows = [sum(v for (t, _), v in table.items() if t == i) for i in set(true)]
  columns = [sum(v for (_, p), v in table.items() if p == j) for j in set(pred)]
  both = sum(comb(v, 2) for v in table.values())
  a, b = sum(comb(v, 2) for v in rows), sum(comb(v, 2) for v in columns)
  expected = a * b / comb(len(true), 2)
  return (both - expected) / ((a + b) / 2 - expected)


def test_ari_agrees_with_brute_force():
  rng = np.random.default_rng(0)
  true, pred = rng.integers(-1, 5, (4, 12, 12)), rng.integers(0, 7, (4, 12, 12)) * 50
  got = metrics.adjusted_rand_index(true, pred)
  for i in range(4):
    expected = brute_force_ari(true[i].ravel().tolist(), pred[i].ravel().tolist())
    np.testing.assert_allclose(got[i], expected, atol=1e-5)


def test_perfect_and_trivial_partitions():
  ids = np.arange(64).reshape(1, 8, 8) // 16
  shuffled = np.array([7, 2, 9, 4])[ids]
  assert metrics.adjusted_rand_index(ids, shuffled) == 1
  assert metrics.segmentation_covering(ids, shuffled) == 1
  one = np.zeros((1, 8, 8), int)
  assert metrics.adjusted_rand_index(one, one) == 1
  assert metrics.adjusted_rand_index(one, ids, foreground_only=True) == 1  # no pixel
  assert metrics.segmentation_covering(one, ids, foreground_only=True) == 0  # no segment
  ignored = np.full((1, 8, 8), -1)
  assert metrics.adjusted_rand_index(ignored, ids, foreground_only=True) == 1
  assert metrics.segmentation_covering(ignored, ids) == 0
  assert metrics.adjusted_rand_index(one, ids) == 0


def test_scores_of_large_images_keep_their_precision():
  rng = np.random.default_rng(1)
  true = np.repeat(np.repeat(rng.integers(0, 11, (1, 16, 16)), 8, 1), 8, 2)
  pred = np.where(rng.random(true.shape) < 0.3, 0, true)
  got = metrics.adjusted_rand_index(true, pred)[0]
  expected = brute_force_ari(true.ravel().tolist(), pred.ravel().tolist())
  np.testing.assert_allclose(got, expected, atol=1e-5)


def test_shapes_are_checked():
  with pytest.raises(ValueError, match=r"\(2, 8, 8\).*\(1, 8, 8\)"):
    metrics.adjusted_rand_index(np.zeros((2, 8, 8), int), np.zeros((1, 8, 8), int))


def test_slot_health():
  log_masks = np.full((1, 4, 10, 10), -1e10, np.float32)
  log_masks[0, 0] = 0
  health = metrics.slot_health(log_masks)
  assert (health["mask_entropy"], health["slots_used"], health["largest_slot"]) == (0, 1, 1)
  uniform = np.full((1, 4, 10, 10), np.log(0.25), np.float32)
  np.testing.assert_allclose(metrics.slot_health(uniform)["mask_entropy"], np.log(4), 1e-6)
