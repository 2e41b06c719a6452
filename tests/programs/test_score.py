"""Scores of anybody's masks: the definitions restated with loops over pixels and masks."""

import contextlib
import json
import re

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from experiments import score
from experiments.console.errors import UserError
from experiments.scoring import mask_files, summaries
from experiments.scoring.protocols import PROTOCOLS
from genesis_jax.contingency import contingency_tables

NUM_IMAGES, SIDE = 12, 8


def ids(seed=0, ignore=True):
  """Blocks of true ids, with holes in the numbering, and predictions that differ from them."""
  rng = np.random.default_rng(seed)
  true = rng.choice([0, 1, 2, 4], (NUM_IMAGES, 4, 4)).repeat(2, 1).repeat(2, 2)
  wrong = rng.integers(0, 6, true.shape)
  pred = np.where(rng.random(true.shape) < 0.3, wrong, (3 * true + 1) % 5)
  true[0], pred[1], true[2] = 0, 2, np.minimum(true[2], 1)
  if ignore:
    true[3:, :2, :3] = -1
  return true.astype(np.int32), pred.astype(np.int32)


def ari(true, pred):
  """From all pairs of pixels, one by one."""
  same_true, same_pred = true[:, None] == true, pred[:, None] == pred
  pairs = ~np.eye(len(true), dtype=bool)
  both, neither = (same_true & same_pred & pairs).sum(), (~same_true & ~same_pred & pairs).sum()
  only_true, only_pred = (same_true & ~same_pred).sum(), (~same_true & same_pred).sum()
  if only_true == only_pred == 0:
    return 1.0
  total = (both + only_true) * (only_true + neither) + (both + only_pred) * (only_pred + neither)
  return 2 * (both * neither - only_true * only_pred) / total


def iou(a, b):
  return (a & b).sum() / (a | b).sum() if (a | b).any() else 0.0


def covering(true, pred, labels, scaled=False):
  labels = [t for t in labels if (true == t).any()]
  best = [max(iou(true == t, pred == p) for p in set(pred)) for t in labels]
  weights = [(true == t).sum() if scaled else 1 for t in labels]
  return np.average(best, weights=weights) if labels else 0.0


def genesis(true, pred, background):
  every, known, fg = np.ones_like(true, bool), true >= 0, true > 0
  return {
    "ARI": ari(np.maximum(true, -1)[every], pred),
    "ARI-FG": ari(true[fg], pred[fg]),
    "MSC": covering(true[known], pred[known], range(9)),
    "MSC-FG": covering(true[known], pred[known], range(1, 9)),
    "MSC scaled": covering(true[known], pred[known], range(9), scaled=True),
    "MSC-FG scaled": covering(true[known], pred[known], range(1, 9), scaled=True),
  }


def ocl(true, pred, background):
  known = true >= 0
  true, pred = true[known], pred[known]
  fg = true >= background
  return {
    "ARI": ari(true, pred),
    "ARI-FG": ari(true[fg], pred[fg]),
    "mSC": covering(true, pred, range(9)),
    "mSC-FG": covering(true, pred, range(background, 9)),
    "SC": covering(true, pred, range(9), scaled=True),
    "SC-FG": covering(true, pred, range(background, 9), scaled=True),
  }


def oclf(true, pred, background):
  known = true >= 0
  true, pred = true[known], pred[known]
  scores = {"ARI": ari(true, pred), "ARI-FG": ari(true[true > 0], pred[true > 0])}
  for suffix, first in (("", 0), ("-FG", 1)):
    labels = [t for t in set(true) if t >= first]
    ious = np.array([[iou(true == t, pred == p) for p in set(pred)] for t in labels])
    if not labels:
      scores |= {f"mIoU{suffix}": np.nan, f"mBO{suffix}": np.nan}
      continue
    scores[f"mIoU{suffix}"] = ious[linear_sum_assignment(-ious)].sum() / len(labels)
    scores[f"mBO{suffix}"] = ious.max(1).mean()
  return scores


def clevrtex(true, pred, background, size=6):
  known = true >= 0
  true, pred = true[known], pred[known]
  scores = {"ARI": ari(true, pred), "ARI-FG": ari(true[true > 0], pred[true > 0])}
  ious = np.array([[iou(true == t, pred == p) for p in range(size)] for t in range(size)])
  _, partner = linear_sum_assignment(ious, maximize=True)
  renamed = np.argsort(partner)[pred]  # the number of its partner
  visible = [((true == n) | (renamed == n)).any() for n in range(size)]
  pairs = [iou(true == n, renamed == n) for n in range(size)]
  scores["mIoU"] = sum(pairs) / sum(visible)
  scores["mIoU-FG"] = sum(pairs[1:]) / (sum(visible) - 1) if sum(visible) > 1 else np.nan
  scores["mIoU-GT"] = sum(pairs) / len(set(true))
  total = area = 0
  for t in range(true.max()):  # one too few, in both loops
    best = max((iou(true == t, renamed == p) for p in range(renamed.max())), default=0)
    total += (true == t).sum() * best
    area += (true == t).sum()
  scores["mSC"] = total / area if area else np.nan
  return scores


