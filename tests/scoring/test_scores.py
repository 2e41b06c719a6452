"""The table of scores, and what a new score or a KL of a new name needs."""

import dataclasses
import json

import numpy as np
import pytest

from experiments.reporting import curves
from experiments.scoring import evaluator, files, scores, summaries, sweep_results
from genesis_jax import metrics


def test_rows_say_what_a_reader_needs():
  names = [row.name for row in scores.ROWS]
  assert len(set(names)) == len(names)
  for name in (*names, "kl_mask", "ari_r", "miou_true_r"):
    row = scores.score(name)
    assert row.name == name and row.label and len(scores.definition(name)) > 15
    assert set(row.places) <= set(scores.EVERYWHERE) and row.better in ("", "lower", "higher")
  assert "(higher is better)" in scores.definition("msc_fg_r")
  assert scores.definition("elbo").endswith("nats per image (lower is better)")
  assert scores.label("kl_component") == "KL of components" and scores.label("loss") == "loss"


def test_names_come_in_one_order_whatever_they_are():
  values = ["msc_r", "kl_zebra", "elbo", "kl", "ari_r", "mse", "kl_mask", "kl_mask/0", "ari", "x"]
  table = scores.named(values, scores.TABLE)
  assert table == ["elbo", "kl", "kl_mask", "kl_mask/0", "kl_zebra", "mse", "ari", "ari_r", "msc_r"]
  assert scores.named(values, scores.LINE) == ["elbo", "kl", "mse", "ari"]


@pytest.fixture
def result():
  """What `measure` gives for a model with a KL that no row knows."""
  values = {"elbo": np.ones((1, 3)), "kl": np.ones((1, 3)), "kl_zebra": np.ones((1, 3))}
  return dict(
    workdir="run",
    step=7,
    model="mine",
    split="test",
    images="all 3 test images",
    num_images=3,
    num_repeats=1,
    seed=0,
    num_corrupt=0,
    data=dict(description="mine"),
    stand_in=False,
    segmentation_absent=None,
    scores={name: summaries.summary(value) for name, value in values.items()},
    definitions={name: scores.definition(name) for name in values},
    index=[0, 1, 2],
    per_image=values,
  )


def test_a_kl_of_a_new_name_appears_everywhere(result, tmp_path, capsys):
  files.write(result, tmp_path)
  files.show([result])
  files.write_table([result, result | dict(step=8)], tmp_path)
  assert "kl_zebra" in capsys.readouterr().out
  said = json.loads((tmp_path / "segmentation_step_7_test.json").read_text())
  assert (
    said["definitions"]["kl_zebra"] == "KL of the zebra latents, summed over slots, nats per image"
  )
  assert "kl_zebra" in (tmp_path / "segmentation_table_test.csv").read_text()
  logged = {
    "train/kl_zebra": 1.0,
    "train/kl": 2.0,
    "train/kl_zebra/0": 0.5,
    "train/kl_zebra/1": 0.5,
  }
  panels = {panel["title"]: panel for panel in curves.curves([{"step": 1} | logged], None, 3072)}
  assert [line["name"] for line in panels["KL, nats per image"]["lines"]] == ["KL", "KL of zebras"]
  assert len(panels["KL of each slot's zebra, nats"]["lines"]) == 2
  row = sweep_results.Row("a", {}, {0: {"val": {"kl_zebra": 1.0, "kl": 2.0}}})
  assert "kl" in sweep_results.as_text([row])


def test_a_new_score_is_a_function_and_a_row(monkeypatch):
  """The share of images without any true segment, as evaluation, tables and curves show it."""
  row = scores.Score("empty", "empty images", "whether there is no true segment", better="lower",
                     places=(scores.TABLE,),
                     of_counts=lambda counts: (counts[:, 2:].sum((1, 2)) == 0) * 1.0)  # fmt: skip
  monkeypatch.setattr(scores, "ROWS", (*scores.ROWS, row))
  tables = np.zeros((1, 2, 5, 2), np.int32)
  tables[0, :, 1, 0] = tables[0, 0, 2, 1] = 8
  values = evaluator.segmentation(tables)
  np.testing.assert_array_equal(values["empty"], [[0, 1]])
  assert "empty" in scores.named(values, scores.TABLE)
  (panel,) = curves.curves([{"step": 1, "val/empty": 0.5}], None, 3072)
  assert panel["title"] == "empty images" and panel["about"].endswith("(lower is better)")


def test_segmentation_scores_are_those_of_the_library():
  """The table computes what `genesis_jax.metrics` does under the same names."""
  rng = np.random.default_rng(0)
  true, pred = rng.integers(-1, 4, (3, 8, 8)), rng.integers(0, 3, (3, 8, 8))
  counts = metrics.contingency_tables(true, pred)
  values = evaluator.segmentation(counts[None])
  expected = metrics.scores_of_counts(counts.astype(np.float64))
  expected |= {
    "miou": metrics.mean_iou(true, pred),
    "miou_true": metrics.mean_iou(true, pred, "true"),
  }
  assert values.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(values[name][0], value, err_msg=name)
  assert dataclasses.asdict(scores.score("ari_r"))["better"] == "higher"


def test_definitions_name_the_images_of_all_runs():
  def result(*images):
    return {"definitions": {name: f"{name} is; over {words}" for name, words in images}}

  results = [
    result(("a", "3 of 9")),
    result(("a", "3 of 5"), ("b", "3 of 5")),
    result(("a", "3 of 9")),
  ]
  expected = {"a": "a is; over 3 of 9, or 3 of 5", "b": "b is; over 3 of 5"}
  assert files.all_definitions(results) == expected
