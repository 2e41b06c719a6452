"""Released checkpoints of the original become runs that load and resume, number by number."""

import json
import re

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import store_server
import torch_writer
import web_server

import genesis_jax
from configs import ConfigError
from configs.loading import load_config
from experiments import diagnose, export, import_torch
from experiments.runs import checkpoints, folder, importing
from experiments.runs.original_runs import config_from_flags, ignored_flags, train_state
from experiments.stores import reading
from genesis_jax import objective, torch_names, training
from genesis_jax.torch_files import load_torch

pytestmark = pytest.mark.slow

# What the original's training program writes into flags.json, beside the model's flags.
FLAGS = dict(
  data_config="datasets/gqn_config.py",
  results_dir="checkpoints",
  run_name="test",
  train_iter=500_000,
  batch_size=32,
  optimiser="adam",
  learning_rate=1e-4,
  geco=True,
  g_goal=0.5655,
  g_lr=1e-5,
  g_alpha=0.99,
  g_init=1.0,
  g_min=1e-10,
  g_speedup=10.0,
  beta=0.5,
  beta_warmup=True,
  seed=3,
  data_folder="data/gqn_datasets",
  num_workers=4,
  debug=False,
  git_commit="9abf202bbad6fa4a675117fdea0be163e4f16695",
  log_images_every=25_000,
)
BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "std")
MOMENTS = {
  "adam": ("exp_avg", "exp_avg_sq"),
  "rmsprop": ("square_avg",),
  "sgd": ("momentum_buffer",),
}
CASES = ("genesis", "genesis_one_stage", "genesis_v2", "monet", "vae")


def original(case: str, optimizer: str = "adam"):
  """Flags and a checkpoint in the layout of the original, with the weights of a golden case."""
  meta = golden.Case(golden.files()[case])
  weights = meta.state_dict
  rng = np.random.default_rng(0)
  names = [name for name in weights if name.rsplit(".", 1)[-1] not in BUFFERS]
  numbers = [140_000 + 7 * i for i in range(len(names))]  # as old versions of PyTorch number them
  state = {
    number: {kind: rng.random(weights[name].shape, np.float32) for kind in MOMENTS[optimizer]}
    | {"step": 11}
    for number, name in zip(numbers, names, strict=True)
  }
  if meta.meta["model"] in ("genesis", "monet"):
    weights["std"] = np.full((1, 1, 1, 1, 4), 0.7, np.float32)
  checkpoint = dict(
    iter_idx=11,
    model_state_dict=weights,
    optimiser_state_dict={"state": state, "param_groups": [{"lr": 1e-4, "params": numbers}]},
    beta=np.float32(0.75),
    err_ema=np.float32(7100.5),
  )
  name = {"genesis_v2": "genesisv2"}.get(meta.meta["model"], meta.meta["model"])
  model_config = f"models/{name}_config.py"
  flags = FLAGS | dict(model_config=model_config, optimiser=optimizer) | meta.meta["config"]
  return flags, checkpoint


def moments(opt_state, field: str):
  """The tree of one of the optimizer's moments."""
  is_state = lambda x: field in getattr(x, "_fields", ())  # noqa: E731
  return next(
    getattr(x, field) for x in jax.tree.leaves(opt_state, is_leaf=is_state) if is_state(x)
  )


