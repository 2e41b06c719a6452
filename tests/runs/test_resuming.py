"""A resumed run is the same run, or says why not; what was written before is read as before."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from conftest import do_steps, tiny_config

import data_pipelines
import genesis_jax
from configs import datasets, models, of_run
from configs.experiment import compose
from experiments import export
from experiments.console.errors import UserError
from experiments.runs import changes, checkpoints, folder, records
from experiments.training import loop
from genesis_jax import runs

# Written by an earlier version: `run` has three steps on the `prepared` set, `export` is its copy,
# and `fields` are those of all configurations.
BEFORE = pathlib.Path(__file__).parents[1] / "data/before"


@pytest.fixture
def old_run(tmp_path):
  """A copy of the old run, and the configuration with which it goes on."""
  workdir = shutil.copytree(BEFORE / "run", tmp_path / "run")
  config = of_run.get_config(str(workdir))
  config.data.data_dir = str(BEFORE / "prepared")
  config.num_steps = 4
  return config, workdir


@pytest.mark.slow
def test_an_old_run_goes_on(old_run):
  config, workdir = old_run
  do_steps(config, workdir)
  record = records.read(workdir)
  assert [row["step"] for row in record.rows] == [1, 2, 3, 4]
  assert record.labels["resumed_from_step"] == 3 and record.labels["changes"] == []
  _, origin = runs.read_checkpoint(workdir, 4)
  assert origin["files"]["files"] == 4  # from now on the data is known


@pytest.mark.slow
def test_an_old_run_that_changes_is_refused_all_the_same(old_run):
  config, workdir = old_run
  config.seed = 1
  with pytest.raises(UserError, match=r"another experiment.*seed: 0 -> 1.*--change=seed"):
    loop.train(config, workdir)


def test_old_checkpoints_are_completed():
  for name in ("run", "export"):
    _, origin = runs.read_checkpoint(BEFORE / name, 3)
    assert origin["config"]["deterministic"] is False
  model, variables, config = genesis_jax.load(BEFORE / "export")
  _, whole, _ = genesis_jax.load(BEFORE / "run")
  assert type(model).__name__ == "MONet" and config.model.num_slots == 3
  kernel = ("params", "attention", "core", "dense_0", "kernel")
  for name in kernel:
    variables, whole = variables[name], whole[name]
  np.testing.assert_allclose(variables, whole, rtol=1e-3)


def test_an_old_prepared_set_is_read():
  config = compose("monet", "image_folder")
  config.data.data_dir = str(BEFORE / "prepared")
  config.model.image_size = 32
  source = data_pipelines.resolve(config.data)
  assert "prepared set of 12 train, 4 val, 4 test images" in source.description
  batch = next(data_pipelines.batches(config.data, split="val", batch_size=4))
  assert batch["image"].shape == (4, 32, 32, 3)
  assert sorted(np.unique(batch["instances"])) == [0, 1, 2]


def _fields(tree: dict, prefix: str = "") -> set[str]:
  found = set()
  for name, value in tree.items():
    found |= _fields(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name}
  return found


def test_fields_that_came_later_say_what_they_were_before():
  old, now = set(json.loads((BEFORE / "fields.json").read_text())), set()
  for model in models.names():
    for dataset in datasets.DATASETS:
      now |= _fields(json.loads(compose(model, dataset).to_json_best_effort()))
  assert now - old <= runs.AS_BEFORE.keys(), "declare them in genesis_jax.runs.AS_BEFORE"
  assert old - now <= runs.AS_BEFORE.keys(), "declare what is hard-wired now in their place"


def test_a_field_that_came_later_means_as_before(monkeypatch):
  monkeypatch.setitem(runs.AS_BEFORE, "objective.new", 1.0)

  def origin(**new):
    objective = {"geco": True, "beta_warmup": True} | new
    return {"config": {"objective": objective}, "source": {}}

  assert not changes.differences(origin(), origin(new=1.0))
  assert changes.differences(origin(), origin(new=2.0)) == {"objective.new": "1.0 -> 2.0"}
  assert runs._completed(origin())["config"]["objective"]["new"] == 1.0
  assert runs._completed(origin(new=3.0))["config"]["objective"]["new"] == 3.0


def test_the_code_of_models_and_readers_may_lie_elsewhere():
  def origin(folder):
    modules = {kind: {"module": f"{folder}/mine.py"} for kind in ("data", "model")}
    return {"config": {"objective": {"geco": True}} | modules, "source": {}}

  assert not changes.differences(origin("old"), origin("new"))


@pytest.fixture(scope="module")
def run(tmp_path_factory, gqn_root):
  """A run of three steps on data of its own: (config, workdir, data)."""
  data = shutil.copytree(gqn_root, tmp_path_factory.mktemp("data") / "gqn")
  workdir = tmp_path_factory.mktemp("run") / "run"
  config = tiny_config("tiny", data)
  config.num_steps = 3
  do_steps(config, workdir)
  return config, workdir, data


@pytest.fixture
def copy(run, tmp_path):
  config, workdir, data = run
  config = config.copy_and_resolve_references()
  data = shutil.copytree(data, tmp_path / "data")
  config.data.data_dir = str(data)
  return config, shutil.copytree(workdir, tmp_path / "run"), data


@pytest.mark.slow
def test_data_that_changed_is_refused_with_the_difference(copy):
  config, workdir, data = copy
  with loop.opened(config, workdir) as (resumed, _):  # elsewhere, but the same
    assert resumed.first == 3 and resumed.checkpoints.change is None
  train = data / "rooms_ring_camera" / "train"
  shutil.copy(train / "01-of-60.tfrecord", train / "03-of-60.tfrecord")
  (train / "02-of-60.tfrecord").write_bytes((train / "02-of-60.tfrecord").read_bytes()[:-1])
  with pytest.raises(UserError) as error:
    loop.train(config, workdir)
  words = str(error.value)
  assert "4 files of" in words and "5 files of" in words and "\n" not in words
  assert "1 added (train/03-of-60.tfrecord); 1 changed (train/02-of-60.tfrecord: " in words
  assert "--accept_data_change" in words

  with loop.opened(config, workdir, accept_data_change=True) as (resumed, _):
    assert "1 added (train/03" in resumed.checkpoints.change["data"]
  (change,) = folder.read_json(workdir / "run.json")["changes"]
  assert change["step"] == 3 and "1 added (train/03" in change["data"]
  # Killed before its first checkpoint, it is told again, and the note stays one.
  with loop.opened(config, workdir, accept_data_change=True) as (resumed, _):
    pass
  assert folder.read_json(workdir / "run.json")["changes"] == [change]


def test_hosts_with_other_files_have_other_origins(copy):
  config, _, data = copy
  source = data_pipelines.resolve(config.data)
  origins = [checkpoints.origin_of(config, source, {"a": size}) for size in (1, 1, 2)]
  assert origins[0] == origins[1] != origins[2]


def _diverged(workdir, step: int) -> None:
  """Makes a checkpoint that of a run whose next step diverged."""
  state, origin = runs.read_checkpoint(workdir, step)
  state["diverged_at"] = np.int32(step)
  shutil.rmtree(workdir / runs.FOLDER / str(step))
  with checkpoints.ocp.CheckpointManager((workdir / runs.FOLDER).resolve()) as manager:
    manager.save(step, args=runs.to_save(state, origin), force=True)


@pytest.mark.slow
def test_a_diverged_run_goes_on_with_another_learning_rate_when_told(copy):
  config, workdir, _ = copy
  _diverged(workdir, 3)
  config.num_steps = 4
  with pytest.raises(
    UserError, match=r"step 4 .* diverged.*learning_rate=5e-05 --change=optimizer"
  ):
    loop.train(config, workdir)
  with pytest.raises(UserError, match="step 4 .* diverged"):  # nothing changes
    loop.train(config, workdir, told=["optimizer.learning_rate"])
  config.optimizer.learning_rate = 5e-5
  with pytest.raises(UserError, match="0.0001 -> 5e-05; or resume anyway, with --change=opt"):
    loop.train(config, workdir)
  do_steps(config, workdir, told=["optimizer.learning_rate"])
  state, origin = runs.read_checkpoint(workdir, 4)
  assert state["diverged_at"] == -1 and origin["config"]["optimizer"]["learning_rate"] == 5e-5
  (change,) = folder.read_json(workdir / "run.json")["changes"]
  assert change["config"] == ["optimizer.learning_rate: 0.0001 -> 5e-05"]
  with loop.opened(config, workdir):  # from now on it is the run's
    pass


@pytest.mark.parametrize("name", ["model.latent_dim", "data.limit", "optimizer.learning_rte"])
def test_not_everything_may_change(copy, name):
  config, workdir, _ = copy
  with pytest.raises(UserError, match=f"--change={name}: a resumed run may change batch_size"):
    loop.train(config, workdir, told=[name])


def test_addresses_and_backslashes_in_workdir(copy, tmp_path):
  config, _, _ = copy
  with pytest.raises(UserError, match="gx://bucket/run is no address of a store"):
    loop.train(config, "gx://bucket/run")
  with pytest.raises(UserError, match=r"contains \\,"):
    loop.train(config, tmp_path / "a\\b")


def test_the_newest_checkpoint_may_be_replaced_while_it_is_read(copy, monkeypatch):
  _, workdir, _ = copy
  read, saved_to = runs.read_checkpoint, workdir / runs.FOLDER

  def replaced(workdir, step):
    if step == 3:  # a program that trains there saves step 5, and keeps one checkpoint
      (saved_to / "3").rename(saved_to / "5")
    return read(workdir, step)

  monkeypatch.setattr(runs, "read_checkpoint", replaced)
  step, _, _, unreadable = runs.read_newest(workdir)
  assert step == 5 and not unreadable


def test_a_killed_export_does_not_block_the_next(copy, tmp_path, monkeypatch):
  _, workdir, _ = copy
  out = tmp_path / "out"

  def killed(*arguments, **options):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(shutil, "copy", killed)
    with pytest.raises(KeyboardInterrupt):
      export.export(workdir, None, out)
  assert not out.exists()
  export.export(workdir, None, out)
  genesis_jax.load(out)
  with pytest.raises(UserError, match="exists and is not empty"):
    export.export(workdir, None, out)
