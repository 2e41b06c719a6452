"""All that is measured of each image of a split, with one model and any of its checkpoints.

  evaluator = Evaluator(model, batch_size=32)
  values = evaluator(variables, batches, num_images=320)      # name -> float64 [R,320]
  DEFINITIONS["msc"]                                          # what a number means

Images are counted once, whatever the size of batches and the number of devices: the last batch is
filled up, and what was added is dropped. The noise of an image depends on the seed, the repeat and
its place in the split alone.
"""

import math
from collections.abc import Iterable
from functools import partial

import jax
import numpy as np

from data_pipelines.publishing import with_progress
from experiments.console.errors import UserError
from experiments.hardware import devices
from experiments.training import validation
from genesis_jax import contingency, metrics
from genesis_jax.noise import draw_noise
from genesis_jax.training import image_scalars, to_float

_IMAGE = "of true ids and the slots that win each pixel"
DEFINITIONS = {
  "elbo": "err + kl, nats per image: the negative evidence lower bound, lower is better",
  "err": "negative log-likelihood of the image, nats, with one draw of the latents",
  "kl": "sum of all KLs, nats per image",
  "kl_mask": "KL of the mask latents, nats per image, summed over slots",
  "kl_component": "KL of the component latents, nats per image, summed over slots",
  "kl_latent": "KL of the latents, nats per image",
  "err_element": "err per pixel and channel, nats",
  "mse": "mean squared error of the reconstruction over pixels and channels, colours in [0, 1] "
  "(the tables of ClevrTex sum over them: 3 S^2 times as much)",
  "rmse": "square root of mse, per image",
  "ari": f"ARI, GENESIS' definition: adjusted Rand index {_IMAGE}, ignored ones as one segment",
  "ari_fg": "ARI-FG: the same over pixels with a true id > 0; 1 where there is none",
  "msc": "MSC, GENESIS' definition: plain mean over true segments of the best IoU with any slot, "
  "ignored pixels left out",
  "msc_fg": "MSC-FG: the same over true ids > 0; 0 where there is none",
  "miou": "mIoU, ClevrTex's definition: slots and true segments (background included) matched one "
  "to one by the Hungarian method, mean IoU over pairs visible in either",
  "miou_true": "mIoU over true segments: the same, but the mean is over true segments alone",
  "mask_entropy": "mean over pixels of the entropy of the attention masks, nats",
  "slots_used": "slots that win at least 1% of the pixels",
  "largest_slot": "share of the pixels that the slot with most of them wins",
}
SEGMENTATION = ("ari", "ari_fg", "msc", "msc_fg", "miou", "miou_true")
for _name in SEGMENTATION:
  DEFINITIONS[f"{_name}_r"] = f"{_name} of the decoded masks in place of the attention masks"


def _measured(variables, batch, key, *, model) -> dict:
  """What the device makes of its rows: losses `[b]` and contingency tables `[b,1+T,K]`."""
  images = to_float(batch["image"])
  noise = draw_noise(jax.random.wrap_key_data(key), model.noise_spec(), batch["index"])
  out = model.apply(variables, images, train=False, noise=noise)
  tables = {}
  for suffix, log_masks in (("", out.log_masks), ("_r", out.log_masks_recon)):
    if log_masks is not None and "instances" in batch:
      tables[suffix] = contingency.count_pixels(
        batch["instances"], log_masks.argmax(1), metrics.NUM_IDS, log_masks.shape[1]
      )
  scalars = image_scalars(out, images)
  return {"scalars": {k: v for k, v in scalars.items() if "/" not in k}, "tables": tables}


def _segmentation(tables: np.ndarray) -> dict[str, np.ndarray]:
  """Scores of tables `[R,N,1+T,K]`, in float64; name -> `[R,N]`."""
  last = np.flatnonzero(tables.any((0, 1, 3))).max(initial=1)  # an assignment takes time
  counts = tables[:, :, : last + 1].reshape(-1, last + 1, tables.shape[-1]).astype(np.float64)
  scores = metrics.scores_of_counts(counts)
  scores["miou"] = metrics.mean_iou_of_counts(counts)
  scores["miou_true"] = metrics.mean_iou_of_counts(counts, over="true")
  return {name: value.reshape(tables.shape[:2]) for name, value in scores.items()}


