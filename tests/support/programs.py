"""Programs in processes of their own that start at once, with all libraries imported already.

  program = programs.start(["experiments.main", f"--workdir={workdir}"], env=ON_ONE_DEVICE)
  program.send_signal(signal.SIGTERM)
  out, err = program.communicate(timeout=100)
  assert program.returncode == 0, err

What follows `python -u -m` is given. Importing TensorFlow, JAX and Orbax takes ten seconds, most of
a tiny program's time. A server imports them once for a process of tests, and forks: nothing of ours
is imported by it but what it starts with, and no backend of JAX exists in it. From the fork on a
program is as it would be by itself, to the end of its interpreter.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import pathlib
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import NoReturn

from data_pipelines.command_line import quieten_tensorflow
from experiments.console import startup
from tests.support import compiler

ROOT = pathlib.Path(__file__).parents[2]
LIBRARIES = (
  "tensorflow", "jax", "flax.linen", "optax", "orbax.checkpoint", "clu.parameter_overview",
  "tensorboard.plugins.hparams.summary_v2", "ml_collections", "PIL.Image", "jinja2", "fsspec",
)  # fmt: skip
BYTES = 1 << 20  # of a message, at once


class Program:
  """A running program; its attributes and methods are those of `subprocess.Popen`."""

  def __init__(self, args: list[str], told: socket.socket, stdout, stderr):
    self.args, self.stdout, self.stderr, self.returncode = args, stdout, stderr, None
    self._told = told.makefile()
    if not (pid := self._told.readline()):
      raise ChildProcessError("the server of programs has ended")
    self.pid = int(pid)
    self._end = threading.Thread(target=self._await_end, daemon=True)
    self._end.start()

  def _await_end(self) -> None:
    self.returncode = int(self._told.readline())
    self._told.close()

  def poll(self) -> int | None:
    """The exit status, or None while it runs."""
    return self.returncode

  def wait(self, timeout: float | None = None) -> int:
    """Returns the exit status, or raises subprocess.TimeoutExpired."""
    self._end.join(timeout)
    if self._end.is_alive():
      raise subprocess.TimeoutExpired(self.args, timeout)
    return self.returncode

  def send_signal(self, number: int) -> None:
    """Sends a signal to it, unless it has ended."""
    if self.returncode is None:
      os.kill(self.pid, number)

  def kill(self) -> None:
    """Ends it at once."""
    self.send_signal(signal.SIGKILL)

  def communicate(self, timeout: float | None = None) -> tuple[str | None, str | None]:
    """Returns what remained of its output and errors, once it has ended."""
    until = None if timeout is None else time.monotonic() + timeout
    texts: list[str | None] = [None, None]

    def read(number: int, stream) -> None:
      texts[number] = stream.read()

    readers = [
      threading.Thread(target=read, args=(number, stream), daemon=True)
      for number, stream in enumerate((self.stdout, self.stderr))
      if stream and not stream.closed
    ]
    for reader in readers:
      reader.start()
    for reader in readers:
      reader.join(until and max(until - time.monotonic(), 0))
      if reader.is_alive():
        raise subprocess.TimeoutExpired(self.args, timeout)
    self.wait(until and max(until - time.monotonic(), 0))
    for stream in (self.stdout, self.stderr):
      if stream:
        stream.close()
    return texts[0], texts[1]


def start(
  words: list[str],
  *,
  env: dict[str, str],
  cwd: pathlib.Path = ROOT,
  before: str = "",
  stdout=subprocess.PIPE,
  stderr=subprocess.PIPE,
) -> Program:
  """Starts a module as a program.

  Args:
    words: the module's name and its arguments.
    env: the environment.
    cwd: the folder that it runs in; modules are those of the repository anyway.
    before: code that the process runs first.
    stdout: a file, or subprocess.PIPE for text to read.
    stderr: the same for errors.
  """
  ends, pipes = [], []
  for place in (stdout, stderr):
    reading, writing = os.pipe() if place == subprocess.PIPE else (None, os.dup(place.fileno()))
    pipes.append(None if reading is None else open(reading))
    ends.append(writing)
  ours, theirs = socket.socketpair()
  words = [str(word) for word in words]
  task = dict(words=words, env=env, cwd=str(cwd), before=before)
  message = json.dumps(task).encode() + b"\n"
  socket.send_fds(_server(), [message], [*ends, theirs.fileno()])
  theirs.close()
  for end in ends:
    os.close(end)
  return Program([sys.executable, "-u", "-m", *words], ours, *pipes)


def run(words: list[str], *, timeout: float, **options) -> subprocess.CompletedProcess:
  """Runs a program to its end; `options` are those of `start`."""
  program = start(words, **options)
  try:
    texts = program.communicate(timeout)
  except subprocess.TimeoutExpired:
    program.kill()
    raise
  return subprocess.CompletedProcess(program.args, program.returncode, *texts)


@functools.cache
def _server() -> socket.socket:
  """Starts the server; it ends with this process."""
  ours, theirs = socket.socketpair()
  command = [sys.executable, "-u", "-m", "tests.support.programs"]
  pipes = dict(stdin=theirs, stdout=subprocess.DEVNULL)
  server = subprocess.Popen(command, cwd=ROOT, env=compiler.environment(), **pipes)
  theirs.close()

  def end() -> None:
    ours.close()
    server.wait()

  atexit.register(end)
  return ours


def serve(control: socket.socket) -> dict:
  """Forks for each task; returns the task in the processes that are to do it."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, which then end this
  quieten_tensorflow()
  for library in LIBRARIES:
    importlib.import_module(library)
  gc.freeze()  # what is there already stays, and is shared
  signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for watchers
  while True:
    message, fds, _, _ = socket.recv_fds(control, BYTES, 3)
    if not message:
      sys.exit()
    while not message.endswith(b"\n"):
      message += control.recv(BYTES)
    if os.fork() == 0:
      break
    for fd in fds:
      os.close(fd)
  control.close()
  signal.signal(signal.SIGCHLD, signal.SIG_DFL)
  *pipes, told = fds
  for number, pipe in enumerate(pipes, start=1):
    os.dup2(pipe, number)
    os.close(pipe)
  if pid := os.fork():
    _watch(pid, socket.socket(fileno=told))
  os.close(told)
  signal.signal(signal.SIGINT, signal.default_int_handler)
  return json.loads(message)