def savi(true, pred, background):
  known = true >= 0
  true, pred = true[known], pred[known]
  return {"ARI": ari(true, pred), "ARI-FG": ari(true[true > 0], pred[true > 0])}


RESTATED = {"GENESIS": genesis, "OCL": ocl, "OCLF": oclf, "ClevrTex": clevrtex, "SAVi": savi}


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.name)
def test_protocol_is_its_definition(protocol):
  true, pred = ids()
  got = protocol.scores(contingency_tables(true, pred).astype(np.float64), 2)
  restate = RESTATED[protocol.name]
  rows = [restate(t.ravel(), p.ravel(), 2) for t, p in zip(true, pred, strict=True)]
  assert got.keys() == rows[0].keys() == protocol.definitions.keys()
  for name, values in got.items():
    np.testing.assert_allclose(values, [row[name] for row in rows], atol=1e-12, err_msg=name)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.name)
def test_the_truth_itself_is_perfect(protocol):
  true, _ = ids(ignore=False)
  pred = np.array([5, 3, 0, 1, 2])[true]
  got = protocol.scores(contingency_tables(true, pred).astype(np.float64), 1)
  has_foreground = (true > 0).any((1, 2))
  for name, values in got.items():
    perfect = has_foreground
    if (protocol.name, name) == ("ClevrTex", "mIoU-FG"):  # takes it for granted that 0 is there
      perfect = perfect & (true == 0).any((1, 2))
    np.testing.assert_allclose(values[perfect], 1, err_msg=name)


def test_protocols_differ_where_they_say():
  true, pred = ids()
  counts = contingency_tables(true, pred).astype(np.float64)
  by_name = {protocol.name: protocol.scores(counts, 1) for protocol in PROTOCOLS}
  ignoring = (true < 0).any((1, 2))
  different = by_name["GENESIS"]["ARI"] != by_name["SAVi"]["ARI"]
  assert different[ignoring].all() and not different[~ignoring].any()
  assert (by_name["OCLF"]["mIoU"] >= by_name["ClevrTex"]["mIoU"] - 1e-12).all()
  np.testing.assert_allclose(by_name["OCLF"]["mBO"], by_name["GENESIS"]["MSC"])
  np.testing.assert_allclose(by_name["OCLF"]["mIoU"], by_name["ClevrTex"]["mIoU-GT"])


def test_bootstrap_covers_the_mean_as_often_as_it_says():
  rng = np.random.default_rng(0)
  resamples = summaries.resample(50, 300, seed=0)
  assert (resamples.sum(1) == 50).all() and resamples.shape == (300, 50)
  inside = 0
  for _ in range(200):
    low, high = summaries.bootstrap(rng.normal(3.0, 2.0, 50), resamples)
    inside += low < 3.0 < high
  assert 0.88 < inside / 200 < 0.99
  assert summaries.bootstrap(np.full(50, np.nan), resamples) == (None, None)
  values = np.where(np.arange(50) % 2, 1.0, np.nan)
  assert summaries.bootstrap(values, resamples) == (1.0, 1.0)


# The program.


def save(path, array, key="masks", **more):
  np.savez(path, **{key: array}, **more)
  return path


@pytest.fixture
def files(tmp_path):
  true, pred = ids()
  return save(tmp_path / "p.npz", pred, "anything"), save(tmp_path / "t.npz", true)


def run(predictions, truth, *more) -> int:
  return score.main([f"--predictions={predictions}", f"--truth={truth}", *more])


def test_program_prints_and_writes_all_protocols(files, tmp_path, capsys):
  out = tmp_path / "scores.json"
  assert run(*files, "--num_bootstrap=200", f"--out={out}") == 0
  said = capsys.readouterr().out
  result, (true, pred) = json.loads(out.read_text()), ids()
  assert result["num_images"] == NUM_IMAGES and result["num_ignored_pixels"] == (true < 0).sum()
  for protocol in PROTOCOLS:
    expected = protocol.scores(contingency_tables(true, pred).astype(np.float64), 1)
    entry = result["protocols"][protocol.name]
    assert entry["difference"] in said and entry["source"] == protocol.source
    for name, values in expected.items():
      got = entry["scores"][name]
      assert got["mean"] == pytest.approx(np.nanmean(values)) and got["definition"] in said
      assert got["interval_low"] < got["mean"] < got["interval_high"]
      assert got["num_images"] == np.isfinite(values).sum()
      assert f"{got['mean']:.4g}" in said


def mean_ari(files, *more, out) -> float:
  assert run(*files, f"--out={out}", "--num_bootstrap=10", *more) == 0
  return json.loads(out.read_text())["protocols"]["GENESIS"]["scores"]["ARI"]["mean"]


