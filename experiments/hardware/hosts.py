"""Several hosts as one program: they join, detect each other's failure, and end together.

  with hosts.joined(spec):        # None: this host alone
    train(...)

Each host holds a line (a TCP connection) to the first one. A host that fails says why on its line;
the line of one that is killed just breaks. Either way the first host tells the others, and all end
at once with one sentence. JAX's own heartbeats cover hosts that neither end nor answer. They are
not enough: when they miss a host, the runtime aborts with a stack trace that a program cannot
replace, and the reason is lost.
"""

import atexit
import contextlib
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

from experiments.console.errors import UserError, one_line

JOIN_SECONDS = 300  # for all hosts to come
HEARTBEAT_SECONDS = 30  # without a sign of life until JAX gives up on a host
LINE_SECONDS = 60  # for the lines to be made, once all hosts are there
ADDRESS_SECONDS = 10  # for one of the addresses of the first host to answer
LETTERS = 1024  # in what the first host tells the others
GRACE_SECONDS = 10  # for the reason to arrive, after an operation between hosts has failed
FAREWELL = "farewell"
RESUME = "the same command on all hosts resumes from the newest checkpoint"


@contextlib.contextmanager
def joined(spec: str | None) -> Iterator[None]:
  """Makes the hosts of a run one program; call it before anything else in JAX.

  If the body fails here, the other hosts end too, and this program ends without waiting for them.
  If another host fails or vanishes, this program ends with status 1 wherever it is.

  Args:
    spec: "auto" where JAX finds the hosts itself (TPU pods, Slurm, MPI, Kubernetes), or
      "address:port,index,count" with the first host's address and this one's index; None: no
      other hosts.

  Raises:
    UserError: for any other `spec`, or if the hosts cannot be reached.
  """
  if spec is None:
    yield
    return
  _connect(spec)
  lines = _Lines([] if spec == "auto" else [_without_port(spec.partition(",")[0])])
  try:
    yield
  except BaseException as error:
    if isinstance(error, jax.errors.JaxRuntimeError):
      time.sleep(GRACE_SECONDS)  # most likely another host is to blame, and its line will tell
    lines.tell(f"host {jax.process_index()} failed: {one_line(error, 500)}")
    atexit.register(_end_without_waiting)  # JAX would wait for the other hosts
    if isinstance(error, KeyboardInterrupt):
      raise UserError(f"interrupted; {RESUME}") from error
    raise
  lines.tell(FAREWELL)


def _connect(spec: str) -> None:
  """Joins the other hosts.

  Raises:
    UserError: see `joined`.
  """
  # If hosts are missing, JAX aborts with a stack trace instead of raising: act first.
  timer = threading.Timer(JOIN_SECONDS, _die, [_absence(spec)])
  timer.daemon = True
  timer.start()
  seconds = dict(
    initialization_timeout=JOIN_SECONDS + 60, heartbeat_timeout_seconds=HEARTBEAT_SECONDS
  )
  try:
    if spec == "auto":
      jax.distributed.initialize(**seconds)
    else:
      address, index, count = spec.split(",")
      jax.distributed.initialize(
        address, int(count), int(index), cluster_detection_method="deactivate", **seconds
      )
  except (IndexError, TypeError, ValueError, RuntimeError) as error:
    raise UserError(
      f"cannot join the hosts of --multihost={spec}: {one_line(error, 500)}; plain --multihost "
      "finds the hosts of a TPU pod, Slurm, MPI or Kubernetes; anywhere else give "
      "--multihost=ADDRESS:PORT,INDEX,COUNT, with the first host's address"
    ) from error
  finally:
    timer.cancel()


def _absence(spec: str) -> str:
  return (
    f"not all hosts of --multihost={spec} came within {JOIN_SECONDS} s; start the same command on "
    "each of them, and see that they reach the first host's port"
  )


