"""What a model's masks and latents of some images say of it: pure functions of arrays.

findings(Seen(masks={"attention": masks}, latent_means={"component": means}), config)
"""

import dataclasses
from typing import Any

import numpy as np

from experiments.diagnosis import curves
from experiments.diagnosis.findings import Finding
from genesis_jax import metrics

ONE_WINS = 0.98  # of the pixels: such an image has no cut to compare
LEAST_SHARE = 0.01  # of an image's pixels, that a slot wins to be used in it
BACKGROUND = 0.6  # of the background's pixels, that its best slot wins at least
PART = 0.1  # of them, that makes a slot one of those that share the background
FOUND = 0.7  # ARI-FG from which on objects have slots of their own
ALIKE = 0.6  # adjusted Rand index of the cuts of two images
MORE_ALIKE = 0.3  # than those of the true segments
ACTIVE = 0.01  # variance over images of a latent's mean: Burda et al., "IWAE", 2016
FEW_ACTIVE = 0.5


@dataclasses.dataclass(frozen=True)
class Seen:
  """What a model makes of N images.

  Attributes:
    masks: "attention", "decoded" -> probabilities `[N,K,S,S]`; empty for models without slots.
    latent_means: name -> means of the posteriors, `[N,K,D]` or `[N,D]`.
    instances: true ids `[N,S,S]`, 0 for the background; None where the data has none.
  """

  masks: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  latent_means: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  instances: np.ndarray | None = None


def _dense(labels: np.ndarray) -> np.ndarray:
  """`[N,S,S]` with the labels of each image numbered from 0, as `[N,S*S]`."""
  rows = labels.reshape(len(labels), -1)
  return np.stack([np.unique(row, return_inverse=True)[1].ravel() for row in rows])


def _shares(winners: np.ndarray, num_slots: int) -> np.ndarray:
  """Share of the pixels of `[N,S,S]` that each slot wins, `[N,K]`."""
  return (winners[..., None] == np.arange(num_slots)).mean((1, 2))


def _collapsed(kind: str, shares: np.ndarray, instances, config) -> Finding | None:
  largest, limit = float(shares.max(1).mean()), curves.LARGEST_SLOT
  evidence = {"masks": kind, "images": len(shares), "share of the largest slot": largest}
  if instances is not None:  # a background may be large, too
    true = np.mean([np.bincount(row).max() / row.size for row in _dense(instances)]).item()
    limit = max(limit, (1 + true) / 2)
    evidence["share of the largest true segment"] = true
  return curves.collapsed(kind, largest, evidence, config) if largest > limit else None


def _unused(kind: str, shares: np.ndarray, config) -> Finding | None:
  never = [int(k) for k in np.flatnonzero((shares < LEAST_SHARE).all(0))]
  num_slots = shares.shape[1]
  if len(never) <= num_slots / 2:
    return None
  evidence = {"masks": kind, "slots never used": len(never), "slots": num_slots}
  return Finding(
    "unused_slots",
    f"{len(never)} of {num_slots} slots win 1% of the pixels in no image ({kind} masks).",
    evidence,
    (f"--config.model.num_slots={num_slots - len(never) + 1}, if images have few objects",
     *curves.break_symmetry(config)),
    is_problem=False,
  )  # fmt: skip


