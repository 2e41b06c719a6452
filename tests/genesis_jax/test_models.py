"""What every model must satisfy, whatever its weights."""

import functools
import math
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpy_weights
import pytest

import genesis_jax
from genesis_jax.models import MODELS
from genesis_jax.noise import draw_noise
from genesis_jax.training import total_kl

VARIANTS = {
  "genesis": dict(name="genesis", num_slots=3, mask_latent_dim=16),
  "genesis_symmetric": dict(
    name="genesis", num_slots=3, component_symmetric=True, encoder_norm="in", decoder_norm="none",
    autoregressive_prior=False, component_prior=False,
  ),
  "genesis_one_stage": dict(name="genesis", num_slots=3, two_stage=False, pixel_bound=False),
  "genesis_v2": dict(name="genesis_v2", num_slots=3, feature_dim=16),
  "genesis_v2_dynamic": dict(
    name="genesis_v2", num_slots=3, feature_dim=16, dynamic_slots=True, mask_kl_loss=True,
    kernel="laplacian", autoregressive_prior=False,
  ),
  "monet": dict(name="monet", num_slots=3, unet_channels=8),
  "monet_scope": dict(name="monet", num_slots=2, unet_channels=8, mask_prior="scope",
                      monte_carlo_kl=False),
  "genesis_one_slot": dict(name="genesis", num_slots=1),
  "genesis_v2_one_slot": dict(name="genesis_v2", num_slots=1, feature_dim=16),
  "monet_one_slot": dict(name="monet", num_slots=1, unet_channels=8),
  "vae": dict(name="vae"),
  "vae_broadcast": dict(name="vae", broadcast_decoder=True),
}  # fmt: skip
MAIN = ("genesis", "genesis_v2", "monet", "vae")
ONE_SLOT = tuple(name for name in VARIANTS if name.endswith("_one_slot"))  # with unused weights
BATCH, SIZE = 3, 32