@pytest.mark.parametrize("case", CASES)
def test_everything_arrives(case):
  flags, checkpoint = original(case)
  config = config_from_flags(flags)
  assert config.num_steps == 500_001 and config.seed == 3 and config.data.name == "gqn"
  assert config.model.image_size == config.data.image_size == flags.get("img_size", 64)
  state = train_state(config, checkpoint)
  assert state.step == 11
  geco = genesis_jax.geco_state(state.opt_state)
  assert (geco.count, geco.beta, geco.err_ema) == (11, np.float32(0.75), np.float32(7100.5))
  assert moments(state.opt_state, "mu") is not None
  model = genesis_jax.build_model(config.model)
  back = torch_names.to_torch(model, {"params": state.params, "batch_stats": state.batch_stats})
  assert back.keys() == checkpoint["model_state_dict"].keys()
  for name, value in checkpoint["model_state_dict"].items():
    np.testing.assert_array_equal(back[name], value)
  names = [name for name in checkpoint["model_state_dict"] if name.rsplit(".")[-1] not in BUFFERS]
  slots = list(checkpoint["optimiser_state_dict"]["state"].values())
  for field, kind in (("mu", "exp_avg"), ("nu", "exp_avg_sq")):
    back = torch_names.to_torch(model, {"params": moments(state.opt_state, field)})
    for name, slot in zip(names, slots, strict=True):
      np.testing.assert_array_equal(back[name], slot[kind])


@pytest.mark.parametrize("case", CASES)
def test_the_state_is_that_of_a_training_program(case):
  flags, checkpoint = original(case)
  config = config_from_flags(flags)
  model, tx = genesis_jax.build_model(config.model), objective.optimizer(config)
  expected = jax.eval_shape(lambda: training.create_train_state(jax.random.key(0), model, tx))
  state = train_state(config, checkpoint)
  shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)  # noqa: E731
  assert shapes(state) == shapes(expected)


@pytest.mark.parametrize("optimizer, field", [("rmsprop", "nu"), ("sgd", "trace")])
def test_other_optimizers(optimizer, field):
  flags, checkpoint = original("vae", optimizer)
  config = config_from_flags(flags)
  assert config.optimizer.name == optimizer
  arrays = moments(train_state(config, checkpoint).opt_state, field)
  back = torch_names.to_torch(genesis_jax.build_model(config.model), {"params": arrays})
  for value, slot in zip(
    (back[name] for name in checkpoint["model_state_dict"]),
    checkpoint["optimiser_state_dict"]["state"].values(),
    strict=True,
  ):
    np.testing.assert_array_equal(value, slot[MOMENTS[optimizer][0]])


def test_adam_goes_on_as_pytorch_would():
  """One step from the imported state, against Adam's formula in PyTorch's layout."""
  flags, checkpoint = original("vae")
  config = config_from_flags(flags | {"geco": False, "learning_rate": 1e-3})
  state = train_state(config, checkpoint)
  model, tx = genesis_jax.build_model(config.model), objective.optimizer(config)
  grads = jax.tree.map(lambda x: np.sin(np.arange(x.size, dtype=x.dtype)).reshape(x.shape),
                       state.params)  # fmt: skip
  updates, _ = jax.jit(tx.update)(grads, state.opt_state, state.params)
  updates, grads = (torch_names.to_torch(model, {"params": x}) for x in (updates, grads))
  slots = checkpoint["optimiser_state_dict"]["state"].values()
  for name, slot in zip(checkpoint["model_state_dict"], slots, strict=True):
    first = (0.9 * slot["exp_avg"] + 0.1 * grads[name]) / (1 - 0.9**12)
    second = (0.999 * slot["exp_avg_sq"] + 0.001 * grads[name] ** 2) / (1 - 0.999**12)
    np.testing.assert_allclose(updates[name], -1e-3 * first / (np.sqrt(second) + 1e-8), 1e-4, 1e-9)


# The final checkpoint counts all iterations; periodic ones and the latest are one behind, and those
# of the first versions hold the ELBO.
@pytest.mark.parametrize("iteration, extra", [(11, {}), (10, {}), (10, {"elbo": 1.0})])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_all_kinds_of_checkpoints_count_updates(optimizer, iteration, extra):
  flags, checkpoint = original("vae", optimizer)
  if optimizer == "sgd":
    for slot in checkpoint["optimiser_state_dict"]["state"].values():
      del slot["step"]
  checkpoint |= {"iter_idx": iteration} | extra
  state = train_state(config_from_flags(flags | {"train_iter": 10}), checkpoint)
  assert state.step == 11 and genesis_jax.geco_state(state.opt_state).count == 11


