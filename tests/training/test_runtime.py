"""What the training program does with devices, folders and damage, in this process."""

import json
import os
import shutil
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import jaxlib
import ml_collections
import numpy as np
import pytest
import wandb_files
from conftest import TEST_IMAGES, do_steps, tiny_config

import genesis_jax
from experiments.console import program, startup
from experiments.console.errors import UserError
from experiments.figures import sheets
from experiments.figures.panels import BACKGROUND, PALETTE, coloured_instances, grid
from experiments.hardware import devices
from experiments.runs import changes, folder, logbook, records
from experiments.training import announcements, loop, progress, validation
from experiments.training.stop import Stop
from genesis_jax import objective, runs, training

pytestmark = pytest.mark.slow


@pytest.fixture
def tiny(gqn_root):
  return tiny_config("tiny", gqn_root)


@pytest.fixture(scope="session")
def short_run(tmp_path_factory, gqn_root):
  """A folder with checkpoints 3 and 6."""
  workdir = tmp_path_factory.mktemp("short") / "run"
  config = tiny_config("tiny", gqn_root)
  config.num_steps = 6
  config.images_every, config.log_weights, config.log_distributions = 3, True, True
  config.trackers = ("wandb",)
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("WANDB_MODE", "offline")
    loop.train(config, workdir)
  config.trackers = ()
  return config, workdir


@pytest.fixture
def copy_of_run(short_run, tmp_path):
  config, workdir = short_run
  shutil.copytree(workdir, tmp_path / "copy")
  return config.copy_and_resolve_references(), tmp_path / "copy"


def damage(workdir, step):
  """Cuts every data file of a checkpoint in half."""
  for path in (workdir / runs.FOLDER / str(step) / "state").rglob("d/*"):
    os.truncate(path, path.stat().st_size // 2)


def test_batch_and_devices_that_do_not_match():
  with pytest.raises(ValueError, match="batch_size is 13.* 2 devices.*for example 12"):
    devices.check_batch_size(13)


def test_devices_and_back():
  tree = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.int32(4)}
  back = devices.to_host(devices.replicate(tree))
  jax.tree.map(np.testing.assert_array_equal, tree, back)
  batches = [{"image": np.full((16, 2), i, np.uint8)} for i in range(5)]
  put = list(devices.prefetch(iter(batches)))
  assert [int(batch["image"][0, 0, 0]) for batch in put] == list(range(5))
  assert put[0]["image"].shape == (2, 8, 2) and put[0]["image"].dtype == jnp.uint8


def test_refuses_another_experiment(copy_of_run):
  config, workdir = copy_of_run
  config.model.latent_dim = 32
  config.optimizer.learning_rate = 1e-3
  with pytest.raises(UserError) as error:
    loop.train(config, workdir)
  assert "model.latent_dim: 12 -> 32" in str(error.value)
  assert "optimizer.learning_rate: 0.0001 -> 0.001" in str(error.value)
  assert "\n" not in str(error.value)


def test_what_a_resumed_run_may_change():
  def origin(**changes):
    objective = {"geco": changes.pop("geco", True), "beta_warmup": changes.pop("warmup", True)}
    config = {"num_steps": 1, "seed": 0, "objective": objective, "data": {"data_dir": "a"}}
    return {"config": config | changes, "source": {"stand_in": False}}

  assert not changes.differences(origin(), origin(num_steps=2, data={"data_dir": "b"}))
  assert changes.differences(origin(), origin(seed=1)) == {"seed": "0 -> 1"}
  # Without GECO beta rises over a part of the steps.
  changed = changes.differences(origin(geco=False), origin(geco=False, num_steps=2))
  assert changed == {"num_steps": "1 -> 2"}
  # With GECO nothing reads how beta would rise.
  assert not changes.differences(origin(), origin(warmup=False))
  changed = changes.differences(origin(geco=False), origin(geco=False, warmup=False))
  assert changed == {"objective.beta_warmup": "True -> False"}
  stand_in = origin() | {"source": {"stand_in": True}}
  assert changes.differences(origin(), stand_in) == {"source.stand_in": "False -> True"}


def test_falls_back_from_an_unreadable_checkpoint(copy_of_run, capsys):
  config, workdir = copy_of_run
  damage(workdir, 6)
  with pytest.warns(UserWarning, match="checkpoint 6 .* cannot be read"):
    genesis_jax.load(workdir)
  do_steps(config, workdir)
  assert "WARNING: checkpoint 6 cannot be read" in capsys.readouterr().out
  assert runs.checkpoint_steps(workdir) == [3, 6]
  assert (workdir / runs.FOLDER / "6.unreadable").is_dir()
  runs.read_checkpoint(workdir, 6)


