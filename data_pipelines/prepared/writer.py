"""From a source to a prepared set: the plan, the resumable work, and the finished folder.

config = settings("apc", data_dir="training.zip")
card, root, is_new = carry_out(plan(config, ("train", "val", "test"), None), "data/prepared")
"""

import dataclasses
import hashlib
import itertools
import platform
from importlib import metadata
from math import gcd
from pathlib import Path

from absl import logging

from data_pipelines import datasets
from data_pipelines.durable import sync, write_atomically
from data_pipelines.prepared import card as prepared_format
from data_pipelines.prepared import progress as preparation_progress
from data_pipelines.prepared import tfds_format
from data_pipelines.prepared.card import CARD_FILE, VERSION, Card, Split, read_card
from data_pipelines.prepared.progress import Damaged, Progress, check_same, only_one
from data_pipelines.prepared.shards import SplitWriter
from data_pipelines.reading.batches import Batches
from data_pipelines.reading.gzipped import compression
from data_pipelines.reading.indexed import Indexed
from data_pipelines.reading.progress import with_progress
from data_pipelines.reading.records import Records
from data_pipelines.sources import DataError, Source, stand_in_notes

SHARD_PIXELS = 2**24  # about 15 MB of PNG; small enough to be lost to a kill
BATCH = 64  # images that are encoded together
SAMPLES = 1000  # images whose addresses stand for all of a source
PACKAGES = ("numpy", "pillow", "tensorflow-datasets", "tensorflow")


@dataclasses.dataclass(frozen=True)
class Plan:
  """What is to be made from what.

  Attributes:
    config: settings of the source, as `config.data`.
    source: the source.
    records: per split, its images.
    promised: per split, how many they are.
    fingerprint: tells sources apart.
    shard_images: images a shard.
  """

  config: object
  source: Source
  records: dict[str, Records | Indexed]
  promised: dict[str, int]
  fingerprint: str
  shard_images: int

  def identity(self) -> dict:
    """What a folder must have been made from for this plan to go on with it, or to leave it."""
    fields = ("variant", "image_size", "resize", "limit")
    return {field: getattr(self.config, field) for field in fields} | dict(
      dataset=self.config.name,
      protocol=getattr(self.config, "protocol", None),
      images=self.promised,
      files=self.fingerprint,
      choices=prepared_format.own_choices(self.config),
    )


