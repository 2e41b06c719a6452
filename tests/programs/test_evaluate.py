"""Evaluation of checkpoints, through its command line: which images, which numbers, which words."""

import csv
import functools
import json
import os
import re
import shutil

import jax
import numpy as np
import numpy_weights
import pytest
import tiny_model
from conftest import ON_ONE_DEVICE, TEST_IMAGES, TINY_RUN, tiny_config

import data_pipelines
import genesis_jax
from experiments import evaluate
from experiments.hardware import devices
from experiments.runs import checkpoints, importing
from experiments.scoring import evaluator, files, measure, scores
from genesis_jax import metrics, objective, training
from genesis_jax.noise import draw_noise
from tests.support import programs

pytestmark = pytest.mark.slow

NUM_IMAGES = 11  # a batch of eight, and three
SCORES = ("ari", "ari_fg", "msc", "msc_fg", "miou", "miou_true")


def make_config(seed=0):
  """A tiny model with both kinds of masks, on scenes drawn with their ids."""
  config = tiny_model.composed("tiny_slots", "multi_dsprites")
  changes = TINY_RUN | {"data.source": "generator", "data.num_test": NUM_IMAGES, "seed": seed}
  changes |= {"model.num_slots": 3}
  config.update_from_flattened_dict(changes)
  return config


@functools.cache
def untrained():
  config = make_config()
  model, tx = genesis_jax.build_model(config.model), objective.optimizer(config)
  create = functools.partial(training.create_train_state, model=model, tx=tx)
  return jax.tree.map(np.asarray, numpy_weights.drawn(create, jax.random.key(0)))


def state_of(seed, step):
  """The same weights in another order."""
  rng = np.random.default_rng([seed, step])
  params = jax.tree.map(lambda x: rng.permutation(x.ravel()).reshape(x.shape), untrained().params)
  return untrained().replace(params=params, step=np.int32(step))


def write_run(workdir, seed, steps):
  """A run with checkpoints of different weights, none of them trained."""
  config = make_config(seed)
  origin = checkpoints.origin_of(config, importing.published_source(config))
  with checkpoints.Checkpoints(workdir, origin, config) as writer:
    for step in steps:
      state = state_of(seed, step)
      if step == steps[0]:
        writer.restore(state)
      writer.save(devices.replicate(state))
    writer.wait()
  return workdir


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
  return write_run(tmp_path_factory.mktemp("evaluate") / "run", 0, [3, 6])


@pytest.fixture(scope="module")
def other_run(tmp_path_factory):
  return write_run(tmp_path_factory.mktemp("evaluate") / "other", 1, [6])


def flags(*workdirs, **settings) -> list[str]:
  settings = dict(num_images=NUM_IMAGES, batch_size=8) | settings
  return [f"--workdir={w}" for w in workdirs] + [f"--{k}={v}" for k, v in settings.items()]


def read(run_dir, step=6, split="test"):
  return read_from(run_dir / "evaluation", step, split)


def read_from(folder, step=6, split="test"):
  """The JSON, and the columns of the CSV as arrays."""
  stem = folder / f"segmentation_step_{step}_{split}"
  with open(stem.with_suffix(".csv")) as file:
    rows = list(csv.DictReader(file))
  columns = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
  return json.loads(stem.with_suffix(".json").read_text()), columns


@pytest.fixture(scope="module")
def first(run_dir):
  """What the program prints and writes on one device, in its own process."""
  words = ["experiments.evaluate", *flags(run_dir)]
  done = programs.run(words, env=ON_ONE_DEVICE, timeout=300)
  assert done.returncode == 0, done.stderr
  return done.stdout, *read(run_dir)


