"""The training program, through its command line: what a person types, kills and finds."""

import functools
import json
import signal
import time

import jax
import numpy as np
import pytest
from conftest import ON_ONE_DEVICE, TEST_IMAGES, TINY_RUN, tiny_config
from flax import traverse_util
from PIL import Image

import data_pipelines
import genesis_jax
from experiments import main
from experiments.hardware import devices
from experiments.scoring.evaluator import noise_key
from experiments.training import loop
from genesis_jax import runs, training
from tests.support import compiler, programs

pytestmark = pytest.mark.slow

GENESIS = "configs/genesis_gqn.py"
TINY = "tests/support/tiny_model.py"


NO_KERAS = "import sys; sys.modules['keras'] = None"  # importing it fails


def start(workdir, flags, config=TINY) -> programs.Program:
  words = ["experiments.main", f"--config={config}", f"--workdir={workdir}", *flags]
  return programs.start(words, env=ON_ONE_DEVICE, before=NO_KERAS)


def finish(process) -> str:
  out, err = process.communicate(timeout=300)
  assert process.returncode == 0, err
  return out


def wait_for(process, text) -> None:
  for line in process.stdout:
    if line.startswith(text):
      return
  raise AssertionError(f"{text!r} never came: {process.stderr.read()}")


def flat_state(workdir, step) -> dict[str, np.ndarray]:
  state, _ = runs.read_checkpoint(workdir, step)
  return traverse_util.flatten_dict(state, sep="/")


def lines(workdir) -> list[dict]:
  return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


BY_ITSELF = """
import os, signal, sys, jax
assert sys.argv[1:] == ["a b"] and os.environ["A"] == "1"
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
assert jax.device_count() == 3 and jax.config.jax_compilation_cache_dir == "/elsewhere"
os.kill(os.getpid(), signal.SIGINT)
"""


def test_a_program_from_the_server_is_as_one_by_itself():
  environment = compiler.environment(3) | {"A": "1", "JAX_COMPILATION_CACHE_DIR": "/elsewhere"}
  done = programs.run(["this", "a b"], env=environment, before=BY_ITSELF, timeout=100)
  assert done.returncode == -signal.SIGINT and done.stderr.endswith("KeyboardInterrupt\n")


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory, tiny_flags):
  """A run from beginning to end on one device: its folder, and what it printed."""
  workdir = tmp_path_factory.mktemp("whole") / "run"
  extra = ["--config.images_every=6", "--config.validate_every=6", "--config.test_images=12"]
  return workdir, finish(start(workdir, [*tiny_flags, *extra], GENESIS))


def test_says_what_it_does_and_where_things_are(whole_run):
  workdir, out = whole_run
  for words in (
    "3 of 60 train files (2160 were published)",
    "1 x cpu",
    "25.0 dB",
    "parameters",
    "ETA",
    "tensorboard",
  ):
    assert words in out
  assert "STAND-IN" not in out
  run = json.loads((workdir / "run.json").read_text())
  assert run["stand_in"] is False and run["data"]["name"] == "gqn"
  assert run["num_parameters"] > 1000 and run["versions"]["jax"] == jax.__version__
  assert json.loads((workdir / "config.json").read_text()) == run["config"]
  assert any("tfevents" in path.name for path in (workdir / "tensorboard").iterdir())


def test_logs_every_step_that_is_due_once(whole_run):
  rows = lines(whole_run[0])
  assert [row["step"] for row in rows] == [2, 4, 6, 8, 10, 12]
  names = {"err", "err_element", "kl", "kl_mask/0", "elbo", "loss", "mse", "rmse", "beta"}
  names |= {"err_ema", "err_ema_element", "grad_norm", "slots_used", "num_corrupt"}
  for row in rows:
    assert {f"train/{name}" for name in names} <= row.keys()
    assert ("val/elbo" in row) == (row["step"] in (6, 12))
  assert rows[-1]["val/num_images"] == 20
  final = json.loads((whole_run[0] / "metrics.json").read_text())
  assert final["step"] == 12 and final["val"]["elbo"] == rows[-1]["val/elbo"]


def test_pictures_are_pictures(whole_run):
  for name in ("step_0000006", "final"):
    with Image.open(whole_run[0] / "pictures" / f"{name}.png") as image:
      assert image.format == "PNG" and min(image.size) > 300
      assert len(np.unique(np.asarray(image))) > 50


