"""The models, and how one is built from a configuration.

A new model is its class, in a file of its own here, and a row of `MODELS`; or a class in anybody's
file, which a configuration names as `module`.
"""

import functools
import importlib
import pathlib
import runpy
import sys
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from genesis_jax.models.common import Model
from genesis_jax.models.genesis import Genesis
from genesis_jax.models.genesis_v2 import GenesisV2
from genesis_jax.models.monet import MONet
from genesis_jax.models.options import check, translate
from genesis_jax.models.vae import VAE

MODELS: dict[str, type[Model]] = {
  "genesis": Genesis,
  "genesis_v2": GenesisV2,
  "monet": MONet,
  "vae": VAE,
}


@functools.cache  # a class that is made twice is two classes, and compiled twice
def _names_of(module: str) -> dict[str, Any]:
  if not module.endswith(".py"):
    return vars(importlib.import_module(module))
  path = pathlib.Path(module)
  for place in (path, *(pathlib.Path(folder, path.name) for folder in sys.path)):
    if place.is_file():
      return runpy.run_path(str(place))
  raise FileNotFoundError("there is no such file")


def model_class(name: str, module: str | None = None) -> type[Model]:
  """The class of a model.

  Args:
    name: a row of `MODELS`; with a module, the class's own name.
    module: Python file, or importable module, which defines the class; None: this package. A file
      that is not there any more is looked for by its name where Python looks for modules.

  Raises:
    ValueError: there is none, naming what is allowed.
  """
  if module is None:
    if name not in list(MODELS):  # a list: whatever was given, hashable or not, is looked for
      raise ValueError(f"model.name is {name!r}; allowed: {sorted(MODELS)}")
    return MODELS[name]
  try:
    names = _names_of(module)
  except (FileNotFoundError, ModuleNotFoundError) as error:
    raise ValueError(
      f"model.module is {module!r}, which defines the class {name}, but {error}; put it back, or "
      "name the folder where it lies now in PYTHONPATH"
    ) from error
  classes = {n: x for n, x in names.items() if isinstance(x, type) and issubclass(x, Model)}
  classes.pop("Model", None)  # which it imports
  if name not in classes:
    raise ValueError(f"model.name is {name!r}; models defined in {module}: {sorted(classes)}")
  return classes[name]


def build_model(config: Mapping[str, Any]) -> Model:
  """The model that a configuration describes.

  Args:
    config: `name`, options, and `module` where the class is not one of this package; in our names
      or the original's flag names: a released `flags.json` as it is. Options of other models are
      ignored, missing ones have the published defaults.

  Raises:
    ValueError: for an unknown model or option, or a value that is not allowed, naming it.
  """
  config = dict(config)
  module = config.pop("module", None)
  models = list(MODELS.values()) if module is None else [model_class(config.get("name"), module)]
  name, options = translate(
    config, {field for model in models for field in model.default_options()}
  )
  model = model_class(name, module)
  defaults = model.default_options()
  options = defaults | {field: value for field, value in options.items() if field in defaults}
  check(name, model, options, defaults)
  dtype = jnp.dtype(options.pop("dtype"))
  return model(dtype=dtype, **options)