def test_the_average_of_geco_restarts_where_it_was_not_saved():
  flags, checkpoint = original("vae")
  del checkpoint["err_ema"]
  config = config_from_flags(flags)
  state = train_state(config, checkpoint)
  tx = objective.optimizer(config)
  _, opt_state = tx.update(state.params, state.opt_state, state.params, err=jnp.float32(1234.5))
  geco = genesis_jax.geco_state(opt_state)
  assert state.step == 11 and geco.err_ema == 1234.5 and 0 < geco.beta < 10


def test_names_before_genesis_v2_came():
  flags, checkpoint = original("monet")
  expected = train_state(config_from_flags(flags), checkpoint)
  weights = checkpoint["model_state_dict"]
  former = {
    re.sub(r"\.core\.(down|up)\.(\d)\.1", r".core.\1.\2.instance_norm",
           re.sub(r"\.core\.(down|up)\.(\d)\.0", r".core.\1.\2.conv", name)): value
    for name, value in weights.items()
  }  # fmt: skip
  assert "att_process.core.down.0.conv.weight" in former
  former["comp_vae.decoder_module.seq.0.pixel_coords.g_1"] = np.zeros((1, 1, 40, 40), np.float32)
  state = train_state(config_from_flags(flags), checkpoint | {"model_state_dict": former})
  jax.tree.map(np.testing.assert_array_equal, state, expected)


def test_flags_that_change_nothing_are_named():
  flags, _ = original("vae")
  flags |= {"K_steps": 5, "feat_dim": 64}
  ignored = ignored_flags(flags, config_from_flags(flags))
  assert ignored == ["K_steps", "data_folder", "debug", "feat_dim", "git_commit",
                     "log_images_every", "num_workers", "results_dir", "run_name"]  # fmt: skip


@pytest.mark.parametrize(
  "flag, words", [({"input_channels": 4}, "input_channels is 4; allowed: 3"),
                  ({"flow": "planar"}, "model.flow = 'planar' is not a model option")],
)  # fmt: skip
def test_flags_that_could_change_the_model_are_refused(flag, words):
  flags, _ = original("vae")
  with pytest.raises(ValueError, match=words):
    config_from_flags(flags | flag)
  assert config_from_flags(flags | {"input_channels": 3}).model.name == "vae"


@pytest.mark.parametrize(
  "flags, expected",
  [
    ({"data_config": "datasets/multid_config.py", "unique_colours": True},
     ("multi_dsprites", "unique", 64, 5)),
    ({"data_config": "datasets/multi_object_config.py", "img_size": -1, "K_steps": -1},
     ("objects_room", "train", 64, 7)),
    ({"data_config": "datasets/multi_object_config.py", "dataset": "clevr", "K_steps": 6},
     ("clevr", "train", 128, 6)),
    ({"data_config": "datasets/multi_object_config.py", "dataset": "multi_dsprites"},
     ("multi_dsprites_colored", "colored_on_colored", 64, 5)),
    ({"data_config": "datasets/shapestacks_config.py", "split_name": "ccs_all"},
     ("shapestacks", "ccs_all", 64, 9)),
    ({"data_config": "datasets/sketchy_config.py", "g_goal": 0.5645},
     ("sketchy", "default", 128, 10)),
  ],
)  # fmt: skip
def test_data_sets_of_the_original(flags, expected):
  flags = FLAGS | {"model_config": "models/genesisv2_config.py"} | flags
  config = config_from_flags(flags)
  data, model = config.data, config.model
  assert (data.name, data.variant, data.image_size, model.num_slots) == expected
  assert config.objective.goal == flags["g_goal"]


@pytest.fixture(scope="module")
def released(tmp_path_factory):
  """A folder as the original's authors release it."""
  folder = tmp_path_factory.mktemp("released")
  flags, checkpoint = original("genesis")
  torch_writer.write_torch(folder / "model.ckpt-FINAL", checkpoint, older=True)
  (folder / "flags.json").write_text(json.dumps(flags))
  return folder


