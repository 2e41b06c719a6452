"""Several hosts: real processes on this machine, two devices each, as one run.

What they do together must equal what one process with all the devices does; and when one of them
ends, for whatever reason, so do the others.
"""

import contextlib
import io
import json
import re
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from conftest import TINY_RUN, tiny_config
from flax import traverse_util

import data_pipelines
from data_pipelines.sources import shard_rows
from experiments import main
from experiments.hardware import devices, hosts
from experiments.training import loop
from genesis_jax import runs
from tests.support import compiler, programs

SOON = 60  # seconds within which a host ends that lost another; mostly it is one second
# The validation split has 40 images: its last batch is incomplete, and is not wanted to its end.
SETTINGS = {
  "batch_size": 16,
  "validate_every": 3,
  "images_every": 3,
  "num_validation_images": 35,
  "keep_checkpoints": 1,
}
ENDLESS = {"num_steps": 100_000, "checkpoint_every": 2}


def free_port() -> int:
  with socket.create_server(("127.0.0.1", 0)) as server:
    return server.getsockname()[1]


def start(arguments, num_devices: int) -> subprocess.Popen | programs.Program:
  pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  env = compiler.environment(num_devices)
  if arguments[0] == "-m":
    return programs.start(arguments[1:], env=env)
  return subprocess.Popen([sys.executable, "-u", *arguments], env=env, **pipes)


@contextlib.contextmanager
def two_hosts(command, differing=((), ())):
  """The program twice, as two hosts of two devices each; killed at the latest when left."""
  port = free_port()
  processes = [
    start([*command, f"--multihost=127.0.0.1:{port},{index},2", *differing[index]], 2)
    for index in range(2)
  ]
  try:
    yield processes
  finally:
    for process in processes:
      process.kill()
      process.communicate()


def ended(process, within: float = 400) -> tuple[str, str]:
  """What a program that ended by itself printed."""
  return process.communicate(timeout=within)


def wait_for(process, text) -> None:
  for line in process.stdout:
    if line.startswith(text):
      return
  raise AssertionError(f"{text!r} never came: {process.stderr.read()}")


@pytest.fixture(scope="module")
def command(gqn_root):
  """(workdir, settings) -> the training program's command."""

  def of(workdir, **settings):
    fields = {"data.data_dir": gqn_root} | SETTINGS | settings
    given = TINY_RUN | fields
    words = [f"--config.{name}={value}" for name, value in given.items()]
    config = "--config=tests/support/tiny_model.py:gqn"
    return ["-m", "experiments.main", config, f"--workdir={workdir}", *words]

  return of


def rows(workdir) -> list[dict]:
  return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def files(workdir) -> set[str]:
  """Names of all files, but of those inside checkpoints and TensorBoard's, which are random."""
  names = {str(path.relative_to(workdir)) for path in workdir.rglob("*") if path.is_file()}
  return {re.sub(r"/(state|origin)/.*|/events.*", "/...", name) for name in names}


