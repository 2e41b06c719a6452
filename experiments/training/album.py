"""Pictures and histograms of a run, made when they are due, on a few fixed validation images."""

import pathlib

import numpy as np

import data_pipelines
from data_pipelines.durable import write_atomically
from experiments.console.errors import UserError
from experiments.figures import panels as pictures
from experiments.hardware import devices
from experiments.runs.logbook import Logbook
from experiments.training import diagnostics
from genesis_jax import objective

SPREAD = 15  # images between those shown, so that views of one scene do not fill a picture


def validation_images(config) -> dict:
  """Images from the beginning of the validation split, spread over it: neighbours look alike.

  Raises:
    UserError: if it has none; better known before training than after it.
  """
  batches = data_pipelines.batches(
    config.data, split="val", batch_size=SPREAD * pictures.NUM_IMAGES, seed=config.seed, epochs=1
  )
  batch = next(batches, None)
  if batch is None:
    raise UserError(f"the validation split of {config.data.name} has no images")
  stride = max(1, len(batch["image"]) // pictures.NUM_IMAGES)
  return {name: value[::stride][: pictures.NUM_IMAGES] for name, value in batch.items()}


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
    self._painter = pictures.Painter(model, self._batch)
    self._gradients = diagnostics.gradients(model)
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
    image = pictures.png(pictures.grid(panels, caption))
    write_atomically(self._workdir / "pictures" / f"{name}.png", image)
    logbook.images(step, pictures.for_tensorboard(panels))
    if self._config.log_distributions:
      logbook.histograms(step, diagnostics.latent_distributions(out))
    if self._config.log_weights:
      logbook.histograms(step, self._weights(state))

  def _weights(self, state) -> dict[str, np.ndarray]:
    geco = objective.geco_state(state.opt_state)
    beta = geco.beta if self._schedule is None else self._schedule(state.step)
    gradients = self._gradients(state.variables, self._batch["image"], beta)
    return diagnostics.named("weights", state.params) | diagnostics.named("gradients", gradients)
