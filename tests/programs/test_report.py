"""The report of a run: what it says, and whether a browser shows it without asking for anything."""

import base64
import html.parser
import importlib
import inspect
import io
import json
import logging
import math
import re
import shlex
import shutil
import subprocess
import sys
import time

import chromium
import numpy as np
import pytest
from PIL import Image
from report_runs import STEPS, add_figures, add_measurements, make_run, picture, row, write

from configs.experiment import compose
from experiments import report
from experiments.reporting import curves, facts, page
from experiments.reporting import galleries as report_galleries
from experiments.runs import records
from experiments.scoring import published_numbers
from experiments.training import announcements

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path):
  workdir = tmp_path / "runs" / "one"
  make_run(workdir)
  return workdir


class Page(html.parser.HTMLParser):
  """Text, tags and scripts of a page."""

  def __init__(self, text: str):
    super().__init__()
    self.tags, self.text, self.scripts, self.styles, self._within = [], "", {}, "", None
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    self._within = (tag, dict(attrs))

  def handle_endtag(self, tag):
    self._within = None

  def handle_data(self, data):
    tag, attrs = self._within or ("", {})
    if tag == "script":
      name = attrs.get("id", "")
      self.scripts[name] = self.scripts.get(name, "") + data
    elif tag == "style":
      self.styles += data
    else:
      self.text += data

  def all(self, name: str) -> list[dict]:
    return [attrs for tag, attrs in self.tags if tag == name]


def page_of(workdir) -> Page:
  return Page(page.write(workdir).read_text())


def test_is_one_file_with_everything_inside(run):
  add_figures(run)
  page = page_of(run)
  for _, attrs in page.tags:
    for name in ("src", "href", "action", "poster", "srcset", "data"):
      assert (attrs.get(name) or "#").startswith(("#", "data:")), attrs
  assert "@import" not in page.styles and "url(" not in page.styles
  (policy,) = [a["content"] for a in page.all("meta") if "http-equiv" in a]
  assert "default-src 'none'" in policy and "http" not in policy
  images = page.all("img")
  assert len(images) == 2 + 3 + 1  # in training, figures, and the one in full size
  kinds = []
  for image in images:
    head, data = image["src"].split(";base64,")
    kinds.append(head)
    with Image.open(io.BytesIO(base64.b64decode(data))) as decoded:
      decoded.load()
      assert decoded.format.lower() in head
  assert all(image["alt"] for image in images[:-1])
  assert kinds.count("data:image/gif") == 2
  sections = {a["id"] for a in page.all("section") if "id" in a}
  assert sections >= {"scores", "pictures", "curves", "run", "reproduce"}
  assert "plotly.js" in max(page.scripts.values(), key=len)[:2000]


def test_says_what_was_trained_on_what(run):
  page = page_of(run)
  for words in (
    "GENESIS on ShapeStacks", "Trained for 200 steps, of 400 planned", "1,234,567",
    "GECO, goal 0.5655", "2 x H200", "0123456789abcdef0123456789abcdef01234567",
    "with changes that were not committed", "jax 0.10", "1m 40s in training steps",
    "git checkout 0123456789abcdef0123456789abcdef01234567\n", '"learning_rate": 0.0001',
    "--config=configs/genesis_shapestacks.py", "7 train",
  ):  # fmt: skip
    assert words in page.text, words
  assert "b" not in {tag for tag, _ in page.tags}  # what files say is text, never tags
  warnings = [a for a in page.all("p") if a.get("class") == "warning"]
  assert len(warnings) == 1 and "STAND-IN DATA: numbers are not comparable" in page.text
  assert [a for a in page.all("p") if a.get("class") == "warning finding"] and (
    "Some numbers are not finite, first at step 50. Try --config.optimizer.clip_norm=4" in page.text
  )