def _background(kind: str, winners: np.ndarray, seen: Seen, config) -> Finding | None:
  if seen.instances is None:
    return None
  is_background = seen.instances == 0
  counted = is_background.any((1, 2))
  if not counted.any():
    return None
  num_slots = seen.masks[kind].shape[1]
  of_slot = (winners[..., None] == np.arange(num_slots)) & is_background[..., None]
  shares = of_slot.sum((1, 2))[counted] / is_background.sum((1, 2))[counted, None]
  best, parts = float(shares.max(1).mean()), float((shares > PART).sum(1).mean())
  if best > BACKGROUND:
    return None
  ari_fg = float(metrics.adjusted_rand_index(seen.instances, winners, foreground_only=True).mean())
  are_found = ari_fg > FOUND
  fewer = max(int(_dense(seen.instances).max()) + 1, num_slots - round(parts) + 1)
  return Finding(
    "split_background",
    f"The background is split over {parts:.1f} slots on average ({kind} masks)"
    + (", though objects have slots of their own." if are_found else "."),
    {"masks": kind, "images": int(counted.sum()), "share of the best slot": best,
     "slots with a tenth of it": parts, "ARI-FG": ari_fg},
    (*([f"--config.model.num_slots={fewer}"] if fewer < num_slots else []),
     "a --config.model.pixel_std_first somewhat below pixel_std: a sharper first slot takes what "
     "is easy",
     "longer training: a background often grows together late"),
    is_problem=not are_found,
  )  # fmt: skip


def _agreement(labels: np.ndarray) -> float | None:
  """Mean adjusted Rand index of the segments of each image and the next; None where none is cut."""
  labels = _dense(labels)
  count = int(labels.max()) + 1
  is_cut = np.array([np.bincount(row).max() < ONE_WINS * row.size for row in labels])
  labels = labels[is_cut]
  if len(labels) < 2:
    return None
  pairs = labels * count + np.roll(labels, 1, 0)
  tables = np.stack([np.bincount(row, minlength=count**2).reshape(count, count) for row in pairs])
  return float(np.mean(metrics.ari_of_counts(tables.astype(np.float32))))


def _alike(kind: str, winners: np.ndarray, seen: Seen, config) -> Finding | None:
  agreement = _agreement(winners)
  if agreement is None or agreement < ALIKE:
    return None
  evidence = {"masks": kind, "images": len(winners), "agreement of two images": agreement}
  true = None if seen.instances is None else _agreement(seen.instances)
  if true is not None:
    evidence["of their true segments"] = true
    if agreement < true + MORE_ALIKE:
      return None
  return Finding(
    "cut_alike",
    f"The slots cut all images alike, whatever is in them ({kind} masks).",
    evidence,
    curves.break_symmetry(config),
  )


def _dead_latents(seen: Seen, config) -> Finding | None:
  evidence, num_active, num_all = {}, 0, 0
  for name, means in seen.latent_means.items():
    variance = means.reshape(len(means), -1, means.shape[-1]).var(0).max(0)  # of the best slot
    active = int((variance > ACTIVE).sum())
    evidence[name] = f"{active} of {len(variance)} alive"
    num_active, num_all = num_active + active, num_all + len(variance)
  if not num_all or num_active > FEW_ACTIVE * num_all:
    return None
  if not num_active:
    return curves.dead(evidence, config)
  return Finding(
    "dead_latents",
    f"{num_all - num_active} of {num_all} dimensions of the latents are the same for all images.",
    evidence,
    ("smaller latents, if speed matters; a lower --config.objective.goal, if reconstructions lack "
     "detail",),
    is_problem=False,
  )  # fmt: skip


def findings(seen: Seen, config: Any) -> list[Finding]:
  """All that masks and latents show.

  Args:
    seen: of at least two images.
    config: of the experiment.
  """
  found = [_dead_latents(seen, config)]
  for kind, masks in seen.masks.items():
    num_slots = masks.shape[1]
    if num_slots == 1:
      continue
    winners = masks.argmax(1)
    shares = _shares(winners, num_slots)
    entropy = float(-(masks * np.log(np.maximum(masks, 1e-30))).sum(1).mean())
    collapse = _collapsed(kind, shares, seen.instances, config)
    unclear = curves.uniform(kind, entropy, num_slots, config)
    found += [collapse, unclear]
    if not collapse:
      found += [_unused(kind, shares, config), _alike(kind, winners, seen, config)]
    if not collapse and not unclear:
      found.append(_background(kind, winners, seen, config))
  return [finding for finding in found if finding is not None]
