"""What can be known of GPUs and TPUs without one: programs are lowered for them, not run."""

import functools

import jax
import jax.numpy as jnp
import pytest

import genesis_jax
from configs.experiment import compose
from data_pipelines.datasets import generator
from genesis_jax import objective, scenes, training
from genesis_jax.models import MODELS

pytestmark = pytest.mark.slow

PLATFORMS = ("cuda", "tpu")


def lowered(function, *arguments) -> dict[str, str]:
  """Platform -> StableHLO of a function of abstract arrays."""
  traced = jax.jit(function).trace(*arguments)
  return {name: traced.lower(lowering_platforms=(name,)).as_text() for name in PLATFORMS}


@pytest.fixture(autouse=True)
def not_on_a_cpu(monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")  # asked where CPUs have their own way


@pytest.mark.parametrize("name", MODELS)
def test_published_steps_are_lowered(name):
  config = compose(name, "gqn")
  config.model.dtype = "bfloat16"
  if name != "vae":
    config.model.num_slots = 2  # more of them only take longer
  model, tx = genesis_jax.build_model(config.model), objective.optimizer(config)
  schedule = objective.beta_schedule(config.objective, config.num_steps)
  create = functools.partial(training.create_train_state, model=model, tx=tx)
  state = jax.eval_shape(create, jax.random.key(0))
  batches = {"image": jax.ShapeDtypeStruct((2, 4, 64, 64, 3), jnp.uint8)}
  step = functools.partial(training.train_step, model=model, tx=tx, beta_schedule=schedule)
  steps = functools.partial(training.train_steps, step, num_steps=2)
  for text in lowered(steps, state, batches).values():
    convolutions = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    assert len(convolutions) > 10
    # All but that of the coordinates, once for the whole batch, and its gradient.
    assert sum("bf16" not in line for line in convolutions) <= 2
    assert "lhs_dilate = [2, 2]" in text  # on CPUs it would be by phases


@pytest.mark.parametrize("dataset", scenes.SCENES)
def test_scenes_are_lowered(dataset):
  config = compose("vae", dataset)
  config.data.source = "generator"
  draw = generator.drawing(config.data, "train", 0)
  for text in lowered(draw, jax.ShapeDtypeStruct((2,), jnp.uint32)).values():
    assert "ui8" in text
