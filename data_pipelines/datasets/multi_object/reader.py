"""Multi-Object Datasets (Kabra et al. 2019): one GZIP tfrecord file per variant, with masks.

    source = describe(config, root, None)  # which file there is
    records = split_records(config, source, "train")

Batches have `image`, `instances` and, where they were published, factors of all entities in a
record's order (background first): [B, E] or [B, E, 3], float32, or int32 for codes of one byte.
CLEVR and Tetrominoes are prepared as a protocol says; see `multi_object_protocols`.

Splits follow the order of the file: the first `num_test` images are "test", the next `num_val`
"val" and the rest "train", as far as the experiments used the file. A variant with fewer images has
no training split.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from absl import logging

from data_pipelines.datasets.multi_object import protocols, wire
from data_pipelines.datasets.multi_object.codec import GREY, RGB, Codec, Factor, Form
from data_pipelines.reading import gzipped, tfrecords
from data_pipelines.reading.record_files import is_empty, left_out
from data_pipelines.reading.records import Range, Records, check_not_empty
from data_pipelines.sources import DataError, Source, check_config, stand_in_notes
from data_pipelines.stores.published import command


class Layout(NamedTuple):
  """Published form of a data set.

  Attributes:
    folder: of the published bucket, and prefix of the file names.
    forms: per variant, what a record has.
    used: images of a file that experiments used; None: all.
  """

  folder: str
  forms: dict[str, Form]
  used: int | None = None


def _factors(floats: str, codes: str = "", triples: str = "") -> dict[str, Factor]:
  """Factors by their names: floats, codes of one byte, and three floats."""
  named = [(name, Factor("floats")) for name in floats.split()]
  named += [(name, Factor("bytes")) for name in codes.split()]
  named += [(name, RGB) for name in triples.split()]
  return dict(named)


_ROOM = Form(height=64, width=64, num_entities=7, num_background=4)
_CLEVR = Form(
  height=240,
  width=320,
  num_entities=11,
  factors=_factors("x y z rotation visibility", "size material shape color", "pixel_coords"),
)
_TETROMINOES = Form(
  height=35, width=35, num_entities=4, factors=_factors("x y shape visibility", "", "color")
)
_SPRITES = Form(
  height=64,
  width=64,
  num_entities=5,
  factors=_factors("x y shape visibility orientation scale", "", "color"),
  entities_last=True,
)

LAYOUTS = {
  "objects_room": Layout(
    "objects_room",
    {
      "train": _ROOM,
      "six_objects": _ROOM._replace(num_entities=10),
      "empty_room": _ROOM._replace(num_entities=4),
      "identical_color": _ROOM._replace(num_entities=10),
    },
  ),
  "clevr": Layout("clevr_with_masks", {"train": _CLEVR}, used=70_000),
  "tetrominoes": Layout("tetrominoes", {"train": _TETROMINOES}, used=60_000),
  "multi_dsprites_colored": Layout(
    "multi_dsprites",
    {
      "colored_on_colored": _SPRITES,
      "colored_on_grayscale": _SPRITES._replace(num_entities=6),
      "binarized": _SPRITES._replace(
        num_entities=4, channels=1, factors=_SPRITES.factors | {"color": GREY}
      ),
    },
    used=60_000,
  ),
}
PLACES = ("data/multi-object-datasets", "data/multi_object_datasets", "data")
STAND_IN_PART = 10  # test and val are at most one in so many images of a stand-in
COUNTABLE_PACKED = 2**27  # larger files, packed, are taken for whole ones ...
COUNTABLE_UNPACKED = 2**31  # ... and of this size, unpacked, are not counted to their end


def file_name(layout: Layout, variant: str) -> str:
  """Name of a variant's file."""
  return f"{layout.folder}_{variant}.tfrecords"


def folder_name(layout: Layout, variant: str) -> Path:
  """Where a stand-in is in its folder: a variant has notes of its own where there are several."""
  return Path(layout.folder) / (variant if len(layout.forms) > 1 else "")


def check(config) -> None:
  """Raises a ValueError for a field with an impossible value."""
  variants, resize = LAYOUTS[config.name].forms, protocols.allowed_resize(config.name)
  check_config(config, variants, resize, num_val=0, num_test=0)
  protocols.get(config.name, protocols.named(config))


def find(folder: Path, config) -> Path | None:
  """The folder with the file."""
  layout = LAYOUTS[config.name]
  for root in (folder / layout.folder, folder / folder_name(layout, config.variant), folder):
    if (root / file_name(layout, config.variant)).is_file():
      return root
  return None