def test_no_readable_checkpoint_is_one_line(copy_of_run):
  config, workdir = copy_of_run
  shutil.rmtree(workdir / runs.FOLDER / "6" / "state")
  damage(workdir, 3)
  with pytest.raises(UserError, match=r"none of the checkpoints \[3, 6\]") as error:
    loop.train(config, workdir)
  assert "\n" not in str(error.value)
  with pytest.raises(ValueError, match="none of the checkpoints"):
    genesis_jax.load(workdir)


def test_damaged_final_numbers_are_made_again(copy_of_run):
  config, workdir = copy_of_run
  whole = json.loads((workdir / "metrics.json").read_text())
  assert announcements._are_of(6, workdir / "metrics.json")
  for content in ("", "[]", '{"step": 6}'):
    (workdir / "metrics.json").write_text(content)
    assert not announcements._are_of(6, workdir / "metrics.json")
  loop.train(config, workdir)
  assert json.loads((workdir / "metrics.json").read_text())["val"] == whole["val"]


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("num_steps", 0, "num_steps is 0; it must be at least 1"),
    ("seed", -1, "seed is -1; it must be from 0 to 4294967295"),
    ("seed", 2**32, "seed is 4294967296; it must be"),
  ],
)
def test_impossible_runs_are_refused_at_once(tiny, tmp_path, field, value, message):
  tiny[field] = value
  with pytest.raises(UserError, match=message):
    loop.train(tiny, tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_folders_that_are_patterns_to_the_writer_of_checkpoints(tiny, tmp_path):
  with pytest.raises(UserError, match=r"a\[x\] contains \[,"):
    loop.train(tiny, tmp_path / "a[x]")


def test_a_file_where_tensorboards_folder_should_be(tiny, tmp_path):
  (tmp_path / "tensorboard").touch()
  with pytest.raises(UserError, match="cannot write for TensorBoard in .*tensorboard: "):
    loop.train(tiny, tmp_path)


def test_load_without_a_checkpoint(tmp_path):
  with pytest.raises(FileNotFoundError, match="no checkpoint in"):
    genesis_jax.load(tmp_path)


def test_model_code_that_changed_shape_is_named(copy_of_run, monkeypatch):
  config, workdir = copy_of_run
  build = genesis_jax.build_model
  monkeypatch.setattr(genesis_jax, "build_model", lambda c: build({**c, "latent_dim": 9}))
  with pytest.raises(UserError, match=r"does not fit.*: params/.*12.* -> .*9"):
    loop.train(config, workdir)


def test_workdir_that_cannot_be_written(tiny, tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="cannot write to --workdir"):
    loop.train(tiny, tmp_path / "file" / "run")


def test_second_program_is_refused(tiny, tmp_path):
  with folder.exclusive(tmp_path):
    with pytest.raises(UserError, match=f"another program trains in .*process {os.getpid()} on"):
      loop.train(tiny, tmp_path)
  with folder.exclusive(tmp_path):  # released, though its file is still there
    pass


def test_checkpoints_to_keep_are_made_when_no_other_is_due(tiny, tmp_path):
  tiny.update(num_steps=7, checkpoint_every=3, keep_every=2, keep_checkpoints=1)
  do_steps(tiny, tmp_path)
  assert runs.checkpoint_steps(tmp_path) == [2, 4, 6, 7]


def test_divergence_names_the_step_and_saves_the_state_before(tiny, tmp_path):
  tiny.optimizer.learning_rate = 1e9
  with pytest.raises(UserError, match=r"step \d+ diverged: elbo .*; the state before it is saved"):
    loop.train(tiny, tmp_path)
  step = runs.checkpoint_steps(tmp_path)[-1]
  state, _ = runs.read_checkpoint(tmp_path, step)
  assert state["diverged_at"] == step == state["step"]
  assert records.read(tmp_path).diverged_at == step + 1
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state["params"]))
  with pytest.raises(UserError, match=f"step {step + 1} .* diverged"):
    loop.train(tiny, tmp_path)


def test_signal_is_a_wish_once():
  before = signal.getsignal(signal.SIGTERM)
  with Stop() as stop:
    assert signal.getsignal(signal.SIGTERM) is before  # nothing is there to be saved
    stop.listen()
    stop.listen()
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.asked
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # the second ends the program
  assert signal.getsignal(signal.SIGTERM) is before


