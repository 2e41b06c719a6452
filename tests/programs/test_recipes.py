"""The recipes of docs/architecture.md, carried out: a model, a score and a figure of one's own.

One run of the model in examples/own_model.py, whose KLs have names that nothing else knows, goes
through the programs, with a score and a figure registered as their recipes say.
"""

import contextlib
import io
import json
import pathlib
import re
import shutil

import jax
import numpy as np
import pytest

import genesis_jax
from configs.loading import load_config
from experiments import curves, evaluate, export, main, report, visualise
from experiments.figures import catalogue, galleries
from experiments.figures.panels import to_uint8
from experiments.figures.sheets import Row, table
from experiments.hardware import devices
from experiments.runs import opening
from experiments.scoring import scores
from experiments.training import loop
from genesis_jax import models, runs, training

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLE, OF_RUN = ROOT / "examples" / "own_model.py", ROOT / "configs" / "of_run.py"
SETTINGS = {
  "model.image_size": 32,
  "model.light_dim": 3,
  "batch_size": 8,
  "log_every": 1,
  "images_every": 0,
  "validate_every": 1,
  "num_validation_images": 8,
  "test_images": 8,
  "test_fid_images": 0,
  "data.num_val": 120,
  "data.num_test": 8,
}


# A score: a function, which `image_scalars` calls ...
def bias(out, images):
  """How much too bright each reconstruction is, `[B]`."""
  return (out.recon - images).mean((1, 2, 3))


# ... and a row of the table.
BIAS = scores.Score("bias", "brightness error", "mean of the reconstruction minus the image",
                    places=(scores.TABLE, scores.LINE, scores.PUBLISHED))  # fmt: skip
# A figure: a row of the catalogue, and the function of its name.
NEGATIVES = catalogue.Kind("Negative colours", "reconstructions with their colours turned round")


def negatives(view):
  """All images in a row."""
  sheet = table([Row("", list(255 - to_uint8(view.out.recon)))])
  return [galleries.Figure("negatives", sheet, "Reconstructions, with their colours turned round.")]


@pytest.fixture(scope="module", autouse=True)
def registered():
  measured = training.image_scalars

  def image_scalars(out, images):
    return measured(out, images) | {"bias": bias(out, images)}

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(training, "image_scalars", image_scalars)
    patch.setattr(scores, "ROWS", (*scores.ROWS, BIAS))
    patch.setitem(catalogue.FIGURES, "negatives", NEGATIVES)
    patch.setattr(galleries, "negatives", negatives, raising=False)
    yield


def said_by(program, *argv) -> str:
  """What a program prints where all goes well."""
  out, err = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    status = program.main([str(word) for word in argv])
  assert status == 0, err.getvalue()
  return out.getvalue()


def error_of(program, *argv) -> str:
  """The one line that a program ends with where a person must do something."""
  err = io.StringIO()
  with contextlib.redirect_stderr(err):
    assert program.main([str(word) for word in argv]) in (1, 2)
  (line,) = err.getvalue().splitlines()
  return line


def flags(config, run, num_steps: int) -> list[str]:
  values = [f"--config.{name}={value}" for name, value in SETTINGS.items()]
  return [f"--config={config}", f"--workdir={run}", f"--config.num_steps={num_steps}", *values]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """A run of a copy of the example, named as from its own folder; and what training said."""
  home = tmp_path_factory.mktemp("recipes")
  shutil.copy(EXAMPLE, home)
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(home)
    said = said_by(main, *flags("own_model.py", home / "run", 2))
  return home / "run", said


@pytest.fixture(scope="module")
def evaluated(trained):
  """What evaluate says of it, and writes."""
  run, _ = trained
  said = said_by(evaluate, f"--workdir={run}", "--num_images=8", "--batch_size=8")
  return said, json.loads((run / "evaluation" / "segmentation_step_2_test.json").read_text())


def test_a_model_with_kls_of_new_names_is_trained_and_evaluated(trained, evaluated):
  run, said = trained
  rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
  for name in ("train/kl_light", "train/kl_content", "val/kl_light"):
    assert any(name in row for row in rows), name
  assert "model      LightVAE" in said and "done: 2 steps" in said and "WARNING" not in said
  said, result = evaluated
  for name in ("light", "content"):
    assert re.search(rf"^kl_{name} .*KL of the {name} latents", said, re.MULTILINE)
    assert np.isfinite(result["scores"][f"kl_{name}"]["mean"])
  kls = [result["scores"][name]["mean"] for name in ("kl_light", "kl_content", "kl")]
  assert kls[0] + kls[1] == pytest.approx(kls[2], rel=1e-4, abs=1e-4)
  assert "LightVAE has no masks" in result["segmentation_absent"]