def test_the_program_makes_a_run_that_loads_and_resumes(released, tmp_path, capsys):
  workdir = tmp_path / "run"
  checkpoint = released / "model.ckpt-FINAL"
  assert import_torch.main([f"--checkpoint={checkpoint}", f"--workdir={workdir}"]) == 0
  said = capsys.readouterr().out
  assert f"--config=configs/of_run.py:{workdir}" in said and "git_commit, log_images_every" in said
  assert "git_commit" in json.loads((workdir / "imported.json").read_text())["ignored_flags"]
  model, variables, config = genesis_jax.load(workdir)
  weights = load_torch(checkpoint)["model_state_dict"]
  for name, value in torch_names.to_torch(model, variables).items():
    np.testing.assert_array_equal(value, weights[name])
  # What the training program does with it, short of training.
  from configs.of_run import get_config

  again = get_config(str(workdir))
  assert again.to_json() == get_config(str(workdir)).to_json()
  source = importing.published_source(again)
  model, tx = genesis_jax.build_model(again.model), objective.optimizer(again)
  fresh = jax.eval_shape(lambda: training.create_train_state(jax.random.key(0), model, tx))
  fresh = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), fresh)
  origin = checkpoints.origin_of(again, source)
  with checkpoints.Checkpoints(workdir, origin, again) as manager:
    state = manager.restore(fresh)
  assert int(state.step) == 11 and genesis_jax.geco_state(state.opt_state).beta == 0.75
  command = [f"--checkpoint={checkpoint}", f"--workdir={workdir}"]
  assert import_torch.main(command) == 1
  assert "not empty" in capsys.readouterr().err


def test_from_a_store_to_a_store(released, tmp_path, monkeypatch, capsys):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  content = {path.name: path.read_bytes() for path in released.iterdir()}
  with store_server.emulated() as store, web_server.WebServer(content) as web:
    for name, data in content.items():
      store.pipe_file(f"bucket/released/{name}", data)
    command = ["--checkpoint=gs://bucket/released/model.ckpt-FINAL", "--workdir=gs://bucket/run"]
    assert import_torch.main(command) == 0, capsys.readouterr().err
    assert "--config=configs/of_run.py:gs://bucket/run" in capsys.readouterr().out
    config = load_config("configs/of_run.py:gs://bucket/run", [])
    assert config.model.name == "genesis" and config.seed == 3
    assert import_torch.main(command) == 1
    assert "--workdir=gs://bucket/run exists and is not empty" in capsys.readouterr().err
    assert export.main(["--workdir=gs://bucket/run", "--out=gs://bucket/small"]) == 0
    with reading.brought("gs://bucket/small") as small:
      model, variables, _ = genesis_jax.load(small)
      assert json.loads((small / "imported.json").read_text())["checkpoint"].startswith("gs://")
    weights = load_torch(released / "model.ckpt-FINAL")["model_state_dict"]
    name, value = next(iter(torch_names.to_torch(model, variables).items()))
    np.testing.assert_allclose(value, weights[name], rtol=1e-3)
    assert diagnose.main(["--workdir=gs://bucket/small", "--num_images=0"]) == 0
    assert "run        gs://bucket/small: genesis on gqn" in capsys.readouterr().out

    at = f"{web.url}/model.ckpt-FINAL"
    assert importing.configuration(at).source == f"{web.url}/flags.json"
    assert import_torch.main([f"--checkpoint={web.url}/no/model.ckpt", "--workdir=x"]) == 1
    assert "/no/flags.json is not there; " in capsys.readouterr().err
    assert import_torch.main([f"--checkpoint={at}", "--workdir=gs://buckets/run"]) == 1
    assert "gs://buckets/run is not there; see that the bucket" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="gs://bucket/no/config.json is not there"):
      load_config("configs/of_run.py:gs://bucket/no", [])


