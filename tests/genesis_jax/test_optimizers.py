"""Levers of the optimizer: what each does, and that those which are off leave no trace."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import genesis_jax
from configs.experiment import compose
from genesis_jax import objective, optimizers, packing, runs, training

PARAMS = {"w": jnp.array([3.0, 4.0])}
GRADS = {"w": jnp.array([6.0, 8.0])}  # of norm 10


@pytest.fixture
def config():
  config = compose("vae", "gqn")
  config.update_from_flattened_dict({"model.image_size": 32, "model.latent_dim": 4})
  return config


def rule(config, **fields):
  config.optimizer.update({"name": "sgd", "learning_rate": 0.1} | fields)
  return optimizers.update_rule(config.optimizer, num_steps=100)


def test_levers_that_are_off_leave_no_trace(config):
  """The step is lowered to the same text as with the optimizer as it was before there were any."""
  model, size = genesis_jax.build_model(config.model), 3 * 32**2
  goal = {"goal": 0.5655 * size, "step_size": 1e-5 * 4}
  plain = optax.chain(genesis_jax.geco(**goal), optax.adam(1e-4, b1=0.9, b2=0.999, eps=1e-8))
  texts, trees = set(), set()
  batch = {"image": jax.ShapeDtypeStruct((2, 32, 32, 3), np.uint8)}
  for tx in (plain, objective.optimizer(config)):
    create = functools.partial(training.create_train_state, model=model, tx=tx)
    state = jax.eval_shape(create, jax.random.key(0))
    trees.add(str(jax.tree.structure(state)))
    step = functools.partial(training.train_step, model=model, tx=tx)
    texts.add(jax.jit(step).lower(state, batch).as_text())
  assert len(texts) == len(trees) == 1


@pytest.mark.parametrize("schedule, expected", [
  ("constant", [0.025, 0.1, 0.1, 0.1, 0.1]),
  ("linear", [0.025, 0.1, 0.1, 0.05, 0.0]),
  ("cosine", [0.025, 0.1, 0.1, 0.05, 0.0]),
])  # fmt: skip
def test_the_rate_rises_and_falls(config, schedule, expected):
  config.optimizer.update(learning_rate=0.1, warmup_steps=4, schedule=schedule)
  rate = optimizers.learning_rate(config.optimizer, 100)
  np.testing.assert_allclose([rate(s) for s in (0, 3, 4, 52, 100)], expected, atol=1e-6)
  config.optimizer.warmup_steps = 0
  rate = optimizers.learning_rate(config.optimizer, 100)
  assert rate == 0.1 if schedule == "constant" else float(rate(0)) == np.float32(0.1)


def test_gradients_are_clipped_by_their_norm(config):
  tx = rule(config, clip_norm=5.0)
  state = tx.init(PARAMS)
  assert jax.tree.structure(state) == jax.tree.structure(rule(config, clip_norm=None).init(PARAMS))
  updates, _ = tx.update(GRADS, state, PARAMS, err=0.0, batch_stats={})
  np.testing.assert_allclose(updates["w"], [-0.3, -0.4], rtol=1e-6)


def test_weights_and_statistics_are_averaged(config):
  tx = rule(config, learning_rate=0.01, ema_decay=0.2)
  variables = {"params": PARAMS, "batch_stats": {"mean": jnp.zeros(1)}}
  state, params = optimizers.initial_state(tx, variables), PARAMS
  weights, mean = np.array(PARAMS["w"]), 0.0
  for step in range(3):
    stats = {"mean": jnp.array([step + 1.0])}
    updates, state = tx.update(GRADS, state, params, err=0.0, batch_stats=stats)
    params = optax.apply_updates(params, updates)
    past = min(0.2, (1 + step) / (10 + step))
    weights = past * weights + (1 - past) * np.asarray(params["w"])
    mean = past * mean + (1 - past) * (step + 1.0)
  average = optimizers.averaged(state)
  np.testing.assert_allclose(average["params"]["w"], weights, rtol=1e-6)
  np.testing.assert_allclose(average["batch_stats"]["mean"], [mean], rtol=1e-6)

  train_state = training.TrainState(3, params, stats, state, np.zeros(2, np.uint32), -1)
  assert train_state.variables["params"] is average["params"]
  saved = {"params": params, "batch_stats": stats}
  saved["opt_state"] = {"0": {}, "1": state[1]._asdict()}
  assert runs.variables(saved)["params"] is average["params"]
  assert runs.variables(saved, raw_weights=True)["params"] is params


@pytest.mark.parametrize("fields, message", [
  ({"schedule": "step"}, "optimizer.schedule is 'step'; allowed: constant, cosine, linear"),
  ({"warmup_steps": 500_000}, "warmup_steps is 500000; it must be below num_steps, 500000"),
  ({"warmup_steps": -1}, "optimizer.warmup_steps is -1; allowed: numbers from 0"),
  ({"clip_norm": 0.0}, "optimizer.clip_norm is 0.0; allowed: numbers above 0"),
  ({"ema_decay": 1.0}, "optimizer.ema_decay is 1.0; allowed: numbers from 0 to below 1"),
])  # fmt: skip
def test_levers_that_make_no_sense(config, fields, message):
  config.optimizer.update(fields)
  with pytest.raises(ValueError, match=message):
    objective.check(config)


def test_a_goal_is_a_number_or_follows_the_data(config):
  config.objective.goal = "auto"
  objective.check(config)
  with pytest.raises(ValueError, match='"auto": experiments.main finds it'):
    objective.optimizer(config)
  config.objective.goal = "automatic"
  with pytest.raises(ValueError, match="goal is automatic; allowed: finite numbers, and auto"):
    objective.check(config)


def test_a_whole_state_in_small_files(tmp_path, monkeypatch):
  monkeypatch.setattr(packing, "PART_BYTES", 1000)
  state = {"step": np.int32(7), "params": {"a": {"w": np.random.default_rng(0).random(500)}},
           "batch_stats": {}, "opt_state": {"0": {"mu": np.float32([1, 2])}}}  # fmt: skip
  folder = tmp_path / runs.FOLDER
  folder.mkdir()
  contents = packing.whole_state(state, {"config": {}}, 7)
  assert len(contents) == 6 and all(len(content) <= 1000 for content in contents.values())
  for name, content in contents.items():
    (folder / name).write_bytes(content)
  assert runs.checkpoint_steps(tmp_path) == [7]
  back, origin = runs.read_checkpoint(tmp_path, 7)
  assert runs.checksums(back, origin) == runs.checksums(state, origin)
  (folder / "7.state-2-of-6").unlink()
  with pytest.raises(ValueError, match=r"none of .*\[7\].*7.state-2-of-6 is missing"):
    runs.read_newest(tmp_path)
  assert len(runs.checkpoint_files(tmp_path, 7)) == 5
