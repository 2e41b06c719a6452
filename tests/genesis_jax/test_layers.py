"""Layers and networks against their definitions, written out the slow way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genesis_jax import convolutions, distributions, layers, networks, slots
from genesis_jax.outputs import Latent

KEY = jax.random.key(0)
UNPADDED = ((0, 0), (0, 0))


def normal(*shape, seed=0):
  """Of NumPy: JAX's draws are compiled once for each shape."""
  return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def initialised(module, *arguments):
  """(variables, compiled function of them and the arguments)."""
  return jax.jit(module.init)(KEY, *arguments), jax.jit(module.apply)


def values_and_gradients(convolve, x, kernel):
  """A convolution, compiled, and its gradients when its output is weighed."""

  @jax.jit
  def both(x, kernel):
    y, transpose = jax.vjp(convolve, x, kernel)
    return y, transpose(normal(*y.shape, seed=2))

  return both(x, kernel)


def dilated(x, kernel, stride, padding):
  """A transposed convolution by its definition: the input dilated, the kernel flipped."""
  low = kernel.shape[0] - 1 - padding
  high = stride - 1 + padding  # so that the sides are multiplied by the stride
  return jax.lax.conv_general_dilated(
    x, kernel[::-1, ::-1], (1, 1), ((low, high),) * 2, lhs_dilation=(stride, stride),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )  # fmt: skip


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [2, 5])
def test_transposed_convolution_is_a_dilated_one_with_a_flipped_kernel(stride, side):
  x, size, padding = normal(2, side, side, 3), 5, 2
  variables, apply = initialised(layers.ConvTranspose(4, size, stride, padding), x)
  kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
  expected = dilated(x, kernel, stride, padding) + bias
  np.testing.assert_allclose(apply(variables, x), expected, atol=1e-5)


@pytest.mark.parametrize("size, stride", [(5, 1), (5, 2), (3, 2), (4, 2), (5, 3)])
@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_transposed_convolutions_have_the_same_gradients_in_all_forms(
  platform, size, stride, monkeypatch
):
  monkeypatch.setattr(jax, "default_backend", lambda: platform)
  monkeypatch.setenv("GENESIS_JAX_PAIRS", "1")
  x, kernel, padding = normal(2, 4, 5, 3), normal(size, size, 3, 6, seed=1), (size - 1) // 2
  ours, expected = (
    values_and_gradients(lambda *a: convolve(*a, stride, padding), x, kernel)  # noqa: B023
    for convolve in (convolutions.convolve_transposed, dilated)
  )
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), ours, expected)


@pytest.mark.parametrize("side, size, stride, padding", [
  (8, 5, 1, 2), (8, 5, 2, 2), (8, 3, 2, 1), (7, 3, 2, 0), (9, 4, 1, 0), (7, 5, 2, 2), (5, 1, 1, 0),
])  # fmt: skip
@pytest.mark.parametrize("where", ["alone", "in a loop"])
def test_gradients_of_convolutions_are_those_of_jax(side, size, stride, padding, where):
  assert jax.default_backend() == "cpu"  # where they are written out
  x, kernel = normal(2, side, side, 3), normal(size, size, 3, 4, seed=1)
  around = ((padding, padding),) * 2

  def loss(convolve, x, kernel):
    def once(total, _):
      return total + jnp.sin(convolve(x, kernel)).sum(), None

    return jax.lax.scan(once, 0.0, None, 2)[0] if where == "in a loop" else once(0.0, None)[0]

  def jaxs(x, kernel):
    return jax.lax.conv_general_dilated(
      x, kernel, (stride, stride), around, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

  gradients = jax.jit(jax.grad(loss, (1, 2)), static_argnums=0)
  ours = gradients(lambda *a: convolutions.convolve(*a, stride, around), x, kernel)
  expected = gradients(jaxs, x, kernel)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), ours, expected)


@pytest.mark.parametrize("sides, padding", [((3, 5), ((1, 1), (2, 2))), ((3, 3), ((1, 0), (0, 1)))])
def test_gradients_of_convolutions_that_differ_along_the_axes(sides, padding):
  x, kernel = normal(2, 8, 8, 3), normal(*sides, 3, 4, seed=1)

  def jaxs(x, kernel):
    return jax.lax.conv_general_dilated(
      x, kernel, (2, 2), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

  expected = values_and_gradients(jaxs, x, kernel)
  ours = values_and_gradients(lambda *a: convolutions.convolve(*a, 2, padding), x, kernel)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), ours, expected)


