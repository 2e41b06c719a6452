"""GECO, goals and schedules."""

import math

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

import genesis_jax
from configs.experiment import compose
from genesis_jax.objective import beta_schedule, error_floor, goal_per_element, optimizer


def run_geco(errors, **options):
  tx = genesis_jax.geco(**options)
  state = tx.init({})
  for err in errors:
    _, state = tx.update({}, state, {}, err=jnp.float32(err))
  return state


def test_geco_follows_its_definition():
  options = dict(goal=100.0, step_size=1e-3, alpha=0.9, speedup=10.0)
  beta, ema = 1.0, None
  errors = [150.0, 90.0, 60.0, 20.0, 120.0]
  for i, err in enumerate(errors):
    ema = err if ema is None else 0.9 * ema + 0.1 * err
    constraint = 100.0 - ema
    beta *= math.exp((1e-2 if constraint > 0 else 1e-3) * constraint)
    state = run_geco(errors[: i + 1], **options)
    np.testing.assert_allclose([state.beta, state.err_ema], [beta, ema], 1e-5)


def test_geco_is_clipped_and_passes_gradients_through():
  assert run_geco([1e9] * 50, goal=0.0, step_size=1.0).beta == np.float32(1e-10)
  assert run_geco([-1e3] * 50, goal=0.0, step_size=1.0).beta == np.float32(1e10)
  tx = genesis_jax.geco(goal=1.0, step_size=1.0)
  grads = {"w": jnp.arange(3.0)}
  updates, _ = tx.update(grads, tx.init(grads), grads, err=2.0)
  np.testing.assert_array_equal(updates["w"], grads["w"])


def test_geco_state_is_found_wherever_it_is():
  params = {"w": jnp.zeros(2)}
  chain = optax.chain(optax.clip(1.0), genesis_jax.geco(goal=1.0, step_size=1.0), optax.adam(1e-3))
  assert genesis_jax.geco_state(chain.init(params)).beta == 1
  assert genesis_jax.geco_state(optax.adam(1e-3).init(params)) is None


def test_goal_below_the_floor_is_refused_with_the_floor():
  config = compose("genesis", "gqn")
  assert error_floor(0.7) == pytest.approx(0.56226, abs=1e-5)
  assert goal_per_element(config.objective, config.model) == 0.5655
  config.objective.goal = 0.562
  with pytest.raises(ValueError, match=r"0\.562.*0\.7.*0\.56226.*target_psnr"):
    goal_per_element(config.objective, config.model)
  # Whichever slot is sharper sets the floor.
  config.model.pixel_std_first = 0.09
  config.objective.goal = 0.5655
  assert goal_per_element(config.objective, config.model) == 0.5655


def test_psnr_that_float32_cannot_tell_from_perfect_is_refused():
  config = compose("genesis", "gqn")
  config.objective.target_psnr = 80.0
  with pytest.raises(ValueError, match=r"target_psnr is 80.*0\.56226"):
    goal_per_element(config.objective, config.model)


def test_target_psnr_is_the_readable_goal():
  config = compose("vae", "gqn")
  config.objective.target_psnr = 10 * math.log10(1 / 0.0032)
  goal = goal_per_element(config.objective, config.model)
  assert goal == pytest.approx(0.56226 + 0.0032 / 0.98, abs=1e-5)


def test_schedules_without_geco():
  config = ConfigDict(dict(geco=False, beta=0.5, beta_warmup=True))
  schedule = beta_schedule(config, 1000)
  np.testing.assert_allclose([schedule(s) for s in (0, 100, 200, 900)], [0, 0.25, 0.5, 0.5])
  config.beta_warmup = False
  assert beta_schedule(config, 1000)(0) == 0.5


def test_unknown_optimizer():
  config = compose("genesis", "gqn")
  config.optimizer.name = "adamw"
  with pytest.raises(ValueError, match=r"optimizer.name is 'adamw'; allowed: \['adam'"):
    optimizer(config)


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("optimizer.learning_rate", -1e-4, "learning_rate is -0.0001; allowed: numbers from 0"),
    ("optimizer.learning_rate", math.nan, "learning_rate is nan; allowed: numbers from 0"),
    ("objective.beta", math.inf, "beta is inf; allowed: numbers from 0"),
    ("objective.target_psnr", math.nan, "target_psnr is nan; allowed: finite numbers"),
    ("objective.alpha", 1.5, "alpha is 1.5; allowed: numbers from 0 to 1"),
    ("objective.beta_init", 0.0, "beta_init is 0.0; allowed: numbers above 0"),
    ("objective.beta_min", 1e11, "beta_min is .*, above objective.beta_max"),
  ],
)
def test_numbers_that_make_no_sense(field, value, message):
  config = compose("genesis", "gqn")
  config.update_from_flattened_dict({field: value})
  with pytest.raises(ValueError, match=message):
    optimizer(config)