def images_of(kind: str = "random"):
  shape = (BATCH, SIZE, SIZE, 3)
  if kind == "random":
    coarse = jax.random.uniform(jax.random.key(7), (BATCH, 4, 4, 3))
    return jnp.repeat(jnp.repeat(coarse, SIZE // 4, 1), SIZE // 4, 2)
  # With its type, or the gradient would be compiled once more for one that is weak.
  return jnp.full(shape, {"black": 0.0, "white": 1.0}[kind], jnp.float32)


class Built:
  """A model with weights and compiled functions, shared by all tests of a variant."""

  def __init__(self, name):
    self.model = model = genesis_jax.build_model(VARIANTS[name] | {"image_size": SIZE})
    keys = {"params": jax.random.key(0), "noise": jax.random.key(1)}
    variables = numpy_weights.drawn(lambda x: model.init(keys, x, train=False), images_of())
    # Of NumPy: what tests do to weights is then not compiled once for each of their shapes.
    self.variables = jax.device_get(variables)
    if getattr(model, "semiconv", False):
      # Its gate starts at 0, where nothing that it multiplies has a gradient.
      self.variables["params"]["attention"]["gate"] = np.float32(0.5)
    self.noise = draw_noise(jax.random.key(2), model.noise_spec(), jnp.arange(BATCH))
    self.sample = jax.jit(lambda v, key: model.apply(v, 5, method="sample", rngs={"noise": key}))

    def loss(params, images, noise):
      variables = self.variables | {"params": params}
      out, _ = model.apply(variables, images, train=True, noise=noise, mutable=["batch_stats"])
      return out.err.mean() + total_kl(out).mean(), out

    self.grad = jax.jit(jax.value_and_grad(loss, has_aux=True))
    self._eval = jax.jit(lambda v, x, n: model.apply(v, x, train=False, noise=n))

  def eval(self, variables, images, noise):
    """Outputs of evaluation; without batch norm those of training, compiled already."""
    if "batch_stats" in variables:
      return self._eval(variables, images, noise)
    return self.grad(variables["params"], images, noise)[0][1]

  def draw(self, variables, **options):
    """Two samples; options are those of the model's `sample`."""
    options |= {"method": "sample", "rngs": {"noise": jax.random.key(0)}}
    return jax.jit(lambda v: self.model.apply(v, 2, **options))(variables)


@functools.cache
def build(name) -> Built:
  return Built(name)


@pytest.fixture(
  params=[
    name if name in (*MAIN, "vae_broadcast") else pytest.param(name, marks=pytest.mark.slow)
    for name in VARIANTS
    if name not in ONE_SLOT
  ]
)
def built(request):
  return build(request.param)


@pytest.mark.slow
def test_shapes_and_masks(built):
  out = built.eval(built.variables, images_of(), built.noise)
  assert out.recon.shape == (BATCH, SIZE, SIZE, 3)
  assert out.err.shape == (BATCH,)
  slots = getattr(built.model, "num_slots", None)
  for name, kl in out.kl.items():
    assert kl.shape in ((BATCH,), (BATCH, slots)), name
    assert np.isfinite(kl).all()
  if slots is None:
    return
  assert out.components.shape == (BATCH, slots, SIZE, SIZE, 3)
  for log_masks in (out.log_masks, out.log_masks_recon):
    if log_masks is not None:
      assert log_masks.shape == (BATCH, slots, SIZE, SIZE)
      np.testing.assert_allclose(jnp.exp(log_masks).sum(1), 1, atol=1e-5)
  np.testing.assert_array_equal(out.log_scopes[:, 0], 0)
  masks = out.log_masks if isinstance(built.model, (MODELS["genesis"], MODELS["monet"])) else (
    out.log_masks_recon)  # fmt: skip
  mixed = (jnp.exp(masks)[..., None] * out.components).sum(1)
  np.testing.assert_allclose(mixed, out.recon, atol=1e-5)


@pytest.mark.slow
def test_every_parameter_has_a_finite_gradient(built):
  (loss, _), grads = built.grad(built.variables["params"], images_of(), built.noise)
  assert np.isfinite(loss)
  paths = jax.tree_util.tree_leaves_with_path(grads)
  # Norms of each channel by itself take away what a bias before them adds.
  before_norm = {path[:-3] for path, _ in paths if "h_norm" in jax.tree_util.keystr(path)}
  for path, grad in paths:
    name = jax.tree_util.keystr(path)
    assert np.isfinite(grad).all(), name
    if path[:-2] in before_norm and name.endswith("['conv']['bias']"):
      assert np.abs(grad).max() < 1e-3, name
    else:
      assert np.abs(grad).max() > 0, name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["black", "white"])
def test_constant_images_are_finite(built, kind):
  (loss, _), grads = built.grad(built.variables["params"], images_of(kind), built.noise)
  assert np.isfinite(loss)
  assert all(np.isfinite(grad).all() for grad in jax.tree.leaves(grads))


def test_saturated_masks_are_finite(built):
  # Large weights drive every logit to where sigmoid and softmax are 0 or 1.
  params = jax.tree.map(lambda x: 20 * x if x.ndim > 1 else x, built.variables["params"])
  (loss, _), grads = built.grad(params, images_of(), built.noise)
  assert np.isfinite(loss)
  assert all(np.isfinite(grad).all() for grad in jax.tree.leaves(grads))


@pytest.mark.parametrize(("side", "dtype"), [(SIZE, np.uint8), (2 * SIZE, np.float32)])
def test_other_images_are_refused(built, side, dtype):
  images = jnp.zeros((BATCH, side, side, 3), dtype)
  with pytest.raises(ValueError, match=rf"images are {images.dtype}.* from 0 to 1, .*{SIZE}, 3\]"):
    built.model.check_images(images)


def test_samples_are_images(built):
  samples = built.sample(built.variables, jax.random.key(3))
  assert samples.images.shape == (5, SIZE, SIZE, 3)
  if built.model.pixel_bound:
    assert samples.images.min() >= 0 and samples.images.max() <= 1 + 1e-6
  if samples.log_masks is not None:
    np.testing.assert_allclose(jnp.exp(samples.log_masks).sum(1), 1, atol=1e-5)
  other = built.sample(built.variables, jax.random.key(4))
  assert np.abs(samples.images - other.images).max() > 0


def test_images_do_not_see_each_other(built):
  noise, images = built.noise, images_of()
  together = built.eval(built.variables, images, noise)
  replaced = images.at[1:].set(1 - images[1:])
  apart = built.eval(built.variables, replaced, noise)
  for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(apart), strict=True):
    np.testing.assert_allclose(a[0], b[0], rtol=1e-5, atol=1e-5)


