"""Segmentation scores against the original's numbers and against brute force."""

import functools
import itertools

import golden
import jax
import jaxtyping
import numpy as np
import pytest

import genesis_jax
from genesis_jax import contingency, metrics


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
    scores = jax.jit(metrics.segmentation_scores)(true, case["log_masks"])
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


def test_shapes_are_checked(monkeypatch):
  monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside of tests
  with pytest.raises(ValueError, match=r"\(2, 8, 8\).*\(1, 8, 8\)"):
    metrics.adjusted_rand_index(np.zeros((2, 8, 8), int), np.zeros((1, 8, 8), int))


def brute_force_matching(ious) -> float:
  """Largest sum of IoUs of any one-to-one assignment."""
  small = ious if len(ious) <= ious.shape[1] else ious.T
  rows = range(len(small))
  choices = itertools.permutations(range(small.shape[1]), len(small))
  return max(sum(small[row, column] for row, column in zip(rows, c, strict=True)) for c in choices)


def random_ids(seed=2):
  rng = np.random.default_rng(seed)
  true = rng.integers(-1, 4, (6, 4, 4)).repeat(3, 1).repeat(3, 2)
  pred = np.where(rng.random(true.shape) < 0.3, rng.integers(0, 5, true.shape), true % 3)
  return true, pred


def test_mean_iou_agrees_with_brute_force():
  true, pred = random_ids()
  got = {over: metrics.mean_iou(true, pred, over=over) for over in ("true", "either")}
  for i in range(len(true)):
    t, p = true[i][true[i] >= 0], pred[i][true[i] >= 0]
    ious = np.array([[np.sum((t == a) & (p == b)) / np.sum((t == a) | (p == b)) for b in set(p)]
                     for a in set(t)])  # fmt: skip
    best = brute_force_matching(ious)
    np.testing.assert_allclose(got["true"][i], best / len(set(t)), atol=1e-12)
    # Segments that overlap with no free one make a pair with each other, or one each.
    least, most = max(ious.shape), sum(ious.shape)
    assert best / most - 1e-12 <= got["either"][i] <= best / least + 1e-12
  assert (got["either"] < got["true"]).any()
  with pytest.raises(ValueError, match="over is 'pred'; allowed: either, true"):
    metrics.mean_iou(true, pred, over="pred")


def test_mean_iou_of_pairs_visible_in_either():
  true = np.array([[[0, 0, 0, 0], [1, 1, 1, 1]]])
  pred = np.array([[[2, 2, 2, 2], [0, 0, 0, 1]]])
  np.testing.assert_allclose(metrics.mean_iou(true, pred), [(1 + 0.75 + 0) / 3])
  np.testing.assert_allclose(metrics.mean_iou(true, pred, over="true"), [(1 + 0.75) / 2])
  np.testing.assert_allclose(metrics.mean_iou(pred, true), [(1 + 0.75 + 0) / 3])
  assert np.isnan(metrics.mean_iou(np.full((1, 2, 4), -1), pred))


def test_numbering_changes_nothing():
  """Other ids, far apart; the same partition must get the same score, and itself a perfect one."""
  true, pred = random_ids()
  names = np.array([7, 2**40, 3, 900, 12])
  scores = (
    metrics.adjusted_rand_index,
    metrics.segmentation_covering,
    functools.partial(metrics.adjusted_rand_index, foreground_only=True),
    functools.partial(metrics.segmentation_covering, foreground_only=True),
    functools.partial(metrics.segmentation_covering, scaled=True),
    functools.partial(metrics.mean_iou, over="true"),
  )
  foreground = np.where(true > 0, names[true], true)
  for score in scores:
    np.testing.assert_allclose(score(true, names[pred]), score(true, pred), atol=1e-12)
    np.testing.assert_allclose(score(foreground, pred), score(true, pred), atol=1e-12)
  known = np.maximum(true, 0)
  for score in (*scores, metrics.mean_iou):
    np.testing.assert_allclose(score(known, names[known]), 1, atol=1e-12)


def test_tables_of_any_number_of_images(monkeypatch):
  """More than one call of the compiled program, and ids of any type and size."""
  rng = np.random.default_rng(3)
  size = contingency.BATCH + 5
  true, pred = rng.integers(-3, 5, (size, 3, 3)), rng.integers(0, 3, (size, 3, 3))
  expected = np.zeros((size, 6, 3), int)
  for image, t, p in zip(np.arange(size).repeat(9), true.ravel(), pred.ravel(), strict=True):
    expected[image, max(t, -1) + 1, p] += 1
  np.testing.assert_array_equal(contingency.contingency_tables(true, pred), expected)
  for kind in (np.int8, np.int16):
    tables = contingency.contingency_tables(true.astype(kind), pred.astype(np.uint8))
    np.testing.assert_array_equal(tables, expected)
  low = np.where(true == -3, -(2**40), true)  # whose last 32 bits are a valid id
  np.testing.assert_array_equal(contingency.contingency_tables(low, pred), expected)
  far = contingency.contingency_tables(np.where(true > 2, 1000 * true, true), pred)
  np.testing.assert_array_equal(far[:, :2], expected[:, :2])
  assert (far.sum((1, 2)) == 9).all()
  assert metrics.adjusted_rand_index(true[:0], pred[:0]).shape == (0,)
  monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside of tests
  with pytest.raises(ValueError, match="pred_ids has type float64"):
    metrics.adjusted_rand_index(true, pred / 2)


def test_dense_ids_keep_their_order():
  ids = np.array([[[-7, 5, 0], [2**40, 5, 9]], [[3, 3, 3], [3, 3, 3]]])
  expected = [[[-1, 1, 0], [3, 1, 2]], [[1, 1, 1], [1, 1, 1]]]
  np.testing.assert_array_equal(contingency.dense_ids(ids), expected)


def test_compiled_scores_leave_out_ids_beyond_their_number():
  log_masks = np.log(np.random.default_rng(4).dirichlet(np.ones(3), (2, 8, 8))).transpose(
    0, 3, 1, 2
  )
  true = np.random.default_rng(5).integers(0, 4, (2, 8, 8))
  compiled = jax.jit(metrics.segmentation_scores)
  ids = log_masks.argmax(1)
  got = compiled(true, log_masks.astype(np.float32))
  np.testing.assert_allclose(got["ari"], metrics.adjusted_rand_index(true, ids), atol=1e-5)
  np.testing.assert_allclose(got["msc"], metrics.segmentation_covering(true, ids), atol=1e-5)
  far = compiled(np.where(true == 3, metrics.NUM_IDS, true), log_masks.astype(np.float32))
  ignored = metrics.segmentation_covering(np.where(true == 3, -1, true), ids)
  np.testing.assert_allclose(far["msc"], ignored, atol=1e-5)


def test_slot_health():
  log_masks = np.full((1, 4, 10, 10), -1e10, np.float32)
  log_masks[0, 0] = 0
  health = metrics.slot_health(log_masks)
  assert (health["mask_entropy"], health["slots_used"], health["largest_slot"]) == (0, 1, 1)
  uniform = np.full((1, 4, 10, 10), np.log(0.25), np.float32)
  np.testing.assert_allclose(metrics.slot_health(uniform)["mask_entropy"], np.log(4), 1e-6)
