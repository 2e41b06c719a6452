"""Comparisons of runs: what compares, by how much, and what a browser shows of it."""

import dataclasses
import json
import math
import pathlib
import shutil

import chromium
import feature_runs
import numpy as np
import pytest
import report_runs
from store_server import emulated

from experiments import compare
from experiments.reporting.comparing import bands, groups, measured, swept
from experiments.runs import records
from experiments.stores.stored_run import StoredRun

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
  folder = tmp_path_factory.mktemp("sweeps") / "grid"
  report_runs.made_sweep(folder)
  return folder


@pytest.fixture(scope="module")
def comparison(sweep):
  """The page of the sweep, without pictures."""
  assert compare.main([f"--sweep={sweep}", "--num_pictures=0"]) == 0
  return sweep / "comparison.html"


def of_sweep(folder):
  return groups.grouped([records.read(path.parent) for path in sorted(folder.rglob("run.json"))])


def test_runs_that_differ_in_seeds_are_a_group(sweep):
  found = {group.label: group for group in of_sweep(sweep)}
  assert found.keys() == {"latent_4", "latent_16", "latent_64"}
  assert found["latent_4"].seeds == [0, 1, 2]
  assert found["latent_16"].settings == {"model.component_latent_dim": 16}


def test_scores_over_seeds_and_paired_differences(sweep):
  members = sorted(of_sweep(sweep), key=lambda group: group.settings["model.component_latent_dim"])
  found = measured.compared(members, {})
  assert found.names == ["elbo", "ari_fg"] and not found.refused and not found.unpaired
  mean, std, count = found.means["ari_fg"][1]
  assert mean == pytest.approx(0.61, abs=3e-3) and std == pytest.approx(0.01) and count == 3
  difference = found.pairs["ari_fg"][0, 2]
  # What images have in common cancels out; one image has no score.
  assert (difference.mean, difference.low, difference.high) == pytest.approx((0.2, 0.2, 0.2))
  assert difference.num_images == 39
  assert measured.verdict("ari_fg", difference) == "better"
  assert measured.verdict("elbo", found.pairs["elbo"][0, 2]) == ""  # they are equal
  assert measured.best("ari_fg", found.means["ari_fg"]) == {2}
  nearly = [(2103.1, 1.0, 2), (2103.2, 1.0, 2), (2200.0, 1.0, 2)]
  assert measured.best("elbo", nearly) == {0, 1} and not measured.best("elbo", nearly[:2])
  (axis,) = swept.axes(members)
  (line,) = axis.lines(found.means["ari_fg"])
  assert axis.log and line.x == [4, 16, 64] and np.all(np.diff(line.mean) > 0.09)


def test_an_interval_is_that_of_the_mean_over_images():
  rng = np.random.default_rng(0)
  first = rng.normal(size=4000)
  second = first + rng.normal(0.5, 2, 4000)
  found = measured._differences([first, second, None])
  assert found.keys() == {(0, 1)}
  half = (found[0, 1].high - found[0, 1].low) / 2
  assert half == pytest.approx(1.96 * 2 / math.sqrt(4000), rel=0.1)


def test_bands_are_over_the_seeds_that_are_there(sweep):
  group = next(group for group in of_sweep(sweep) if group.label == "latent_4")
  unfinished = dataclasses.replace(group.runs[2], rows=group.runs[2].rows[:1])
  band = bands.band([*group.runs[:2], unfinished], "train/mse")
  assert band.x.tolist() == list(report_runs.STEPS)
  assert (band.mean[0], band.high[0]) == pytest.approx((0.11, 0.12))  # 0.1, 0.11 and 0.12
  assert (band.mean[1], band.mean[1] - band.low[1]) == pytest.approx((0.0525, 0.005 / 2**0.5))
  assert np.isnan(bands.band(group.runs[:1], "train/mse").low).all()
  few = bands.band(group.runs, "train/mse", most=10)
  assert few.x.tolist() == list(report_runs.STEPS)[1::2]
  assert few.mean[0] == pytest.approx((0.11 + 0.055) / 2)