def test_numbers_are_those_of_the_model(first, run_dir):
  """Restated with all images at once: the model's outputs, and the scores of its masks."""
  _, result, columns = first
  model, variables, config = genesis_jax.load(run_dir)
  batch = next(data_pipelines.batches(config.data, split="test", batch_size=16, epochs=1))
  key = jax.random.wrap_key_data(evaluator.noise_key(0))
  noise = draw_noise(key, model.noise_spec(), np.arange(NUM_IMAGES))
  images = training.to_float(jax.numpy.asarray(batch["image"]))
  out = jax.jit(functools.partial(model.apply, train=False))(variables, images, noise=noise)
  kls = {f"kl_{name}": np.asarray(kl).sum(1) for name, kl in out.kl.items()}
  np.testing.assert_allclose(columns["err"], out.err, 1e-4)
  np.testing.assert_allclose(columns["kl"], sum(kls.values()), 1e-3, 1e-3)
  for name, kl in kls.items():
    np.testing.assert_allclose(columns[name], kl, 1e-3, 1e-3, err_msg=name)
  np.testing.assert_allclose(columns["elbo"], columns["err"] + columns["kl"], 1e-5)
  np.testing.assert_allclose(columns["mse"], ((out.recon - images) ** 2).mean((1, 2, 3)), 1e-4)
  for suffix, log_masks in (("", out.log_masks), ("_r", out.log_masks_recon)):
    ids = np.asarray(log_masks.argmax(1))
    ari = metrics.adjusted_rand_index(batch["instances"], ids)
    msc = metrics.segmentation_covering(batch["instances"], ids, foreground_only=True)
    # A pixel whose two best slots are equal to the last bit may go to either.
    np.testing.assert_allclose(columns["ari" + suffix], ari, atol=0.01)
    np.testing.assert_allclose(columns["msc_fg" + suffix], msc, atol=0.01)
    miou = metrics.mean_iou(batch["instances"], ids)
    np.testing.assert_allclose(columns["miou" + suffix], miou, atol=0.01)
  assert result["scores"].keys() >= {f"{s}{r}" for s in SCORES for r in ("", "_r")}


def test_files_agree_and_define_every_number(first):
  out, result, columns = first
  assert columns["image"].tolist() == list(range(NUM_IMAGES)) and not columns["repeat"].any()
  assert columns.keys() - {"image", "repeat"} == result["scores"].keys()
  for name, entry in result["scores"].items():
    values = columns[name]
    assert entry["mean"] == pytest.approx(values.mean(), rel=1e-9)
    assert entry["standard_error"] == pytest.approx(values.std(ddof=1) / NUM_IMAGES**0.5, rel=1e-6)
    assert entry["num_images"] == NUM_IMAGES and entry["std_noise"] is None
    assert result["per_image"][name] == pytest.approx(values.tolist())
    assert len(result["definitions"][name]) > 15
  assert result["stand_in"] and "STAND-IN" in out and result["segmentation_absent"] is None
  definitions = ("GENESIS' definition", "ClevrTex's definition")
  for words in (*definitions, "checkpoint 6", "all 11 test images"):
    assert words in out
  assert f"{result['scores']['msc_fg_r']['mean']:.4g}" in out


def test_every_image_counts_once_on_two_devices(first, run_dir, other_run, capsys):
  """Other batches, other devices, other runs beside it: the same numbers."""
  assert jax.device_count() == 2
  assert evaluate.main(flags(run_dir, other_run, batch_size=5)) == 0, capsys.readouterr().err
  result, columns = read(run_dir)
  assert result["device"] != first[1]["device"]
  for name in ("err", "kl", "elbo", "mse"):
    np.testing.assert_allclose(columns[name], first[2][name], 1e-4, err_msg=name)
  for name in ("ari_fg", "msc", "miou_r"):
    np.testing.assert_allclose(columns[name], first[2][name], atol=0.01, err_msg=name)
  out = capsys.readouterr().out
  table = json.loads((run_dir / "evaluation" / "segmentation_table_test.json").read_text())
  errs = [read(workdir)[0]["scores"]["err"]["mean"] for workdir in (run_dir, other_run)]
  got = table["summaries"]["2 runs"]["err"]
  assert got["mean"] == pytest.approx(np.mean(errs)) and got["std"] == pytest.approx(
    np.std(errs, ddof=1)
  )
  assert "mean ± std of 2 runs" in out and "msc_fg:" in out and "per_image" not in str(table)


def test_all_checkpoints_and_the_spread_over_noise(run_dir, capsys):
  settings = dict(step="all", num_repeats=3, num_images=4, batch_size=4, split="val")
  assert evaluate.main(flags(run_dir, **settings)) == 0, capsys.readouterr().err
  assert "mean ± std of 2 checkpoints" in capsys.readouterr().out
  for step in (3, 6):
    result, columns = read(run_dir, step, "val")
    assert columns["repeat"].tolist() == [0, 1, 2] * 4
    kl = columns["kl"].reshape(4, 3)
    assert len(np.unique(kl)) == 12
    entry = result["scores"]["kl"]
    assert entry["std_noise"] == pytest.approx(kl.mean(0).std(ddof=1), rel=1e-6)
    assert entry["standard_error"] == pytest.approx(kl.mean(1).std(ddof=1) / 2, rel=1e-6)
    assert result["per_image"]["kl"] == pytest.approx(kl.mean(1).tolist())
  with open(run_dir / "evaluation" / "segmentation_table_val.csv") as file:
    rows = list(csv.DictReader(file))
  assert [row["step"] for row in rows] == ["3", "6", "", ""]
  errs = [float(row["err"]) for row in rows]
  assert errs[2] == pytest.approx(np.mean(errs[:2]))


