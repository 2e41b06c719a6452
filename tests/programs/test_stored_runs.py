"""Runs in a store, through the programs' command lines, with an emulator of Google's store."""

import json
import os
import pathlib
import re
import shlex
import signal
import socket
import time

import numpy as np
import pytest
from conftest import ON_ONE_DEVICE, RECORDS_PER_FILE, TINY_RUN
from flax import traverse_util
from store_server import emulated

from data_pipelines.stores import files
from experiments import curves, export, report
from experiments.stores import reading, transfers
from experiments.stores.stored_run import MANIFEST
from genesis_jax import runs
from tests.support import programs

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "many_hosts.md"
RUN = "gs://bucket/runs/genesis_gqn"
CONFIG = "tests/support/tiny_model.py"
ENDLESS = {"num_steps": 100_000, "checkpoint_every": 2, "log_every": 1}
SECONDS = 200  # until a program that says nothing counts as hanging


@pytest.fixture(scope="module")
def store():
  with emulated() as system:
    yield system


class Machine:
  """A computer with an empty disk, on which programs run; all of them end with the context."""

  def __init__(self, disk: pathlib.Path):
    self._disk, self._programs = disk, []

  def __enter__(self) -> "Machine":
    return self

  def __exit__(self, *exc_info):
    for program in self._programs:
      program.kill()
      program.communicate()

  def start(self, command: list[str]) -> programs.Program:
    """Runs a module, with its arguments, as a program."""
    environment = ON_ONE_DEVICE | {
      "XDG_CACHE_HOME": str(self._disk),
      files.EMULATOR: os.environ[files.EMULATOR],
    }
    program = programs.start(command, env=environment)
    self._programs.append(program)
    return program


def training(gqn_root, workdir: str, **changes) -> list[str]:
  settings = TINY_RUN | {"data.data_dir": gqn_root} | ENDLESS | changes
  words = [f"--config.{name}={value}" for name, value in settings.items()]
  return ["experiments.main", f"--config={CONFIG}", f"--workdir={workdir}", *words]


def wait_for(program, text: str) -> str:
  for line in program.stdout:
    if line.startswith(text):
      return line
  raise AssertionError(f"{text!r} never came: {program.stderr.read()}")


def newest(store, run: str) -> int:
  """The newest checkpoint in the manifest of a run; 0 for none."""
  try:
    manifest = json.loads(store.cat_file(f"{run.removeprefix('gs://')}/{MANIFEST}"))
  except FileNotFoundError:
    return 0
  return max(map(int, manifest["checkpoints"]), default=0)


def wait_until_stored(store, run: str, step: int) -> None:
  until = time.monotonic() + SECONDS
  while newest(store, run) < step:
    assert time.monotonic() < until
    time.sleep(0.1)


def flat_state(workdir, step: int) -> dict[str, np.ndarray]:
  return traverse_util.flatten_dict(runs.read_checkpoint(workdir, step)[0], sep="/")


def test_every_last_byte_arrives(store, tmp_path):
  for content in (b"", b"\r", b"abc\r", b"a\n", b"a\r\n", b"\0" * 300_000 + b"\r"):
    (tmp_path / "file").write_bytes(content)
    transfers.upload(store, tmp_path / "file", "bucket/file")
    assert store.cat_file("bucket/file") == content


@pytest.mark.slow
def test_kills_in_the_middle_of_uploads(store, tmp_path):
  words = ["tests.support.store_kills", tmp_path, "20"]
  done = programs.run(words, env={**os.environ}, timeout=SECONDS)
  assert done.returncode == 0, done.stderr
  assert len(set(done.stdout.split())) > 3, done.stdout


