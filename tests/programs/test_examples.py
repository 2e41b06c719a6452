"""The notebook, and the Python of README and docs/python.md, executed on a tiny run."""

import os
import pathlib
import re

import feature_runs
import matplotlib
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest

from experiments import extract_features

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "decompose.ipynb"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """A folder with an untrained run where users have the demo's."""
  root = tmp_path_factory.mktemp("examples")
  feature_runs.write_tetrominoes(root / "data")
  feature_runs.write_run(root / "runs" / "demo", "tiny_slots", root / "data")
  return root


@pytest.fixture(autouse=True)
def environment(place, monkeypatch):
  """There, without a screen, and with nothing left behind."""
  monkeypatch.chdir(place)
  monkeypatch.syspath_prepend(str(ROOT))
  for name in ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS"):
    monkeypatch.setenv(name, os.environ.get(name, "2"))
  monkeypatch.delenv("GENESIS_RUN", raising=False)
  matplotlib.use("Agg")
  yield
  plt.close("all")


def blocks(document: pathlib.Path) -> list[str]:
  """The blocks of Python in a document, in order."""
  return re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL)


@pytest.mark.slow
def test_python_does_what_it_says():
  lines, geco, metrics, features = blocks(ROOT / "docs" / "python.md")
  names = {}
  exec(lines, names)
  out, images = names["out"], names["images"]
  assert out.recon.shape == images.shape == (8, 32, 32, 3) and 0.5 < images.max() <= 1
  np.testing.assert_array_equal(names["segments"], np.exp(out.log_masks).argmax(1))
  assert names["samples"].shape == images.shape and np.isfinite(names["samples"]).all()
  decode = {"method": "decode"}
  unchanged = names["model"].apply(names["variables"], names["latents"], **decode).images
  np.testing.assert_allclose(unchanged, out.recon, atol=1e-4)
  changed = np.abs(names["edited"] - unchanged).max((1, 2, 3))
  assert changed[0] > 1e-4 and (changed[1:] < 1e-6).all()  # the first image alone was edited
  assert names["features"].shape[0] == 8
  exec(geco, names)
  exec(metrics, names)
  extracted = ["--workdir=runs/demo", "--num_images=8", "--out=runs/demo/features/test"]
  assert extract_features.main(extracted) == 0
  exec(features, names)
  assert names["shard"]["segments"].shape == (8, 32, 32)


def test_lines_of_the_readme_run():
  (lines,) = blocks(ROOT / "README.md")
  names = {}
  exec(lines, names)
  assert np.isfinite(names["out"].recon).all() and np.isfinite(names["samples"]).all()


def test_notebook_shows_the_pretrained_model_and_runs_on_others(monkeypatch, capsys):
  notebook = nbformat.read(NOTEBOOK, as_version=nbformat.NO_CONVERT)
  nbformat.validate(notebook)
  cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
  assert "examples/pretrained/genesis_multi_dsprites" in cells[0].source
  assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
  outputs = [output for cell in cells for output in cell.outputs]
  assert "genesis with 5 slots, on multi_dsprites" in outputs[0]["text"]
  assert ["image/png" in output["data"] for output in outputs[1:]] == [True] * 5
  assert NOTEBOOK.stat().st_size < 400_000
  monkeypatch.setenv("GENESIS_RUN", "runs/demo")
  drawn = []

  def show():
    figure = plt.gcf()
    figure.canvas.draw()
    panels = [image.get_array() for axis in figure.axes for image in axis.images]
    assert panels and all(np.isfinite(panel).all() for panel in panels)
    drawn.append(np.asarray(figure.canvas.buffer_rgba()).std())
    plt.close(figure)

  monkeypatch.setattr(plt, "show", show)
  names = {}
  for cell in cells:
    exec(cell.source, names)
  assert len(drawn) == 5 and min(drawn) > 5  # pictures, and none is blank
  words = f"TinySlots with {names['model'].num_slots} slots, on tetrominoes"
  assert words in capsys.readouterr().out
  removed, masks = names["removed"], np.exp(names["out"].log_masks)
  components = np.asarray(names["out"].components)
  left = 1 - masks[0, 0]  # without slot 0, the others share all pixels
  expected = (masks[0, 1:, ..., None] * components[0, 1:]).sum(0) / left[..., None]
  np.testing.assert_allclose(removed[0], expected, rtol=1e-3, atol=1e-4)
