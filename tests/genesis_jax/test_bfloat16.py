"""Gradients in bfloat16: every sum over pixels, images or slots is taken in float32.

A sum in bfloat16 stands still once it is 256 times what is added, so that its error grows with the
batch and the image; losses do not show it. So gradients are compared with those in float32, and
programs are searched for such sums, also those for accelerators that are not there.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpy_weights
import optax
import pytest

import genesis_jax
from benchmarks import gradients
from genesis_jax import convolutions, layers, training

pytestmark = pytest.mark.slow

MODELS = ("genesis", "genesis_v2", "monet", "vae")
BACKENDS = {"cpu": "cpu", "cuda": "gpu", "tpu": "tpu"}  # platform of a program -> JAX's name
# Each choice that the models above do not make, several at a time.
VARIANTS = {
  "genesis_one_stage": dict(
    name="genesis", two_stage=False, pixel_bound=False, encoder_norm="in", decoder_norm="in"
  ),
  "genesis_symmetric": dict(
    name="genesis", component_symmetric=True, component_prior=False, encoder_norm="none",
    decoder_norm="none", autoregressive_prior=False,
  ),
  "genesis_v2_colours": dict(
    name="genesis_v2", semiconv=False, kernel="epanechnikov", dynamic_slots=True
  ),
  "genesis_v2_laplacian": dict(
    name="genesis_v2", kernel="laplacian", mask_kl_loss=True, detach_recon_masks=False
  ),
  "monet_scope": dict(name="monet", mask_prior="scope", monte_carlo_kl=False),
  "vae_broadcast": dict(name="vae", broadcast_decoder=True),
}  # fmt: skip


def test_spread_sums_its_gradient_in_float32():
  shape = (160, 64, 64, 3)

  def loss(x):
    return layers.spread(x, shape, jnp.bfloat16).astype(jnp.float32).sum()

  for sides in ((3,), (1, 3), (160, 1, 1, 3), (1, 64, 64, 3), (1, 64, 1, 1), ()):
    x = jnp.full(sides, 0.3)
    assert layers.spread(x, shape, jnp.bfloat16).dtype == jnp.bfloat16
    gradient = jax.grad(loss)(x)
    assert gradient.dtype == jnp.float32
    np.testing.assert_array_equal(gradient, np.full(sides, np.prod(shape) / x.size))


@pytest.mark.parametrize("stride", [1, 2])
def test_products_add_up_in_float32(stride):
  """Of bfloat16 too: so do the units for it in GPUs and TPUs, and XLA on CPUs."""
  ones = functools.partial(jnp.ones, dtype=jnp.bfloat16)
  np.testing.assert_array_equal(ones((2, 2**14)) @ ones((2**14, 3)), np.full((2, 3), 2.0**14))
  x, kernel = ones((4, 64, 64, 1)), ones((3, 3, 1, 1))
  transposed = functools.partial(convolutions.convolve_transposed, padding=1)
  convolve = functools.partial(convolutions.convolve, padding=((1, 1), (1, 1)))
  for function in (convolve, transposed):
    y, transpose = jax.vjp(lambda x, kernel: function(x, kernel, stride=stride), x, kernel)  # noqa: B023
    _, gradient = transpose(jnp.ones_like(y))
    # All pixels meet the middle of the kernel: those of the smaller image.
    assert gradient[1, 1, 0, 0] == min(x.size, y.size)


def few_slots(name) -> dict[str, int]:
  """A first, a middle and a last slot: more of them only take longer to compile."""
  return {} if name == "vae" else {"num_slots": 3}


def operations(operation):
  """All that are inside one of a program, however deep."""
  for region in operation.regions:
    for block in region:
      for inside in block:
        yield inside
        yield from operations(inside)


def sums_of_16_bits(lowered) -> list[str]:
  """Sums of a program, by whatever operation, whose bodies add scalars of 16 bits."""
  return [
    str(operation.operation.parent).splitlines()[0]
    for operation in operations(lowered.compiler_ir("stablehlo").operation)
    if operation.operation.name == "stablehlo.add"
    and str(operation.operands[0].type) in ("tensor<bf16>", "tensor<f16>")
  ]


TX = optax.sgd(1e-3)  # which adds nothing up


@functools.cache
def state_shapes(model):
  create = functools.partial(training.create_train_state, model=model, tx=TX)
  return jax.eval_shape(create, jax.random.key(0))


def lowered_step(options, platform):
  """The training step of a model in bfloat16, for a platform that need not be there."""
  side = 32
  model = genesis_jax.build_model(
    few_slots(options["name"]) | options | dict(image_size=side, dtype="bfloat16")
  )
  batch = {"image": jax.ShapeDtypeStruct((4, side, side, 3), jnp.uint8)}
  step = functools.partial(
    training.train_step, model=model, tx=TX, beta_schedule=lambda step: jnp.float32(1)
  )
  return jax.jit(step).trace(state_shapes(model), batch).lower(lowering_platforms=(platform,))


@pytest.mark.parametrize("platform", ["cpu", "cuda", pytest.param("tpu", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", MODELS)
def test_no_step_sums_in_16_bits(name, platform, monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: BACKENDS[platform])
  assert sums_of_16_bits(lowered_step(dict(name=name), platform)) == []


@pytest.mark.parametrize("name", MODELS)
def test_no_step_sums_in_16_bits_where_columns_go_in_pairs(name, monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  monkeypatch.setenv("GENESIS_JAX_PAIRS", "1")
  assert sums_of_16_bits(lowered_step(dict(name=name), "cuda")) == []


@pytest.mark.parametrize("name", VARIANTS)
def test_no_step_of_a_variant_sums_in_16_bits(name):
  assert sums_of_16_bits(lowered_step(VARIANTS[name], "cpu")) == []


def test_sums_in_16_bits_are_found():
  def loss(x, bias):
    y = x + bias.astype(x.dtype)  # what JAX makes of a bias
    return y.astype(jnp.float32).sum() + jax.lax.cumsum(x).astype(jnp.float32).sum()

  arguments = jax.ShapeDtypeStruct((4, 8), jnp.bfloat16), jax.ShapeDtypeStruct((8,), jnp.float32)
  for platform in BACKENDS:
    traced = jax.jit(jax.grad(loss, (0, 1))).trace(*arguments)
    lowered = traced.lower(lowering_platforms=(platform,))
    assert any("stablehlo.reduce" in line for line in sums_of_16_bits(lowered))


def check_gradients(side, batch, cosine=0.998, bias=0.1, **options):
  with numpy_weights.used():
    pairs = gradients.gradients(side, batch, **few_slots(options["name"]) | options)
  assert {gradient.dtype for pair in pairs.values() for gradient in pair} == {np.dtype("float32")}
  found = gradients.compare(pairs)
  assert found.cosine >= cosine
  assert found.norm == pytest.approx(1, abs=0.02)
  assert found.bias_error < bias, found.bias


@pytest.mark.parametrize(
  "name, side, options",
  [
    ("genesis", 64, {}),
    ("monet", 64, dict(num_slots=5)),  # as published: with three, rounding shows more
    ("genesis_v2", 128, {}),
  ],
)
def test_gradients_are_those_of_float32(name, side, options):
  check_gradients(side, 2, name=name, **options)


def test_gradients_of_a_larger_batch():
  """Over twice the pixels of two images of 128x128."""
  check_gradients(32, 64, name="vae")


def test_gradients_of_a_broadcast_decoder():
  # Over a quarter of the pixels, the rounding of activations themselves averages out less.
  check_gradients(32, 2, cosine=0.99, bias=0.2, **VARIANTS["vae_broadcast"])