def _fingerprint(source: Source, records: dict[str, Records | Indexed]) -> str:
  """A hash of names and sizes of files, which does not depend on the folder that they are in."""
  digest = hashlib.sha256()
  for split, images in records.items():
    if isinstance(images, Records):
      names = [
        f"{(*part[1:], compression(part.path))} {part.path} {part.path.stat().st_size}"
        for part in images.ranges
      ]
    else:
      names = map(images.describe, range(0, images.num, max(1, images.num // SAMPLES)))
    for name in names:
      digest.update(f"{split} {name.replace(str(source.root), '')}\n".encode())
  return digest.hexdigest()[:16]


def plan(config, splits: tuple[str, ...], shard_images: int | None) -> Plan:
  """Looks at a source, without reading its images.

  Raises:
    DataError: there is no source, or a split of it is empty.
    ValueError: a setting has an impossible value.
  """
  source = datasets.resolve(config)
  logging.info("counting the images of %s", source.root)
  records = {split: datasets.split_records(config, source, split) for split in splits}
  promised = {split: images.num_images() for split, images in records.items()}
  fingerprint = _fingerprint(source, records)
  shard_images = shard_images or max(BATCH, SHARD_PIXELS // config.image_size**2 // BATCH * BATCH)
  return Plan(config, source, records, promised, fingerprint, shard_images)


def carry_out(plan: Plan, out: str | Path) -> tuple[Card, Path, bool]:
  """Prepares a set under the folder `out`, going on where a killed run was.

  Returns:
    The card of the set, its folder, and whether it is new.

  Raises:
    DataError: the source is damaged or not what it promised, or the folder has another set.
    OSError: it cannot be written.
  """
  root = prepared_format.folder(Path(out).expanduser(), plan.config)
  if root.exists():
    return _existing(plan, root), root, False
  partial = root.with_name(f".{VERSION}.partial")
  partial.mkdir(parents=True, exist_ok=True)
  with only_one(partial):
    identity = plan.identity() | dict(shard_images=plan.shard_images)
    progress = Progress(partial, identity, on_corrupt=plan.config.on_corrupt)
    splits = {split: _write_split(plan, split, partial, progress) for split in plan.records}
    card = _card(plan, splits, progress)
    _finish(partial, root, card)
  return card, root, True


def _existing(plan: Plan, root: Path) -> Card:
  """The card of the complete set that is there, if the plan would make the same one."""
  if not (root / CARD_FILE).is_file():
    raise DataError(f"{root} exists and is no prepared set; remove it or choose another --out")
  card = read_card(root)
  images = {name: split.promised for name, split in card.splits.items()}
  made_from = dataclasses.asdict(card) | dict(images=images, files=card.fingerprint)
  check_same(made_from, plan.identity(), f"{root} has a set that was prepared")
  return card


def _write_split(plan: Plan, split: str, partial: Path, progress: Progress) -> Split:
  """Writes what is missing of a split.

  Raises:
    DataError: the source is damaged, or has not as many images as it promised.
  """
  promised, name = plan.promised[split], plan.config.name
  writer = SplitWriter(partial, name, split, images_per_shard=plan.shard_images, total=promised)
  done = progress.damaged.get(split)
  total = promised - done.images if done else None
  kept = writer.keep_whole(total)
  if kept != total:
    damaged = _write_from(plan, split, kept, writer, progress)
    written = sum(writer.shard_images)
    _check_count(plan, split, written, damaged)
    progress.damaged[split] = Damaged(damaged, promised - written)
    progress.save()
  return Split(
    promised=promised,
    damaged=progress.damaged[split].records,
    shard_images=writer.shard_images,
    shard_bytes=writer.finish(),
  )


def _write_from(plan: Plan, split: str, first: int, writer: SplitWriter, progress: Progress) -> int:
  """Writes the images of a split from number `first` on; returns how many records are damaged."""
  size = gcd(BATCH, plan.shard_images)
  batches = Batches(
    plan.records[split],
    batch_size=size,
    epochs=1,
    first_batch=first // size,
    shuffle=False,
    on_corrupt=plan.config.on_corrupt,
  )

  def checked():
    for batch in batches:
      progress.check_layout(batch, split)
      yield batch

  stream = checked()
  for batch in stream:  # the first one tells which features there are
    features = tfds_format.describe(
      plan.config.image_size, instances=progress.instances, labels=progress.labels
    )
    records = tfds_format.encoded(itertools.chain([batch], stream), first, features)
    writer.write(
      with_progress(records, plan.promised[split] - first, f"preparing {split}", "image")
    )
  return batches.num_corrupt


def _check_count(plan: Plan, split: str, written: int, damaged: int) -> None:
  """Raises a DataError unless the source had as many images as it promised."""
  promised, views = plan.promised[split], getattr(plan.records[split], "views", 1)
  if not promised - damaged * views <= written <= promised:
    raise DataError(
      f"{plan.source.root} gave {written} images for the {split} split and {damaged} damaged "
      f"records, but promised {promised}; has it changed meanwhile?"
    )


def _card(plan: Plan, splits: dict[str, Split], progress: Progress) -> Card:
  config = plan.config
  return Card(
    dataset=config.name,
    variant=config.variant,
    protocol=getattr(config, "protocol", None),
    image_size=config.image_size,
    resize=config.resize,
    limit=config.limit,
    on_corrupt=config.on_corrupt,
    num_val=config.num_val,
    num_test=config.num_test,
    stand_in=stand_in_notes(plan.source.root) if plan.source.stand_in else None,
    source=plan.source.description,
    fingerprint=plan.fingerprint,
    instances=progress.instances,
    labels=progress.labels,
    splits=splits,
    versions=_versions(),
    choices=prepared_format.own_choices(config),
  )


def _versions() -> dict[str, str]:
  """Of Python and the packages that had a hand in it."""
  found = {"python": platform.python_version()}
  for package in PACKAGES:
    try:
      found[package] = metadata.version(package)
    except metadata.PackageNotFoundError:  # TensorFlow has several names
      found[package] = metadata.version(f"{package}-cpu")
  return found


def _finish(partial: Path, root: Path, card: Card) -> None:
  """Gives a folder with all shards its information and its name."""
  config = root.parent.name
  tfds_format.write_info(partial, card, config)
  write_atomically(partial / CARD_FILE, card.to_json())
  for path in partial.glob("*.json"):
    sync(path)
  partial.rename(root)
  sync(root.parent)
  for name in (preparation_progress.FILE, preparation_progress.LOCK_FILE):
    for path in root.glob(f"{name}*"):
      path.unlink()
