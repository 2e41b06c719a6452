"""Pictures and histograms of a run, made when they are due, on a few fixed validation images."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

import data_pipelines
from data_pipelines.durable import write_atomically
from experiments.console.errors import UserError
from experiments.figures.panels import NUM_IMAGES, Painter, for_tensorboard, grid, png
from experiments.hardware import devices
from experiments.runs.logbook import Logbook
from genesis_jax import objective, training
from genesis_jax.noise import draw_noise

SPREAD = 15  # images between those shown, so that views of one scene do not fill a picture


def validation_images(config) -> dict:
  """Images from the beginning of the validation split, spread over it: neighbours look alike.

  Raises:
    UserError: if it has none; better known before training than after it.
  """
  batches = data_pipelines.batches(
    config.data, split="val", batch_size=SPREAD * NUM_IMAGES, seed=config.seed, epochs=1
  )
  batch = next(batches, None)
  if batch is None:
    raise UserError(f"the validation split of {config.data.name} has no images")
  stride = max(1, len(batch["image"]) // NUM_IMAGES)
  return {name: value[::stride][:NUM_IMAGES] for name, value in batch.items()}


def latent_distributions(out) -> dict[str, np.ndarray]:
  """Posterior and prior means and stds of some `Outputs`; name -> values."""
  return {
    f"latents/{name}/{field}": np.asarray(getattr(latent, field))
    for name, latent in out.latents.items()
    for field in ("mean", "std", "prior_mean", "prior_std")
    if getattr(latent, field) is not None
  }


def gradients(model):
  """A compiled function (params, batch_stats, uint8 `[N,S,S,3]`, beta) -> gradient of the loss."""

  @jax.jit
  def gradient(params, batch_stats, images, beta):
    noise = draw_noise(jax.random.key(0), model.noise_spec(), jnp.arange(len(images)))
    loss = functools.partial(training.loss, model=model, noise=noise)
    return jax.grad(loss, has_aux=True)(params, batch_stats, training.to_float(images), beta)[0]

  return gradient


class Album:
  """Makes `pictures/<name>.png`, the same for TensorBoard, and the optional histograms.

  Args:
    config: of the experiment.
    workdir: of the run.
    model: whose states are looked at.
  """

  def __init__(self, config, workdir: pathlib.Path, model):
    self._config, self._workdir = config, workdir
    self._batch = validation_images(config)
    self._painter = Painter(model, self._batch)
    self._gradients = gradients(model)
    self._schedule = objective.beta_schedule(config.objective, config.num_steps)

  def add(self, name: str, state, logbook: Logbook) -> None:
    """Adds the pictures of a replicated TrainState, as `name`; on the main host."""
    if not devices.is_main_host():
      return
    state = devices.first(state)
    step, variables = int(state.step), state.variables
    out, samples = self._painter.outputs(variables)
    panels = self._painter.panels(out, samples)
    caption = f"{self._config.model.name} on {self._config.data.name}, step {step}"
    image = png(grid(panels, caption))
    write_atomically(self._workdir / "pictures" / f"{name}.png", image)
    logbook.images(step, for_tensorboard(panels))
    if self._config.log_distributions:
      logbook.histograms(step, latent_distributions(out))
    if self._config.log_weights:
      logbook.histograms(step, self._weights(state))

  def _weights(self, state) -> dict[str, np.ndarray]:
    geco = objective.geco_state(state.opt_state)
    beta = geco.beta if self._schedule is None else self._schedule(state.step)
    trees = {
      "weights": state.params,
      "gradients": self._gradients(state.params, state.batch_stats, self._batch["image"], beta),
    }
    return traverse_util.flatten_dict(jax.device_get(trees), sep="/")
