"""Gradients in bfloat16 beside those in float32, on the device that is there.

  python -m benchmarks.gradients
  python -m benchmarks.gradients --model=genesis_v2 --size=128 --batch=8

Same parameters, images and noise. The cosine and the norm are of all gradients as one vector; the
bias is the farthest off of those that carry at least a hundredth of its length.
"""

import argparse
from typing import NamedTuple

from benchmarks.train_step import MODELS
from data_pipelines.command_line import Parser, whole_number
from experiments.console import program, startup
from experiments.console.errors import explained

# What imports JAX is imported in functions: --help and mistakes do not wait for it.


class Difference(NamedTuple):
  """What rounding did to a gradient."""

  cosine: float
  norm: float  # in units of the exact one
  bias: str  # the farthest off, or ""
  bias_error: float  # its, relative


def parse(argv: list[str]) -> argparse.Namespace:
  """Options; a mistake ends the program with status 2."""
  parser = Parser("benchmarks.gradients", __doc__)
  parser.add_argument("--model", action="append", choices=MODELS, help="default: all four")
  parser.add_argument("--size", type=int, default=64, help="side of the images (64)")
  parser.add_argument("--batch", type=whole_number(1), default=2, help="images (2)")
  return parser.parse_args(argv)


def gradients(side: int, batch: int, **options) -> dict[str, tuple]:
  """Name of a parameter -> its gradient where activations are float32, and where bfloat16.

  Args:
    side: of the images.
    batch: how many they are.
    **options: of the model.
  """
  import jax
  import jax.numpy as jnp
  import numpy as np

  import genesis_jax
  from genesis_jax import training
  from genesis_jax.noise import draw_noise

  model = genesis_jax.build_model(options | dict(image_size=side))
  coarse = jax.random.uniform(jax.random.key(7), (batch, 8, 8, 3))
  images = jnp.repeat(jnp.repeat(coarse, side // 8, 1), side // 8, 2)
  keys = {"params": jax.random.key(0), "noise": jax.random.key(1)}
  variables = jax.jit(lambda: model.init(keys, images[:1], train=False))()
  noise = draw_noise(jax.random.key(2), model.noise_spec(), jnp.arange(batch))
  if "seed" in noise:
    # Far apart, so that rounding does not make another pixel the largest, and another seed.
    noise["seed"] = noise["seed"] ** 1000

  def of(model):
    def loss(params):
      stats = variables.get("batch_stats", {})
      return training.loss(params, stats, images, 1.0, model=model, noise=noise)[0]

    return jax.jit(jax.grad(loss))(variables["params"])

  exact, coarse = of(model), of(model.clone(dtype=jnp.bfloat16))
  flat = jax.tree_util.tree_leaves_with_path(exact)
  return {
    jax.tree_util.keystr(path): (np.asarray(a), np.asarray(b))
    for (path, a), b in zip(flat, jax.tree.leaves(coarse), strict=True)
  }


def compare(pairs: dict[str, tuple]) -> Difference:
  """What rounding did to the gradients of `gradients`."""
  import numpy as np

  norm = np.linalg.norm
  pairs = {name: (np.float64(a), np.float64(b)) for name, (a, b) in pairs.items()}
  exact, coarse = (np.concatenate([pair[i].ravel() for pair in pairs.values()]) for i in (0, 1))
  errors = {
    name: float(norm(b - a) / norm(a))
    for name, (a, b) in pairs.items()
    if "bias" in name and norm(a) >= 0.01 * norm(exact)
  }
  worst = max(errors, key=errors.get, default="")
  cosine = float(exact @ coarse / norm(exact) / norm(coarse))
  return Difference(cosine, float(norm(coarse) / norm(exact)), worst, errors.get(worst, 0.0))


@program.entry
def main(argv: list[str]) -> None:
  """Prints a row for each model."""
  options = parse(argv)
  startup.set_flags()
  import jax

  with explained(), jax.default_matmul_precision("highest"):
    device = jax.devices()[0]
    print(f"{device.device_kind} ({device.platform}), jax {jax.__version__}: bfloat16 of float32")
    print(f"{'':<12}{'cosine':>10}{'norm':>10}{'bias off by':>14}")
    for name in options.model or MODELS:
      found = compare(gradients(options.size, options.batch, name=name))
      print(f"{name:<12}{found.cosine:>10.5f}{found.norm:>10.4f}{found.bias_error:>14.1%}  "
            f"{found.bias}", flush=True)  # fmt: skip


if __name__ == "__main__":
  program.run(main)
