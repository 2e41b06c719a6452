"""Breaks the real training program in many ways, and checks that nothing saved is ever lost.

    python -m tests.support.fault_injection     # everything; an hour on two cores
    python -m tests.support.fault_injection --kills=5 kills disk_full
    report = fault_injection.disk_full(fault_injection.Bench(tmp_path))

Every fault must end in exact resumption (the state of an uninterrupted run, bit for bit) or in one
line that says what is wrong, with the checkpoints as they were. A full and a read-only disk are
small memory disks where this program may mount them; elsewhere a limit on the size of files, and
permissions.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np
from flax import traverse_util

from genesis_jax import runs
from tests.support import compiler, programs

VARIANT = "rooms_ring_camera"
TIMEOUT = 600  # seconds until a program that says nothing counts as hanging
STEPS = 8  # of the runs that are compared

CONFIG = "tests/support/tiny_model.py"  # its checkpoints have 1.3 MB
SETTINGS = {
  "batch_size": 4,  # an epoch has ten steps
  "data.limit": 40,
  "log_every": 1,
  "images_every": 0,
  "validate_every": 0,
  "num_validation_images": 8,
  "test_images": 0,
  "checkpoint_every": 1,
  "keep_checkpoints": 3,
  "keep_every": 0,
}

# Run by Python before the program: what a slow disk, a full one, and a clock that is set back look
# like.
SLOW_DATA = """
import builtins, time
import data_pipelines.reading.lanes.files as files
fast = files._Bytes.__init__
def slow(self, *arguments):
  time.sleep(0.1)
  fast(self, *arguments)
