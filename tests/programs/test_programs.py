"""What all programs share: mistakes in one line, exit status, Ctrl-C, and no outdated calls."""

import ast
import gc
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from configs import ConfigError
from data_pipelines import command_line
from data_pipelines.sources import DataError
from experiments.console import program, startup
from experiments.console.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]
PROGRAMS = sorted(
  f"{path.parent.name}.{path.stem}"
  for package in ("experiments", "data_pipelines", "benchmarks")
  for path in (ROOT / package).glob("*.py")
  if '\nif __name__ == "__main__"' in path.read_text()
)


def source(name: str) -> str:
  return (ROOT / f"{name.replace('.', '/')}.py").read_text()


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_is_run_in_one_way(name):
  """None catches for itself what the user can fix, or ends in its own way."""
  tree = ast.parse(source(name))
  assert ast.unparse(tree.body[-1]).splitlines()[-1].strip() in ("run(main)", "program.run(main)")
  (main,) = (node for node in tree.body if getattr(node, "name", None) == "main")
  assert "entry" in ast.unparse(main.decorator_list[0])
  assert "KeyboardInterrupt" not in source(name) and 'f"error: {error}"' not in source(name)


@pytest.mark.parametrize(
  "error, status",
  [
    (UserError("mend\nthis"), 1),
    (DataError("mend\nthis"), 1),
    (ConfigError("mend\nthis"), 2),
    (command_line.Misuse("mend\nthis"), 2),
    (OSError("mend\nthis"), 1),
  ],
)
def test_what_can_be_mended_is_one_line(error, status, capsys):
  @program.entry
  def main(argv):
    raise error

  assert main([]) == status
  assert capsys.readouterr().err == "error: mend this\n"


def test_faults_of_the_program_keep_their_traceback():
  @program.entry
  def main(argv):
    raise RuntimeError

  with pytest.raises(RuntimeError):
    main([])


def interrupted(command, ready=None, seconds=0.0, importing=None) -> tuple[int, str, float]:
  """(exit status, errors, seconds until the end) after Ctrl-C.

  Args:
    command: of the program.
    ready: a word of its output to wait for.
    seconds: to wait then.
    importing: a word of what -X importtime tells, to wait for.
  """
  process = subprocess.Popen(
    command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
  )
  if ready is not None:
    assert any(ready in line for line in process.stdout), process.stderr.read()
  time.sleep(seconds)
  if importing is not None:
    assert any(importing in line for line in process.stderr)
  start = time.monotonic()
  process.send_signal(signal.SIGINT)
  _, errors = process.communicate(timeout=60)
  return process.returncode, errors, time.monotonic() - start


@pytest.mark.parametrize("name", ["experiments.main", "data_pipelines.inspect"])
def test_ctrl_c_while_a_program_imports(name):
  told = [sys.executable, "-X", "importtime", "-m", name, "--config=configs/demo.py"]
  status, errors, _ = interrupted(told, importing="tensorflow.python")
  words = [line for line in errors.splitlines() if not line.startswith("import time:")]
  assert (status, words) == (130, ["interrupted"])


def test_programs_leave_keras_out(monkeypatch):
  monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
  command_line.quieten_tensorflow()
  assert os.environ["TF_USE_LEGACY_KERAS"] == "1"
  monkeypatch.setenv("TF_USE_LEGACY_KERAS", "0")  # somebody wants it
  command_line.quieten_tensorflow()
  assert os.environ["TF_USE_LEGACY_KERAS"] == "0"


def test_no_garbage_is_collected_while_the_largest_library_is_imported():
  with startup._importing("tensor_flow"):
    assert not gc.isenabled()
  assert gc.isenabled() and gc.get_freeze_count() > 0
  gc.unfreeze()
  with startup._importing("gc"):  # what is there already is no longer without garbage
    assert gc.isenabled()
  assert gc.get_freeze_count() == 0


def test_a_warning_is_told_once(capfd):
  code = (
    "from absl import logging; from data_pipelines import command_line\n"
    "command_line.log_to_terminal('%(levelname)s: %(message)s')\n"
    "for _ in range(3): logging.warning('damaged'); logging.error('lost')"
  )
  subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
  assert capfd.readouterr().err == "WARNING: damaged\nERROR: lost\n"


IN_C = """
import sys
sys.argv = ["-m"]
import data_pipelines
from data_pipelines import command_line, interrupts
interrupts.GRACE_SECONDS = 0.1
@command_line.entry()
def main(argv):
  try:
    print("ready", flush=True)
    WORK
  finally:
    open(PATH, "w").close()
command_line.run(main)
"""


@pytest.mark.parametrize(
  "work, tidies",
  [
    ("import time; time.sleep(60)", True),
    # As compiling: nothing of Python runs in the main thread.
    ("import ctypes; c = ctypes.CDLL(None); m = bytes(64); [c.pthread_mutex_lock(m) for _ in '12']",
     False),
  ],
)  # fmt: skip
def test_ctrl_c_while_a_program_works(tmp_path, work, tidies):
  path = tmp_path / "tidied"
  code = IN_C.replace("WORK", work).replace("PATH", repr(str(path)))
  status, errors, seconds = interrupted([sys.executable, "-c", code], "ready", 0.2)
  assert (status, errors) == (130, "interrupted\n") and seconds < 20
  assert path.exists() or not tidies


def test_a_program_that_was_started_deaf_stays_so():
  code = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    "from data_pipelines import interrupts; interrupts.install()\n"
    "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN"
  )
  subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