def test_gradients_of_kernels_move_images_as_matrices_only():
  """XLA moves each side of an image to a place of its own four times as slowly, on CPUs."""

  def loss(kernel):
    return convolutions.convolve(jnp.ones((2, 6, 6, 3)), kernel, 1, UNPADDED).sum()

  def lowered(side):
    return jax.jit(jax.grad(loss)).lower(jnp.zeros((side, side, 3, 4))).as_text()

  moved = [line for line in lowered(3).splitlines() if "transpose" in line and "x6x6x3x" in line]
  assert not moved
  assert "convolution" not in lowered(1)  # a matrix product


@pytest.fixture
def pairs(monkeypatch):
  """A GPU that is asked for `_convolve_pairs`."""
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  monkeypatch.setenv("GENESIS_JAX_PAIRS", "1")


@pytest.mark.parametrize("width, size, stride, padding", [
  (8, 1, 1, (0, 0)), (9, 1, 1, (0, 0)), (8, 1, 1, (1, 1)), (8, 3, 1, (0, 0)), (8, 3, 1, (1, 1)),
  (8, 3, 2, (1, 1)), (8, 3, 2, (1, 0)), (9, 3, 2, (1, 1)), (8, 4, 1, (1, 2)), (8, 5, 1, (2, 2)),
  (7, 5, 1, (2, 2)), (8, 5, 1, (1, 1)), (8, 5, 1, (3, 3)), (8, 5, 2, (2, 2)), (8, 5, 4, (2, 2)),
])  # fmt: skip
def test_convolutions_in_pairs_have_the_same_gradients(width, size, stride, padding, pairs):
  x, kernel = normal(2, 7, width, 3), normal(size, size, 3, 4, seed=1)
  around = ((0, 0) if size == 1 else (1, 1), padding)

  def found():
    return values_and_gradients(lambda *a: convolutions.convolve(*a, stride, around), x, kernel)

  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("GENESIS_JAX_PAIRS", "0")
    expected = found()
  ours = found()
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), ours, expected)


@pytest.mark.parametrize("kernel, stride, padding, computed", [
  ((5, 5, 32, 64), 1, 2, (5, 3, 64, 128)),
  ((5, 5, 64, 64), 1, 2, (5, 5, 64, 64)),
  ((3, 3, 32, 32), 1, 0, (3, 2, 64, 64)),
  ((3, 3, 32, 32), 1, 1, (3, 3, 32, 32)),  # pairs would double the products
  ((3, 3, 4, 32), 2, 1, (3, 2, 8, 32)),
  ((3, 3, 32, 32), 2, 1, (3, 3, 32, 32)),
  ((1, 1, 32, 3), 1, 0, (256, 24)),
  ((1, 1, 64, 32), 1, 0, (1, 1, 64, 32)),
])  # fmt: skip
def test_pairs_where_channels_are_few(kernel, stride, padding, computed, pairs):
  around = ((padding, padding),) * 2
  jaxpr = jax.make_jaxpr(lambda *a: convolutions.convolve(*a, stride, around))(
    jnp.zeros((1, 64, 64, kernel[2])), jnp.zeros(kernel)
  )
  (product,) = (
    eqn for eqn in jaxpr.eqns if eqn.primitive.name in ("conv_general_dilated", "dot_general")
  )
  assert product.invars[1].aval.shape == computed


@pytest.mark.parametrize("platform, setting", [("gpu", "0"), ("tpu", "1"), ("cpu", "1")])
def test_no_pairs_elsewhere_and_unasked(platform, setting, monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: platform)
  monkeypatch.setenv("GENESIS_JAX_PAIRS", setting)
  x, kernel = normal(1, 8, 8, 4), normal(3, 3, 4, 4)
  jaxpr = str(jax.make_jaxpr(lambda *a: convolutions.convolve(*a, 1, UNPADDED))(x, kernel))
  assert "conv_general_dilated" in jaxpr and "[3,2,8,8]" not in jaxpr


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_convolution_of_an_enlarged_image(platform, monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: platform)
  x, kernel = normal(2, 4, 3, 5), normal(3, 3, 5, 6, seed=1)
  enlarged = jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)
  expected = convolutions.convolve(enlarged, kernel, 1, ((1, 1), (1, 1)))
  np.testing.assert_allclose(convolutions.convolve_upsampled(x, kernel), expected, atol=1e-4)