def test_validation_counts_every_image_once(short_run):
  config, workdir = short_run
  model, variables, config = genesis_jax.load(workdir)
  config.num_validation_images = 1000  # there are fewer, and not a multiple of the batch
  config.batch_size = 16
  tx = objective.optimizer(config)
  state = jax.jit(lambda key: training.create_train_state(key, model, tx))(jax.random.key(0))
  values = validation.Validator(config, model)(devices.replicate(state.replace(**variables)))
  assert values["num_images"] == TEST_IMAGES
  assert (
    validation.Validator(config, model)(
      devices.replicate(state.replace(**variables)), should_stop=lambda: True
    )
    == {}
  )


def test_histograms_are_written(short_run):
  from tensorboard.backend.event_processing import event_accumulator

  events = event_accumulator.EventAccumulator(str(short_run[1] / "tensorboard")).Reload()
  names = set(events.Tags()["tensors"])
  assert {"latents/latent/mean", "weights/posterior/mean/kernel"} <= names
  assert {"gradients/posterior/mean/kernel", "images/input", "images/samples"} <= names
  assert "train/elbo" in names


def test_a_tracker_gets_all_that_is_logged(short_run):
  ((*_, rows),) = wandb_files.read(short_run[1])
  logged = {name for row in records.read_rows(short_run[1] / "metrics.jsonl")[0] for name in row}
  tracked = {name for row in rows for name in row}
  assert logged - {"time"} <= tracked
  assert {"images/input", "latents/latent/mean", "weights/posterior/mean/kernel"} <= tracked
  assert "report" in tracked


def test_filled_rows_count_for_nothing():
  batch = {"image": np.ones((3, 2, 2, 3), np.uint8), "index": np.array([4, 7, 8])}
  filled = validation._filled(batch | {"rank": np.array([5, 0, 9])}, size=5, num_scored=9)
  assert filled["image"].shape == (5, 2, 2, 3) and "rank" not in filled
  assert filled["valid"].tolist() == [True, True, True, False, False]
  assert filled["scored"].tolist() == [True, True, False, False, False]


def test_resumed_logbook_forgets_what_comes_again(tmp_path):
  with logbook.Logbook(tmp_path, 0) as book:
    for step in (1, 2, 3):
      book.scalars(step, {"train/a": step, "train/b": float("nan")})
    book.scalars(3, {"val/a": 7.0})
  with open(tmp_path / "metrics.jsonl", "a") as file:
    file.write('{"step": 4, "tra')  # a crash
  with logbook.Logbook(tmp_path, 2) as book:
    book.scalars(3, {"train/a": 5})
    assert book.newest("train/") == {"a": 5}
  rows = records.read_rows(tmp_path / "metrics.jsonl")[0]
  assert [(row["step"], row["train/a"]) for row in rows] == [(1, 1), (2, 2), (3, 5)]
  assert rows[0]["train/b"] is None  # JSON has no NaN


def test_picture_of_a_model_without_slots():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (8, 32, 32, 3), np.uint8)
  panels = {"input": images, "reconstruction": images, "samples": images}
  image = grid(panels, "caption")
  pixels = np.asarray(image)
  assert pixels.std() > 10 and image.size[0] > 8 * sheets.TILE
  np.testing.assert_array_equal(coloured_instances(np.array([[0, 1]])), [[BACKGROUND, PALETTE[0]]])


def test_the_bar_leaves_compilation_out(tiny, monkeypatch):
  monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
  tiny.num_steps = 100
  with progress.Progress(tiny, 40) as shown:
    assert shown._bar is None  # while it compiles
    shown.tick({"loss": jnp.zeros((8, 1))})
    assert (shown._bar.initial, shown._bar.n, shown._bar.total) == (41, 41, 100)


def test_collapse_is_noticed():
  healthy = {"slots_used": 3.0, "largest_slot": 0.5, "mask_entropy": 0.4}
  assert progress.collapse(healthy, 5) is None
  assert "one slot" in progress.collapse(healthy | {"largest_slot": 0.99}, 5)
  assert "uniform" in progress.collapse(healthy | {"mask_entropy": 1.6}, 5)
  assert progress.collapse({}, 1) is None
  alone = {"slots_used": 1.0, "largest_slot": 1.0, "mask_entropy": 0.0}
  assert progress.collapse(alone, 1) is None


