"""A sweep as a job array of Slurm: a controller and a node on this machine."""

import pathlib
import signal
import subprocess
import tempfile

import pytest
import slurm_cluster
import training_stub
from training_stub import interrupted_when, trained, wait_until, waiting

from experiments import sweep
from experiments.scheduling import slurm


@pytest.fixture(scope="module")
def cluster():
  if missing := slurm_cluster.missing():
    pytest.skip(
      f"Slurm is not installed: there is no {missing[0]} (apt-get install slurm-wlm munge)"
    )
  with tempfile.TemporaryDirectory(prefix="slurm_") as folder:
    with slurm_cluster.started(pathlib.Path(folder)):
      yield


def asked(*command: str) -> str:
  return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def queue() -> dict[str, str]:
  """Job -> state, of what has not ended."""
  return dict(line.split() for line in asked("squeue", "-h", "-r", "-o", "%i %T").splitlines())


@pytest.mark.slow
def test_a_sweep_through_slurm_killed_twice(cluster, tmp_path, monkeypatch, capsys):
  points = (2, 3)
  runs = training_stub.arrange(tmp_path, monkeypatch, points)
  monkeypatch.setattr(slurm, "POLL_SECONDS", 0.5)
  grid = f"--config={tmp_path / 'grid.py'}"
  command = [grid, f"--workdir={runs}", "--seeds=0,1", "--launcher=slurm", "--time=5"]

  # A Slurm that refuses: nothing is in the queue.
  for words, reason in (
    (["--partition=nope"], "invalid partition specified: nope"),
    (["--time=99"], "Requested time limit is invalid"),
    (["--seeds=0,1,2,3,4,5"], "Invalid job array specification"),  # MaxArraySize=10
  ):
    assert sweep.main([*command, *words]) == 1
    error = capsys.readouterr().err
    assert "error: Slurm refuses the " in error and reason in error and error.count("\n") == 1
  assert not queue()

  # One of two is preempted: it saves, and is queued again.
  (runs / "all.txt").write_text("wait")
  (file := tmp_path / "slurm.toml").write_text('partition = "main"\ncomment = "of a test"\n')
  assert sweep.main([*command, "--seeds=0", "--detach", f"--slurm_file={file}"]) == 0
  wait_until(lambda: len(waiting(runs)) == 2)
  job = next(number for number, state in queue().items() if state == "RUNNING")
  begun = waiting(runs)
  asked("scancel", "--signal=USR2", job)
  (saved,) = wait_until(lambda: list(runs.glob("*/*/checkpoints/3")))
  assert saved.parents[1] in begun
  wait_until(lambda: queue()[job] == "PENDING")
  asked("scontrol", "update", f"jobid={job}", "StartTime=now")

  # The same command submits nothing twice; Ctrl-C has what runs save, and empties the queue.
  capsys.readouterr()
  with interrupted_when(lambda: len(waiting(runs)) == 2, signal.SIGINT):
    assert sweep.main(command) == 0
  said = capsys.readouterr().out
  assert "stopped; the same command continues" in said and "submitted  2 runs" in said
  assert not queue() and not waiting(runs) and not trained(runs)

  # And a last time, until all is done; what others still train is not submitted.
  (runs / "all.txt").unlink()
  (runs / "latent_3.txt").write_text("crash")
  assert sweep.main(command) == 1
  assert "failed: latent_3, seed 0: error: the disk is on fire" in capsys.readouterr().err
  (runs / "latent_3.txt").unlink()
  assert sweep.main(command) == 0
  assert sorted(trained(runs)) == sorted(f"{point}/{seed}" for point in points for seed in (0, 1))
  assert "| latent_3 | 2 |" in (runs / "sweep.md").read_text()


def test_a_machine_without_slurm_says_so(tmp_path, monkeypatch, capsys):
  runs = training_stub.arrange(tmp_path, monkeypatch)
  monkeypatch.setenv("PATH", str(tmp_path))
  words = [f"--config={tmp_path / 'grid.py'}", f"--workdir={runs}"]
  assert sweep.main([*words, "--launcher=slurm"]) == 1
  assert "there is no sbatch on this machine" in capsys.readouterr().err
  with pytest.raises(SystemExit):
    sweep.main([*words, "--partition=gpu"])
  assert "--partition needs --launcher=slurm" in capsys.readouterr().err
