"""Slurm on this machine: a controller, a node and munge, with files and ports of their own."""

import contextlib
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scontrol", "scancel")
SECONDS = 60  # until a controller that says nothing counts as broken
CPUS = 2

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
EnforcePartLimits=ALL
MaxArraySize=10
MaxJobCount=20
SchedulerParameters=sched_min_interval=100000
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus}
PartitionName=main Nodes={host} Default=YES MaxTime=60 State=UP
"""


def missing() -> list[str]:
  """Programs of Slurm that are not installed."""
  path = f"{os.environ['PATH']}:/usr/sbin"  # which users may not have
  return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def _free_ports(count: int) -> list[int]:
  with contextlib.ExitStack() as stack:
    sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
    for each in sockets:
      each.bind(("127.0.0.1", 0))
    return [each.getsockname()[1] for each in sockets]


def _idle() -> bool:
  done = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, check=False)
  return done.stdout.strip() == "idle"


@contextlib.contextmanager
def started(folder: pathlib.Path) -> Iterator[None]:
  """A cluster of one node, which SLURM_CONF names meanwhile.

  Args:
    folder: empty, with a short path: it holds a socket.
  """
  folder.chmod(0o755)
  key = folder / "munge.key"
  key.write_bytes(os.urandom(1024))
  key.chmod(0o400)
  conf = folder / "slurm.conf"
  user = pwd.getpwuid(os.getuid()).pw_name
  values = dict(host=socket.gethostname(), ports=_free_ports(2), user=user, cpus=CPUS)
  conf.write_text(CONF.format(folder=folder, **values))
  for name in ("state", "spool"):
    (folder / name).mkdir()
  with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
    patch.setenv("SLURM_CONF", str(conf))
    patch.setenv("PATH", "/usr/sbin", prepend=":")
    names = ("pid", "log", "seed")
    own = [f"--{name}-file={folder}/munge.{name}" for name in names]
    munge = ["munged", "--foreground", "--force", f"--key-file={key}"]
    for command in (
      [*munge, f"--socket={folder}/munge.socket", *own],
      ["slurmctld", "-D", "-i"],
      ["slurmd", "-D"],
    ):
      with open(folder / f"{command[0]}.out", "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
      stack.callback(_ended, process)
      if command[0] == "munged":
        _wait(folder, (folder / "munge.socket").exists)
    _wait(folder, _idle)
    yield


def _ended(process: subprocess.Popen) -> None:
  process.terminate()
  try:
    process.wait(20)
  except subprocess.TimeoutExpired:
    process.kill()
    process.wait()


def _wait(folder: pathlib.Path, ready) -> None:
  until = time.monotonic() + SECONDS
  while not ready():
    said = {path.name: path.read_text()[-500:] for path in folder.glob("*.out")}
    assert time.monotonic() < until, f"Slurm does not start: {said}"
    time.sleep(0.1)
