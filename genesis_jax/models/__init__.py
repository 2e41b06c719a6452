"""The models, and how one is built from a configuration.

A new model is one file here, one line in `MODELS` and one function in `configs/models.py`.
"""

import dataclasses
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

_NOT_OPTIONS = {"name", "parent", "axis_name"}


def _defaults(model: type[Model]) -> dict[str, Any]:
  fields = {f.name: f.default for f in dataclasses.fields(model) if f.name not in _NOT_OPTIONS}
  return fields | {"dtype": "float32"}


def build_model(config: Mapping[str, Any]) -> Model:
  """The model that a configuration describes.

  Args:
    config: `name` and options, in our names or the original's flag names; a released `flags.json`
      as it is. Options of other models are ignored, missing ones have the published defaults.

  Raises:
    ValueError: for an unknown model or option, or a value that is not allowed, naming it.
  """
  every = {name: _defaults(model) for name, model in MODELS.items()}
  name, options = translate(config, {field for fields in every.values() for field in fields})
  if name not in list(MODELS):  # a list: whatever was given, hashable or not, is looked for
    raise ValueError(f"model.name is {name!r}; allowed: {sorted(MODELS)}")
  options = every[name] | {f: value for f, value in options.items() if f in every[name]}
  check(name, MODELS[name], options, every[name])
  dtype = jnp.dtype(options.pop("dtype"))
  return MODELS[name](dtype=dtype, **options)
