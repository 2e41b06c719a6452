"""A newcomer's hour: what programs suggest runs as it is printed, and calls nothing outdated."""

import html
import re
import shlex
import subprocess

import pytest
from conftest import ON_ONE_DEVICE

from tests.support import programs

SETTINGS = {
  "model.image_size": 32, "model.latent_dim": 4, "batch_size": 8, "num_steps": 2, "log_every": 1,
  "num_validation_images": 8, "data.source": "generator", "data.num_val": 16,
}  # fmt: skip
# Errors, not warnings, where our own code calls what will go.
STRICT = """
import warnings
ours = "(__main__|genesis_jax|configs|data_pipelines|experiments|benchmarks)"
warnings.filterwarnings("error", category=DeprecationWarning, module=ours)
"""


def run(words: list[str]) -> subprocess.CompletedProcess:
  """Runs `python -m <words>`."""
  return programs.run(words, env=ON_ONE_DEVICE, before=STRICT, timeout=400)


def suggested(text: str) -> list[str]:
  """Command lines of Python programs, in the order in which they come."""
  return list(dict.fromkeys(re.findall(r"python -m experiments\.[^\n<`]+", html.unescape(text))))


@pytest.mark.slow
def test_every_command_that_a_run_suggests_runs_as_printed(tmp_path):
  workdir = tmp_path / "my run"
  command = ["experiments.main", "--config=tests/support/tiny_model.py:multi_dsprites"]
  command += [f"--config.{name}={value}" for name, value in SETTINGS.items()]
  trained = run([*command, f"--workdir={workdir}"])
  assert trained.returncode == 0, trained.stderr
  assert trained.stderr.count("WARNING") == len(set(re.findall("WARNING.*", trained.stderr)))
  page = (workdir / "report.html").read_text()
  commands = suggested(trained.stdout + page[: page.index('<script type="application/json"')])
  programs = {shlex.split(line)[2].removeprefix("experiments.") for line in commands}
  assert programs >= {"evaluate", "compute_fid", "visualise", "report"}
  for line in commands:
    done = run(shlex.split(line)[2:])
    if "compute_fid" in line and done.returncode:  # its weights are downloaded
      assert "nception" in done.stderr and "--num_images" not in done.stderr, done.stderr
      continue
    assert done.returncode == 0, f"{line}: {done.stderr}"
  page = (workdir / "report.html").read_text()
  assert "No test images were scored" not in page and "No further figures were made" not in page