class _Lines:
  """This host's lines: to all others on the first host, to the first on the others.

  Args:
    addresses: of the first host, as far as they are known.
  """

  def __init__(self, addresses: Sequence[str] = ()):
    self._lines: dict[int, socket.socket] = {}
    self._lock = threading.Lock()
    self._ended = False
    if jax.process_count() == 1:
      return
    try:
      if jax.process_index() == 0:
        self._accept()
      else:
        self._call(addresses)
    except (OSError, jax.errors.JaxRuntimeError) as error:
      raise UserError(f"cannot connect the hosts: {error}") from error
    for host, line in self._lines.items():
      threading.Thread(target=self._listen, args=(host, line), daemon=True).start()

  def _accept(self) -> None:
    """Waits for the calls of all other hosts; drops callers that do not know the token."""
    token, both = secrets.token_hex(16), socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    with socket.create_server(("", 0), family=family, dualstack_ipv6=both) as server:
      server.settimeout(LINE_SECONDS)
      _from_first(" ".join([str(server.getsockname()[1]), token, *_own_addresses()]))
      while len(self._lines) < jax.process_count() - 1:
        line, _ = server.accept()
        line.settimeout(LINE_SECONDS)
        words = _read(line).split()
        if len(words) == 2 and secrets.compare_digest(words[0], token):
          self._lines[int(words[1])] = _kept_alive(line)
        else:
          line.close()

  def _call(self, addresses: Sequence[str]) -> None:
    """Calls the first host, at the first of its addresses that answers."""
    port, token, *own = _from_first("").split()
    for address in (*addresses, *own):
      try:
        line = socket.create_connection((address, int(port)), ADDRESS_SECONDS)
        break
      except OSError as error:
        reason = error
    else:
      raise OSError(f"no answer from {', '.join((*addresses, *own))}: {reason}")
    line.sendall(f"{token} {jax.process_index()}\n".encode())
    self._lines[0] = _kept_alive(line)

  def _listen(self, host: int, line: socket.socket) -> None:
    """Ends this program if `host` fails or vanishes."""
    words = _read(line)
    if words == FAREWELL or self._ended:
      return
    reason = words or f"host {host} vanished: killed, crashed or out of reach"
    self.tell(reason)
    _die(reason if RESUME in reason else f"{reason}; {RESUME}")

  def tell(self, words: str) -> None:
    """Sends a last message on all lines."""
    with self._lock:
      self._ended = True
      for line in self._lines.values():
        with contextlib.suppress(OSError):
          line.sendall(f"{words}\n".encode())


def _from_first(words: str) -> str:
  """What the first host says, on all of them."""
  letters = np.frombuffer(words.encode().ljust(LETTERS)[:LETTERS], np.uint8)
  return bytes(np.asarray(multihost_utils.broadcast_one_to_all(letters))).decode().strip()


def _own_addresses() -> list[str]:
  """Where others may reach this machine, the most likely first."""
  found = [socket.gethostname()]
  with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect(("192.0.2.1", 9))  # sends nothing: only asks which way leads out
    found.append(probe.getsockname()[0])
  with contextlib.suppress(OSError):
    found += [info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)]
  return list(dict.fromkeys([*found, "127.0.0.1"]))


def _without_port(address: str) -> str:
  return address.rpartition(":")[0].strip("[]")


def _read(line: socket.socket) -> str:
  """The next line of text; empty when the connection is lost."""
  words = b""
  with contextlib.suppress(OSError):
    while (byte := line.recv(1)) not in (b"", b"\n"):
      words += byte
  return words.decode(errors="replace")


def _kept_alive(line: socket.socket) -> socket.socket:
  """The connection, without a timeout, but lost once the other machine is silent for 40 s."""
  line.settimeout(None)
  line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
  for name, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
    if hasattr(socket, name):  # Linux
      line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
  return line


def _die(reason: str) -> None:
  """Ends the program at once, from any thread: others may be stuck in operations between hosts."""
  print(f"error: {reason}", file=sys.stderr)
  _end_without_waiting()


def _end_without_waiting() -> None:
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(OSError, ValueError):
      stream.flush()
  os._exit(1)