def test_genesis_v2_does_not_see_brightness():
  built = build("genesis_v2")
  bright, dim = (
    built.eval(built.variables, images, built.noise) for images in (images_of(), images_of() / 2)
  )
  np.testing.assert_allclose(bright.recon, dim.recon, atol=1e-3)
  np.testing.assert_allclose(
    bright.latents["component"].mean, dim.latents["component"].mean, atol=1e-3
  )


@pytest.mark.parametrize("name", [*MAIN, pytest.param("genesis_one_stage", marks=pytest.mark.slow)])
def test_features_are_the_latents(name):
  built = build(name)
  features = jax.jit(functools.partial(built.model.apply, method="features"))
  ours = features(built.variables, images_of(), noise=built.noise)
  latents = built.eval(built.variables, images_of(), built.noise).latents
  samples = {name: latent.sample for name, latent in latents.items()}
  if "mask" in samples and "component" in samples:
    samples["mask"] = samples["mask"][:, :-1]
  names = [name for name in ("mask", "component", "latent") if name in samples]
  expected = [samples[name].reshape(BATCH, -1) for name in names]
  np.testing.assert_allclose(ours, np.concatenate(expected, 1), atol=1e-5)

  # Draws come from the noise stream alone.
  one, again, other = (
    features(built.variables, images_of(), rngs={"noise": jax.random.key(n)}) for n in (5, 5, 6)
  )
  np.testing.assert_array_equal(one, again)
  assert np.abs(one - other).max() > 0


# Bounds of bfloat16 against float32, relative to the error: the likelihood itself is float32.
@pytest.mark.parametrize("name", MAIN)
def test_bfloat16_stays_near_float32(name):
  built = build(name)
  model = built.model.clone(dtype=jnp.bfloat16)
  apply = jax.jit(lambda v, x, n: model.apply(v, x, train=False, noise=n))
  exact = built.eval(built.variables, images_of(), built.noise)
  coarse = apply(built.variables, images_of(), built.noise)
  for leaf in jax.tree.leaves(coarse):
    assert leaf.dtype == jnp.float32
  np.testing.assert_allclose(coarse.err, exact.err, rtol=2e-3)
  np.testing.assert_allclose(total_kl(coarse), total_kl(exact), rtol=5e-2, atol=1)
  assert np.abs(coarse.recon - exact.recon).mean() < 5e-3
  variables = jax.eval_shape(
    lambda: model.init({"params": jax.random.key(0), "noise": jax.random.key(0)}, images_of())
  )
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize("name", ["genesis", "genesis_v2", "monet"])
def test_eleven_slots_at_128(name):
  model = genesis_jax.build_model(dict(name=name, num_slots=11, image_size=128))
  images = jax.ShapeDtypeStruct((2, 128, 128, 3), jnp.float32)
  keys = {"params": jax.random.key(0), "noise": jax.random.key(0)}
  out, _ = jax.eval_shape(lambda x: model.init_with_output(keys, x, train=True), images)
  assert out.recon.shape == images.shape and out.kl["component"].shape == (2, 11)
  assert out.components.shape == (2, 11, 128, 128, 3)
  for log_masks in (out.log_masks, out.log_masks_recon, out.log_scopes):
    assert log_masks is None or log_masks.shape == (2, 11, 128, 128)