files._Bytes.__init__ = slow
"""
LIMITED_FILES = """
import resource
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
"""
CLOCK_BACK = """
import time
real, began = time.time, time.monotonic()
time.time = lambda: real() - (86400 if time.monotonic() > began + {after} else 0)
"""


class Program:
  """The training program, running."""

  def __init__(self, bench: "Bench", workdir: pathlib.Path, changes: dict, before: str):
    settings = SETTINGS | {"data.data_dir": bench.data, "num_steps": STEPS} | changes
    overrides = [f"--config.{name}={value}" for name, value in settings.items()]
    self.log = bench.folder / f"log_{bench.next_number()}.txt"
    environment = {"XDG_CACHE_HOME": str(bench.folder / "cache")} | compiler.environment()
    with open(self.log, "w") as log:
      self.process = programs.start(
        ["experiments.main", f"--config={CONFIG}", *overrides, f"--workdir={workdir}"],
        env=environment, before=before, stdout=log, stderr=log,
      )  # fmt: skip

  def output(self) -> str:
    """What it has printed."""
    return self.log.read_text()

  def wait_for(self, text: str) -> bool:
    """Returns once it has printed `text` (True) or has ended without (False)."""
    deadline = time.monotonic() + TIMEOUT
    while text not in self.output():
      if self.process.poll() is not None:
        return text in self.output()
      if time.monotonic() > deadline:
        self.process.kill()
        raise AssertionError(f"hangs without {text!r}: {self.output()[-2000:]}")
      time.sleep(0.02)
    return True

  def kill(self) -> None:
    """Ends it as a power cut would."""
    self.process.kill()
    self.process.wait()

  def finish(self) -> str:
    """Waits for success; returns what was printed."""
    code = self._wait()
    assert code == 0, f"status {code}: {self.output()[-2000:]}"
    return self.output()

  def fail(self, *words: str) -> str:
    """Waits for one line of error that has these words; returns it."""
    code, output = self._wait(), self.output()
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert code == 1 and len(errors) == 1, f"status {code}: {output[-3000:]}"
    assert "Traceback" not in output, output[-3000:]
    for word in words:
      assert word in errors[0], f"{word!r} is not in {errors[0]}"
    return errors[0]

  def _wait(self) -> int:
    try:
      return self.process.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
      self.process.kill()
      raise AssertionError(f"hangs: {self.output()[-2000:]}") from None


def flat_state(workdir: pathlib.Path, step: int) -> dict[str, np.ndarray]:
  """All arrays of a checkpoint, by name."""
  return traverse_util.flatten_dict(runs.read_checkpoint(workdir, step)[0], sep="/")


def assert_same(got: dict, expected: dict) -> None:
  """Raises AssertionError unless two states are equal to the last bit."""
  assert got.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(got[name], value, err_msg=name)


@dataclasses.dataclass
class Bench:
  """A folder for runs, with records to train on.

  Attributes:
    folder: where everything is written.
    seed: of the random moments and places.
  """

  folder: pathlib.Path
  seed: int = 0

  def __post_init__(self):
    self.rng = np.random.default_rng(self.seed)
    self._number = 0

  def next_number(self) -> int:
    """1, 2, 3, ..."""
    self._number += 1
    return self._number

  @functools.cached_property
  def data(self) -> pathlib.Path:
    """Folder of records in GQN's layout."""
    from data_pipelines.datasets.gqn import stand_in as standins

    standins.write(self.folder / "gqn", variant=VARIANT, num_scenes=20, image_size=32)
    return self.folder / "gqn"

  def start(self, workdir: pathlib.Path, before: str = "", **changes) -> Program:
    """Starts training in `workdir`, after some code; changes are settings with "__" for dots."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return Program(self, workdir, named, before)

  def uninterrupted(self, steps: int) -> pathlib.Path:
    """A run of so many steps, with a checkpoint of each (of the last, if there are many)."""
    workdir = self.folder / f"uninterrupted_{steps}"
    if not (workdir / "metrics.json").exists():
      self.start(workdir, num_steps=steps, keep_every=int(steps <= 50)).finish()
    return workdir

  def assert_exact(self, workdir: pathlib.Path, steps: int = STEPS) -> None:
    """Raises AssertionError unless a run of `steps` ended as the uninterrupted one."""
    assert runs.checkpoint_steps(workdir)[-1] == steps
    assert_same(flat_state(workdir, steps), flat_state(self.uninterrupted(steps), steps))
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, steps + 1)), "metrics.jsonl"

  def copy(self, name: str, steps: int) -> pathlib.Path:
    """A copy of an uninterrupted run."""
    workdir = self.folder / name
    shutil.copytree(self.uninterrupted(steps), workdir)
    return workdir


def damage_file(path: pathlib.Path, rng: np.random.Generator, how: str) -> None:
  """Cuts a file short at a random place, or flips a random bit of it."""
  content = bytearray(path.read_bytes())
  at = int(rng.integers(len(content)))
  if how == "cut":
    del content[at:]
  else:
    content[at] ^= 1 << int(rng.integers(8))
  path.write_bytes(content)


@contextlib.contextmanager
def small_disk(folder: pathlib.Path, megabytes: int) -> Iterator[bool]:
  """Makes `folder` a memory disk of that size; gives whether that was permitted."""
  folder.mkdir(parents=True)
  command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)]
  try:
    mounted = subprocess.run(command, capture_output=True).returncode == 0
  except FileNotFoundError:
    mounted = False
  try:
    yield mounted
  finally:
    if mounted:
      subprocess.run(["umount", "-l", str(folder)], check=True)


def _remount(folder: pathlib.Path, option: str) -> None:
  subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)


def kills(bench: Bench, count: int = 50) -> str:
  """SIGKILL at random moments: a third at any time, the rest while it trains and saves."""
  workdir, newest, while_training = bench.folder / "kills", 0, 0
  for index in range(count):
    program = bench.start(workdir, num_steps=100_000)
    if index % 3 and program.wait_for("\nstep "):
      while_training += 1
      time.sleep(bench.rng.uniform(0, 3))
    else:
      time.sleep(bench.rng.uniform(0, 30))
    assert program.process.poll() is None, program.output()[-2000:]
    program.kill()
    steps = runs.checkpoint_steps(workdir)
    assert not steps or steps[-1] >= newest, f"step {newest} is lost: {steps}"
    # Older ones may be half deleted, as they were to be.
    for step in steps[-SETTINGS["keep_checkpoints"] :]:
      runs.read_checkpoint(workdir, step)
    newest = max(steps, default=0)
    print(f"  kill {index + 1} of {count}: saved up to step {newest}", flush=True)
  program = bench.start(workdir, num_steps=100_000)
  program.wait_for("\nstep ")
  program.process.send_signal(signal.SIGTERM)
  assert "the same command resumes" in program.finish()
  newest = runs.checkpoint_steps(workdir)[-1]
  bench.assert_exact(workdir, newest)
  return f"{count} kills, {while_training} while it trained, then SIGTERM at step {newest}: exact"


def disk_full(bench: Bench) -> str:
  """The disk fills up with checkpoints; later there is room."""
  disk = bench.folder / "small_disk"
  workdir, expected = disk / "run", bench.uninterrupted(STEPS)
  with small_disk(disk, 6) as mounted:
    limits = "" if mounted else LIMITED_FILES
    many = {"keep_checkpoints": 100}
    error = bench.start(workdir, limits, **many).fail(str(workdir))
    saved = runs.checkpoint_steps(workdir)
    for step in saved:
      assert_same(flat_state(workdir, step), flat_state(expected, step))
    if mounted:
      _remount(disk, "size=200m")
    out = bench.start(workdir, **many).finish()
    assert not saved or f"from step {saved[-1]} of" in out, out
    assert set(saved) <= set(runs.checkpoint_steps(workdir))
    bench.assert_exact(workdir)
  how = "6 MB disk" if mounted else "files of at most 400 kB (no permission to mount)"
  return f"{how}: {len(saved)} checkpoints kept, exact once there was room; {error}"


def read_only(bench: Bench) -> str:
  """The folder of a run becomes read-only, and later writable again."""
  disk = bench.folder / "read_only_disk"
  workdir = disk / "run"
  with small_disk(disk, 200) as mounted:
    shutil.copytree(bench.uninterrupted(STEPS - 2), workdir)
    if mounted:
      _remount(disk, "ro")
    else:
      workdir.chmod(0o555)  # holds for all users but root, who may mount
    error = bench.start(workdir).fail("cannot write to --workdir")
    if mounted:
      _remount(disk, "rw")
    else:
      workdir.chmod(0o755)
    bench.start(workdir).finish()
    bench.assert_exact(workdir)
  return f"{'read-only disk' if mounted else 'permissions'}: {error}"


def damaged_checkpoint(bench: Bench) -> str:
  """Files of the newest checkpoint are cut short, or have a flipped bit."""
  for how in ("cut", "flip"):
    workdir = bench.copy(f"damaged_{how}", STEPS - 1)
    folder = workdir / runs.FOLDER / str(STEPS - 1)
    largest = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    damage_file(largest, bench.rng, how)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    out = bench.start(workdir, keep_checkpoints=100).finish()
    assert f"WARNING: checkpoint {STEPS - 1} cannot be read" in out, out
    assert f"from step {STEPS - 2} of" in out, out
    aside = folder.with_name(f"{folder.name}.unreadable")
    for path, content in before.items():
      assert (aside / path.relative_to(folder)).read_bytes() == content
    bench.assert_exact(workdir)
  return "cut and flipped: the checkpoint before it used, the damaged one set aside; exact"


def damaged_records(bench: Bench) -> str:
  """Random bytes of the records change: an error, or fewer images where that was asked for."""
  workdir, data = bench.folder / "damaged_records", bench.folder / "damaged_data"
  bench.copy(workdir.name, STEPS - 2)
  shutil.copytree(bench.data, data)
  for path in data.rglob("train/*.tfrecord"):
    damage_file(path, bench.rng, "flip")
  error = bench.start(workdir, data__data_dir=data).fail("is damaged", "on_corrupt=skip")
  bench.start(
    bench.folder / "skipping", data__data_dir=data, data__on_corrupt="skip", data__limit=0
  ).finish()
  bench.start(workdir).finish()
  bench.assert_exact(workdir)
  return f"skipped where asked for, exact with whole records; {error}"


def vanishing_data(bench: Bench) -> str:
  """The folder of the data goes away while the program trains, and comes back."""
  workdir, data = bench.folder / "vanishing", bench.folder / "vanishing_data"
  shutil.copytree(bench.data, data)
  # What is read at once is many epochs of so little data, and would not miss its files for long.
  few = "import data_pipelines.reading.lanes.pipeline as lanes; lanes.GROUP_VIEWS = 8\n"
  program = bench.start(workdir, before=few, data__data_dir=data, num_steps=100_000)
  program.wait_for("\nstep ")
  away = data.rename(data.with_name("away"))
  error = program.fail(str(data), "cannot be read", "give the same command again")
  saved = runs.checkpoint_steps(workdir)[-1]
  away.rename(data)
  bench.start(workdir, data__data_dir=data, num_steps=saved + 2).finish()
  bench.assert_exact(workdir, saved + 2)
  return f"exact from step {saved} once it was back; {error}"


def slow_data(bench: Bench) -> str:
  """Every part of a file takes long to open."""
  workdir = bench.folder / "slow"
  bench.start(workdir, before=SLOW_DATA).finish()
  bench.assert_exact(workdir)
  return "exact"


def not_a_number(bench: Bench) -> str:
  """A checkpoint has a NaN among its parameters, and proper checksums."""
  import orbax.checkpoint as ocp

  workdir = bench.copy("not_a_number", STEPS - 1)
  state, origin = runs.read_checkpoint(workdir, STEPS - 1)
  kernels = [x for x in traverse_util.flatten_dict(state["params"]).values() if x.ndim > 1]
  kernels[0].flat[0] = np.nan
  folder = workdir / runs.FOLDER / str(STEPS - 1)
  shutil.rmtree(folder)
  with ocp.CheckpointManager(folder.parent) as manager:
    items = ocp.args.Composite(
      state=ocp.args.StandardSave(state),
      origin=ocp.args.JsonSave(origin),
      checksums=ocp.args.JsonSave(runs.checksums(state, origin)),
    )
    manager.save(STEPS - 1, args=items, force=True)
  error = bench.start(workdir).fail(f"step {STEPS} diverged")
  before = flat_state(bench.uninterrupted(STEPS - 1), STEPS - 2)
  assert_same(flat_state(workdir, STEPS - 2), before)
  return f"the checkpoints before it are whole; {error}"


def two_programs(bench: Bench) -> str:
  """A second program is started in the folder of the first."""
  workdir = bench.folder / "two"
  first = bench.start(workdir, num_steps=100_000)
  first.wait_for("compiling the training step")
  error = bench.start(workdir).fail("another program trains in", f"process {first.process.pid}")
  first.wait_for("\nstep ")
  first.process.send_signal(signal.SIGTERM)
  first.finish()
  steps = runs.checkpoint_steps(workdir)[-1]
  bench.assert_exact(workdir, steps)
  return f"the first went on; {error}"


def clock_back(bench: Bench) -> str:
  """The clock is set back by a day while the program trains."""
  workdir = bench.folder / "clock"
  program = bench.start(workdir, before=CLOCK_BACK.format(after=3), num_steps=STEPS - 2)
  program.finish()
  bench.start(workdir, before=CLOCK_BACK.format(after=0)).finish()
  bench.assert_exact(workdir)
  rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  times = [row["time"] for row in rows]
  assert times == sorted(times), f"times go back: {times}"
  speeds = [row["train/steps_per_second"] for row in rows if "train/steps_per_second" in row]
  assert speeds and all(0 < speed < 1e6 for speed in speeds)
  return "exact; times and speeds of metrics.jsonl are sound"


FAULTS = (
  disk_full, read_only, damaged_checkpoint, damaged_records, vanishing_data, slow_data,
  not_a_number, two_programs, clock_back, kills,
)  # fmt: skip


def main() -> int:
  """Exit status: how many faults did harm."""
  names = {fault.__name__: fault for fault in FAULTS}
  parser = argparse.ArgumentParser("python -m tests.support.fault_injection", description=__doc__)
  parser.add_argument("faults", nargs="*", default=list(names), help=", ".join(names))
  parser.add_argument("--kills", type=int, default=50)
  parser.add_argument("--seed", type=int, default=0)
  options = parser.parse_args()
  if unknown := set(options.faults) - set(names):
    parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(names)}")
  failures = 0
  with tempfile.TemporaryDirectory() as folder:
    bench = Bench(pathlib.Path(folder), options.seed)
    for name in options.faults:
      began = time.monotonic()
      try:
        extra = {"count": options.kills} if name == "kills" else {}
        outcome = names[name](bench, **extra)
      except AssertionError as error:
        failures += 1
        outcome = f"FAILED: {error}"
      print(f"{name} ({time.monotonic() - began:.0f} s): {outcome}", flush=True)
  return failures


if __name__ == "__main__":
  sys.exit(main())