def test_leads_with_what_people_know(run):
  found = {item["label"]: item for item in facts.headline(records.read(run))}
  assert found.keys() == {"ARI-FG", "parameters"}  # all that this validation has
  with open(run / "metrics.jsonl", "a") as file:
    file.write("\n" + json.dumps({"step": 200, "val/mse": 0.001, "val/elbo": 1234.5}))
  found = {item["label"]: item for item in facts.headline(records.read(run))}
  assert list(found) == ["PSNR", "negative ELBO", "parameters"]
  assert found["PSNR"]["value"] == "30.0 dB" and "MSE 0.001" in found["PSNR"]["note"]
  assert found["negative ELBO"]["value"] == "1,234.5"
  assert "higher is better" in found["PSNR"]["good"]
  add_measurements(run)
  page = page_of(run)
  assert "0.625" in page.text and "40 test images, step 200" in page.text
  assert "1: objects divided as in the true masks" in page.text


def test_commands_are_ready_for_a_shell(tmp_path):
  run = tmp_path / "a run; with $words"
  make_run(run)
  lines = re.findall(r"python -m experiments\.\w+ '[^']*'", page_of(run).text)
  assert len(lines) == 7  # what is missing, and to measure and write it again
  assert all(shlex.split(line)[3] == f"--workdir={run}" for line in lines)


def test_says_what_is_missing_instead_of_showing_zero(run):
  text = page_of(run).text
  for program in ("evaluate", "compute_fid", "visualise"):
    assert f"python -m experiments.{program} --workdir={run}" in text
  assert "No FID was computed" in text and "No test images were scored" in text
  add_measurements(run)
  add_figures(run)
  text = page_of(run).text
  assert "No FID was computed" not in text and "No test images were scored" not in text
  assert "No further figures were made" not in text


def test_scores_stand_beside_published_ones_with_what_differs(run):
  add_measurements(run)
  page = page_of(run)
  for words in ("123.5", "0.625", "± 0.013", "40 test images; FID of 50 images", "0.73", "± 0.03",
                "235.4", "second-hand, to be checked", "Not comparable with published numbers",
                "model.image_size is 32, not 64", "num_steps is 400, not 500000",
                "training did 200 of 400 steps", "scored on 40 images, not 320",
                "FID of 50 images, not 10,000", "Inception weights that are not",
                "called ARI and MSC there, but of the foreground", "mIoU"):  # fmt: skip
    assert words in page.text, words
  assert "objective.beta" not in page.text
  assert "seed" not in " ".join(re.findall(r"\S+ is \S+, not \S+", page.text))
  terms = [a["data-about"] for a in page.all("span") if a.get("class") == "term"]
  assert "the definition in the file (higher is better)" in terms
  assert any("Frechet" in about for about in terms)


def test_published_numbers_are_those_of_the_configurations():
  names = {v: k for k, v in published_numbers.METHODS.items()}
  labels = {"fid": "FID", "ari": "ARI", "msc": "MSC", "ari_fg": "ARI-FG", "msc_fg": "MSC-FG"}
  checked = 0
  for published in published_numbers.ROWS:
    if published.method not in names:
      assert published.method == "Slot Attention"  # no model of ours
      continue
    module = importlib.import_module(f"configs.{names[published.method]}_{published.data}")
    said = " ".join(inspect.getdoc(module).split())
    for metric, (mean, spread) in published.scores.items():
      digits = 1 if metric == "fid" else 2
      number = f"{mean:.{digits}f}" + (f" +- {spread}" if spread else "")
      assert number in said and labels[metric] in said, (published, said)
      checked += 1
    assert compose(names[published.method], published.data).data.variant == published.variant
  assert checked == 35
  stacks = {
    row.source: row for row in published_numbers.on("shapestacks") if row.method == "GENESIS"
  }
  foreground = {"ari_fg", "msc_fg"}
  for source, scores in (("GENESIS paper", (0.73, 0.60)),
                         ("released checkpoint", (0.71, 0.64)),
                         ("released checkpoint, older table", (0.57, 0.72))):  # fmt: skip
    row = stacks[source]
    assert tuple(row.scores[name][0] for name in ("ari_fg", "msc_fg")) == scores
    assert row.scores.keys() - {"fid"} == foreground
    assert ("called ARI and MSC there" in row.note) == (source != "released checkpoint")
  assert {r.method for r in published_numbers.on("objects_room", "train")} >= {"MONet", "GENESIS"}
  assert not published_numbers.on("objects_room", "six_objects")


