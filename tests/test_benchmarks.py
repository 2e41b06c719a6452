"""The benchmarks run, and refuse what they cannot measure; nothing here is about speed."""

import sys

import pytest
from conftest import TINY_RUN

from benchmarks import train_step, whole_program

SMALL = ["--config.model.latent_dim=4", "--size=32", "--batch=8", "--rounds=1", "--seconds=0"]


@pytest.fixture
def run(monkeypatch, capsys):
  """(program, arguments) -> (exit status, what it printed)."""

  def of(program, *arguments):
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    try:
      program.main()
      status = 0
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
  (["--rounds=0"], "--rounds is 0; it must be at least 1"),
  (["--colour=red"], "unexpected argument '--colour=red'"),
])  # fmt: skip
def test_mistakes(run, arguments, message):
  status, printed = run(train_step, "--model=vae", *SMALL[:-1], *arguments)
  assert status == 2 and message in printed.splitlines()[-1]


def test_share_of_waiting(run, gqn_root):
  settings = TINY_RUN | {"data.data_dir": gqn_root, "model.latent_dim": 4}
  words = [f"--config.{name}={value}" for name, value in settings.items()]
  options = ["--config=configs/vae_gqn.py", "--rounds=1", "--seconds=0"]
  status, printed = run(whole_program, *options, *words)
  assert status == 0 and "the device waits" in printed, printed
  status, printed = run(whole_program, *options, *words, "--config.data.data_dir=/nowhere")
  assert status == 1 and "error: " in printed and "/nowhere" in printed
