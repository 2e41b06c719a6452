"""Every number that the original implementation computed for us."""

import types

import golden
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import genesis_jax
from genesis_jax.training import total_kl

TOLERANCE = {"log_masks": 1e-3, "log_masks_recon": 1e-3}


@pytest.fixture(scope="module", params=golden.model_cases())
def case(request):
  """A case with its model, weights and compiled functions, shared by the tests below."""
  data = golden.Case(golden.files()[request.param])
  model = genesis_jax.build_model({"name": data.meta["model"], **data.meta["config"]})

  def loss(params, batch_stats, images, noise, beta):
    variables = {"params": params, "batch_stats": batch_stats}
    out, updates = model.apply(variables, images, train=True, noise=noise, mutable=["batch_stats"])
    err, kl = out.err.mean(), total_kl(out).mean()
    return err + beta * kl, (out, updates.get("batch_stats", {}), err, kl)

  return types.SimpleNamespace(
    data=data,
    model=model,
    variables=genesis_jax.from_torch(model, data.state_dict),
    step=jax.jit(jax.value_and_grad(loss, has_aux=True)),
  )


def named(out: genesis_jax.Outputs) -> dict:
  """Outputs under the names of the golden files."""
  arrays = {name: getattr(out, name) for name in ("recon", "err", "log_masks", "log_masks_recon",
                                                  "components")}  # fmt: skip
  arrays |= {f"kl_{name}": value for name, value in out.kl.items()}
  for name, latent in out.latents.items():
    for field in ("mean", "std", "sample", "prior_mean", "prior_std"):
      arrays[f"{name}_{field}"] = getattr(latent, field)
  return arrays


def check(out, expected: dict):
  assert expected
  got = named(out)
  for name, value in expected.items():
    tolerance = TOLERANCE.get(name, 1e-4)
    np.testing.assert_allclose(got[name], value, tolerance, tolerance, err_msg=name)


def test_evaluation(case):
  images = golden.to_float(case.data.arrays["images"])
  apply = jax.jit(lambda v, x, n: case.model.apply(v, x, train=False, noise=n))
  check(apply(case.variables, images, case.data.group("noise")), case.data.group("eval"))


def test_training_outputs_and_gradients(case):
  images = golden.to_float(case.data.arrays["images"])
  variables = case.variables
  (loss, (out, *_)), grads = case.step(
    variables["params"],
    variables.get("batch_stats", {}),
    images,
    case.data.group("noise"),
    jnp.float32(1.3),  # with its type, as in a trajectory: compiled once for both
  )
  expected = case.data.group("train")
  np.testing.assert_allclose(loss, expected.pop("loss_beta_1.3"), 1e-4)
  norms = expected.pop("grad_norms")
  check(out, expected)
  grads = genesis_jax.to_torch(case.model, {"params": grads})
  got = [np.linalg.norm(grads[name].ravel()) for name in case.data.meta["grad_norm_names"]]
  # A bias in front of batch norm has no gradient: what is there is rounding, in both.
  np.testing.assert_allclose(got, norms, 1e-3, atol=1e-3)


def flat(tree) -> np.ndarray:
  """All arrays as one vector: Adam of each by itself takes as long to compile as a model."""
  return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def like(tree, vector: np.ndarray):
  """The arrays of which `flat` made a vector."""
  leaves, structure = jax.tree.flatten(tree)
  parts = np.split(vector, np.cumsum([x.size for x in leaves])[:-1])
  return structure.unflatten([part.reshape(x.shape) for part, x in zip(parts, leaves, strict=True)])


@pytest.mark.slow
def test_trajectory(case):
  if "trajectory" not in case.data.meta:
    pytest.skip("this case has no trajectory")
  geco = case.data.meta["trajectory"]["geco"]
  tx = optax.chain(
    genesis_jax.geco(
      goal=geco["goal"],
      step_size=geco["step_size"],
      alpha=geco["alpha"],
      init=geco["beta_init"],
      minimum=geco["beta_min"],
      speedup=geco["speedup"],
    ),
    optax.adam(case.data.meta["trajectory"]["learning_rate"]),
  )
  params, batch_stats = case.variables["params"], case.variables.get("batch_stats", {})
  opt_state = tx.init(flat(params))
  update = jax.jit(lambda grads, state, params, err: tx.update(grads, state, params, err=err))
  rows = []
  for i in range(case.data.meta["train_steps"]):
    arrays = case.data.group("trajectory")
    noise = {name: arrays[f"noise/{name}/{i}"] for name in case.data.group("noise")}
    images = golden.to_float(arrays[f"images/{i}"])
    beta = genesis_jax.geco_state(opt_state).beta
    (loss, (_, batch_stats, err, kl)), grads = case.step(params, batch_stats, images, noise, beta)
    updates, opt_state = update(flat(grads), opt_state, flat(params), err)
    params = like(params, flat(params) + np.asarray(updates))
    state = genesis_jax.geco_state(opt_state)
    rows.append([err, kl, beta, loss, state.err_ema, state.beta])
  expected = case.data.arrays["trajectory/err_kl_beta_loss_ema_nextbeta"]
  np.testing.assert_allclose(rows[:3], expected[:3], 3e-3)
  np.testing.assert_allclose(rows, expected, 0.1)
