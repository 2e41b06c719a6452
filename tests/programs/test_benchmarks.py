"""The benchmarks run, and refuse what they cannot measure; nothing here is about speed."""

import importlib.util
import sys

import pytest
from conftest import TINY_RUN

from benchmarks import compiled, metrics, train_step, whole_program

SMALL = ["--config.model.latent_dim=4", "--size=32", "--batch=8", "--rounds=1", "--seconds=0"]


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
  assert "x the steps/s of the first" in lines[4] and "TFLOP/s" in lines[-1]


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