def test_ends_with_a_report(whole_run):
  workdir, out = whole_run
  assert f"report       {workdir / 'report.html'}" in out
  text = (workdir / "report.html").read_text()
  assert "Trained for 12 steps" in text and "GENESIS on GQN" in text


def test_keeps_the_newest_checkpoints(whole_run):
  assert runs.checkpoint_steps(whole_run[0]) == [9, 12]


def test_load_reproduces_a_validation_number(whole_run):
  model, variables, config = genesis_jax.load(whole_run[0])
  assert config.model.num_slots == 3
  sample = data_pipelines.sample(config.data, "val", 20, batch_size=5)
  evaluate = jax.jit(functools.partial(training.eval_step, model=model))
  err = np.concatenate([evaluate(variables, batch, noise_key(seed=0))["err"] for batch in sample])
  final = json.loads((whole_run[0] / "metrics.json").read_text())
  assert np.mean(err) == pytest.approx(final["val"]["err"], rel=1e-5) and len(err) == 20


def test_ends_with_scores_of_test_images(whole_run):
  workdir, out = whole_run
  words = f"12 of {TEST_IMAGES} test images, drawn at random (seed 0)"
  result = json.loads((workdir / "evaluation" / "segmentation_step_12_test.json").read_text())
  assert result["images"] == words and len(result["index"]) == 12
  assert f"test: elbo {result['scores']['elbo']['mean']:.4g}" in out and f"on {words}" in out
  assert words in (workdir / "report.html").read_text()


def test_killed_and_stopped_run_ends_as_the_uninterrupted_one(tmp_path, gqn_root):
  whole, workdir = tmp_path / "whole", tmp_path / "run"
  settings = TINY_RUN | {"data.data_dir": gqn_root, "checkpoint_every": 1}
  flags = [f"--config.{name}={value}" for name, value in settings.items()]
  finish(start(whole, [*flags, "--config.validate_every=6"]))
  flags.append("--config.validate_every=5")
  process = start(workdir, flags)
  wait_for(process, "step 4/")
  time.sleep(np.random.default_rng().uniform(0, 0.3))  # anywhere, also in the middle of a save
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert runs.checkpoint_steps(workdir)[-1] >= 2  # a save ends before the next begins

  process = start(workdir, flags)
  wait_for(process, "step ")
  process.send_signal(signal.SIGTERM)
  assert "the same command resumes" in finish(process)
  stopped_at = runs.checkpoint_steps(workdir)[-1]
  assert stopped_at < 12 and not (workdir / "metrics.json").exists()

  assert f"from step {stopped_at} of 12" in finish(start(workdir, flags))
  expected, got = flat_state(whole, 12), flat_state(workdir, 12)
  assert expected.keys() == got.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(got[name], value, err_msg=name)
  steps = [row["step"] for row in lines(workdir)]
  assert steps == sorted(set(steps)) and {2, 4, 6, 8, 10, 12} <= set(steps)
  assert lines(workdir)[-1]["val/elbo"] == lines(whole)[-1]["val/elbo"]


def test_two_devices_train_as_one(whole_run, gqn_root, tmp_path):
  assert jax.device_count() == 2
  with loop.opened(tiny_config("genesis", gqn_root), tmp_path) as (run, state):
    loop.run_steps(run, devices.replicate(state))
  expected, got = flat_state(whole_run[0], 12), flat_state(tmp_path, 12)
  for name, value in expected.items():
    # In front of a batch norm a bias has no gradient but rounding noise, which Adam makes as large
    # as any; the norm's mean follows the bias.
    if not name.endswith(("conv/bias", "norm/mean")):
      np.testing.assert_allclose(got[name], value, rtol=2e-3, atol=2e-4, err_msg=name)
  for row_one, row_two in zip(lines(whole_run[0]), lines(tmp_path), strict=True):
    for name in ("train/elbo", "train/beta", "train/mse"):
      assert row_two[name] == pytest.approx(row_one[name], rel=1e-3), name


def test_a_mistake_found_late_is_one_line_too(tmp_path, tiny_flags, capsys):
  words = [f"--workdir={tmp_path / 'run'}", *tiny_flags, "--config.optimizer.name=adamm"]
  assert main.main(["--config=configs/genesis_gqn.py", *words]) == 1
  err = capsys.readouterr().err
  assert err.startswith("error: optimizer.name is 'adamm'") and err.count("\n") == 1
