"""The benchmarks run, and refuse what they cannot measure; nothing here is about speed."""

import importlib.util
import json
import sys

import numpy as np
import pytest
from conftest import ON_ONE_DEVICE, TINY_RUN

import genesis_jax
from benchmarks import accelerator, compiled, gradients, metrics, parts, train_step, whole_program
from experiments.console.errors import UserError
from tests.support import programs

SMALL = ["--config.model.latent_dim=4", "--size=32", "--batch=8", "--rounds=1", "--seconds=0"]


LITTLE = """
import functools
from benchmarks import ceilings, parts
settings = parts.settings
parts.settings = lambda options: settings(options)[:2]
ceilings.MATRIX["cpu"], ceilings.COPIED["cpu"] = 64, 2**16
ceilings.seconds_per_call = functools.partial(ceilings.seconds_per_call, least=0, rounds=1)
"""


@pytest.fixture
def run(monkeypatch, capsys):
  """(program, arguments) -> (exit status, what it printed)."""

  def of(program, *arguments):
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    try:
      status = program.main()
    except SystemExit as end:
      status = end.code
    printed = capsys.readouterr()
    return status, printed.out + printed.err

  return of


@pytest.mark.slow
def test_two_settings_side_by_side(run):
  status, printed = run(train_step, "--model=vae", *SMALL, "--compare=batch=16,steps_per_call=2")
  assert status == 0, printed
  lines = printed.splitlines()
  first, second = (line.split() for line in lines[2:4])
  assert first[0] == "vae" and second[0] == "batch=16,steps_per_call=2"
  # GFLOP a step, of twice the images.
  assert float(second[3]) == pytest.approx(2 * float(first[3]), rel=0.2)
  assert lines[4].endswith(") the steps/s of the first") and "TFLOP/s" in lines[-1]


@pytest.mark.parametrize("arguments, message", [
  (["--compare=fast"], "--compare: 'fast' is not NAME=VALUE"),
  (["--compare=model.latent_dims=3"], "no field"),
  (["--dtype=float17"], "float17"),
  (["--batch=many"], "batch_size"),
  (["--batch=0"], "batch_size is 0; it must be at least 1"),
  (["--compare=batch=-1"], "batch_size is -1; it must be at least 1"),
  (["--rounds=0"], "0 is too small; it must be at least 1"),
  (["--colour=red"], "unexpected argument '--colour=red'"),
])  # fmt: skip
def test_mistakes(run, arguments, message):
  status, printed = run(train_step, "--model=vae", *SMALL[:-1], *arguments)
  assert status == 2 and message in printed.splitlines()[-1]


@pytest.mark.parametrize("option", ["true_segments", "slots", "batch", "rounds"])
def test_mistakes_in_comparing_scores(run, option):
  status, printed = run(metrics, f"--{option}=0")
  assert status == 2 and printed.startswith(f"error: argument --{option}: 0 is too small; it must")
  assert printed.count("\n") == 1


@pytest.mark.slow
def test_share_of_waiting(run, gqn_root):
  settings = TINY_RUN | {"data.data_dir": gqn_root, "model.latent_dim": 4}
  words = [f"--config.{name}={value}" for name, value in settings.items()]
  options = ["--config=configs/experiment.py:vae,gqn", "--rounds=1", "--seconds=0"]
  status, printed = run(whole_program, *options, *words)
  assert status == 0 and "the device waits" in printed, printed
  status, printed = run(whole_program, *options, *words, "--config.data.data_dir=/nowhere")
  assert status == 1 and "error: " in printed and "/nowhere" in printed


HLO = """HloModule jit_step

%fused (p: f32[2,3]) -> bf16[2,3] {
  %p = f32[2,3]{1,0} parameter(0)
  ROOT %c = bf16[2,3]{1,0} convert(%p)
}

ENTRY %main (x: f32[2,3], y: pred[4]) -> (bf16[2,3], f32[]) {
  %x = f32[2,3]{1,0:T(8,128)} parameter(0)
  %f.1 = (bf16[2,3]{1,0}, u8[0]{0}) fusion(%x, %x), calls=%fused, metadata={op_name="jit(step)/a/b"}
  %g = bf16[2,3]{1,0} get-tuple-element(%f.1), index=0
  ROOT %r = f32[] custom-call(%g), window={size=2}, backend_config={"estimated_cycles":"70"}
}
"""


def test_operations_of_a_compiled_program():
  assert list(compiled.operations(HLO)) == [
    compiled.Operation("f.1", 12 + 2 * 24, 0, "jit(step)/a/b"),
    compiled.Operation("r", 4 + 12, 70, ""),
  ]


@pytest.mark.slow
@pytest.mark.parametrize("target", compiled.TARGETS)
def test_compiling_for_what_is_not_there(run, target, monkeypatch):
  """Where the compiler is missing, as in `requirements.txt`, one line says what to install."""
  monkeypatch.setenv("XLA_FLAGS", "")
  monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "")
  monkeypatch.setenv("JAX_PLATFORMS", "cpu")
  status, printed = run(compiled, target, "--model=vae", "--size=32", "--ops=3")
  if importlib.util.find_spec(compiled.TARGETS[target].package) is None:
    assert status == 2 and 'pip install "jax[' in printed.splitlines()[-1]
  else:
    assert status == 0 and len(printed.splitlines()) == 2 + 1 + 3, printed