def test_full_image_convolutions_are_matrix_products():
  x = normal(2, 8, 8, 3)
  variables, apply = initialised(layers.Conv(4, 8), x)
  kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
  expected = convolutions.convolve(x, kernel, 1, UNPADDED) + bias
  np.testing.assert_allclose(apply(variables, x), expected, atol=1e-5)
  z = normal(2, 1, 1, 3)
  variables, apply = initialised(layers.ConvTranspose(4, 8), z)
  kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
  expected = (z[..., None] * kernel[None].transpose(0, 1, 2, 3, 4)).sum(3) + bias
  np.testing.assert_allclose(apply(variables, z), expected, atol=1e-5)


def test_gradients_summed_over_the_batch_alone_are_a_product():
  x, weights = normal(1, 2, 3, 4), normal(5, 2, 3, 4, seed=1)
  _, transpose = jax.vjp(lambda x: layers.spread(x, weights.shape, x.dtype), x)
  np.testing.assert_allclose(transpose(weights)[0], weights.sum(0, keepdims=True), atol=1e-5)
  assert "dot_general" in str(jax.make_jaxpr(transpose)(weights))


def test_broadcast_decoder_forms_its_first_layer_without_the_grid():
  z, size, depth = normal(3, 5), 8, 2
  net = networks.BroadcastDecoder(3, size, 6, depth, jax.nn.elu)
  variables, apply = initialised(net, z)
  side = size + 2 * depth
  grid = jnp.broadcast_to(layers.coordinates(side), (3, side, side, 2))
  x = jnp.concatenate([jnp.broadcast_to(z[:, None, None], (3, side, side, 5)), grid], -1)
  params = variables["params"]
  for name in ("conv_0", "conv_1"):
    x = convolutions.convolve(x, params[name]["kernel"], 1, UNPADDED) + params[name]["bias"]
    x = jax.nn.elu(x)
  expected = convolutions.convolve(x, params["out"]["kernel"], 1, UNPADDED) + params["out"]["bias"]
  np.testing.assert_allclose(apply(variables, z), expected, atol=1e-5)


def test_initialisation_is_uniform_by_fan_in():
  kernel = layers.Conv(64, 3).init(KEY, normal(1, 8, 8, 16))["params"]["kernel"]
  bound = 1 / np.sqrt(9 * 16)
  assert np.abs(kernel).max() <= bound and np.abs(kernel).max() > 0.99 * bound
  kernel = layers.ConvTranspose(8, 5, 2, 2).init(KEY, normal(1, 8, 8, 64))["params"]["kernel"]
  bound = 1 / np.sqrt(25 * 8)  # output channels
  assert np.abs(kernel).max() <= bound and np.abs(kernel).max() > 0.99 * bound