def test_what_does_not_compare_is_refused_with_its_reason(tmp_path):
  report_runs.made_sweep(tmp_path)
  other = tmp_path / "latent_4" / "seed_0"

  def refused(change) -> dict[str, str]:
    path = other / "run.json"
    before, labels = path.read_text(), json.loads(path.read_text())
    change(labels["config"])
    path.write_text(json.dumps(labels))
    found = measured.compared(of_sweep(tmp_path), {}).refused
    path.write_text(before)
    return {name: reason for names, reason in found for name in names}

  assert refused(lambda config: None) == {}
  reasons = refused(lambda config: config["data"].update(name="gqn"))
  assert reasons.keys() == {"ari_fg", "elbo"}
  assert reasons["elbo"].startswith("data: ") and "gqn (latent_4 (1))" in reasons["elbo"]
  reasons = refused(lambda config: config["model"].update(image_size=64))
  assert "image size: " in reasons["ari_fg"] and "64x64 (latent_4 (1))" in reasons["ari_fg"]
  reasons = refused(lambda config: config["model"].update(pixel_std=0.1))
  assert reasons.keys() == {"elbo"} and "pixel stds" in reasons["elbo"]
  for digest, seed in (("a" * 16, 0), ("b" * 16, 1)):
    path = tmp_path / "latent_4" / f"seed_{seed}" / "data_files.json"
    report_runs.write(path, {"files": 7, "bytes": 70, "digest": digest})
  assert refused(lambda config: None)["ari_fg"].startswith("files of the data: 7 with digest aaaa")
  path.unlink()  # of a run from before there was such a file
  assert refused(lambda config: None) == {}
  report_runs.add_evaluation(other, 0.5, images=30)
  reasons = refused(lambda config: None)
  assert reasons["ari_fg"].startswith("images: ") and "30 of 900" in reasons["ari_fg"]


def test_runs_without_scores_or_single_images_are_named(tmp_path, capsys):
  report_runs.made_sweep(tmp_path)
  without, older = tmp_path / "latent_4" / "seed_0", tmp_path / "latent_16" / "seed_1"
  path = "evaluation/segmentation_step_200_test.json"
  (without / path).unlink()
  content = json.loads((older / path).read_text())
  del content["per_image"], content["index"]
  (older / path).write_text(json.dumps(content))
  damaged = tmp_path / "latent_64" / "seed_2" / "run.json"
  damaged.write_text("{")
  assert compare.main([f"--sweep={tmp_path}", "--num_pictures=0"]) == 0
  assert f"WARNING: {damaged} cannot be used" in capsys.readouterr().err
  page = (tmp_path / "comparison.html").read_text()
  assert f"python -m experiments.evaluate --workdir={without}" in page
  assert f"python -m experiments.evaluate --workdir={older}" in page
  assert (tmp_path / "comparison" / "differences.md").read_text().count("–") >= 2
  labels = json.loads((without / "run.json").read_text())
  labels["config"]["num_steps"] = 999
  (without / "run.json").write_text(json.dumps(labels))
  assert compare.main([str(without), str(older), "--num_pictures=0",
                       f"--out={tmp_path / 'c.html'}"]) == 0  # fmt: skip
  page = (tmp_path / "c.html").read_text()
  assert f"numbers may change: {without} (trained for 200 steps, of 999 planned)." in page


def test_tables_and_figures_for_papers(comparison):
  folder = comparison.with_suffix("")
  table = (folder / "scores.tex").read_text()
  assert r"\toprule" in table and r"latent\_16 & 3 & " in table
  assert r"\textbf{0.7121 $\pm$ 0.01}" in table
  assert "| latent_64 | 3 |" in (folder / "scores.md").read_text()
  assert "| latent_64 | 0 [0, 0] | +0.2 [0.2, 0.2] |" in (folder / "differences.md").read_text()
  for name in ("curves_ari_fg", "ari_fg_against_model.component_latent_dim"):
    assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("arguments, status, message", [
  ([], 2, "name the runs to compare, or --sweep=DIR"),
  (["--sweep={}", "--num_images=3"], 2, "--num_images is of --measure"),
  (["--sweep={}", "--labels=a,b"], 1, "--labels has 2 names for 3 groups: latent_4"),
  (["--sweep={}/latent_4/seed_0/evaluation"], 1, "evaluation holds no runs"),
  (["{}/latent_4/seed_0"], 1, "needs two runs, and here is 1"),
  (["{}/latent_4/seed_0", "{}/latent_4/seed_0"], 1, "seed_0 is given twice"),
  (["{}/latent_4/seed_0", "nowhere"], 1, "nowhere does not exist"),
])  # fmt: skip
def test_mistakes(sweep, capsys, arguments, status, message):
  try:
    result = compare.main([word.format(sweep) for word in arguments])
  except SystemExit as end:
    result = end.code
  error = capsys.readouterr().err
  assert result == status and message in error and len(error.splitlines()) == 1


