"""What each model is made of: the options of its class, with the published values.

`image_size` and `num_slots` are set by `configs.experiment.compose`, from the data set's.
"""

import ml_collections

DTYPES = ("float32", "bfloat16")  # of activations


def check(config) -> None:
  """Checks what can be checked before anything heavy is imported.

  Raises:
    ValueError: naming field, value and what is allowed.
  """
  if config.get("dtype", DTYPES[0]) not in DTYPES:
    raise ValueError(f"model.dtype is {config.dtype!r}; allowed: {sorted(DTYPES)}")


def names() -> list[str]:
  """The models that `options` knows."""
  from genesis_jax.models import MODELS  # JAX: not for those who only read a configuration's help

  return list(MODELS)


def options(name: str) -> ml_collections.ConfigDict:
  """Options of one of the library's models."""
  from genesis_jax.models import default_options, model_class

  return ml_collections.ConfigDict({"name": name} | default_options(model_class(name)))


def own(module: str, model: type) -> ml_collections.ConfigDict:
  """Options of a model of your own.

  Args:
    module: the file that defines the class: `__file__`, where a configuration brings its own.
    model: a subclass of `genesis_jax.models.common.Model`.
  """
  from genesis_jax.models import default_options

  fields = {"module": module, "name": model.__name__} | default_options(model)
  return ml_collections.ConfigDict(fields)
