"""Two virtual devices for all tests, a private cache, and tiny records in GQN's layout."""

import collections
import io
import os
import pathlib
import sys
import tempfile

from data_pipelines.command_line import quieten_tensorflow
from tests.support import compiler

# What JAX and TensorFlow read when they are imported.
os.environ["XLA_FLAGS"] = compiler.xla_flags(num_devices=2)
quieten_tensorflow()

import jaxtyping  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

LIBRARY = pathlib.Path(__file__).parent.parent / "genesis_jax"


def _computing_modules() -> list[str]:
  """All of the library but flax's dataclasses, into which vmap and scan put no arrays."""
  files = [
    path for path in LIBRARY.rglob("*.py") if "flax.struct.dataclass" not in path.read_text()
  ]
  names = [".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts) for path in files]
  return [name for name in names if not name.endswith("__init__")]


# Shapes in signatures are checked while tests run.
jaxtyping.install_import_hook(_computing_modules(), "beartype.beartype")

if "PYTEST_XDIST_WORKER" not in os.environ:  # which has its parent's
  CACHE = tempfile.TemporaryDirectory(prefix="genesis_jax_tests_")
  os.environ["XDG_CACHE_HOME"] = CACHE.name  # compiled programs, shared with subprocesses
  os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.join(CACHE.name, "genesis_jax")
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

# For programs in processes of their own.
ON_ONE_DEVICE = compiler.environment()

RECORDS_PER_FILE = 4
VIEWS = 10  # of rooms_ring_camera
TEST_IMAGES = RECORDS_PER_FILE * VIEWS


def pytest_collection_modifyitems(items):
  """Files with the most slow tests come first: one of them at the end would leave a core idle."""
  slow = collections.Counter(item.path for item in items if item.get_closest_marker("slow"))
  items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="module", autouse=True)
def forget_compiled_programs():
  """Takes them from memory after a file that leaves many: Linux gives a process 65,530 mappings.

  A train step takes a thousand of them, and where they run out, XLA crashes.
  """
  yield
  if "jax" in sys.modules and num_mappings() > 5_000:
    sys.modules["jax"].clear_caches()


def num_mappings() -> float:
  """Of this process; elsewhere than on Linux nobody knows."""
  maps = pathlib.Path("/proc/self/maps")
  return maps.read_bytes().count(b"\n") if maps.exists() else float("inf")


def _view(rng: np.random.Generator) -> bytes:
  from PIL import Image

  image = np.empty((64, 64, 3), np.uint8)
  image[:40], image[40:] = rng.integers(0, 256, (2, 3))
  for y, x in rng.integers(5, 45, (2, 2)):
    image[y : y + 16, x : x + 16] = rng.integers(0, 256, 3)
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, "JPEG")
  return buffer.getvalue()


def _record(rng: np.random.Generator) -> bytes:
  import tensorflow as tf

  frames = tf.train.BytesList(value=[_view(rng) for _ in range(VIEWS)])
  cameras = tf.train.FloatList(value=[0.0] * 5 * VIEWS)
  feature = {
    "frames": tf.train.Feature(bytes_list=frames),
    "cameras": tf.train.Feature(float_list=cameras),
  }
  return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


@pytest.fixture(scope="session")
def gqn_root(tmp_path_factory) -> pathlib.Path:
  """A few of the 60 train files, of which the last is the validation split, and a test file."""
  import tensorflow as tf

  root, rng = tmp_path_factory.mktemp("gqn"), np.random.default_rng(0)
  for name in ("train/01-of-60", "train/02-of-60", "train/60-of-60", "test/1-of-1"):
    path = root / "rooms_ring_camera" / f"{name}.tfrecord"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
      for _ in range(RECORDS_PER_FILE):
        writer.write(_record(rng))
  return root


TINY_RUN = {
  "model.image_size": 32,
  "batch_size": 8,
  "num_steps": 12,
  "log_every": 2,
  "images_every": 0,
  "validate_every": 0,
  "num_validation_images": 20,
  "test_images": 0,
  "checkpoint_every": 3,
  "keep_checkpoints": 2,
  "keep_every": 0,
}
TINY_GENESIS = {
  "batch_size": 4,
  "model.num_slots": 3,
  "model.mask_latent_dim": 8,
  "model.component_latent_dim": 4,
  "model.component_encoder_channels": 8,
  "model.component_decoder_channels": 8,
}


def tiny_config(model: str, gqn_root: pathlib.Path):
  """A configuration that trains in seconds; `model` is the library's or of `tiny_model.OWN`."""
  from tests.support import tiny_model

  config = tiny_model.composed(model, "gqn")
  config.update_from_flattened_dict(TINY_RUN | {"data.data_dir": str(gqn_root)})
  if model == "genesis":
    config.update_from_flattened_dict(TINY_GENESIS)
  return config


def do_steps(config, workdir, **resuming) -> None:
  """`loop.train` without what ends it: scores, pictures and a report."""
  from experiments.hardware import devices
  from experiments.training import loop

  with loop.opened(config, workdir, **resuming) as (run, state):
    loop.run_steps(run, devices.replicate(state))


@pytest.fixture(scope="session")
def tiny_flags(gqn_root) -> list[str]:
  """A tiny GENESIS on the command line."""
  settings = TINY_RUN | TINY_GENESIS | {"data.data_dir": gqn_root}
  return [f"--config.{name}={value}" for name, value in settings.items()]