def test_two_imports_of_one_name_do_not_harm_each_other(released, tmp_path, monkeypatch, capsys):
  """The second begins and ends while the first writes."""
  command = [f"--checkpoint={released / 'model.ckpt-FINAL'}", f"--workdir={tmp_path / 'run'}"]
  write_labels, codes = folder.write_labels, []

  def meanwhile(*arguments):
    if not codes:
      codes.append(None)
      codes[0] = import_torch.main(command)
    write_labels(*arguments)

  monkeypatch.setattr(folder, "write_labels", meanwhile)
  assert import_torch.main(command) == 1 and codes == [0]
  error = capsys.readouterr().err
  assert "not empty" in error and error.count("\n") == 1
  assert [path.name for path in tmp_path.iterdir()] == ["run"]
  assert genesis_jax.load(tmp_path / "run")[2].model.name == "genesis"


def test_a_folder_without_a_run_is_named(tmp_path):
  from configs.of_run import get_config

  with pytest.raises(ValueError, match="is not a run"):
    get_config(str(tmp_path))


def broken(kind: str, folder, released) -> list[str]:
  """The command line of an import that cannot work."""
  flags, checkpoint = original("genesis")
  options = []
  if kind == "no flags":
    return [f"--checkpoint={folder / 'model.ckpt'}"]
  if kind == "other model":
    flags["model_config"] = "models/monet_config.py"
  elif kind == "other size":
    flags["attention_latents"] = 32
  elif kind == "missing":
    del checkpoint["model_state_dict"]["prior_mlp.0.bias"]
  elif kind == "extra":
    checkpoint["model_state_dict"]["prior_mlp.9.bias"] = np.zeros(3, np.float32)
  elif kind == "no optimizer":
    checkpoint["optimiser_state_dict"]["state"] = {}
  elif kind == "other optimizer":
    flags["optimiser"] = "sgd"
  elif kind == "no beta":
    del checkpoint["beta"]
  elif kind == "class":
    checkpoint["elbo"] = torch_writer.Global("os.system")
  elif kind == "weights only":
    checkpoint = checkpoint["model_state_dict"]
  elif kind == "list":
    checkpoint["model_state_dict"] = list(checkpoint["model_state_dict"].values())
  elif kind == "numbers as names":
    checkpoint["model_state_dict"] = dict(enumerate(checkpoint["model_state_dict"].values()))
  elif kind == "text as weights":
    checkpoint["model_state_dict"]["prior_mlp.0.bias"] = ["a"]
  elif kind == "optimizer is a list":
    checkpoint["optimiser_state_dict"] = [1, 2]
  elif kind == "endless":
    checkpoint["optimiser_state_dict"]["state"] = {0: {"step": 10**12, "exp_avg": 0.0}}
  elif kind == "flag":
    flags["learning_rate"] = "fast"
  elif kind == "data":
    flags["data_config"] = "datasets/other_config.py"
  elif kind == "json":
    (folder / "flags.json").write_text("{")
    options = [f"--flags={folder / 'flags.json'}"]
  torch_writer.write_torch(folder / "model.ckpt", checkpoint, older=False)
  if kind != "json":
    (folder / "flags.json").write_text(json.dumps(flags))
  return [f"--checkpoint={folder / 'model.ckpt'}", *options]


@pytest.mark.parametrize(
  "kind, words",
  [
    ("no flags", "flags.json does not exist"),
    ("other model", "att_process"),
    ("other size", "has shape"),
    ("missing", "prior_mlp.0.bias"),
    ("extra", "prior_mlp.9.bias"),
    ("no optimizer", "has no state for it"),
    ("other optimizer", "has no state for it"),
    ("no beta", "has no beta"),
    ("class", "os.system"),
    ("weights only", "iter_idx"),
    ("list", "state dict is a list"),
    ("numbers as names", "a dictionary from names to arrays"),
    ("text as weights", "entry 'prior_mlp.0.bias' is a list, not an array"),
    ("optimizer is a list", "not a checkpoint of the original code"),
    ("endless", "after 1000000000000 steps"),
    ("flag", "flags cannot be used"),
    ("data", "datasets/other_config.py"),
    ("json", "cannot be read as JSON"),
  ],
)
def test_what_cannot_be_imported_is_said_in_one_line(tmp_path, released, capsys, kind, words):
  command = broken(kind, tmp_path, released)
  assert import_torch.main([*command, f"--workdir={tmp_path / 'run'}"]) == 1
  error = capsys.readouterr().err
  assert words in error and error.count("\n") == 1
  assert not [path for path in tmp_path.iterdir() if "run" in path.name]