def test_it_is_loaded_and_exported_from_anywhere(trained, tmp_path, monkeypatch):
  run, _ = trained
  monkeypatch.chdir(tmp_path)
  said_by(export, f"--workdir={run}", "--out=copy")
  model, variables, config = genesis_jax.load("copy")
  assert type(model).__name__ == "LightVAE" and model.light_dim == 3
  assert pathlib.Path(config.model.module) == run.parent / "own_model.py"
  noise = {"noise": jax.random.key(0)}
  drawn = jax.jit(lambda weights: model.apply(weights, 2, method="sample", rngs=noise))(variables)
  assert drawn.images.shape == (2, 32, 32, 3) and np.isfinite(drawn.images).all()
  with pytest.raises(ValueError, match="the original has no LightVAE; it has Genesis, "):
    genesis_jax.to_torch(model, variables)
  again = load_config(f"{OF_RUN}:{run}", [])
  assert again.model.light_dim == 3 and again.model.module == config.model.module


def test_a_file_that_moved_is_told_with_the_cure(trained, tmp_path, monkeypatch):
  run, _ = trained
  shutil.copytree(run, tmp_path / "run")
  old, new = run.parent / "own_model.py", tmp_path / "elsewhere" / "own_model.py"
  new.parent.mkdir()
  models._names_of.cache_clear()  # as in a new process
  old.rename(new)
  try:
    cure = f"{str(old)!r}, which defines the class LightVAE, but there is no such file; put it back"
    assert cure in error_of(evaluate, f"--workdir={tmp_path / 'run'}")
    with pytest.raises(ValueError, match="name the folder where it lies now in PYTHONPATH"):
      genesis_jax.load(tmp_path / "run")
    # Training goes on with the configuration from where it is now.
    _, _, *overrides = flags(new, tmp_path / "run", 3)
    with loop.opened(load_config(str(new), overrides), tmp_path / "run") as (resumed, state):
      assert resumed.first == 2
      resumed.checkpoints.save(devices.replicate(state.replace(step=state.step + 1)))
    assert runs.read_newest(tmp_path / "run")[2]["config"]["model"]["module"] == str(new)
    models._names_of.cache_clear()
    monkeypatch.syspath_prepend(new.parent)
    assert type(opening.opened(run, None)[1]).__name__ == "LightVAE"
  finally:
    new.rename(old)
    models._names_of.cache_clear()


def test_a_new_score_appears_wherever_its_row_says(trained, evaluated, tmp_path):
  run, said = trained
  assert re.search(r"^validation on 8 images: .*bias -?\d", said, re.MULTILINE)
  assert re.search(r"^done: 2 steps; .*bias -?\d", said, re.MULTILINE)
  said, result = evaluated
  assert re.search(rf"^bias .*{BIAS.definition}", said, re.MULTILINE)
  assert result["definitions"]["bias"].startswith(BIAS.definition)
  assert np.shape(result["per_image"]["bias"]) == (8,)
  said_by(report, f"--workdir={run}")
  page = (run / "report.html").read_text()
  assert page.count("brightness error") >= 3  # beside the literature, among all scores, as a curve
  assert "KL of lights" in page and "LightVAE on Multi-dSprites" in page
  out = tmp_path / "curves.svg"
  said_by(curves, f"--workdir={run}", "--values=bias,kl_light", f"--out={out}")
  assert out.stat().st_size > 10_000


def test_a_new_figure_is_drawn_and_reported(trained):
  run, _ = trained
  said = said_by(visualise, f"--workdir={run}", "--num=2")
  for name in ("slots", "cumulative", "swaps", "removal"):
    assert f"skipped    {name}: LightVAE has no slots" in said
  made = {path.stem for path in (run / "visualisations").glob("*.*g*")}
  assert made == {
    "reconstructions", "samples", "traversals_light", "traversals_content", "film", "negatives"
  }  # fmt: skip
  assert "no figure; allowed: reconstructions" in mistake("--what=positives")
  said_by(report, f"--workdir={run}")
  page = (run / "report.html").read_text()
  assert NEGATIVES.title in page and "with their colours turned round. Step 2" in page


def mistake(*argv: str) -> str:
  err = io.StringIO()
  with contextlib.redirect_stderr(err), pytest.raises(SystemExit):
    visualise.main(["--workdir=run", *argv])
  return err.getvalue()
