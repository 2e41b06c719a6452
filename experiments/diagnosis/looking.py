"""A run's numbers and its checkpoint looked at, and what is found."""

import dataclasses
import pathlib

import jax
import numpy as np

import data_pipelines
from experiments.console.errors import UserError, explained
from experiments.diagnosis import curves, slots
from experiments.diagnosis.findings import Finding
from experiments.figures.view import Network
from experiments.runs import records
from experiments.runs.opening import opened
from experiments.scoring import drawing

BATCH = 16  # images at a time


@dataclasses.dataclass(frozen=True)
class Diagnosis:
  """What was found.

  Attributes:
    record: of the run.
    step: of the checkpoint that was looked at; None: none was.
    num_images: that it was looked at with.
    left_out: why something was not looked at; empty where all was.
    findings: the gravest first.
  """

  record: records.Record
  step: int | None
  num_images: int
  left_out: str
  findings: list[Finding]


def see(model, variables, sample) -> slots.Seen:
  """What a model makes of the images of a sample, at the means of its posteriors."""
  network, outs, instances = Network(model), [], []
  for batch in sample:
    count = len(batch["image"])
    images = np.zeros((BATCH, *batch["image"].shape[1:]), np.uint8)  # one program serves all
    images[:count] = batch["image"]
    out = network.infer(variables, images)
    outs.append(jax.tree.map(lambda x, count=count: x[:count], out))
    instances.append(batch.get("instances"))
  whole = jax.tree.map(lambda *parts: np.concatenate(parts), *outs)
  kinds = {"attention": whole.log_masks, "decoded": whole.log_masks_recon}
  return slots.Seen(
    masks={kind: np.exp(masks) for kind, masks in kinds.items() if masks is not None},
    latent_means={name: latent.mean for name, latent in whole.latents.items()},
    instances=None if any(x is None for x in instances) else np.concatenate(instances),
  )


def diagnose(
  workdir: pathlib.Path,
  step: int | None = None,
  num_images: int = 64,
  data_dir: str | None = None,
  raw_weights: bool = False,
) -> Diagnosis:
  """Looks at a run: its logged numbers, and its checkpoint with some validation images.

  Args:
    workdir: of the run, or a copy of one.
    step: of the checkpoint; None: the newest.
    num_images: drawn from the validation split; 0: no checkpoint is looked at.
    data_dir: where the data is now, if it has moved since training.
    raw_weights: not their moving average, where the run keeps one.

  Raises:
    UserError: there is no run.
  """
  record = records.read(workdir)
  with explained():
    found = curves.findings(record.config, record.rows)
  if not num_images:
    return Diagnosis(record, None, 0, "no images were asked for", found)
  try:
    with explained():
      step, model, variables, config = opened(workdir, step, data_dir, raw_weights)
      sample = drawing.drawn(config.data, "val", None, num_images, batch_size=BATCH)
      seen = see(model, variables, sample)
  except (UserError, data_pipelines.DataError) as error:
    return Diagnosis(record, None, 0, str(error), found)
  seen_now = slots.findings(seen, config)
  # Many images say more than the batches that were logged.
  of_slots = {"collapsed_slots", "uniform_masks", "dead_latents"}
  found = [finding for finding in found if finding.name not in of_slots] + seen_now
  found.sort(key=lambda finding: not finding.is_problem)
  return Diagnosis(record, step, sample.num_images, "", found)