@pytest.fixture(scope="module")
def browser():
  with chromium.Browser() as browser:
    yield browser


@pytest.mark.skipif(chromium.PROGRAM is None, reason="no Chromium here: the page was not opened")
@pytest.mark.parametrize("look", [(1280, False), (1280, True), (390, False)])
def test_in_a_browser(comparison, browser, look):
  width, dark = look
  browser.show_as(width, 900, dark)
  browser.open(comparison)
  assert not browser.messages
  asked = [url for url in browser.requests if not url.startswith("data:")]
  assert asked == [comparison.resolve().as_uri()]
  assert browser.run("document.documentElement.scrollWidth") == width
  plots = browser.run("document.querySelectorAll('.plot').length")
  drawn = "[...document.querySelectorAll('.plot .canvas')].filter((c) => c.data.length)"
  assert plots > 8 and browser.run(f"{drawn}.length") == plots
  swept = "document.querySelector('#against .canvas')"
  assert browser.run(f"{swept}._fullLayout.xaxis.type") == "log"
  curve = f"document.querySelector('#curves .plot[data-panel=\"{plots - 1}\"] .canvas')"
  bands = (
    "[...document.querySelectorAll('#curves .canvas')]"
    ".map((c) => c.data.filter((t) => t.fill === 'toself').length)"
  )
  assert max(browser.run(bands)) == 3  # of the value that seeds differ in, in each group
  before = browser.run(f"{curve}.data.length")
  browser.click(".key")
  assert browser.run(f"{curve}.data.length") < before
  rows = (
    "[...document.querySelectorAll('#pairs tbody:not([hidden]) th')]"
    ".map((t) => t.textContent.trim())"
  )
  assert browser.run(rows) == ["latent_16", "latent_64"]
  browser.run("(s => { s.value = '2'; s.dispatchEvent(new Event('change')) })"
              "(document.getElementById('reference'))")  # fmt: skip
  assert browser.run(rows) == ["latent_4", "latent_16"]
  assert browser.run("document.querySelector('#pairs tbody:not([hidden]) .worse').textContent"
                     ).startswith("-0.2[-0.2, -0.2]")  # fmt: skip
  assert not browser.messages


def test_a_sweep_in_a_store(sweep, tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  out = tmp_path / "c.html"
  with emulated():
    for name in ("latent_4/seed_0", "latent_16/seed_0"):
      copy = shutil.copytree(sweep / name, tmp_path / name)
      run = StoredRun(f"gs://bucket/grid/{name}", copy)
      run.send_files()
      run.write_manifest({})
    words = ["--sweep=gs://bucket/grid", "--num_pictures=0", f"--out={out}"]
    assert compare.main(words) == 0
    assert compare.main(["--sweep=gs://bucket/none", f"--out={out}"]) == 1
  assert "gs://bucket/grid/latent_4/seed_0" in out.read_text()
  assert "| latent_16 | 1 | 1000 | **0.6021** |" in (tmp_path / "c" / "scores.md").read_text()


def test_all_models_are_scored_on_and_shown_the_same_images(tmp_path, capsys):
  data, wide = tmp_path / "data", tmp_path / "wide"
  feature_runs.write_tetrominoes(data)
  for name in ("tiny_slots", "tiny"):
    feature_runs.write_run(tmp_path / name, name, data)
  shutil.copytree(tmp_path / "tiny", wide)
  labels = json.loads((wide / "run.json").read_text())
  labels["config"]["model"]["image_size"] = 64
  (wide / "run.json").write_text(json.dumps(labels))
  out = tmp_path / "c.html"
  words = [str(tmp_path / name) for name in ("tiny_slots", "tiny")] + [str(wide)]
  options = ["--measure", "--num_images=8", "--num_pictures=2", f"--out={out}"]
  assert compare.main([*words, *options]) == 0
  scores = (tmp_path / "c" / "scores.md").read_text()
  assert "8 of 39 test images, drawn at random (seed 0)" in scores and "ARI-FG" in scores
  rows = (tmp_path / "c" / "differences.md").read_text().splitlines()[-2:]
  assert rows[0].startswith("| tiny |") and "[" in rows[0] and "[" not in rows[1]
  page = out.read_text()
  assert "wide was not scored: its images are 64x64, not 32x32." in page
  assert (tmp_path / "c" / "pictures.pdf").read_bytes().startswith(b"%PDF")
  assert "The same test images through all models" in page
  for run in words:
    assert not (pathlib.Path(run) / "evaluation").exists()
