"""Configurations: every composition builds and trains abstractly; mistakes are named."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import pytest

import genesis_jax
from configs import datasets, demo, experiment, models, small_genesis, small_genesis_v2
from configs.loading import ConfigError, load_config
from experiments import main
from genesis_jax import objective, optimizers, training

PAIRS = [(model, dataset) for model in models.names() for dataset in datasets.DATASETS]


def few_slots(config):
  """Its model, of more slots than two with two: others only take longer to trace."""
  model = genesis_jax.build_model(config.model)
  return model.clone(num_slots=2) if config.model.get("num_slots", 0) > 2 else model


def abstract_step(config):
  """Shapes of the state before and after a step."""
  model, tx = few_slots(config), objective.optimizer(config)
  size = config.model.image_size
  schedule = objective.beta_schedule(config.objective, config.num_steps)
  step = partial(training.train_step, model=model, tx=tx, beta_schedule=schedule)
  batch = {"image": jax.ShapeDtypeStruct((2, size, size, 3), jnp.uint8)}
  state = jax.eval_shape(
    lambda: training.create_train_state(jax.random.key(config.seed), model, tx)
  )
  return state, *jax.eval_shape(step, state, batch)


@pytest.fixture(scope="module")
def steps():
  """What decides the shapes of a step -> these: many data sets share theirs."""
  return {}


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids=",".join)
def test_every_composition_trains(pair, steps):
  config = experiment.get_config(",".join(pair))
  key = few_slots(config), config.objective.geco, config.optimizer.to_json()
  if key not in steps:
    steps[key] = abstract_step(config)
  before, after, scalars = steps[key]
  assert jax.tree.map(lambda x: (x.shape, x.dtype), before) == jax.tree.map(
    lambda x: (x.shape, x.dtype), after
  )
  assert {"elbo", "err", "kl", "mse", "rmse", "loss", "beta", "diverged_at"} <= scalars.keys()
  assert all(x.shape == () for x in scalars.values())


@pytest.mark.parametrize("module", [demo, small_genesis, small_genesis_v2])
def test_configurations_with_settings_of_their_own_train(module):
  abstract_step(module.get_config())


def test_options_read_from_source_are_those_of_the_classes():
  assert set(models.names()) == set(genesis_jax.models.MODELS)
  for name, model in genesis_jax.models.MODELS.items():
    options = models.options(name).to_dict()
    assert options == {"name": name} | model.default_options()


def test_image_size_is_one_number():
  config = experiment.compose("genesis", "gqn")
  config.data.image_size = 32
  assert config.model.image_size == 32


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_every_optimizer_works_with_and_without_geco(name):
  config = experiment.compose("vae", "gqn")
  config.optimizer.name = name
  params = {"w": jnp.ones(2)}
  for config.objective.geco in (True, False):
    tx = objective.optimizer(config)
    before = tx.init(params)
    updates, after = tx.update(params, before, params, err=jnp.float32(1))
    assert jnp.isfinite(updates["w"]).all() and updates["w"].all()
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert (objective.geco_state(after) is None) is (not config.objective.geco)


@pytest.mark.parametrize(
  "spec, words", [("genesiz,gqn", 'did you mean "genesis"'), ("genesis,gq", "gqn"), ("vae", "vae")]
)
def test_unknown_experiment_is_named(spec, words):
  with pytest.raises(ValueError, match=words):
    experiment.get_config(spec)


def test_unreachable_goal_is_refused():
  config = experiment.compose("genesis", "gqn")
  config.objective.goal = 0.56
  with pytest.raises(ValueError, match="0.56226.*target_psnr"):
    objective.optimizer(config)
  config.objective.target_psnr = 25.0
  goal = objective.goal_per_element(config.objective, config.model)
  assert goal == pytest.approx(0.5655, abs=1e-4)


@pytest.mark.parametrize(
  "words, expected",
  [
    (["--config=configs/genesis_gqn.py", "--config.model.num_slotz=3"], '"num_slots"'),
    (["--config=configs/genesis_gqn.py", "--config.batch_size=many"], "batch_size=many"),
    (["--config=configs/genesis_gqn.py", "--confg.seed=1"], "confg.seed"),
    (["--config=configs/genesis_gqn.py", "stray"], "stray"),
    (["--config=configs/experiment.py:monett,gqn"], '"monet"'),
    (["--config=configs/nowhere.py"], "configs/nowhere.py"),
    ([], "--config is missing"),
    (["--config", "configs/nowhere.py"], "configs/nowhere.py"),
    (["--config=configs/genesis_gqn.py", "--config.kernel=3"], "has no field kernel\n"),
    (["--config=configs/demo.py:small"], "has no variants"),
    (["--config=configs/of_run.py"], "needs a value, --config=FILE:VALUE, its 'workdir'"),
    (["--config=configs/models.py"], "has no function get_config"),
  ],
)
def test_command_line_mistakes_are_one_line(words, expected, capsys):
  try:
    status = main.main(words)
  except SystemExit as end:
    status = end.code
  error = capsys.readouterr().err
  assert status == 2
  assert error.startswith("error: ") and error.count("\n") == 1
  assert expected in error


def test_a_mistake_is_the_status_of_the_process():
  command = [sys.executable, "-m", "experiments.main", "--config=configs/nowhere.py"]
  run = subprocess.run(command, capture_output=True, text=True)
  assert run.returncode == 2
  assert run.stderr.startswith("error: ") and run.stderr.count("\n") == 1


@pytest.mark.parametrize(
  "lines, expected",
  [
    (["def get_config():", "  return undefined"], "line 3: NameError: name 'undefined'"),
    (["import math", "math.tau_"], "line 3: AttributeError: module 'math' has no attribute 'tau_'"),
    (["def get_config(:"], "line 2: SyntaxError: "),
    (["def get_config():", "  config = compose('vae', 'gqn').lock()", "  config.modle = 3"],
     'line 4: AttributeError: .*Did you mean "model"'),
    (["def get_config():", "  return compose('vea', 'gqn')"], 'line 3: ValueError: .*mean "vae"'),
    (["def get_config():", "  return {}"], "get_config returns a dict, not a ConfigDict"),
  ],
)  # fmt: skip
def test_fault_in_a_configuration_file_names_the_line(tmp_path, lines, expected):
  path = tmp_path / "mine.py"
  path.write_text("\n".join(["from configs.experiment import compose", *lines]))
  with pytest.raises(ConfigError, match=f"mine.py,? ?.*{expected}") as error:
    load_config(str(path), [])
  assert "\n" not in str(error.value)


def test_overrides_keep_types_references_and_placeholders(monkeypatch):
  monkeypatch.setattr("importlib.machinery.SourceFileLoader.load_module", None)  # Python 3.15
  words = ["--config.model.image_size=32", "--config.objective.target_psnr=25"]
  words += ["--noconfig.objective.geco", "--config.batch_size", "7", "--config.data.data_dir=None"]
  config = load_config("configs/experiment.py:genesis,gqn", words)
  assert config.data.image_size == 32 and config.objective.target_psnr == 25.0
  assert config.objective.geco is False and config.batch_size == 7
  assert config.data.data_dir is None and config.is_locked
  words = ["--config.objective.target_psnr=None"]
  assert load_config("configs/experiment.py:genesis,gqn", words).objective.target_psnr is None
  with pytest.raises(ConfigError, match="batch_size=None: invalid"):
    load_config("configs/genesis_gqn.py", ["--config.batch_size=None"])


def test_a_tuple_is_overridden_as_one(tmp_path):
  path = tmp_path / "mine.py"
  path.write_text(
    "import ml_collections\ndef get_config(sides='1'):\n"
    "  return ml_collections.ConfigDict({'sides': (int(sides), 2)})\n"
  )
  assert load_config(f"{path}:5", []).sides == (5, 2)
  assert load_config(str(path), ["--config.sides=(3, 4)"]).sides == (3, 4)


def test_a_wrong_dtype_is_known_before_anything_is_imported():
  code = (
    "import sys; from experiments import main\n"
    "status = main.main(['--config=configs/genesis_gqn.py', '--config.model.dtype=float16'])\n"
    "assert status == 2 and not {'jax', 'tensorflow'} & set(sys.modules)"
  )
  run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
  assert run.returncode == 0, run.stderr
  assert run.stderr == "error: model.dtype is 'float16'; allowed: ['bfloat16', 'float32']\n"
  for dtype in models.DTYPES:
    config = experiment.compose("vae", "gqn")
    config.model.dtype = dtype
    assert genesis_jax.build_model(config.model).dtype == dtype
