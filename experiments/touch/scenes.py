"""A scene made of slots, and what can be done to them: each edit gives another scene.

  scene = from_image(stage, image)
  scene = scene.move(2, "component", 5, 1.5).hide(1)
  scene.picture                                   # uint8 [S,S,4]; what is hidden is transparent

Slots are numbered from 0 in the order in which they came. A slot that is put into a scene keeps to
the scene that it comes from, which says what it looks like, and lies in front of all others.
"""

import dataclasses
import functools
from typing import Self

import numpy as np

from experiments.figures.panels import to_uint8
from experiments.touch.stage import Stage
from genesis_jax import editing
from genesis_jax.outputs import Samples

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
    order: its own slots as they are decoded.
    nats: KL `[K]` of its own slots, NaN for those that were drawn.
    image: uint8 `[S,S,3]` that it was inferred from, if it was.
    log_masks: `[1,K,S,S]`, if they do not come from latents.
    parts: all slots: (None, number among its own) or (another scene, number there).
    moves: (own slot, latent, dim) -> standard deviations of the prior.
    hidden, out, locked: slots that are not shown, that are taken out, that stay as they are.
  """

  stage: Stage
  latents: dict[str, np.ndarray]
  order: tuple[int, ...]
  nats: np.ndarray
  image: np.ndarray | None = None
  log_masks: np.ndarray | None = None
  parts: tuple[tuple["Scene | None", int], ...] = ()
  moves: dict[tuple[int, str, int], float] = dataclasses.field(default_factory=dict)
  hidden: frozenset[int] = frozenset()
  out: frozenset[int] = frozenset()
  locked: frozenset[int] = frozenset()

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
    ordered = {name: z[:, self.order] for name, z in self.moved.items()}
    samples, back = self.stage.decode(ordered), np.argsort(self.order)
    samples = samples.replace(
      components=samples.components[:, back], log_masks=samples.log_masks[:, back]
    )
    return samples if self.log_masks is None else editing.with_masks(samples, self.log_masks)

  def _composed(self, out: frozenset[int]) -> Samples:
    samples, order = self._own, [i for i, (scene, _) in enumerate(self.parts) if scene is None]
    for slot, (scene, number) in enumerate(self.parts):
      if scene is not None:
        front = editing.in_front(samples, scene.samples, number)
        # What is taken out covers nothing.
        covered = front.log_masks[:, :-1] if slot not in out else samples.log_masks
        mask = front.log_masks[:, -1:] if slot not in out else np.full_like(covered[:, :1], -np.inf)
        samples = front.replace(log_masks=np.concatenate([covered, mask], 1))
        order.append(slot)
    back = np.argsort(order)
    log_masks = np.array(samples.log_masks[:, back], np.float32)
    log_masks[:, sorted(out)] = -np.inf
    return editing.with_masks(samples.replace(components=samples.components[:, back]), log_masks)

  @functools.cached_property
  def samples(self) -> Samples:
    """Appearances and masks of all slots, `[1,K,...]`, and the image without those taken out."""
    return self._composed(self.out)

  def alone(self, slot: int) -> tuple[np.ndarray, np.ndarray]:
    """(mask `[S,S]`, appearance `[S,S,3]`) of a slot, as if it were not taken out."""
    samples = self._composed(self.out - {slot}) if slot in self.out else self.samples
    return np.exp(samples.log_masks[0, slot]), samples.components[0, slot]

  @property
  def picture(self) -> np.ndarray:
    """Uint8 `[S,S,4]`: what is not hidden, and how much of a pixel that is."""
    masks = np.exp(self.samples.log_masks[0])[..., None]
    masks[sorted(self.hidden)] = 0
    opacity = masks.sum(0)
    colours = (masks * self.samples.components[0]).sum(0) / np.maximum(opacity, 1e-6)
    return to_uint8(np.concatenate([colours, opacity], -1))

  @property
  def ids(self) -> np.ndarray:
    """The slot that each pixel belongs to, int `[S,S]`."""
    return self.samples.log_masks[0].argmax(0)

  # What can be.

  def rest(self, slot: int) -> bool:
    """Whether a slot takes what the others leave, so that its mask latent moves nothing."""
    scene, number = self.parts[slot]
    if scene is not None:
      return scene.rest(number)
    return number == self.order[-1] and self.latents.keys() >= {"mask", "component"}

  def can_draw(self, slot: int) -> bool:
    """Whether a prior says what else the slot might be: not of masks that come from an image."""
    scene, number = self.parts[slot]
    return self.stage.draws and self.log_masks is None if scene is None else scene.can_draw(number)

  @property
  def can_add(self) -> bool:
    """Whether there may be one more slot of its own."""
    drawn = self.stage.draws and self.log_masks is None
    return drawn and len(self.order) < self.stage.most and len(self.parts) < MOST_PARTS

  # Edits.

  def hide(self, slot: int) -> Self:
    """A hole where the slot is."""
    return self._with(hidden=self.hidden | {slot})

  def show(self, slot: int) -> Self:
    """Undoes `hide`."""
    return self._with(hidden=self.hidden - {slot})

  def solo(self, slot: int) -> Self:
    """The slot and nothing else."""
    return self._with(hidden=frozenset(range(len(self.parts))) - {slot})

  def show_all(self) -> Self:
    """Hides nothing."""
    return self._with(hidden=frozenset())

  def take_out(self, slot: int) -> Self:
    """What is behind the slot appears: the others share its pixels."""
    if len(self.parts) - len(self.out | {slot}) < 1:
      raise SceneError("one slot must stay: put another one back first")
    return self._with(out=self.out | {slot})

  def put_back(self, slot: int) -> Self:
    """Undoes `take_out`."""
    return self._with(out=self.out - {slot})

  def lock(self, slot: int) -> Self:
    """`draw_rest` leaves the slot as it is."""
    return self._with(locked=self.locked | {slot})

  def unlock(self, slot: int) -> Self:
    """Undoes `lock`."""
    return self._with(locked=self.locked - {slot})

  def move(self, slot: int, latent: str, dim: int, by: float) -> Self:
    """One number of a slot, by so many standard deviations of its prior from where it was."""
    scene, number = self.parts[slot]
    if scene is not None:
      return self._with_part(slot, scene.move(number, latent, dim, by), number)
    if latent not in self.latents or not 0 <= dim < self.latents[latent].shape[-1]:
      raise SceneError(f"there is no latent {latent!r} with a number {dim}")
    if not abs(by) <= FARTHEST:
      raise SceneError(f"numbers are moved by at most {FARTHEST} standard deviations, not by {by}")
    return self._with(moves=self.moves | {(number, latent, dim): by})

  def draw(self, slot: int, seed: int) -> Self:
    """The slot is drawn anew from its prior, given the slots before it."""
    scene, number = self.parts[slot]
    if not self.can_draw(slot):
      raise SceneError("masks come from the image: there is no prior to draw this slot from")
    if scene is not None:
      return self._with_part(slot, scene.draw(number, seed), number)
    return self._drawn({number}, seed)

  def draw_rest(self, seed: int) -> Self:
    """All slots that are not locked are drawn anew, one after the other."""
    if not all(map(self.can_draw, range(len(self.parts)))):
      raise SceneError("masks come from the image: there is no prior to draw these slots from")
    free = [slot for slot in range(len(self.parts)) if slot not in self.locked]
    scene = self._drawn({self.parts[slot][1] for slot in free if self.parts[slot][0] is None}, seed)
    for slot in free:
      if self.parts[slot][0] is not None:
        scene = scene.draw(slot, seed)
    return scene

  def _drawn(self, slots: set[int], seed: int) -> Self:
    order = list(self.order)
    keep = np.array([slot not in slots for slot in order])
    drawn = self.stage.drawn({n: z[:, order] for n, z in self.moved.items()}, keep, seed)
    latents = {name: np.array(z) for name, z in self.latents.items()}
    for name, z in latents.items():
      z[:, sorted(slots)] = drawn[name][:, np.argsort(order)][:, sorted(slots)]
    nats = np.array(self.nats)
    nats[sorted(slots)] = np.nan
    moves = {key: by for key, by in self.moves.items() if key[0] not in slots}
    return self._with(latents=latents, nats=nats, moves=moves)

  def add(self, seed: int) -> Self:
    """One more slot than there are, drawn given all but the last, which takes what is left."""
    if not self.can_add:
      raise SceneError("no slot can be drawn and added here")
    count = len(self.order)
    latents = {n: np.concatenate([z, 0 * z[:, :1]], 1) for n, z in self.latents.items()}
    order = (*self.order[:-1], count, self.order[-1])
    nats, parts = np.append(self.nats, np.nan), (*self.parts, (None, count))
    return self._with(latents=latents, order=order, nats=nats, parts=parts)._drawn({count}, seed)

  def copy(self, slot: int) -> Self:
    """A second one in front of the slot: move it to tell them apart."""
    scene, number = self.parts[slot]
    return self.put(*((self, slot) if scene is None else (scene, number)))

  def put(self, other: "Scene", slot: int) -> Self:
    """A slot of another scene, in front of all others."""
    if len(self.parts) >= MOST_PARTS:
      raise SceneError(f"a scene has at most {MOST_PARTS} slots")
    if other._own.images.shape != self._own.images.shape:
      raise SceneError("the two scenes are of different sizes")
    return self._with(parts=(*self.parts, (other, slot)))

  def swap(self, slot: int, other: "Scene", other_slot: int) -> Self:
    """The slot's latents become those of another scene's slot, and its mask where it has one."""
    scene, number = self.parts[slot]
    theirs, index = other.parts[other_slot]
    if scene is not None or theirs is not None:
      return self._with_part(slot, other, other_slot)
    if other.stage is not self.stage:
      raise SceneError("the two scenes are of different models: put the slot in instead")
    latents = editing.exchanged(self.latents, number, other.moved, index)
    moves = {key: by for key, by in self.moves.items() if key[0] != number}
    nats, log_masks = np.array(self.nats), self.log_masks
    nats[number] = other.nats[index]
    if log_masks is not None:
      masks = {"": log_masks}, number, {"": other._own.log_masks}, index
      log_masks = editing.exchanged(*masks)[""]
    return self._with(latents=latents, moves=moves, nats=nats, log_masks=log_masks)


def from_image(stage: Stage, image: np.ndarray) -> Scene:
  """What a model makes of an image, uint8 `[S,S,3]`."""
  out = stage.infer(image)
  latents = {name: latent.mean for name, latent in out.latents.items()}
  nats = sum(editing.nats(latent).sum(-1)[0] for latent in out.latents.values())
  count = len(nats)
  return Scene(stage, latents, tuple(range(count)), nats, image,
               out.log_masks if stage.keeps_attention else None,
               tuple((None, k) for k in range(count)))  # fmt: skip


def from_prior(stage: Stage, seed: int, slots: int | None = None) -> Scene:
  """A scene that is drawn, of as many slots as in training or another number."""
  count = slots or stage.num_slots
  if not (stage.draws and (count == stage.num_slots or 1 < count <= stage.most)):
    raise SceneError(f"{count} slots cannot be drawn; allowed: up to {stage.most}")
  latents = {n: np.zeros((1, count, len(std)), np.float32) for n, std in stage.stds.items()}
  scene = Scene(stage, latents, tuple(range(count)), np.full(count, np.nan),
                parts=tuple((None, k) for k in range(count)))  # fmt: skip
  return scene._drawn(set(range(count)), seed)
