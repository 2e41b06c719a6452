"""What each model is made of: the options of its class, with the published values.

They are read from the source of the class: importing it brings JAX, for which nobody with a typo
waits. `image_size` and `num_slots` are set by `configs.experiment.compose`, from the data set's.
"""

import ast
import functools
import importlib.util
import pathlib

import ml_collections

DTYPES = ("float32", "bfloat16")  # of activations


@functools.cache
def _classes() -> dict[str, ast.ClassDef]:
  """Name of a file of the library's models -> the class in it."""
  folder = pathlib.Path(importlib.util.find_spec("genesis_jax").origin).parent / "models"
  return {
    path.stem: node
    for path in sorted(folder.glob("*.py"))
    for node in ast.parse(path.read_text()).body
    if isinstance(node, ast.ClassDef) and [ast.unparse(base) for base in node.bases] == ["Model"]
  }


def names() -> list[str]:
  """The models that `options` knows."""
  return list(_classes())


def options(name: str) -> ml_collections.ConfigDict:
  """Options of one of the library's models."""
  fields = {
    node.target.id: ast.literal_eval(node.value)
    for node in _classes()[name].body
    if isinstance(node, ast.AnnAssign)
  }
  return ml_collections.ConfigDict(dict(name=name, dtype=DTYPES[0]) | fields)


def own(module: str, model: type) -> ml_collections.ConfigDict:
  """Options of a model of your own.

  Args:
    module: the file that defines the class: `__file__`, where a configuration brings its own.
    model: a subclass of `genesis_jax.models.common.Model`.
  """
  known = dict(module=module, name=model.__name__)
  return ml_collections.ConfigDict(known | model.default_options())


def check(config) -> None:
  """Checks what can be checked before anything heavy is imported.

  Raises:
    ValueError: naming field, value and what is allowed.
  """
  if config.get("dtype", DTYPES[0]) not in DTYPES:
    raise ValueError(f"model.dtype is {config.dtype!r}; allowed: {sorted(DTYPES)}")