@pytest.mark.slow
def test_original_sampling_leaves_out_the_tanh():
  built = build("genesis")
  params = jax.tree.map(lambda x: x, built.variables["params"])
  params["mask_prior"]["linear"]["bias"] = params["mask_prior"]["linear"]["bias"] + 3
  variables = built.variables | {"params": params}
  ours = built.draw(variables)
  original = built.draw(variables, original_prior_mean=True)
  assert ours.latents["mask"][:, 1:].mean() < 2 < original.latents["mask"][:, 1:].mean()


def test_more_slots_can_be_sampled_than_were_trained():
  built = build("genesis_v2")
  samples = built.draw(built.variables, num_slots=7)
  assert samples.components.shape == (2, 7, SIZE, SIZE, 3)


@pytest.mark.parametrize("name", ["genesis", "monet_scope", "genesis_v2"])
def test_a_single_slot_is_the_image(name):
  built = build(name)
  samples = built.draw(built.variables, num_slots=1)
  np.testing.assert_allclose(samples.images, samples.components[:, 0], atol=1e-6)
  assert np.abs(samples.log_masks).max() < 1e-6


@pytest.mark.parametrize(
  "name",
  [name if name == "genesis_one_slot" else pytest.param(name, marks=pytest.mark.slow)
   for name in ONE_SLOT],
)  # fmt: skip
def test_a_model_of_one_slot_is_a_component_vae(name):
  built = build(name)
  images = images_of()
  (loss, out), grads = built.grad(built.variables["params"], images, built.noise)
  assert out.latents.keys() == {"component"} and out.kl["component"].shape == (BATCH, 1)
  for masks in (out.log_masks, out.log_scopes, out.log_masks_recon):
    assert masks is None or (masks.shape == (BATCH, 1, SIZE, SIZE) and not masks.any())
  np.testing.assert_allclose(out.recon, out.components[:, 0], atol=1e-6)
  err = -jax.scipy.stats.norm.logpdf(images, out.recon, 0.7).sum((1, 2, 3))
  np.testing.assert_allclose(out.err, err, 1e-5)
  latent = out.latents["component"]
  q = jax.scipy.stats.norm.logpdf(latent.sample, latent.mean, latent.std)
  kl = (q - jax.scipy.stats.norm.logpdf(latent.sample)).sum((1, 2))
  np.testing.assert_allclose(total_kl(out), kl, 1e-3, 1e-3)
  assert np.isfinite(loss) and all(np.isfinite(x).all() for x in jax.tree.leaves(grads))
  assert jax.tree.reduce(lambda total, x: total + np.abs(x).sum(), grads["slot_head" if "v2" in name
                         else "component_vae"], 0) > 0  # fmt: skip
  samples = built.sample(built.variables, jax.random.key(3))
  assert samples.images.shape == (5, SIZE, SIZE, 3)
  np.testing.assert_allclose(samples.images, samples.components[:, 0], atol=1e-6)


def test_one_slot_trains():
  built = build("genesis_one_slot")
  params, losses = built.variables["params"], []
  for _ in range(6):
    (loss, _), grads = built.grad(params, images_of(), built.noise)
    losses.append(float(loss))
    params = jax.tree.map(lambda x, g: x - 1e-5 * np.asarray(g), params, grads)
  assert losses[-1] < losses[0] - 1, losses
  with pytest.raises(ValueError, match="num_slots is 3, but this model was made for one slot"):
    built.model.noise_spec(3)