def test_curves_have_gaps_goals_and_no_torn_row(run):
  page = page_of(run)
  panels = json.loads(page.scripts["panels"], parse_constant=lambda x: pytest.fail(x))
  by_title = {panel["title"]: panel for panel in panels}
  error = by_title["Error per pixel and channel, nats"]
  assert error["goal"] == 0.5655
  assert by_title["Negative ELBO, loss and error, nats per image"]["goal"] == pytest.approx(
    0.5655 * 3072
  )
  first = error["lines"][0]
  assert first["x"] == list(STEPS)
  np.testing.assert_allclose(first["y"], [0.5655 + 1 / step for step in STEPS], rtol=1e-4)
  assert [line["split"] for line in error["lines"]] == ["training", "validation", "training"]
  norm = by_title["Gradient norm"]["lines"][0]
  assert norm["y"][list(STEPS).index(50)] is None and norm["y"].count(None) == 1
  slots = by_title["KL of each slot's component, nats"]["lines"]
  assert [line["name"] for line in slots] == ["slot 1", "slot 2", "slot 3"]
  assert "1 line of metrics.jsonl could not be read" in page.text
  assert "train/grad_norm (1 time, first at step 50)" in page.text
  assert "Entropy of masks, nats" not in by_title  # was not logged


def test_rows_with_bare_nan_and_out_of_order_are_read(tmp_path):
  path = tmp_path / "metrics.jsonl"
  lines = ('{"step": 20, "a": NaN}', "[]", '{"step": 10, "a": Infinity}', '{"step": Infinity}',
           '{"step": 20, "a": 2}')  # fmt: skip
  path.write_text("\n".join(lines))
  rows, unreadable = records.read_rows(path)
  assert rows == [{"step": 10, "a": None}, {"step": 20, "a": 2}] and unreadable == 2