def _watch(pid: int, told: socket.socket) -> NoReturn:
  """Tells who started a program its number, and how it ended."""
  try:
    os.closerange(0, 3)  # what the program writes ends with the program
    told.send(f"{pid}\n".encode())
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    told.send(f"{status}\n".encode())
  finally:
    os._exit(0)


def _do(words: list[str], env: dict[str, str], cwd: str, before: str) -> None:
  """Runs the program of a task, as it would be run by `python -m`."""
  import jax
  import numpy as np

  np.random.seed()  # all have the server's numbers
  env.setdefault("GLIBC_TUNABLES", os.environ.get("GLIBC_TUNABLES", ""))  # glibc has read it
  changed = {name for name, _ in os.environ.items() ^ env.items() if name.startswith("JAX_")}
  os.environ.clear()
  os.environ.update(env)
  for name in changed & {name.upper() for name in jax.config.values}:  # read when JAX was imported
    jax.config.update(name.lower(), _parsed(env.get(name), jax.config.values[name.lower()]))
  os.chdir(cwd)
  sys.argv, sys.orig_argv = [*words], [sys.executable, "-u", "-m", *words]
  exec(before, {})
  runpy.run_module(words[0], run_name="__main__", alter_sys=True)


def _parsed(text: str | None, now):
  """A variable as JAX reads it, for a setting with this value."""
  if isinstance(now, bool):
    return text is not None and text.lower() in ("1", "true", "on", "yes")
  return type(now)(text) if isinstance(now, int | float) else text


if __name__ == "__main__":
  startup.use_huge_pages()
  with socket.socket(fileno=os.dup(0)) as tasks, open(os.devnull) as nothing:
    os.dup2(nothing.fileno(), 0)
    task = serve(tasks)
  _do(**task)