@pytest.mark.parametrize("arguments, message", [
  (["p100"], "invalid choice: 'p100'"),
  (["h100", "--batch=many"], "batch_size"),
  (["h100", "--model=vae", "--colour=red"], "unexpected argument '--colour=red'"),
])  # fmt: skip
def test_mistakes_in_compiling(run, arguments, message):
  status, printed = run(compiled, *arguments)
  assert status == 2 and message in printed.splitlines()[-1]


class Clock:
  """A machine on which a part takes the seconds that the test says."""

  def __init__(self, monkeypatch):
    self.now = 0.0
    monkeypatch.setattr(accelerator.time, "monotonic", lambda: self.now)


def a_part(name, least, run):
  return parts.Part(name, f"What {name} is", least, 100, run)


def test_parts_are_done_while_there_is_time_and_only_once(monkeypatch, run, tmp_path):
  clock, asked = Clock(monkeypatch), []

  def works(machine):
    asked.append(machine.left)
    clock.now += 40
    return [{"steps/s": 12.34567, "of": "a"}, {"of": "b"}]

  def fails(machine):
    raise UserError("it is\nbroken")

  listed = (a_part("first", 1, works), a_part("second", 1, fails), a_part("third", 90, works),
            a_part(parts.TRAINING, 1, lambda machine: works(machine)))  # fmt: skip
  monkeypatch.setattr(accelerator, "ALL", {part.name: part for part in listed})
  words = ("--minutes=2", f"--out={tmp_path}", "--train_share=0.1")
  status, printed = run(accelerator, *words)
  assert status == 0 and asked == [100, 80]  # a part's limit; all that is left
  page = (tmp_path / "RESULTS.md").read_text()
  assert "| 12.35 | a |\n|  | b |" in page and "What first is" in printed
  assert "Missing: it failed (it is broken)." in page
  assert "Missing: 68 s were left, and it needs 90 s." in page
  asked.clear()
  status, _ = run(accelerator, *words)  # what is missing, and more training
  assert status == 0 and len(asked) == 2


def test_an_accelerator_report_that_cannot_be_gone_on_with(run, tmp_path):
  (tmp_path / "results.json").write_text("{")
  status, printed = run(accelerator, "--minutes=1", f"--out={tmp_path}")
  assert status == 1 and "cannot be used" in printed and printed.count("\n") == 1


@pytest.mark.parametrize("arguments, message", [
  (["--minutes=0"], "--minutes is 0.0; it must be positive"),
  (["--minutes=1", "--train_share=2"], "--train_share is 2.0; it must be from 0 to 1"),
  (["--minutes=1", "--part=everything"], "invalid choice: 'everything'"),
])  # fmt: skip
def test_mistakes_of_an_accelerator_report(run, tmp_path, arguments, message):
  status, printed = run(accelerator, *arguments, f"--out={tmp_path}")
  assert status == 2 and message in printed.splitlines()[-1]


@pytest.mark.slow
def test_report_of_this_machine(tmp_path):
  """Its parts for real, but tiny: what needs an accelerator to be of use runs on a CPU, too."""
  words = ["--model=vae", "--size=32", "--batch=2", "--steps_per_call=2", "--seconds=0"]
  scenes = "--config.data.source=generator --config.data.num_val=8 --config.data.num_test=8"
  tiny = "--config.model.latent_dim=2 --config.batch_size=2 --config.num_validation_images=8"
  tiny += " --config.num_steps=4"  # else it trains as long as it may
  training = f"--train=tests/support/tiny_model.py:multi_dsprites {scenes} {tiny}"
  limits = ["--minutes=3", "--train_share=0.4", "--part=speed", "--part=training"]
  program = ["benchmarks.accelerator", f"--out={tmp_path}", *limits, *words, training]
  done = programs.run(program, env=ON_ONE_DEVICE, before=LITTLE, timeout=500)
  assert done.returncode == 0, done.stderr
  found = json.loads((tmp_path / "results.json").read_text())
  assert found["speed"]["rows"][0]["steps/s"] > 0, done.stdout
  (trained,) = found["training"]["rows"]
  assert trained["steps"] > 0
  model, _, _ = genesis_jax.load(tmp_path / "exported" / trained["run"])
  assert model.latent_dim == 2


@pytest.mark.parametrize("checkout", ["nowhere", "models"])
def test_an_original_that_is_none(run, tmp_path, checkout):
  pytest.importorskip("torch")
  (tmp_path / "models").mkdir()
  status, printed = run(train_step, "--model=vae", *SMALL, f"--original={tmp_path / checkout}")
  assert status == 1 and "models/vae_config.py" in printed.splitlines()[-1]


def test_gradients_that_differ():
  exact, coarse = np.array([3.0, 4.0]), np.array([3.0, 0.0])
  found = gradients.compare({"['a']['bias']": (exact, coarse), "['b']": (exact, exact)})
  assert found.cosine == pytest.approx((9 + 25) / np.sqrt(50 * 34))
  assert found.norm == pytest.approx(np.sqrt(34 / 50))
  assert (found.bias, found.bias_error) == ("['a']['bias']", pytest.approx(4 / 5))