@pytest.mark.parametrize("count", [801, 5_000, 12_345])
def test_downsampling_keeps_extremes_ends_and_gaps(count):
  rng = np.random.default_rng(count)
  values = rng.normal(size=count)
  values[[7, count // 2]] = 50, -60
  values[count // 3 : count // 3 + 40] = np.nan
  kept, means = curves.downsampled(values)
  assert len(kept) <= 1.1 * curves.MAX_POINTS and (np.diff(kept) > 0).all()
  assert {0, 7, count // 2, count - 1} <= set(kept.tolist())
  assert np.isnan(values[kept]).any()
  width = math.ceil(count / (curves.MAX_POINTS // 3))
  for index, mean in list(zip(kept, means, strict=True))[:: len(kept) // 20]:
    first = index - index % width
    np.testing.assert_allclose(mean, np.nanmean(values[first : first + width]))


def test_a_long_run_stays_small(run):
  rows = [{"step": 100 * i, "time": float(i)} | {f"train/kl_component/{k}": math.sin(i + k)
           for k in range(9)} for i in range(1, 5001)]  # fmt: skip
  panels = curves.curves(rows, None, 3072)
  assert len(json.dumps(panels)) < 400_000
  for index in range(1, 101):
    picture(run / "pictures" / f"step_{index:07d}.png", index)
  gallery = report_galleries.read(run)[0]
  steps = [picture.caption for picture in gallery.pictures]
  assert len(steps) == report_galleries.MAX_IN_TRAINING
  assert steps[0] == "step 1" and steps[-1] == "step 200"
  assert gallery.notes == [f"{101 - len(steps)} more pictures are in {run / 'pictures'}."]


def test_large_and_damaged_pictures(run, monkeypatch):
  add_figures(run)
  noise = np.random.default_rng(0).integers(0, 255, (700, 900, 3), np.uint8)
  Image.fromarray(noise).save(run / "visualisations" / "slots.png")
  (run / "pictures" / "step_0000200.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
  (run / "visualisations" / "t.png").unlink()
  monkeypatch.setattr(report_galleries, "MAX_PICTURE", 150_000)
  galleries = {gallery.title: gallery for gallery in report_galleries.read(run)}
  (shown,) = galleries["Slots"].pictures
  assert shown.uri.startswith("data:image/jpeg") and len(shown.uri) < 210_000
  assert shown.width / shown.height == pytest.approx(900 / 700, rel=0.01)
  assert "step_0000200.png cannot be shown: it is damaged." in galleries["In training"].notes[0]
  assert (
    galleries["Traversals"].notes[0].endswith("t.png cannot be shown: No such file or directory.")
  )
  monkeypatch.setattr(report_galleries, "MAX_TOTAL", 100)
  notes = [note for gallery in report_galleries.read(run) for note in gallery.notes]
  assert sum("left out, as the page would become too large" in note for note in notes) == 3
  (run / "visualisations" / "index.json").write_text('{"figures": [{}]}')
  notes = [note for gallery in report_galleries.read(run) for note in gallery.notes]
  assert any("index.json is damaged" in note for note in notes)
  page.write(run)


def test_an_empty_run_and_damaged_measurements(run):
  (run / "metrics.jsonl").write_text("")
  write(run / "evaluation" / "fid.json", "{")
  write(run / "evaluation" / "segmentation_step_1_test.json", {"step": 1})
  text = page_of(run).text
  assert "No step of 400 was logged or saved yet" in text
  assert "there are no curves" in text and "No score of this run has been measured yet" in text
  assert "fid.json cannot be used" in text and "it has no split, num_images" in text


def test_a_run_that_goes_on_shows_its_newest_validation(run):
  write(run / "metrics.json", {"step": 150, "val": {"ari_fg": 0.111}})
  assert records.read(run).validation()[0] == 200
  write(run / "metrics.json", {"step": 200, "val": {"ari_fg": 0.111}})
  assert records.read(run).validation() == (200, {"ari_fg": 0.111})


def test_divergence_is_told(run):
  with open(run / "metrics.jsonl", "w") as file:
    file.write(
      row(10) + "\n" + json.dumps({"step": 13, "train/diverged_at": 12, "train/elbo": None})
    )
  text = page_of(run).text
  assert "Diverged at step 13 of 400" in text and "the state before it is saved" in text


def error_of(capsys, *options: object) -> str:
  assert report.main([str(option) for option in options]) == 1
  error = capsys.readouterr().err
  assert error.startswith("error: ") and error.count("\n") == 1
  return error


def test_mistakes_end_as_one_line(run, tmp_path, capsys):
  assert "does not exist" in error_of(capsys, "--workdir", tmp_path / "nowhere")
  assert "there is no run.json" in error_of(capsys, "--workdir", tmp_path)
  folder = run / "folder.html"
  folder.mkdir()
  assert "it is a folder" in error_of(capsys, "--workdir", run, "--out", folder)
  within = run / "run.json" / "page.html"
  assert "cannot write" in error_of(capsys, "--workdir", run, "--out", within)
  (run / "run.json").write_text('{"config": {}}')
  assert "cannot be used (it has no 'data')" in error_of(capsys, "--workdir", run)
  (run / "run.json").write_text("{")
  assert "run.json cannot be used" in error_of(capsys, "--workdir", run)
  with pytest.raises(SystemExit) as status:
    report.main(["--workdir"])
  assert status.value.code == 2
  with pytest.raises(SystemExit):
    report.main([f"--workdir={run}", f"--out={run / 'metrics.jsonl'}"])
  assert "metrics.jsonl'; allowed endings: .html" in capsys.readouterr().err


def test_the_program_itself(run, tmp_path):
  out = tmp_path / "a page.html"
  command = [sys.executable, "-m", "experiments.report", f"--workdir={run}", f"--out={out}"]
  result = subprocess.run(command, capture_output=True, text=True, check=True)
  assert str(out) in result.stdout and not result.stderr
  assert Page(out.read_text()).all("table") and not (run / "report.html").exists()


def test_a_report_that_fails_does_not_fail_the_run(run, monkeypatch, caplog):
  assert announcements._written_report(run) == run / "report.html"
  monkeypatch.setattr(page, "write", lambda workdir: 1 / 0)
  with caplog.at_level(logging.WARNING, "absl"):
    assert announcements._written_report(run) is None
  (record,) = caplog.records
  assert "division by zero" in record.getMessage() and "\n" not in record.getMessage()


needs_chromium = pytest.mark.skipif(
  chromium.PROGRAM is None, reason="no Chromium here: the page was parsed, but not opened"
)


@pytest.fixture(scope="module")
def browser():
  with chromium.Browser() as browser:
    yield browser


@needs_chromium
def test_opens_on_the_first_pictures_that_there_are(run, browser):
  add_figures(run)
  shutil.rmtree(run / "pictures")  # as in an exported copy
  browser.open(page.write(run))
  shown = "document.querySelector('[role=tab][aria-selected=true]').textContent"
  assert browser.run(shown) == "Film"


@needs_chromium
@pytest.mark.parametrize("look", [(1280, False), (390, True)])
def test_in_a_browser(run, browser, look):
  add_measurements(run)
  add_figures(run)
  width, dark = look
  browser.show_as(width, 900, dark)
  path = page.write(run)
  browser.open(path)
  assert not browser.messages
  asked = [url for url in browser.requests if not url.startswith("data:")]
  assert asked == [path.resolve().as_uri()]
  assert browser.run("document.documentElement.scrollWidth") == width
  assert browser.run("[...document.images].every((i) => i.complete && i.naturalWidth > 0)")
  plots = browser.run("document.querySelectorAll('.plot').length")
  assert plots > 8
  drawn = (
    "[...document.querySelectorAll('.plot')].filter((p) => p.querySelector('.scatterlayer path'))"
  )
  assert browser.run(f"{drawn}.length") == plots
  paper = browser.run("getComputedStyle(document.body).backgroundColor")
  assert (paper == "rgb(255, 255, 255)") != dark

  browser.point_at("#comparison thead .term")
  assert browser.run("document.getElementById('tip').hidden") is False
  assert "Frechet" in browser.run("document.getElementById('tip').textContent")
  browser.press("Escape")
  assert browser.run("document.getElementById('tip').hidden") is True

  shown = "document.querySelector('[role=tab][aria-selected=true]').textContent"
  visible = "[...document.querySelectorAll('.panel')].filter((p) => p.offsetHeight).length"
  browser.run("document.querySelector('[role=tab]').focus()")
  names = [browser.run(shown)]
  for key in ("ArrowRight", "ArrowRight", "End", "ArrowRight", "ArrowLeft", "Home"):
    browser.press(key)
    names.append(browser.run(shown))
    assert browser.run(visible) == 1
    assert browser.run("document.activeElement.textContent") == names[-1]
  first, last = "In training", "Traversals"
  assert names == [first, "Film", "Slots", last, first, last, first]

  figures = "[...document.querySelectorAll('[data-steps] figure')].map((f) => !f.hidden)"
  assert browser.run(figures) == [False, True]
  browser.run("document.querySelector('.slider input').focus()")
  browser.press("ArrowLeft")
  assert browser.run(figures) == [True, False]
  browser.run("document.querySelector('.zoom').click()")
  assert browser.run("document.getElementById('full').open") is True
  browser.press("Escape")
  assert browser.run("document.getElementById('full').open") is False

  axis = "document.querySelector('[data-panel=\"0\"] .canvas')._fullLayout.yaxis.type"
  assert browser.run(axis) == "linear"
  browser.run("document.querySelector('[data-panel=\"0\"] .log').click()")
  assert browser.run(axis) == "log"
  traces = "document.querySelector('[data-panel=\"0\"] .canvas').data.length"
  before = browser.run(traces)
  browser.run("(s => { s.value = '0.05'; s.dispatchEvent(new Event('change')) })"
              "(document.getElementById('smoothing'))")  # fmt: skip
  assert browser.run(traces) == before + 2  # training's two lines, and their pale originals
  end = time.monotonic() + 20  # Plotly waits for the mouse to rest
  hovered = ""
  while "error" not in hovered and time.monotonic() < end:
    browser.point_at("[data-panel='1'] .nsewdrag")
    time.sleep(0.1)
    hovered = browser.run("document.querySelector('[data-panel=\"1\"] .hoverlayer').textContent")
  assert re.match(r"step \d+negative ELBO", hovered) and "error" in hovered
  assert not browser.messages