def missing(folder: Path, config) -> tuple[str, str]:
  """What is wrong with a folder without the file, and the cure."""
  layout = LAYOUTS[config.name]
  name = file_name(layout, config.variant)
  beside = left_out([folder / layout.folder, folder], prefix=name)
  file = folder / layout.folder / name
  return (
    f"has no {name}{beside}",
    f"expected {file}; fetch it: {_fetching(config, folder / layout.folder)}",
  )


def _fetching(config, root: Path) -> str:
  return command(config.name, config.variant, root)


def _describe(path: Path) -> str:
  """A published file, and whether it is all of it, as far as is seen at once."""
  size = path.stat().st_size / 1e9
  cut = (
    f", of which only the beginning ({size:.3g} GB) was fetched" if tfrecords.is_cut(path) else ""
  )
  return f"{path}{cut}{left_out([path.parent], prefix=path.name)}"


def describe(config, root: Path, notes: dict | None) -> Source:
  """What is in a folder.

  Raises:
    DataError: there is nothing in the file.
  """
  layout, protocol = LAYOUTS[config.name], protocols.named(config)
  if is_empty(path := root / file_name(layout, config.variant)):
    raise DataError(f"{path} is empty; fetch it again: {_fetching(config, root)}")
  what = f"{config.name} {config.variant}" + (f", protocol {protocol}" if protocol else "")
  if notes:
    images = f"{notes['num_images']} images"
    description = f"{what}: RENDERED STAND-IN, not the published images ({images}) in {root}"
  else:
    description = f"{what}: {_describe(path)}"
  found, parts = {"train": 1}, (path.name,)
  return Source(config.name, config.variant, root, bool(notes), description, found, protocol, parts)


def _range(config, source: Source, split: str) -> Range:
  """The part of the file that is a split."""
  layout, protocol = LAYOUTS[config.name], protocols.get(config.name, protocols.named(config))
  path = source.root / file_name(layout, config.variant)
  num_test, num_val, used = config.num_test, config.num_val, layout.used
  notes = stand_in_notes(source.root)
  if notes:
    most = notes["num_images"] // STAND_IN_PART
    num_test, num_val = min(num_test, most), min(num_val, most)
  if protocol.train_first and path.stat().st_size <= COUNTABLE_PACKED:
    # A small file is no whole one: what is set aside comes from its end.
    held_out = num_val + min(num_test, protocol.max_test)
    used = max(Range(path).num_records(used + held_out) - held_out, 0)
  return Range(path, *protocol.span(split, used=used, num_val=num_val, num_test=num_test))


def _first_record(path: Path) -> bytes | None:
  """The first record of a file; None where there is none or it cannot be read."""
  try:
    return next(iter(tfrecords.dataset(path).take(1).as_numpy_iterator()), None)
  except tf.errors.OpError:
    return None


def _form(path: Path, published: Form) -> Form:
  """What the records of this file have: without factors, or grey as RGB, if the first one is so."""
  record = _first_record(path)
  if record is None:
    return published
  try:
    has_factors = bool(wire.names(record) & set(published.factors))
  except ValueError:
    return published
  for form in published.alternatives(has_factors):
    try:
      wire.read(record, form.fields())
    except ValueError:
      continue
    if not has_factors and published.factors:
      logging.log_first_n(logging.INFO, "%s has masks, but no factors", 1, path)
    return form
  return published  # and damage is reported by record


def split_records(config, source: Source, split: str) -> Records:
  """The records of a split.

  Raises:
    DataError: the file has no records for the split.
  """
  layout, part = LAYOUTS[config.name], _range(config, source, split)
  check_not_empty(
    [part],
    f"{part.path} has no records for the {split} split, which starts at record {part.first}; "
    "lower --config.data.num_test and --config.data.num_val, or fetch all of it: "
    f"{_fetching(config, source.root)}",
  )
  protocol = protocols.get(config.name, protocols.named(config))
  form = _form(part.path, layout.forms[config.variant])
  codec = Codec(form, protocol.crop(form.height, form.width, config.image_size))
  from_protocol = config.resize == protocols.FROM_PROTOCOL
  method = protocol.resize if from_protocol else config.resize
  return Records(
    ranges=(part,),
    views=1,
    unpack=codec.unpack,
    num_features=1,
    decode=partial(codec.decode, size=config.image_size, resize=method),
    cure="fetch the file again, or leave such records out with --config.data.on_corrupt=skip",
    compact=codec.compact,
  )


def num_examples(config, source: Source, split: str) -> int | None:
  """Images of a split by the headers of its records; None where counting would take long."""
  records = split_records(config, source, split)
  records = records.limited(config.limit) if config.limit else records
  (part,) = records.ranges
  if part.count is None and gzipped.estimate(part.path).unpacked > COUNTABLE_UNPACKED:
    return None
  return records.num_images(most=part.count)
