"""A scene made of slots, and what can be done to them: each edit gives another scene.

  scene = from_image(stage, image)
  scene = scene.move(2, "component", 5, 1.5).mark("hidden", [1])
  scene.picture                                   # uint8 [S,S,4]; what is hidden is transparent

Slots are numbered from 0 in the order in which they came. A slot that is put into a scene keeps to
the scene that it comes from, which says what it looks like, and lies in front of all others.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Self

import numpy as np

from experiments.figures.panels import to_uint8
from experiments.touch.stage import Stage
from genesis_jax import editing
from genesis_jax.outputs import Samples

MARKS = ("hidden", "out", "locked")
MOST_PARTS = 16  # as many as there are colours
FARTHEST = 10  # standard deviations that a number is moved by, at most


class SceneError(ValueError):
  """An edit that cannot be; the message says why."""


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
  """See above.

  Attributes:
    stage: what decodes it.
    latents: of its own slots, `[1,K,D]`, before they are moved.
    nats: KL `[K]` of its own slots, NaN for those that were drawn.
    order: its own slots as they are decoded.
    parts: all slots: (None, number among its own) or (another scene, number there).
    image: uint8 `[S,S,3]` that it was inferred from, if it was.
    log_masks: `[1,K,S,S]`, if they do not come from latents.
    moves: (own slot, latent, dim) -> standard deviations of the prior.
    marks: slots that are "hidden", "out" (what is behind them appears) or "locked" (`draw_rest`
      leaves them as they are).
  """

  stage: Stage
  latents: dict[str, np.ndarray]
  nats: np.ndarray
  order: tuple[int, ...]
  parts: tuple[tuple["Scene | None", int], ...]
  image: np.ndarray | None = None
  log_masks: np.ndarray | None = None
  moves: dict[tuple[int, str, int], float] = dataclasses.field(default_factory=dict)
  marks: dict[str, frozenset] = dataclasses.field(
    default_factory=lambda: dict.fromkeys(MARKS, frozenset())
  )

  def _with(self, **fields) -> Self:
    scene = dataclasses.replace(self, **fields)
    if not fields.keys() & {"latents", "order", "log_masks", "moves"}:
      scene.__dict__["_own"] = self._own  # decoding is what takes time
    return scene

  def _with_part(self, slot: int, scene: "Scene", number: int) -> Self:
    return self._with(parts=(*self.parts[:slot], (scene, number), *self.parts[slot + 1 :]))

  # What it looks like.

  @property
  def moved(self) -> dict[str, np.ndarray]:
    """Latents of its own slots."""
    latents = {name: np.array(z) for name, z in self.latents.items()}
    for (slot, name, dim), by in self.moves.items():
      latents[name][0, slot, dim] += by * self.stage.stds[name][dim]
    return latents

  @functools.cached_property
  def _own(self) -> Samples:
    samples = self.stage.decode({name: z[:, self.order] for name, z in self.moved.items()})
    samples = _reordered(samples, np.argsort(self.order))
    return samples if self.log_masks is None else editing.with_masks(samples, self.log_masks)

  def _composed(self, out: frozenset[int]) -> Samples:
    order = [slot for slot, (scene, _) in enumerate(self.parts) if scene is None]
    samples = _reordered(self._own, [self.parts[slot][1] for slot in order])
    for slot, (scene, number) in enumerate(self.parts):
      if scene is not None:
        samples = editing.in_front(samples, scene.samples, number)
        order.append(slot)
    samples = _reordered(samples, np.argsort(order))
    samples.log_masks[:, sorted(out)] = -np.inf
    return editing.with_masks(samples, samples.log_masks)

  @functools.cached_property
  def samples(self) -> Samples:
    """Appearances and masks of all slots, `[1,K,...]`, and the image without those taken out."""
    return self._composed(self.marks["out"])

  def alone(self, slot: int) -> tuple[np.ndarray, np.ndarray]:
    """(mask `[S,S]`, appearance `[S,S,3]`) of a slot, as if it were not taken out."""
    out = self.marks["out"]
    samples = self._composed(out - {slot}) if slot in out else self.samples
    return np.exp(samples.log_masks[0, slot]), samples.components[0, slot]

  @property
  def picture(self) -> np.ndarray:
    """Uint8 `[S,S,4]`: what is not hidden, and how much of a pixel that is."""
    masks = np.exp(self.samples.log_masks[0])[..., None]
    masks[sorted(self.marks["hidden"])] = 0
    opacity = masks.sum(0)
    colours = (masks * self.samples.components[0]).sum(0) / np.maximum(opacity, 1e-6)
    return to_uint8(np.concatenate([colours, opacity], -1))

  @property
  def ids(self) -> np.ndarray:
    """The slot that each pixel belongs to, int `[S,S]`."""
    return self.samples.log_masks[0].argmax(0)

  # What can be.

  def owner(self, slot: int) -> tuple["Scene", int]:
    """The scene that a slot comes from, and its number among that scene's own."""
    scene, number = self.parts[slot]
    return (self, number) if scene is None else scene.owner(number)

  def is_rest(self, slot: int) -> bool:
    """Whether a slot takes what the others leave, so that its mask latent moves nothing."""
    scene, number = self.owner(slot)
    return number == scene.order[-1] and scene.latents.keys() >= {"mask", "component"}

  def can_draw(self, slot: int) -> bool:
    """Whether a prior says what else a slot might be: not of masks that come from an image."""
    scene, _ = self.owner(slot)
    return scene.stage.draws and scene.log_masks is None

  @property
  def can_add(self) -> bool:
    """Whether there may be one more slot of its own."""
    room = len(self.order) < self.stage.counts[-1] and len(self.parts) < MOST_PARTS
    return room and self.stage.draws and self.log_masks is None

  # Edits.

  def mark(self, how: str, slots: Sequence[int]) -> Self:
    """Says which slots are hidden, out or locked, instead of those that were."""
    if not set(slots) <= set(range(len(self.parts))):
      raise SceneError(f"there are no slots {slots}; they are 0 to {len(self.parts) - 1}")
    if how == "out" and len(set(slots)) == len(self.parts):
      raise SceneError("One slot must stay: put another one back first.")
    return self._with(marks=self.marks | {how: frozenset(slots)})

  def move(self, slot: int, latent: str, dim: int, by: float) -> Self:
    """One number of a slot, by so many standard deviations of its prior from where it was."""
    scene, number = self.parts[slot]
    if scene is not None:
      return self._with_part(slot, scene.move(number, latent, dim, by), number)
    if not (0 <= dim < len(self.stage.stds[latent]) and abs(by) <= FARTHEST):
      raise SceneError(f"number {dim} of latent {latent} cannot be moved by {by}")
    return self._with(moves=self.moves | {(number, latent, dim): by})

  def draw(self, slot: int, seed: int) -> Self:
    """The slot is drawn anew from its prior, given the slots before it."""
    scene, number = self.parts[slot]
    if not self.can_draw(slot):
      raise SceneError("Masks come from the image: there is no prior to draw from.")
    if scene is not None:
      return self._with_part(slot, scene.draw(number, seed), number)
    return self._drawn({number}, seed)

  def draw_rest(self, seed: int) -> Self:
    """All slots that are not locked are drawn anew, one after the other."""
    scene, free = self, [i for i in range(len(self.parts)) if i not in self.marks["locked"]]
    if not all(map(self.can_draw, free)):
      raise SceneError("Masks come from the image: there is no prior to draw from.")
    for slot in free:
      if self.parts[slot][0] is not None:
        scene = scene.draw(slot, seed)
    return scene._drawn({self.parts[i][1] for i in free if self.parts[i][0] is None}, seed)

  def _drawn(self, slots: set[int], seed: int) -> Self:
    order, chosen = list(self.order), sorted(slots)
    keep = np.array([slot not in slots for slot in order])
    drawn = self.stage.drawn({n: z[:, order] for n, z in self.moved.items()}, keep, seed)
    latents, nats = {name: np.array(z) for name, z in self.latents.items()}, np.array(self.nats)
    for name, z in latents.items():
      z[:, chosen] = drawn[name][:, np.argsort(order)][:, chosen]
    nats[chosen] = np.nan
    moves = {key: by for key, by in self.moves.items() if key[0] not in slots}
    return self._with(latents=latents, nats=nats, moves=moves)

  def add(self, seed: int) -> Self:
    """One more slot, drawn given all but the last, which takes what is left."""
    if not self.can_add:
      raise SceneError("No further slot can be drawn here.")
    count = len(self.order)
    latents = {n: np.concatenate([z, 0 * z[:, :1]], 1) for n, z in self.latents.items()}
    order = (*self.order[:-1], count, self.order[-1])
    nats, parts = np.append(self.nats, np.nan), (*self.parts, (None, count))
    return self._with(latents=latents, order=order, nats=nats, parts=parts)._drawn({count}, seed)

  def copy(self, slot: int) -> Self:
    """A second one in front of the slot: move it to tell them apart."""
    scene, number = self.parts[slot]
    return self.put(self if scene is None else scene, slot if scene is None else number)

  def put(self, other: "Scene", slot: int) -> Self:
    """A slot of another scene, in front of all others."""
    if len(self.parts) >= MOST_PARTS:
      raise SceneError(f"A scene has at most {MOST_PARTS} slots.")
    if other._own.images.shape != self._own.images.shape:
      raise SceneError("The two scenes are of different sizes.")
    other.parts[slot]  # is there
    return self._with(parts=(*self.parts, (other, slot)))

  def swap(self, slot: int, other: "Scene", other_slot: int) -> Self:
    """The slot's latents become those of another scene's slot, and its mask where it has one."""
    (scene, number), (theirs, index) = self.parts[slot], other.parts[other_slot]
    if scene is not None or theirs is not None:
      return self._with_part(slot, other, other_slot)
    if other.stage is not self.stage:
      raise SceneError("The two scenes are of different models: put the slot in instead.")
    latents = editing.exchanged(self.latents, number, other.moved, index)
    moves = {key: by for key, by in self.moves.items() if key[0] != number}
    nats, log_masks = np.array(self.nats), self.log_masks
    nats[number] = other.nats[index]
    if log_masks is not None:
      log_masks = np.array(log_masks)
      log_masks[:, number] = other._own.log_masks[:, index]
    return self._with(latents=latents, moves=moves, nats=nats, log_masks=log_masks)


def _reordered(samples: Samples, order: Sequence[int]) -> Samples:
  return samples.replace(
    components=samples.components[:, order], log_masks=samples.log_masks[:, order]
  )


def _scene(stage, latents, nats, **fields) -> Scene:
  slots = tuple(range(len(nats)))
  return Scene(stage, latents, nats, slots, tuple((None, k) for k in slots), **fields)


def from_image(stage: Stage, image: np.ndarray) -> Scene:
  """What a model makes of an image, uint8 `[S,S,3]`."""
  out = stage.infer(image)
  latents = {name: latent.mean for name, latent in out.latents.items()}
  nats = sum(editing.nats(latent)[0].sum(-1) for latent in out.latents.values())
  log_masks = out.log_masks if stage.keeps_attention else None
  return _scene(stage, latents, nats, image=image, log_masks=log_masks)


def from_prior(stage: Stage, seed: int, slots: int | None = None) -> Scene:
  """A scene that is drawn, of as many slots as in training or another number."""
  count = slots or stage.counts[0]
  if not stage.draws or count not in stage.counts:
    raise SceneError(f"{count} slots cannot be drawn; allowed: {list(stage.counts)}")
  return _scene(stage, stage.zeros(count), np.zeros(count))._drawn(set(range(count)), seed)