@pytest.mark.parametrize(
  ("config", "message"),
  [
    (dict(name="genesys"), r"model.name is 'genesys'; allowed: \['genesis'"),
    (dict(name=["genesis"]), r"model.name is \['genesis'\]; allowed: \['genesis'"),
    (dict(name="genesis", num_slotz=3), r'num_slotz.*did you mean "num_slots"'),
    (dict(name="genesis", encoder_norm="gn"), r"encoder_norm is 'gn'; allowed: \['bn'"),
    (dict(name="genesis", image_size=48), r"image_size is 48; allowed for genesis: \[32, 64"),
    (dict(name="genesis_v2", image_size=256), r"256; allowed for genesis_v2: \[32, 64, 128\]"),
    (dict(name="genesis", num_slots=0), r"num_slots is 0; allowed: whole numbers from 1"),
    (
      dict(name="genesis", num_slots=1, two_stage=False),
      r"two_stage is False; allowed for genesis",
    ),
    (dict(name="genesis_v2", feature_dim=20), r"feature_dim is 20; allowed: multiples of 8"),
    (dict(name="genesis", montecarlo_kl=False), r"monte_carlo_kl is False"),
    (dict(name="genesis", dtype="float16"), r"dtype is 'float16'; allowed: \['bfloat16'"),
    (dict(name="genesis", pixel_std1=0), r"pixel_std_first is 0; allowed: numbers above 0"),
    (dict(name="vae", pixel_std=math.inf), r"pixel_std is inf; allowed: numbers above 0"),
    (dict(name="vae", pixel_std=True), r"pixel_std is True; allowed: numbers above 0"),
    (dict(name="vae", pixel_std=math.nan, pixel_std2=math.nan), r"given twice, as nan and nan"),
    (dict(name="vae", pixel_std=math.nan), r"pixel_std is nan; allowed: numbers above 0"),
    (dict(name="genesis", K_steps=-1), r"K_steps is -1, in the original: .*give num_slots"),
    (dict(name="genesis", two_stage=1), r"two_stage is 1; allowed: true or false"),
    (dict(name="monet", K_steps=4, num_slots=5), r"num_slots is given twice, as 4 and 5"),
  ],
)
def test_impossible_options_are_named(config, message):
  with pytest.raises(ValueError, match=message):
    genesis_jax.build_model(config)


def test_numbers_of_numpy_are_options():
  model = genesis_jax.build_model(
    dict(name="genesis", num_slots=np.int64(7), pixel_std=np.float32(1))
  )
  assert model.num_slots == 7 and model.pixel_std == 1


FLOAT64 = """
import functools, jax, jax.numpy as jnp, optax
import genesis_jax
from genesis_jax import training
from test_models import VARIANTS

def check(name, tree):
  assert not [x for x in jax.tree.leaves(tree) if x.dtype == jnp.float64], name

keys = {"params": jax.random.key(0), "noise": jax.random.key(0)}
images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
for name, options in VARIANTS.items():
  few_slots = dict(num_slots=min(options["num_slots"], 2)) if "num_slots" in options else {}
  model = genesis_jax.build_model(options | dict(image_size=32) | few_slots)
  forward = functools.partial(model.init_with_output, keys, train=True)
  check(name, jax.eval_shape(forward, images))
  if name != "genesis":  # one is enough: gradients have the type of what they are of
    continue
  tx = optax.chain(genesis_jax.geco(goal=1e3, step_size=1e-5), optax.adam(1e-4))
  create = functools.partial(training.create_train_state, model=model, tx=tx)
  state = jax.eval_shape(create, jax.random.key(0))
  batch = {"image": jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.uint8)}
  step = functools.partial(training.train_step, model=model, tx=tx)
  check(name, (state, jax.eval_shape(step, state, batch)))
"""


@pytest.mark.slow
def test_nothing_becomes_float64_where_a_program_allows_it():
  # In a process of its own: what JAX keeps of traced functions would mix with that of other tests.
  environment = os.environ | {"JAX_ENABLE_X64": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
  done = subprocess.run(
    [sys.executable, "-c", FLOAT64], env=environment, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr


def test_released_flags_are_accepted():
  flags = dict(
    model_config="models/genesisv2_config.py", data_config="datasets/sketchy_config.py",
    data_folder="data/sketchy", K_steps=10, img_size=128, feat_dim=64, kernel="gaussian",
    klm_loss=False, detach_mr_in_klm=True, pixel_std1=0.7, pixel_std2=0.7, autoreg_prior=True,
    batch_size=32, g_goal=0.5645, debug=False, seed=0, semiconv=True, dynamic_K=False,
  )  # fmt: skip
  model = genesis_jax.build_model(flags)
  assert isinstance(model, MODELS["genesis_v2"])
  assert (model.num_slots, model.image_size) == (10, 128)