def test_a_new_score_of_segments_is_a_function_and_a_row(run_dir, tmp_path, monkeypatch, capsys):
  row = scores.Score("found", "images with objects", "whether any pixel has a true id > 0",
                     places=(scores.TABLE,),
                     of_counts=lambda counts: (counts[:, 2:].sum((1, 2)) > 0) * 1.0)  # fmt: skip
  monkeypatch.setattr(scores, "ROWS", (*scores.ROWS, row))
  settings = dict(num_images=4, batch_size=4, out=tmp_path)
  assert evaluate.main(flags(run_dir, **settings)) == 0, capsys.readouterr().err
  out, (result, columns) = capsys.readouterr().out, read_from(tmp_path)
  for name in ("found", "found_r"):  # of the attention masks, and of the decoded ones
    assert re.search(rf"^{name} +1 ", out, re.MULTILINE) and columns[name].tolist() == [1.0] * 4
    assert result["definitions"][name].startswith(scores.definition(name))


def test_a_damaged_checkpoint_is_left_out_of_all(run_dir, tmp_path, capsys):
  run = tmp_path / "run"
  shutil.copytree(run_dir, run)
  for path in (run / "checkpoints" / "3" / "state").rglob("d/*"):
    os.truncate(path, path.stat().st_size // 2)
  settings = dict(num_images=4, batch_size=4)
  assert evaluate.main(flags(run, step="all", **settings)) == 0
  assert re.match(r"WARNING: checkpoint 3 of .* cannot be read \(.*\); ", capsys.readouterr().err)
  assert read(run, 6)[0]["step"] == 6
  assert evaluate.main(flags(run, step=3, **settings)) == 1
  error = capsys.readouterr().err
  assert re.match(r"error: checkpoint 3 of .* cannot be read", error) and error.count("\n") == 1


def scored(run, step, err, model="genesis", data="gqn"):
  labels = dict(model=model, data=dict(description=data), definitions={})
  return dict(workdir=run, step=step, scores={"err": dict(mean=err)}, **labels)


def test_means_are_over_runs_at_the_same_step():
  results = [scored("a", 1, 1.0), scored("a", 2, 2.0), scored("b", 1, 3.0), scored("b", 3, 9.0)]
  assert files.means(results) == {"2 runs, step 1": {"err": (2.0, 2**0.5)}}


def test_means_are_not_over_different_models_or_data():
  results = [scored("a", 1, 1.0), scored("b", 1, 2.0, "monet"), scored("c", 1, 2.0, data="clevr")]
  assert files.means(results) == {}
  results += [scored("d", 2, 3.0)]
  expected = {"2 runs: genesis, gqn": {"err": (2.0, 2**0.5)}}
  assert files.means(results) == expected


def test_scores_an_image_does_not_have_count_in_no_mean():
  tables = np.zeros((1, 3, 5, 2), np.int32)
  tables[0, 0, 1, 0] = tables[0, 0, 2, 1] = 8  # background and one segment, both found
  tables[0, 1, 1, 0] = 16  # only background
  tables[0, 2, 0, 0] = 16  # everything to be ignored
  scores = evaluator.segmentation(tables)
  np.testing.assert_array_equal(scores["ari_fg"], [[1, 1, 1]])
  np.testing.assert_array_equal(scores["msc_fg"], [[1, 0, 0]])
  np.testing.assert_array_equal(scores["miou"], [[1, 1, np.nan]])


@pytest.fixture(scope="module")
def vae_run(tmp_path_factory, gqn_root):
  """A run without masks, on data without ids."""
  folder = tmp_path_factory.mktemp("evaluate_vae")
  config = tiny_config("tiny", gqn_root)
  model, tx = genesis_jax.build_model(config.model), objective.optimizer(config)
  create = functools.partial(training.create_train_state, model=model, tx=tx)
  state = jax.tree.map(np.asarray, numpy_weights.drawn(create, jax.random.key(0)))
  importing.write_run(folder / "run", config, state, {})
  params = jax.tree.map(np.copy, state.params)
  jax.tree.leaves(params)[-1].flat[0] = np.nan
  importing.write_run(folder / "nans", config, state.replace(params=params), {})
  return folder / "run"


def test_without_masks_there_are_no_scores_of_them(vae_run, capsys):
  assert evaluate.main(flags(vae_run)) == 0, capsys.readouterr().err
  assert "TinyModel has no masks: segmentation scores are absent" in capsys.readouterr().out
  result, columns = read(vae_run, 0)
  assert not any("ari" in name or "iou" in name for name in result["scores"] | columns)
  assert result["scores"]["kl_latent"]["mean"] == pytest.approx(columns["kl"].mean())


def test_without_ids_there_are_none_either():
  source = data_pipelines.Source("gqn", "rooms", None, False, "", {})
  reason = measure.absence({"err": 0, "largest_slot": 0}, source, "genesis")
  assert reason == "gqn has no masks of instances here: segmentation scores are absent"
  assert measure.absence({"ari": 0}, source, "genesis") is None


def test_mistakes_are_one_line(run_dir, vae_run, tmp_path, capsys):
  mistakes = [
    ("no checkpoint in", flags(tmp_path / "empty")),
    ("no checkpoint in", flags(tmp_path / "empty", step="all")),
    (r"--step=7, but the checkpoints of .* are \[3, 6\]", flags(run_dir, step=7)),
    (f"has {TEST_IMAGES} test images, not 41; pass --num_images=40", flags(vae_run, num_images=41)),
    ("has 11 test images, not 320; pass --num_images=11", flags(run_dir, num_images=320)),
    ("has NaNs in params/", flags(vae_run.parent / "nans")),
    ("--split is 'tset'; allowed: test, train, val", flags(run_dir, split="tset")),
    ("data", flags(vae_run, data_dir=tmp_path / "nowhere")),
  ]
  for words, options in mistakes:
    assert evaluate.main(options) == 1
    error = capsys.readouterr().err
    assert re.search(f"^error: .*{words}", error) and error.count("\n") == 1, error
  for options in (["--workdir=x", "--step=last"], []):
    with pytest.raises(SystemExit) as caught:
      evaluate.main(options)
    assert caught.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_a_loss_that_is_not_finite_names_the_image(run_dir):
  model, variables, _ = genesis_jax.load(run_dir)
  evaluate = evaluator.Evaluator(model, batch_size=8)
  evaluate._measure = lambda *args: {"err": np.array([0, 0, 0, np.inf, 0, 0, 0, 0])[:, None]}
  index = np.arange(8) * 100
  batches = [{"image": np.zeros((8, 32, 32, 3), np.uint8), "index": index}]
  with pytest.raises(evaluator.UserError, match="err is not finite for 1 of 8 .* for image 300"):
    evaluate(variables, batches)


def test_images_are_drawn_from_the_whole_split(run_dir, tmp_path, capsys):
  """Other seeds give other images; each is measured as where all are."""
  assert evaluate.main(flags(run_dir, out=tmp_path / "all")) == 0, capsys.readouterr().err
  whole = read_from(tmp_path / "all")[1]
  seen = set()
  for seed in (0, 1):
    out = tmp_path / str(seed)
    settings = dict(num_images=4, batch_size=3, sample_seed=seed, out=out)
    assert evaluate.main(flags(run_dir, **settings)) == 0, capsys.readouterr().err
    words = f"4 of 11 test images, drawn at random (seed {seed})"
    printed, (result, columns) = capsys.readouterr().out, read_from(out)
    assert f"images     {words}" in printed and printed.count(words) > 15
    assert all(words in definition for definition in result["definitions"].values())
    index = columns["image"].astype(int)
    assert result["index"] == index.tolist() and result["num_available"] == 11
    np.testing.assert_allclose(columns["err"], whole["err"][index], 1e-4)
    np.testing.assert_allclose(columns["kl"], whole["kl"][index], 1e-3, 1e-3)
    seen.add(tuple(index))
  assert len(seen) == 2 and (0, 1, 2, 3) not in seen


def test_a_small_split_is_used_whole_and_what_cannot_be_written_is_told_first(
  run_dir, tmp_path, capsys, caplog, monkeypatch
):
  with caplog.at_level("WARNING", "absl"):
    options = [f"--workdir={run_dir}", "--batch_size=8", f"--out={tmp_path / 'few'}"]
    assert evaluate.main(options) == 0, capsys.readouterr().err
  assert "has 11 test images, not 320: all of them are used" in caplog.text
  assert read_from(tmp_path / "few")[0]["num_images"] == 11
  monkeypatch.setattr(measure, "measure", lambda *args: pytest.fail("was measured"))
  (tmp_path / "file").touch()
  assert evaluate.main(flags(run_dir, out=tmp_path / "file" / "in_it")) == 1
  assert re.match("error: cannot write to .*; choose another --out", capsys.readouterr().err)
