"""The named configurations: each loads, builds and asks for something that can be reached."""

import importlib
import inspect
import pathlib
import re

import pytest
from test_configs import abstract_step

import configs
import genesis_jax
from configs import datasets, models
from configs.experiment import compose
from configs.loading import load_config
from genesis_jax import objective

FOLDER = pathlib.Path(configs.__file__).parent
OTHERS = {"__init__", "experiment", "models", "datasets", "loading", "of_run", "settings"}
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in OTHERS)
OWN_SETTINGS = (
  "demo",
  "small_genesis",
  "small_genesis_v2",
  "bottlenecks",
  "monet_burgess",
  "bd_vae",
)

# (pixels, slots) of the experiments, as published.
SIZES = {
  "gqn": (64, 7),
  "multi_dsprites": (64, 5),
  "objects_room": (64, 7),
  "clevr": (128, 11),
  "tetrominoes": (32, 4),
  "multi_dsprites_colored": (64, 5),
  "shapestacks": (64, 9),
  "sketchy": (128, 10),
  "apc": (128, 10),
  "image_folder": (64, 7),
  "clevrtex": (128, 11),
  "tfds": (128, 11),
  "hdf5": (64, 7),
}


def check(config):
  """Builds everything that a training program builds before it touches data."""
  model = genesis_jax.build_model(config.model)
  assert model.image_size == config.data.image_size
  objective.optimizer(config)  # refuses a goal below the floor
  if config.objective.geco:
    floor = objective.error_floor(config.model.pixel_std)
    assert floor < objective.goal_per_element(config.objective, config.model) < floor + 0.01


@pytest.mark.parametrize("name", NAMES)
def test_named_configurations(name):
  config = load_config(str(FOLDER / f"{name}.py"), ["--config.seed=5"])
  assert config.seed == 5
  check(config)
  if name in OWN_SETTINGS:
    return
  expected = compose(*re.fullmatch(r"(genesis_v2|genesis|monet)_(.*)", name).groups())
  expected.seed = 5
  assert config.to_json() == expected.to_json()


@pytest.mark.parametrize("name", ["bd_vae", "monet_burgess"])
def test_configurations_unlike_the_composed_ones_train(name):
  abstract_step(importlib.import_module(f"configs.{name}").get_config())


def test_published_rows_are_named():
  """Those that there are numbers of; any other is `experiment.py:model,dataset`."""
  rows = {f"genesis_{d}" for d in ("gqn", "multi_dsprites")}
  rows |= {f"genesis_v2_{d}" for d in ("sketchy", "apc")}
  rows |= {f"{m}_{d}" for m in ("genesis_v2", "genesis", "monet")
           for d in ("objects_room", "shapestacks")}  # fmt: skip
  assert rows | {"bd_vae", "monet_burgess", "bottlenecks"} <= set(NAMES)


@pytest.mark.parametrize("dataset", datasets.DATASETS)
def test_data_sets_have_the_published_sizes_and_the_same_fields(dataset):
  for model in models.names():
    config = compose(model, dataset)
    size, num_slots = SIZES[dataset]
    assert config.model.image_size == config.data.image_size == size
    assert model == "vae" or config.model.num_slots == num_slots
    check(config)
  own = {field for field, names in datasets.own_fields().items() if dataset in names}
  assert set(config.data) - own == set(compose("vae", "gqn").data)
  with_protocol = dataset in ("clevr", "tetrominoes")
  assert ("protocol" in config.data) == with_protocol
  antialiased = dataset not in ("gqn", "multi_dsprites", "objects_room", "multi_dsprites_colored")
  expected = "protocol" if with_protocol else "bilinear" if antialiased else "nearest"
  assert config.data.resize == expected


def test_goals_and_settings_that_differ():
  assert compose("genesis_v2", "sketchy").objective.goal == 0.5645
  assert compose("genesis_v2", "apc").objective.goal == 0.5655
  burgess = importlib.import_module("configs.monet_burgess").get_config("clevr")
  assert (burgess.model.pixel_std_first, burgess.model.pixel_std) == (0.09, 0.11)
  assert (burgess.batch_size, burgess.num_steps) == (64, 1_000_000)
  assert not burgess.objective.geco and burgess.model.num_slots == 11


def test_every_configuration_says_what_is_published():
  for name in NAMES:
    assert inspect.getdoc(importlib.import_module(f"configs.{name}"))