@pytest.fixture(scope="module")
def two_and_one(command, tmp_path_factory):
  """Folders of the same run on two hosts, stopped and resumed, and on this one; and its steps."""
  folder = tmp_path_factory.mktemp("hosts")
  with two_hosts(command(folder / "two", **ENDLESS)) as processes:
    wait_for(processes[0], "step 4/")
    processes[1].send_signal(signal.SIGTERM)
    printed = [ended(process, within=SOON) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
  stopped_at = int(re.search(r"stopped after step (\d+)", printed[0][0])[1])
  assert runs.checkpoint_steps(folder / "two") == [stopped_at]
  num_steps = stopped_at + 3
  with two_hosts(command(folder / "two", num_steps=num_steps)) as processes:
    printed = [ended(process) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
  out = [stdout for stdout, _ in printed]
  assert "4 x cpu (cpu) on 2 hosts" in out[0] and f"step {num_steps}/{num_steps}" in out[0]
  assert f"from step {stopped_at} of {num_steps}" in out[0]
  # The second host says nothing but Gloo's greeting, which several threads print in pieces.
  assert not [line for line in out[1].splitlines() if line and "[Gloo]" not in line and
              "connected" not in line and not line.strip().isdigit()]  # fmt: skip
  assert main.main(command(folder / "one", num_steps=num_steps)[2:]) == 0
  return folder / "two", folder / "one", num_steps


@pytest.mark.slow
def test_two_hosts_train_as_one(two_and_one):
  two, one, num_steps = two_and_one
  assert files(two) == files(one)
  for row_two, row_one in zip(rows(two), rows(one), strict=True):
    values_two, values_one = (  # speed is unknown where a program's first step was alone
      {name: value for name, value in row.items()
       if name != "time" and not name.endswith(("step_time", "per_second"))}
      for row in (row_two, row_one)
    )  # fmt: skip
    assert values_two == pytest.approx(values_one, rel=1e-4, abs=1e-3)
  assert rows(two)[-1]["val/num_images"] == 35
  states = [runs.read_checkpoint(workdir, num_steps)[0] for workdir in (two, one)]
  flat = [traverse_util.flatten_dict(state, sep="/") for state in states]
  assert flat[0].keys() == flat[1].keys()
  for name, value in flat[1].items():
    np.testing.assert_allclose(flat[0][name], value, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_checkpoint_of_two_hosts_resumes_on_one(two_and_one, gqn_root, tmp_path):
  two, _, num_steps = two_and_one
  workdir = shutil.copytree(two, tmp_path / "run")
  config = tiny_config("tiny", gqn_root)
  config.update_from_flattened_dict(SETTINGS | {"num_steps": num_steps + 2})
  with loop.opened(config, workdir) as (run, state):  # on other devices
    assert run.first == num_steps
    loop.run_steps(run, devices.replicate(state))
  assert [row["step"] for row in rows(workdir)][-1] == num_steps + 2


@pytest.mark.slow
def test_hosts_end_with_the_one_that_is_killed(two_and_one, command, tmp_path):
  """A training that one host began, and two went on with."""
  _, one, first = two_and_one
  workdir = shutil.copytree(one, tmp_path / "run")
  with two_hosts(command(workdir, **ENDLESS)) as processes:
    wait_for(processes[0], f"resuming   from step {first}")
    wait_for(processes[0], f"step {first + 4 + first % 2}/")
    processes[1].kill()
    _, err = ended(processes[0], within=SOON)
    assert processes[0].returncode != 0
    assert "error: host 1 vanished" in err and "resumes" in err, err
  assert runs.checkpoint_steps(workdir)[-1] > first


# Joined, the hosts do what the second word says of each, by a letter.
JOINED = """
import threading
import jax
from experiments.console import program
from experiments.console.errors import UserError
from experiments.hardware import devices, hosts

@program.entry
def main(argv):
  with hosts.joined(argv[1].removeprefix("--multihost=")):
    devices.wait_for_all("begin")
    print("begun")
    does = argv[0][jax.process_index()]
    if does == "f":  # fails
      raise UserError("no data in /nowhere")
    if does == "h":  # hangs
      threading.Event().wait()
    devices.wait_for_all("others, who never come")

program.run(main)
"""


def test_the_others_end_where_the_first_is_killed():
  with two_hosts(["-c", JOINED, "hw"]) as processes:
    for process in processes:
      wait_for(process, "begun")
    processes[0].kill()
    _, err = ended(processes[1], within=SOON)
    assert processes[1].returncode != 0
    assert "error: host 0 vanished" in err and "resumes" in err, err


def errors(processes) -> list[str]:
  """The one line with which each of the failed programs ends."""
  found = []
  for process in processes:
    _, err = ended(process)
    assert process.returncode == 1
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in err, err
    found += lines
  return found


def test_hosts_end_with_the_one_that_fails():
  with two_hosts(["-c", JOINED, "wf"]) as processes:
    assert re.search("host 1 failed: no data in /nowhere", errors(processes)[0])


@pytest.mark.slow
def test_hosts_with_other_settings_end(command, tmp_path):
  with two_hosts(command(tmp_path / "run"), differing=([], ["--config.seed=1"])) as processes:
    assert re.search(r"hosts \[1\] have another configuration", errors(processes)[0])


COUNT = """
import json, functools, hashlib, jax
from experiments.hardware import devices
from experiments.scoring import evaluator
from experiments.training import feed, loop, validation
import data_pipelines, genesis_jax
from genesis_jax import objective, training
from tests.support import tiny_model

config = tiny_model.get_config("multi_dsprites")
config.update_from_flattened_dict({
  "model.image_size": 32, "batch_size": 24, "data.source": "generator", "data.num_val": 37,
  "num_validation_images": 35})
model = genesis_jax.build_model(config.model)
tx = objective.optimizer(config)
state = jax.jit(lambda key: training.create_train_state(key, model, tx))(jax.random.key(0))
means = validation.Validator(config, model)(devices.replicate(state))
batches = data_pipelines.sample(config.data, "val", 35, batch_size=20)
index, values = evaluator.Evaluator(model, 20)(state.variables, batches)
drawn = feed.Feed(config, 3)
draw = devices.parallel(drawn.steps(lambda state, batch: (state, batch["image"])))
batches = next(devices.prefetch(drawn, axis=1))
images = jax.device_get(draw(devices.replicate(state), batches, drawn.resident)[1])
digest = hashlib.sha256(images.tobytes()).hexdigest()
state, scalars = loop.compiled_steps(config, model, tx, drawn)(
  devices.replicate(state), batches, drawn.resident)
losses = [float(devices.first(scalars[name])[0]) for name in ("elbo", "grad_norm")]
per_image = {name: value[0].tolist() for name, value in values.items()}
print(json.dumps([means, per_image, digest, losses]))
"""


@pytest.mark.slow
def test_every_image_counts_once_on_any_number_of_devices():
  """In validation, scores, what the generator draws, and a step of training.

  On the two devices of this process, and on three, which cannot share the batch of the scores, and
  of which the last gets no row of the last batch of the validation.
  """
  process = start(["-c", COUNT], 3)
  here = io.StringIO()
  with contextlib.redirect_stdout(here):
    exec(COUNT, {})
  there, err = ended(process)
  assert process.returncode == 0, err
  results = [json.loads(out.splitlines()[-1]) for out in (here.getvalue(), there)]
  for means, values, digest, losses in results:
    assert digest == results[0][2]
    assert losses == pytest.approx(results[0][3], rel=1e-3)
    assert means["num_images"] == 35
    assert all(len(value) == 35 for value in values.values())
    assert means == pytest.approx(results[0][0], rel=1e-4, abs=1e-3)
    for name, value in values.items():
      np.testing.assert_allclose(value, results[0][1][name], rtol=1e-4, atol=1e-3, err_msg=name)


def alone(spec: str) -> tuple[int, str]:
  """Status and errors of a host that waits a second for others."""
  code = (
    "from experiments.hardware import hosts; hosts.JOIN_SECONDS = 1\n"
    f"with hosts.joined({spec!r}): pass"
  )
  process = start(["-c", code], 1)
  _, err = ended(process, within=120)
  return process.returncode, err


@pytest.mark.parametrize("index", [0, 1])
def test_a_host_that_stays_alone_says_so(index):
  status, err = alone(f"127.0.0.1:{free_port()},{index},2")
  assert status == 1
  assert err.startswith("error: not all hosts of --multihost=127") and "within 1 s" in err


def test_hosts_that_cannot_be_found():
  status, err = alone("auto")
  assert status == 1
  assert "cannot join the hosts" in err and "--multihost=ADDRESS:PORT,INDEX,COUNT" in err


def test_a_failing_host_tells_the_first_and_the_first_all_others(monkeypatch):
  """Two lines that meet: the first host's ends are `ours`."""
  said, pairs = [], {host: socket.socketpair() for host in (1, 2)}
  monkeypatch.setattr(hosts, "_die", said.append)
  lines = hosts._Lines.__new__(hosts._Lines)
  lines._lock, lines._ended = hosts.threading.Lock(), False
  lines._lines = {host: ours for host, (ours, _) in pairs.items()}
  theirs = pairs[1][1]
  theirs.sendall(b"host 1 failed: no data\n")
  lines._listen(1, pairs[1][0])
  assert said == [f"host 1 failed: no data; {hosts.RESUME}"]
  assert pairs[2][1].recv(100) == b"host 1 failed: no data\n"
  for pair in pairs.values():
    for end in pair:
      end.close()


def test_a_farewell_ends_nothing(monkeypatch):
  monkeypatch.setattr(hosts, "_die", lambda reason: pytest.fail(reason))
  ours, theirs = socket.socketpair()
  with ours, theirs:
    theirs.sendall(f"{hosts.FAREWELL}\n".encode())
    lines = hosts._Lines()
    lines._listen(1, ours)


@pytest.mark.parametrize(
  "argument, value",
  [
    ([], None),
    (["--multihost"], "auto"),
    (["--nomultihost"], None),
    (["--multihost=10.0.0.1:1234,0,2"], "10.0.0.1:1234,0,2"),
    (["--multihost=node-7:1234,1,2"], "node-7:1234,1,2"),
  ],
)
def test_the_flag(argument, value):
  assert main._parser().parse_args(argument).multihost == value


@pytest.mark.parametrize("argument", ["2", "10.0.0.1:1234", "10.0.0.1,0,2", "10.0.0.1:1,2,2"])
def test_the_flag_refuses(argument, capsys):
  with pytest.raises(SystemExit) as stopped:
    main._parser().parse_args([f"--multihost={argument}"])
  assert stopped.value.code == 2
  assert re.fullmatch("error: .*(ADDRESS:PORT|index 2 of 2).*\n", capsys.readouterr().err)


def test_rows_of_shards_are_where_they_always_are():
  batch = list(range(5))  # incomplete: of 8
  assert [batch[shard_rows(8, i, 4)] for i in range(4)] == [[0, 1], [2, 3], [4], []]


@pytest.mark.slow
@pytest.mark.parametrize("batch_size, shards", [(16, 4), (64, 8)])
def test_shards_of_an_incomplete_batch_may_have_no_rows(gqn_root, batch_size, shards):
  config = tiny_config("vae", gqn_root).data

  def draw(**part):
    batches = data_pipelines.batches(config, split="val", batch_size=batch_size, epochs=1, **part)
    return [batch["image"] for batch in batches]

  parts = zip(*(draw(shard_index=i, shard_count=shards) for i in range(shards)), strict=True)
  for part, whole in zip(parts, draw(), strict=True):
    np.testing.assert_array_equal(np.concatenate(part), whole)
  assert len(part[-1]) == 0