def test_stick_breaking_by_hand():
  logits = normal(2, 3, 4, 4)
  log_masks, log_scopes = slots.stick_breaking_logits(logits)
  share, scope = jax.nn.sigmoid(logits), jnp.ones((2, 4, 4))
  for k in range(3):
    np.testing.assert_allclose(jnp.exp(log_scopes[:, k]), scope, atol=1e-6)
    np.testing.assert_allclose(jnp.exp(log_masks[:, k]), scope * share[:, k], atol=1e-6)
    scope = scope * (1 - share[:, k])
  np.testing.assert_allclose(jnp.exp(log_masks[:, 3]), scope, atol=1e-6)
  np.testing.assert_allclose(jnp.exp(log_masks).sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("logit", [0.0, 200.0, -200.0])
def test_eleven_slots_are_finite(logit):
  """Also where the first takes everything, and where none but the last takes anything."""

  def loss(logits):
    log_masks, log_scopes = slots.stick_breaking_logits(logits)
    return (jnp.exp(log_masks) * log_masks).sum() + log_scopes[:, -1].sum()

  value, gradient = jax.value_and_grad(loss)(jnp.full((1, 10, 2, 2), logit))
  assert np.isfinite(value) and np.isfinite(gradient).all()


def test_mixture_likelihood_by_hand_and_where_the_original_underflows():
  images = jax.random.uniform(KEY, (2, 4, 4, 3))
  components = jax.random.uniform(jax.random.key(1), (2, 3, 4, 4, 3))
  log_masks = jax.nn.log_softmax(normal(2, 3, 4, 4), 1)
  std = distributions.slot_stds(0.5, 0.7, 3)
  density = jnp.exp(distributions.normal_log_prob(images[:, None], components,
                                                  std[:, None, None, None]))  # fmt: skip
  expected = -jnp.log((jnp.exp(log_masks)[..., None] * density).sum(1)).sum((1, 2, 3))
  got = distributions.mixture_nll(images, components, log_masks, std)
  np.testing.assert_allclose(got, expected, 1e-5)

  def sharp(components, log_masks):  # 200 nats per value: exp(-200) is 0 in float32
    black, std = jnp.zeros((1, 4, 4, 3)), jnp.full(3, 0.05)
    return distributions.mixture_nll(black, components, log_masks, std)[0]

  value, gradients = jax.value_and_grad(sharp, (0, 1))(jnp.ones((1, 3, 4, 4, 3)), log_masks[:1])
  assert np.isfinite(value) and all(np.isfinite(gradient).all() for gradient in gradients)


def test_kl_is_zero_where_posterior_equals_prior():
  mean, std, noise = normal(2, 3, 4), jnp.exp(normal(2, 3, 4, seed=1)), normal(2, 3, 4, seed=2)
  same = Latent(mean, std, mean + std * noise, mean, std)
  np.testing.assert_array_equal(distributions.sampled_kl(same), 0)
  standard = Latent(jnp.zeros((2, 4)), jnp.ones((2, 4)), normal(2, 4))
  np.testing.assert_array_equal(distributions.sampled_kl(standard), 0)
  np.testing.assert_array_equal(distributions.standard_kl(standard), 0)
  log_masks = jax.nn.log_softmax(normal(2, 3, 4, 4), 1)
  np.testing.assert_array_equal(distributions.categorical_kl(log_masks, log_masks), 0)


def test_sampled_kl_estimates_the_closed_form():
  mean, std = normal(4), jnp.exp(0.3 * normal(4, seed=1))
  z = mean + std * normal(200_000, 4, seed=2)
  latent = Latent(jnp.broadcast_to(mean, z.shape), jnp.broadcast_to(std, z.shape), z)
  closed = distributions.standard_kl(Latent(mean, std, mean))
  np.testing.assert_allclose(distributions.sampled_kl(latent).mean(), closed, rtol=0.01)


def attention_by_loops(colours, seeds, kernel, scale, num_slots, min_area):
  """GENESIS-V2's masks of one image, slot by slot; stops early if `min_area`."""
  log_scope, log_masks = np.zeros(colours.shape[:2]), []
  for _ in range(num_slots - 1):
    row, column = np.unravel_index(np.argmax(seeds * np.exp(log_scope)), seeds.shape)
    squared = ((colours - colours[row, column]) ** 2).sum(-1)
    alpha = {
      "gaussian": np.exp(-squared / scale),
      "laplacian": np.exp(-np.sqrt(np.clip(squared, 1e-10, 1e10)) / scale),
      "epanechnikov": np.maximum(0, 1 - squared / scale),
    }[kernel]
    alpha = np.clip(alpha, 0.01, 0.99)
    mask = log_scope + np.log(alpha)
    if np.exp(mask).sum() < min_area:
      break
    log_masks.append(mask)
    log_scope = log_scope + np.log(1 - alpha)
  log_masks.append(log_scope)
  empty = np.full(colours.shape[:2], -1e10)
  return np.stack(log_masks + [empty] * (num_slots - len(log_masks)))


@pytest.mark.parametrize("kernel", sorted(slots.KERNELS))
@pytest.mark.parametrize("dynamic", [False, True])
def test_instance_colouring_by_loops(kernel, dynamic):
  features, seeds = normal(6, 16, 16, 8), jax.random.uniform(KEY, (6, 16, 16))
  features = features.at[:3].multiply(0.1)  # alike pixels: the first slots take nearly all
  module = slots.InstanceColouring(5, kernel, True, dynamic)
  variables, apply = initialised(module, features, seeds)
  variables["params"]["gate"] = jnp.float32(0.8)
  log_masks, _ = apply(variables, features, seeds)
  params = variables["params"]
  colours = convolutions.convolve(features, params["colour"]["kernel"], 1, UNPADDED)
  colours = 0.8 * (colours + params["colour"]["bias"])
  colours = np.array(colours.at[..., -2:].add(layers.coordinates(16)))
  scale = float(jnp.exp(params["log_sigma"]))
  stopped = 0
  for i in range(6):
    expected = attention_by_loops(
      colours[i], np.array(seeds[i]), kernel, scale, 5, slots.InstanceColouring.MIN_AREA * dynamic
    )
    stopped += (expected[-1] < -1e9).all()
    np.testing.assert_allclose(log_masks[i], expected, atol=1e-3)
  np.testing.assert_allclose(jnp.exp(log_masks).sum(1), 1, atol=1e-5)
  if dynamic:
    assert 0 < stopped, "no image stopped early: the test shows nothing"
