"""A sweep whose runs do not train: they leave training's files, without its minutes.

What a run does can be asked for by a file in the sweep's folder, `latent_<n>.txt`, or `all.txt`:
  crash   ends with an error
  wait    begins, and waits for that file to be gone, or for SIGTERM, which it answers as training
"""

import contextlib
import json
import os
import pathlib
import signal
import sys
import threading
import time

ROOT = pathlib.Path(__file__).parents[2]
GRID = """
from configs.experiment import compose

def get_config():
  config = compose("vae", "gqn")
  config.num_steps = 12
  return config

def sweep():
  return {f"latent_{n}": {"model.latent_dim": n} for n in POINTS}
"""


def grid(points=(2, 3)) -> str:
  """A configuration file."""
  return GRID.replace("POINTS", repr(points))


def arrange(folder: pathlib.Path, patch, points=(2, 3)) -> pathlib.Path:
  """Makes this the training program, and a folder for a sweep, which it returns."""
  from experiments.scheduling import plan

  (folder / "grid.py").write_text(grid(points))
  (folder / "runs").mkdir()
  patch.setattr(plan, "TRAINING_PROGRAM", [sys.executable, __file__])
  patch.setenv("PYTHONPATH", str(ROOT))
  return folder / "runs"


def trained(sweep: pathlib.Path) -> list[str]:
  """Runs in the order in which they ended: <latent>/<seed>."""
  path = sweep / "trained.txt"
  return path.read_text().split() if path.exists() else []


def wait_until(ready, seconds: float = 60):
  """Waits for what another program does."""
  until = time.monotonic() + seconds
  while not (found := ready()):
    assert time.monotonic() < until, "it never came"
    time.sleep(0.05)
  return found


@contextlib.contextmanager
def meanwhile(work):
  """Does something in a thread while the body runs."""
  thread = threading.Thread(target=work)
  thread.start()
  try:
    yield
  finally:
    thread.join()


def interrupted_when(ready, number: int = signal.SIGTERM):
  """Sends this process a signal as soon as something is so, if a sweep listens by then."""
  before = signal.getsignal(number)

  def interrupt():
    wait_until(ready)
    wait_until(lambda: signal.getsignal(number) != before)
    os.kill(os.getpid(), number)

  return meanwhile(interrupt)


def waiting(sweep: pathlib.Path) -> list[pathlib.Path]:
  """Folders of runs that have begun and wait."""
  return [path.parent for path in sweep.glob("*/*/begun")]


def _asked(workdir: pathlib.Path) -> str:
  for name in (workdir.parent.name, "all"):
    path = workdir.parents[1] / f"{name}.txt"
    if path.exists():
      return path.read_text()
  return ""


def main() -> None:
  from configs.loading import load_config
  from data_pipelines.durable import Taken, locked

  options = dict(word.split("=", 1) for word in sys.argv[1:])
  workdir = pathlib.Path(options.pop("--workdir"))
  config = load_config(options.pop("--config"), [f"{k}={v}" for k, v in options.items()])
  workdir.mkdir(parents=True, exist_ok=True)
  try:
    with locked(workdir / ".lock", seconds=0.5):
      train(workdir, config)
  except Taken as error:
    sys.exit(f"error: another program trains in {workdir} ({error})")


def train(workdir: pathlib.Path, config) -> None:
  final = workdir / "metrics.json"
  if final.exists() and json.loads(final.read_text())["step"] >= config.num_steps:
    return  # as training, which then has no step to do
  if _asked(workdir) == "crash" or os.environ.get("CUDA_VISIBLE_DEVICES") == "broken":
    sys.exit("error: the disk is on fire")
  (workdir / "config.json").write_text(config.to_json_best_effort())
  seen = {name: os.environ.get(name) for name in ("XLA_FLAGS", "CUDA_VISIBLE_DEVICES")}
  (workdir / "seen.json").write_text(json.dumps(seen | {"cores": sorted(os.sched_getaffinity(0))}))
  row = {"step": 3, "time": time.time(), "train/steps_per_second": 0.5, "val/mse": 0.25}
  (workdir / "metrics.jsonl").write_text(json.dumps(row) + "\n")

  def save(*_):
    (workdir / "checkpoints" / "3").mkdir(parents=True, exist_ok=True)
    (workdir / "begun").unlink(missing_ok=True)
    sys.exit(0)

  signal.signal(signal.SIGTERM, save)
  (workdir / "begun").touch()
  while _asked(workdir) == "wait":
    time.sleep(0.05)
  signal.signal(signal.SIGTERM, signal.SIG_IGN)
  (workdir / "begun").unlink()
  with open(workdir.parents[1] / "trained.txt", "a") as file:
    file.write(f"{config.model.latent_dim}/{config.seed} ")
  val = dict(err_element=0.5 + config.seed, kl=config.model.latent_dim, num_images=4)
  if config.model.latent_dim == 3:
    val["ari_fg"] = 0.25
  numbers = dict(step=config.num_steps, stand_in=False, val=val)
  final.write_text(json.dumps(numbers))


if __name__ == "__main__":
  main()