def test_masks_score_as_their_largest_slot(files, tmp_path):
  """Of probabilities, their logarithms and binary masks; wherever the axis of slots is."""
  out, (_, pred) = tmp_path / "out.json", ids()
  expected = mean_ari(files, out=out)
  rng = np.random.default_rng(0)
  masks = rng.dirichlet(np.ones(6), pred.shape) * 0.4
  np.put_along_axis(masks, pred[..., None], 0.6, -1)
  with np.errstate(divide="ignore"):
    hard = np.log(np.eye(6)[pred])
  for array in (masks, hard, np.eye(6, dtype=bool)[pred], masks[..., None]):
    assert mean_ari((save(tmp_path / "m.npz", array), files[1]), out=out) == expected
  first = np.moveaxis(masks, -1, 1)
  for array in (first, first[:, :, None]):
    assert mean_ari((save(tmp_path / "m.npz", array), files[1]), out=out) == expected


def test_an_axis_of_slots_as_long_as_an_image(files, tmp_path, capsys):
  out, (_, pred) = tmp_path / "out.json", ids()
  masks = save(tmp_path / "m.npz", np.eye(SIDE)[pred])
  assert run(masks, files[1]) == 1
  assert "say which with --slot_axis=1 or --slot_axis=-1" in capsys.readouterr().err
  assert mean_ari((masks, files[1]), "--slot_axis=-1", out=out) == mean_ari(files, out=out)
  assert mean_ari((masks, files[1]), "--slot_axis=1", out=out) != mean_ari(files, out=out)


def test_ids_may_be_any_numbers(files, tmp_path):
  """As where the colours of a picture are the ids."""
  out, (true, pred) = tmp_path / "out.json", ids()
  truth = save(tmp_path / "t2.npz", true.astype(np.int64) * 2**33)
  predictions = save(tmp_path / "p2.npz", pred.astype(np.uint32) * 70_000)
  assert mean_ari((predictions, truth), out=out) == mean_ari(files, out=out)


def test_any_damage_is_one_line(tmp_path):
  path = save(tmp_path / "p.npz", ids()[1])
  whole, draw = path.read_bytes(), np.random.default_rng(0)
  for _ in range(300):
    content = bytearray(whole)
    for place in draw.integers(len(content), size=3):
      content[place] = draw.integers(256)
    path.write_bytes(content)
    with contextlib.suppress(UserError):
      mask_files.read_array(path)


def test_mistakes_are_one_line(files, tmp_path, capsys):
  true, pred = ids()
  (tmp_path / "text.npz").write_text("not an archive")
  np.save(tmp_path / "bare.npy", pred)
  whole = save(tmp_path / "whole.npz", pred).read_bytes()
  (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
  nans = np.eye(6)[pred]
  nans[4, 0, 0, 0] = np.nan
  many = np.arange(NUM_IMAGES * 30 * 30).reshape(NUM_IMAGES, 30, 30)
  big = save(tmp_path / "big.npz", np.zeros_like(many))

  def saved(array, **more):
    return save(tmp_path / f"{np.random.default_rng().integers(2**60)}.npz", array, **more)

  mistakes = [
    ("cannot read .*absent.npz: No such file", tmp_path / "absent.npz", files[1]),
    ("text.npz cannot be used .*: damaged, or not an .npz file", tmp_path / "text.npz", files[1]),
    ("bare.npy cannot be used .* holds a bare array", tmp_path / "bare.npy", files[1]),
    ("cut.npz cannot be used as a .npz", tmp_path / "cut.npz", files[1]),
    ("it has the arrays \\['a', 'b'\\]; one of them must", saved(pred, key="a", b=pred), files[1]),
    ("object|damaged", saved(np.array([{}] * 3)), files[1]),
    ("shape \\(11, 8, 8\\), but the truth is \\(12, 8, 8\\)", saved(pred[1:]), files[1]),
    ("shape \\(12, 6, 8, 9\\), but the truth", saved(np.zeros((12, 6, 8, 9))), files[1]),
    ("type float64 and no axis of slots", saved(pred / 2), files[1]),
    ("has the id -3; predicted ids must be from 0", saved(pred - 3), files[1]),
    ("has NaNs in 1 of 12 images, first in 4", saved(nans), files[1]),
    ("type <U1", saved(np.full((12, 8, 8, 3), "a")), files[1]),
    ("has 300 slots; at most 256", saved(np.zeros((12, 300, 8, 8), bool)), files[1]),
    ("900 different ids in image 0", saved(many), big),
    ("type float32; ids of the truth must be integers", files[0], saved(np.float32(true))),
    ("\\(12, 64\\); ids of the truth must be", files[0], saved(true.reshape(12, -1))),
    ("below 2\\^63", saved(pred.astype(np.uint64) + 2**63), files[1]),
    ("shape \\(0, 8, 8\\); ids of the truth", saved(pred[:0]), saved(true[:0])),
  ]  # fmt: skip
  for words, predictions, truth in mistakes:
    assert run(predictions, truth) == 1, words
    error = capsys.readouterr().err
    assert re.search(f"^error: .*({words})", error) and error.count("\n") == 1, error
  assert run(files[0], saved(true * 1000), "--background_ids=2") == 1
  assert "has the id 4000; with --background_ids=2 true ids must" in capsys.readouterr().err
  with pytest.raises(SystemExit) as caught:
    run(*files, "--num_bootstrap=0")
  assert caught.value.code == 2 and capsys.readouterr().err.count("\n") == 1