@pytest.mark.slow
def test_a_run_goes_from_machine_to_machine(store, gqn_root, tmp_path, monkeypatch, capsys):
  run = "gs://bucket/runs/vae"
  command = training(gqn_root, run)
  with Machine(tmp_path / "a") as a, Machine(tmp_path / "b") as b:
    first = a.start(command)
    wait_until_stored(store, run, 2)
    second = b.start(command)
    assert second.wait(SECONDS) == 1
    (line,) = [line for line in second.stderr if line.startswith("error: ")]
    assert f"another program trains {run} (process {first.pid} on " in line
    first.send_signal(signal.SIGKILL)
    first.wait()
    killed_at = newest(store, run)
  with Machine(tmp_path / "c") as c:  # which has nothing
    third = c.start(command)
    assert f"from step {killed_at} of" in wait_for(third, "resuming")
    wait_for(third, f"step {killed_at + 3}/")
    third.send_signal(signal.SIGTERM)
    out, err = third.communicate(timeout=SECONDS)
    assert third.returncode == 0, err
    last = int(re.search(r"stopped after step (\d+)", out)[1])
    assert f"stored     {run}\n" in out and newest(store, run) == last
    whole = c.start(training(gqn_root, tmp_path / "whole", num_steps=last))
    assert whole.wait(SECONDS) == 0

  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "d"))
  with reading.brought(run) as copy:
    state, expected = flat_state(copy, last), flat_state(tmp_path / "whole", last)
    assert state.keys() == expected.keys()
    for name, value in expected.items():
      np.testing.assert_array_equal(state[name], value, err_msg=name)
    rows = [json.loads(line)["step"] for line in open(copy / "metrics.jsonl")]
    assert rows == list(range(1, last + 1))

  for program, words in (
    (report, []),
    (curves, ["--values=elbo", f"--out={tmp_path / 'curves.png'}"]),
    (export, [f"--out={tmp_path / 'small'}"]),
  ):
    assert program.main([f"--workdir={run}", *words]) == 0, capsys.readouterr().err
  page = store.cat_file("bucket/runs/vae/report.html").decode()
  assert run in page and str(tmp_path / "d") not in page
  assert export.main(["--workdir=gs://bucket/runs/vea", f"--out={tmp_path / 'no'}"]) == 1
  assert "beside it there is: vae" in capsys.readouterr().err
  assert report.main(["--workdir=gs://buckets/runs/vae"]) == 1
  assert "gs://buckets/runs/vae is not there" in capsys.readouterr().err


def commands() -> list[list[str]]:
  """The training programs of the page, on a pod and with Slurm: what follows `python -m`."""
  text = re.sub(r"\\\n\s*", "", PAGE.read_text())
  found = re.findall(r"python (?:-u )?-m (experiments\.main --multihost [^'\n]+)", text)
  return [shlex.split(command) for command in found]


@pytest.mark.slow
def test_the_commands_for_pods_and_clusters(store, gqn_root, tmp_path):
  """Two hosts train in the store, and when they are killed two others, with empty disks, go on."""
  store.put(str(gqn_root), "bucket/gqn", recursive=True)
  settings = TINY_RUN | {"data.data_dir": "gs://bucket/gqn"} | ENDLESS
  tiny = [f"--config.{name}={value}" for name, value in settings.items()]
  stored = 0
  assert len(commands()) == 2
  for number, command in enumerate(commands()):
    with socket.create_server(("127.0.0.1", 0)) as probe:
      port = probe.getsockname()[1]
    words = [
      word.replace("BUCKET", "bucket").replace("configs/genesis_gqn.py", CONFIG)
      for word in command
      if word != "--multihost"
    ]
    assert f"--workdir={RUN}" in words
    with Machine(tmp_path / f"{number}") as machine:
      hosts = [
        machine.start([*words, *tiny, f"--multihost=127.0.0.1:{port},{host},2"]) for host in (0, 1)
      ]
      if number:
        assert f"from step {stored} of" in wait_for(hosts[0], "resuming")
        wait_for(hosts[0], f"step {stored + 3}/")
        hosts[1].send_signal(signal.SIGTERM)
        printed = [host.communicate(timeout=SECONDS) for host in hosts]
        assert [host.returncode for host in hosts] == [0, 0], printed
        last = int(re.search(r"stopped after step (\d+)", printed[0][0])[1])
        assert newest(store, RUN) == last and "stored" not in printed[1][0]
      else:
        wait_until_stored(store, RUN, 2)
        hosts[0].send_signal(signal.SIGKILL)
        hosts[1].wait(SECONDS)
        stored = newest(store, RUN)
  counted = json.loads(store.cat_file(f"{RUN.removeprefix('gs://')}/records.json"))
  assert sum(map(int, counted.values())) == 2 * RECORDS_PER_FILE  # by both hosts together