@pytest.mark.parametrize(
  "seconds, words", [(5.2, "5s"), (250, "4m 10s"), (3600, "1h 0m"), (97_300, "1d 3h")]
)
def test_duration(seconds, words):
  assert progress.duration(seconds) == words


def test_default_workdir():
  assert program.default_workdir("configs/demo.py") == "runs/demo"
  assert program.default_workdir("configs/experiment.py:genesis_v2,gqn") == "runs/genesis_v2_gqn"


def test_cpu_flag_only_where_it_is_known(monkeypatch):
  monkeypatch.setenv("JAX_PLATFORMS", "cuda")
  assert not startup.set_flags()
  monkeypatch.setenv("JAX_PLATFORMS", "cpu")
  monkeypatch.setenv("XLA_FLAGS", "--a=b")
  monkeypatch.setattr(startup, "TESTED_JAXLIB", ())
  assert not startup.set_flags()
  monkeypatch.setattr(startup, "TESTED_JAXLIB", (jaxlib.__version__,))
  assert startup.set_flags() and os.environ["XLA_FLAGS"] == f"--a=b {startup.FLAG}"


@pytest.mark.parametrize("offered, platforms, tunables, restarts", [
  ("always [madvise] never", "cpu", "", True),
  ("always [madvise] never", "cpu", "glibc.malloc.arena_max=2", True),
  ("always [madvise] never", "cpu", "glibc.malloc.hugetlb=0", False),  # someone decided
  ("[always] madvise never", "cpu", "", False),
  ("always [madvise] never", "cuda", "", False),
])  # fmt: skip
def test_huge_pages(monkeypatch, tmp_path, offered, platforms, tunables, restarts):
  started = []
  (tmp_path / "enabled").write_text(offered)
  monkeypatch.setattr(startup, "PAGES", tmp_path / "enabled")
  monkeypatch.setattr(startup.platform, "libc_ver", lambda: ("glibc", "2.36"))
  monkeypatch.setattr(os, "execv", lambda *words: started.append(words))
  monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "experiments.main", "--config=a b"])
  monkeypatch.setenv("JAX_PLATFORMS", platforms)
  monkeypatch.setenv("GLIBC_TUNABLES", tunables)
  startup.use_huge_pages()
  command = [sys.executable, "-m", "experiments.main", "--config=a b"]
  assert started == ([(sys.executable, command)] if restarts else [])
  if restarts:
    assert os.environ["GLIBC_TUNABLES"].split(":")[-1] == startup.HUGE_PAGES
    assert os.environ["GLIBC_TUNABLES"].startswith(tunables)


def test_deterministic_gpus(monkeypatch):
  monkeypatch.setenv("XLA_FLAGS", "--a=b")
  config = ml_collections.ConfigDict({"deterministic": True})
  devices.check_determinism(config)  # CPUs always are
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  with pytest.raises(ValueError, match="deterministic is True, but XLA_FLAGS has no --xla_gpu"):
    devices.check_determinism(config)
  startup.ask_for_determinism()
  startup.ask_for_determinism()
  assert os.environ["XLA_FLAGS"] == f"--a=b {startup.DETERMINISM}"
  devices.check_determinism(config)


def test_xla_knows_the_flag_of_determinism():
  code = "import jax; jax.numpy.zeros(1).block_until_ready()"
  environment = os.environ | {"XLA_FLAGS": startup.DETERMINISM, "JAX_PLATFORMS": "cpu"}
  subprocess.run([sys.executable, "-c", code], env=environment, check=True)


@pytest.mark.parametrize("log_every", [0, 4])
def test_divergence_is_looked_for_where_nothing_is_due(monkeypatch, log_every):
  """The scalars that are kept until then are few."""
  monkeypatch.setattr(progress, "UNASKED", 5)
  recent, asked = progress.RecentSteps(), []
  values = {name: jnp.zeros((1, 1)) for name in progress.FATAL}
  for done in range(1, 13):
    recent.add(done, values | {"diverged_at": jnp.array([[-1]])})
    assert len(recent._fatal) <= 5
    if recent.are_many or loop.is_due(done, 100, log_every):
      asked.append(done)
      assert recent.divergence() is None
  assert asked == ([5, 10] if not log_every else [4, 8, 12])


def test_unknown_precision():
  config = ml_collections.ConfigDict({"matmul_precision": "highst", "compilation_cache": False})
  with pytest.raises(ValueError, match="highst.*allowed: default, high, highest"):
    devices.configure(config)
