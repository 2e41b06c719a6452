"""Curves of several runs in one figure, from the run folders that `report_runs` writes."""

import pytest
import report_runs
from PIL import Image

from experiments import curves
from experiments.reporting.comparing import drawing
from experiments.runs import records


@pytest.fixture
def two_runs(tmp_path):
  folders = [tmp_path / "a", tmp_path / "b"]
  for folder in folders:
    report_runs.make_run(folder)
  return folders


def words(folders):
  return [f"--workdir={folder}" for folder in folders]


def test_a_figure_for_each_format(two_runs, tmp_path, capsys):
  starts = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
  for ending, start in starts.items():
    out = tmp_path / "new" / f"curves.{ending}"
    assert curves.main([*words(two_runs), "--values=ari_fg,elbo,beta", f"--out={out}"]) == 0
    assert out.read_bytes().startswith(start)
    assert capsys.readouterr().out == f"wrote      {out}\n"
  with Image.open(tmp_path / "new" / "curves.png") as image:
    assert image.size == (1200, 280)


def test_lines_are_what_was_logged(two_runs):
  runs = [[records.read(folder)] for folder in two_runs]
  axes = drawing.curves(runs, ["one", "two"], ["ari_fg", "grad_norm"], "images").axes
  batch_size = runs[0][0].config["batch_size"]
  for line, label in zip(axes[0].lines, ("one", "two"), strict=True):  # of validation
    assert line.get_xdata().tolist() == [100 * batch_size, 200 * batch_size]
    assert line.get_ydata().tolist() == [0.1, 0.2] and line.get_label() == label
  steps = [step for step in report_runs.STEPS if step != 50]  # its value is not finite
  assert axes[1].lines[0].get_xdata().tolist() == [step * batch_size for step in steps]
  assert [a.get_title() for a in axes] == ["ARI-FG", "gradient norm"]


def test_names_are_shown_as_they_are(two_runs):
  names = ["_first", r"a$\frac$"]
  figure = drawing.curves([[records.read(f)] for f in two_runs], names, ["ari_fg"], "steps")
  figure.canvas.draw()  # where formulas are parsed
  assert [text.get_text() for text in figure.legends[0].get_texts()] == names


def test_a_run_that_did_not_log_a_value_has_an_empty_line(two_runs):
  (two_runs[1] / "metrics.jsonl").write_text("")
  runs = [[records.read(folder)] for folder in two_runs]
  lines = drawing.curves(runs, ["one", "two"], ["kl"], "steps").axes[0].lines
  assert [len(line.get_xdata()) for line in lines] == [20, 0]


@pytest.mark.parametrize("arguments, status, message", [
  (["--out=c.jpg"], 2, "'c.jpg'; allowed endings: .png, .pdf, .svg"),
  (["--out=c.png", "--labels=one,two,three"], 2, "--labels has 3 names for 2 runs"),
  (["--out=c.png", "--values=,"], 2, "--values names nothing"),
  (["--out=c.png", "--values=aro"], 1, "no run logged 'aro'; logged: ari_fg, ari_fg_r"),
  (["--out=c.png", "--workdir=nowhere"], 1, "nowhere does not exist"),
])  # fmt: skip
def test_mistakes(two_runs, monkeypatch, tmp_path, capsys, arguments, status, message):
  monkeypatch.chdir(tmp_path)
  try:
    result = curves.main([*words(two_runs), *arguments])
  except SystemExit as end:
    result = end.code
  error = capsys.readouterr().err
  assert result == status and message in error and len(error.splitlines()) == 1
  assert not (tmp_path / "c.png").exists()
