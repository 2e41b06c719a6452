"""Kills a program that uploads to gs://, again and again, and reads the store after each kill.

  STORAGE_EMULATOR_HOST=http://127.0.0.1:9023 python -m tests.support.store_kills FOLDER COUNT

The programs are forks of this one, which imports once what they need. Prints the newest checkpoint
in the store after each kill.
"""

import os
import pathlib
import random
import signal
import sys
import time

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("", "tests", "tests/stores", "tests/support")]

import test_mirror  # noqa: E402

from data_pipelines.stores import files  # noqa: E402
from experiments.stores import mirror, reading  # noqa: E402
from genesis_jax import runs  # noqa: E402

URL = "gs://bucket/kills/run"


def upload_for_ever() -> None:
  mirror.EVERY_SECONDS = 0
  with mirror.held(URL, test_mirror.CONFIG) as folder:
    while True:
      test_mirror.train(folder, max([0, *runs.checkpoint_steps(folder)]) + 1)
      time.sleep(0.05)


def newest() -> int:
  """The newest checkpoint that a machine with an empty disk finds; 0 for none."""
  with reading.brought(URL) as copy:
    return test_mirror.check(copy) if runs.checkpoint_steps(copy) else 0


def forked(work, cache: pathlib.Path) -> tuple[int, int]:
  """(process, pipe) of a fork that does some work and writes down what it returns."""
  read, write = os.pipe()
  if process := os.fork():
    os.close(write)
    return process, read
  os.environ["XDG_CACHE_HOME"] = str(cache)
  os.write(write, str(work()).encode())
  os._exit(0)


def main(folder: pathlib.Path, count: int) -> None:
  files.open_store(URL)  # imports gcsfs as it should be
  rng, found = random.Random(0), 0
  for kill in range(count):
    process, _ = forked(upload_for_ever, folder / "trains")
    time.sleep(rng.uniform(0.4, 1.6))
    os.kill(process, signal.SIGKILL)
    assert os.waitpid(process, 0)[1] == signal.SIGKILL, "it ended before it was killed"
    process, pipe = forked(newest, folder / f"reads_{kill}")
    content = os.read(pipe, 100)
    status = os.waitpid(process, 0)[1]
    if found or content:  # else it was killed before it began
      assert status == 0 and int(content) >= found, f"{content} after {found}"
      found = int(content)
      print(found, flush=True)


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