def test_a_configuration_can_stand_in_for_flags(released, tmp_path):
  alone = tmp_path / "model.ckpt"
  alone.write_bytes((released / "model.ckpt-FINAL").read_bytes())
  words = [f"--checkpoint={alone}", f"--workdir={tmp_path / 'run'}"]
  words += ["--config=configs/experiment.py:genesis,gqn"]
  words += ["--config.model.image_size=32", "--config.model.num_slots=4"]
  assert import_torch.main(words) == 0
  assert genesis_jax.load(tmp_path / "run")[2].model.num_slots == 4


VARIANTS = [
  dict(name="genesis", encoder_norm="in", decoder_norm="none"),
  dict(name="genesis", component_symmetric=True),
  dict(name="genesis", component_symmetric=True, encoder_norm="none", decoder_norm="in"),
  dict(name="genesis", two_stage=False, component_decoder_layers=3),
  dict(name="genesis", autoregressive_prior=False, component_prior=False),
  dict(name="genesis", component_encoder_channels=16, component_latent_dim=5, image_size=32),
  dict(name="genesis_v2", semiconv=False),
  dict(name="genesis_v2", autoregressive_prior=False),
  dict(name="genesis_v2", feature_dim=128, image_size=128),
  dict(name="monet", image_size=32, unet_channels=16),
  dict(name="monet", image_size=128),
  dict(name="vae", broadcast_decoder=True),
  dict(name="vae", image_size=256),
  dict(name="genesis", num_slots=1),
  dict(name="genesis_v2", num_slots=1),
  dict(name="monet", num_slots=1),
]


@pytest.mark.parametrize("options", VARIANTS, ids=lambda x: "-".join(map(str, x.values())))
def test_the_way_to_the_original_and_back_is_exact(options):
  _there_and_back(genesis_jax.build_model(options))


@pytest.mark.parametrize("case", golden.model_cases())
def test_weights_of_the_original_have_the_structure_of_fresh_ones(case):
  meta = golden.Case(golden.files()[case])
  model = genesis_jax.build_model({"name": meta.meta["model"], **meta.meta["config"]})
  variables, weights = _there_and_back(model), meta.state_dict
  read = genesis_jax.from_torch(model, weights)
  assert jax.tree.structure(read) == jax.tree.structure(variables)
  back = genesis_jax.to_torch(model, read)
  assert back.keys() - {"std"} == weights.keys()
  if meta.meta["model"] in ("genesis", "monet"):  # the original has it as a buffer
    np.testing.assert_array_equal(back["std"], np.full((1, 1, 1, 1, 4), np.float32(0.7)))
  else:
    assert "std" not in back


def _there_and_back(model) -> dict:
  """Random variables of a model, once they came back from the original's names."""
  if getattr(model, "num_slots", 0) > 2:  # which share their weights
    model = model.clone(num_slots=2)
  images = jnp.zeros((1, model.image_size, model.image_size, 3))
  key = jax.random.key(0)
  shapes = jax.eval_shape(lambda: model.init({"params": key, "noise": key}, images, train=False))
  rng = np.random.default_rng(0)
  variables = jax.tree.map(lambda x: rng.standard_normal(x.shape, np.float32), dict(shapes))
  weights = genesis_jax.to_torch(model, variables)
  again = genesis_jax.from_torch(model, weights)
  assert jax.tree.structure(again) == jax.tree.structure(variables)
  jax.tree.map(np.testing.assert_array_equal, again, variables)
  return variables
