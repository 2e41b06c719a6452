"""From a record of the Multi-Object Datasets to pixels, ids of instances and factors.

codec = Codec(form, box=(24, 216, 64, 256))
small = codec.compact(record)           # what waits in the shuffle buffer
codec.decode(tf.constant([body for (body,) in codec.unpack(small)]), size=128, resize="nearest")
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from data_pipelines.datasets.multi_object import wire
from data_pipelines.datasets.multi_object.protocols import Box, scale

COMPACT = b"\0"  # no tf.Example starts with this byte


class Factor(NamedTuple):
  """A factor of every entity: `width` values, as `floats` or as `bytes`, which are codes.

  The values come out `repeat` times: grey is a colour, too.
  """

  kind: str
  width: int = 1
  repeat: int = 1


GREY, RGB = Factor("floats", 1, repeat=3), Factor("floats", 3)


class Form(NamedTuple):
  """What a record has.

  Attributes:
    height, width: of the image, pixels.
    num_entities: masks, and rows of each factor.
    num_background: leading entities that are background.
    channels: of the image, 3 or 1.
    factors: by name.
    entities_last: whether masks are [H, W, E, 1] instead of [E, H, W, 1].
  """

  height: int
  width: int
  num_entities: int
  num_background: int = 1
  channels: int = 3
  factors: dict[str, Factor] = {}
  entities_last: bool = False

  def fields(self) -> dict[str, wire.Field]:
    """The features of a record."""
    area, entities = self.height * self.width, self.num_entities
    fields = {"image": wire.Field(area * self.channels), "mask": wire.Field(area * entities)}
    for name, factor in self.factors.items():
      fields[name] = wire.Field(entities * factor.width, factor.kind)
    return fields

  def alternatives(self, has_factors: bool) -> "list[Form]":
    """Forms that files in this one may have: a grey image or colour may be stored as RGB."""
    form = self if has_factors else self._replace(factors={})
    if form.channels == 3:
      return [form]
    colors = [{"color": GREY}, {"color": RGB}] if has_factors else [{}]
    return [
      form._replace(channels=channels, factors=form.factors | color)
      for channels in (1, 3)
      for color in colors
    ]


@dataclasses.dataclass(frozen=True)
class Codec:
  """Reads records of one form and keeps the pixels in `box`."""

  form: Form
  box: Box

  def _body(self, record: bytes) -> bytes:
    """Pixels, ids and factors, one behind the other; ValueError if the record is damaged."""
    form, (top, bottom, left, right) = self.form, self.box
    features = wire.read(record, form.fields())
    image = features["image"].reshape(form.height, form.width, form.channels)
    masks = features["mask"]
    if form.entities_last:
      masks = np.moveaxis(masks.reshape(form.height, form.width, -1), -1, 0)
    else:
      masks = masks.reshape(-1, form.height, form.width)
    ids = np.zeros((bottom - top, right - left), np.uint8)
    for entity in range(form.num_background, form.num_entities):
      seen = masks[entity, top:bottom, left:right] > 127
      np.maximum(ids, seen * np.uint8(entity + 1), out=ids)
    factors = (features[name].tobytes() for name in form.factors)
    return b"".join([image[top:bottom, left:right].tobytes(), ids.tobytes(), *factors])

  def compact(self, record: bytes) -> bytes:
    """What is used of a record, a seventh of the bytes or less; a damaged record as it is."""
    try:
      return COMPACT + self._body(record)
    except ValueError:  # `unpack` meets it again, where damage is counted
      return record

  def unpack(self, record: bytes) -> list[tuple[bytes]]:
    """[(pixels, ids and factors,)] of a record, compact or not; ValueError if it is damaged."""
    if record[:1] != COMPACT:
      return [(self._body(record),)]
    if len(record) != 1 + sum(self._sizes()):  # nobody wrote it: it is damaged
      raise ValueError("is not a tf.Example")
    return [(record[1:],)]

  def _sizes(self) -> list[int]:
    """Bytes of the parts of a body: pixels, ids and each factor."""
    form, (top, bottom, left, right) = self.form, self.box
    area = (bottom - top) * (right - left)
    factors = [
      form.num_entities * factor.width * (4 if factor.kind == "floats" else 1)
      for factor in form.factors.values()
    ]
    return [area * form.channels, area, *factors]

  def decode(self, bodies: tf.Tensor, *, size: int, resize: str) -> dict[str, tf.Tensor]:
    """Strings [B] as a batch of `size` pixels.

    Returns a dict of image uint8 [B, size, size, 3], instances int32 [B, size, size] and factors
    [B, E] or [B, E, W], int32 for codes and else float32.
    """
    form, (top, bottom, left, right) = self.form, self.box
    height, width = bottom - top, right - left
    sizes = self._sizes()
    values = tf.reshape(tf.io.decode_raw(bodies, tf.uint8), [-1, sum(sizes)])
    image, ids, *rest = tf.split(values, sizes, axis=1)
    image = tf.reshape(image, [-1, height, width, form.channels])
    image, ids = scale(image, tf.reshape(ids, [-1, height, width]), size, resize)
    if form.channels == 1:
      image = tf.repeat(image, 3, axis=-1)
    batch = {"image": image, "instances": tf.cast(ids, tf.int32)}
    for (name, factor), raw in zip(form.factors.items(), rest, strict=True):
      batch[name] = self._factor(factor, raw)
    return batch

  def _factor(self, factor: Factor, raw: tf.Tensor) -> tf.Tensor:
    """Bytes [B, N] as the values of a factor."""
    values = tf.cast(raw, tf.int32)
    if factor.kind == "floats":
      values = tf.bitcast(tf.reshape(raw, [-1, raw.shape[1] // 4, 4]), tf.float32)
    if factor.width * factor.repeat == 1:
      return values
    values = tf.reshape(values, [-1, self.form.num_entities, factor.width])
    return tf.repeat(values, factor.repeat, axis=-1)