def _countable(instances: np.ndarray) -> np.ndarray:
  """Ids that fit into the tables."""
  if instances.max() >= metrics.NUM_IDS:
    instances = contingency.dense_ids(instances)
  if instances.max() >= metrics.NUM_IDS:
    raise UserError(
      f"an image has {instances.max() + 1} instances; at most {metrics.NUM_IDS} can be scored"
    )
  return instances


class Evaluator:
  """Measures images; compiled once for all checkpoints of a model.

  Args:
    model: of `genesis_jax.build_model`.
    batch_size: images at a time; rounded up to a multiple of the devices.
    seed: of the noise.
    num_repeats: how often each image is measured, with other noise.
  """

  def __init__(self, model, batch_size: int, seed: int = 0, num_repeats: int = 1):
    count = jax.local_device_count()
    self._size = math.ceil(batch_size / count) * count
    self._keys = [validation.noise_key(seed, repeat) for repeat in range(num_repeats)]
    self._measure = devices.parallel(partial(_measured, model=model))

  def __call__(self, variables, batches: Iterable[dict], num_images: int) -> dict[str, np.ndarray]:
    """Values of the first images of a split; float64 `[R,N]` by name.

    Segmentation scores are missing where the data has no instances, or the model no masks.

    Args:
      variables: of the model.
      batches: with at most `batch_size` images each.
      num_images: N.

    Raises:
      UserError: there are fewer images, or a loss is not finite.
    """
    variables = devices.replicate(variables)
    keys = [devices.replicate(key) for key in self._keys]
    parts, waiting, first = [], None, 0
    for batch in batches:
      rows, count = self._rows(batch, first, num_images)
      running = [self._measure(variables, rows, key) for key in keys]
      if waiting is not None:
        parts.append(_fetched(*waiting))
      waiting, first = (running, count), first + count
      if first >= num_images:
        break
    if waiting is not None:
      parts.append(_fetched(*waiting))
    if first < num_images:
      raise UserError(f"there are {first} images, not {num_images}: pass --num_images={first}")
    whole = jax.tree.map(lambda *arrays: np.concatenate(arrays, 1), *parts)
    values = {name: np.float64(value) for name, value in whole["scalars"].items()}
    _check_finite(values)
    for suffix, tables in whole["tables"].items():
      values |= {name + suffix: value for name, value in _segmentation(tables).items()}
    return values

  def _rows(self, batch: dict, first: int, num_images: int) -> tuple[dict, int]:
    """A batch of the right size on the devices, and how many of its rows count."""
    count = min(len(batch["image"]), num_images - first)
    rows = {name: batch[name][:count] for name in ("image", "instances") if name in batch}
    if "instances" in rows:
      rows["instances"] = _countable(rows["instances"])
    rows["index"] = np.arange(first, first + count, dtype=np.uint32)
    return devices.put(validation.padded(rows, self._size)), count


def with_lines(batches: Iterable[dict], num_images: int, batch_size: int) -> Iterable[dict]:
  """The batches, with progress and ETA."""
  total = math.ceil(num_images / batch_size)
  return with_progress(batches, total, "evaluating", f"x{batch_size} image")


def _fetched(running: list[dict], count: int) -> dict:
  """Results of R repeats on the host, `[R,count,...]`, without the rows that were added."""

  def gathered(*repeats):
    arrays = [np.asarray(x).reshape(-1, *x.shape[2:])[:count] for x in repeats]
    return np.stack(arrays)

  return jax.tree.map(gathered, *running)


def _check_finite(values: dict[str, np.ndarray]) -> None:
  for name, value in values.items():
    finite = np.isfinite(value).all(0)
    if not finite.all():
      raise UserError(
        f"{name} is not finite for {(~finite).sum()} of {finite.size} images, first for image "
        f"{finite.argmin()}: the checkpoint is broken; choose another --step"
      )
