"""Weights & Biases: wandb's own environment variables choose project, entity and mode.

The run's folder gets what wandb writes, `wandb/`, from which `wandb sync` sends what was not sent.
"""

import os
import pathlib

import numpy as np

from experiments.console.errors import UserError, one_line

# wandb is imported in methods: by its name alone nothing of it is needed.

PROJECT = "genesis-jax"  # unless WANDB_PROJECT names another
STEP = "step"  # the axis of all values: wandb's own counter takes no step twice


class WeightsAndBiases:
  """A tracker, see `catalogue`."""

  PACKAGE = "wandb"

  def log_in(self) -> None:
    """Raises UserError where wandb is to send what it gets, and there is no login."""
    os.environ["WANDB_SILENT"] = "true"  # what matters is told by us
    import wandb

    if wandb.setup().settings.mode in ("offline", "dryrun", "disabled"):
      return
    try:
      known = wandb.login(prompt=False)
    except wandb.Error:  # the network, for now; `begin` tells
      return
    if not known:
      raise UserError(
        "this machine has no login: give the command `wandb login`, or set WANDB_API_KEY, or "
        "WANDB_MODE=offline to send with `wandb sync` later"
      )

  def begin(self, run) -> str:
    """Begins or continues a `catalogue.Tracked`; offline where the service cannot be had."""
    import wandb

    try:
      self._begin(run)
    except wandb.Error as error:
      self._begin(run, mode="offline")
      return f"{one_line(error)}; {self._where(run)}"
    return self._where(run)

  def _begin(self, run, **changes) -> None:
    import wandb

    ours = {
      "WANDB_PROJECT": ("project", PROJECT),
      "WANDB_NAME": ("run_name", run.name),
      "WANDB_RUN_GROUP": ("run_group", run.group),
    }
    chosen = dict(pair for variable, pair in ours.items() if variable not in os.environ)
    self._run = wandb.init(
      id=run.identity,
      resume="allow",
      dir=str(run.workdir),
      config=run.settings,
      allow_val_change=True,  # a resumed run may change some
      settings=wandb.Settings(
        **chosen,
        console="off",
        reinit="create_new",
        x_stats_pid=os.getppid(),  # whose memory and processor are of interest
      ),
      **changes,
    )
    self._run.define_metric(STEP)
    self._run.define_metric("*", step_metric=STEP)

  def _where(self, run) -> str:
    if not self._run.offline:
      return self._run.url
    return f"offline; `wandb sync {run.workdir / 'wandb' / 'offline-run-*'}` sends it"

  def write_scalars(self, step: int, values: dict[str, float]) -> None:
    """Logs numbers."""
    self._run.log(values | {STEP: step})

  def write_images(self, step: int, images: dict[str, np.ndarray]) -> None:
    """Logs batches of images."""
    import wandb

    made = {name: [wandb.Image(image) for image in batch] for name, batch in images.items()}
    self._run.log(made | {STEP: step})

  def write_histograms(self, step: int, values: dict[str, np.ndarray]) -> None:
    """Logs distributions; of what is not finite there is none."""
    import wandb

    finite = {name: x[np.isfinite(x)] for name, x in values.items()}
    made = {name: wandb.Histogram(x.astype(np.float32)) for name, x in finite.items() if x.size}
    self._run.log(made | {STEP: step})

  def write_report(self, path: pathlib.Path) -> None:
    """Logs the page."""
    import wandb

    self._run.log({"report": wandb.Html(str(path), inject=False)})

  def end(self, failed: bool) -> None:
    """Waits until all is sent."""
    self._run.finish(exit_code=int(failed))
