"""Prints what a data set contains, as a table, before anything is trained on it.

    python -m data_pipelines.inspect --config=configs/genesis_gqn.py
    python -m data_pipelines.inspect --config=configs/experiment.py:monet,clevr --split=val --num=0

Of each split: how many images there are; and of the first --num of them (0: all) shapes, types, the
range and mean of the pixels, instances per image, labels, damaged records (which are left out, and
counted), and how fast they are read. Where only reading everything would count the images, the
beginning of the files tells about how many there are, and --num=0 counts. Exit status: 0 when all
is well; 1 if a split is empty or cannot be read, or has damaged records; 2 for a mistake on the
command line.
"""

import dataclasses
import json
import sys
import time

import ml_collections
import numpy as np

import data_pipelines
from configs.loading import ConfigError, load_config, parse
from data_pipelines.command_line import (
  STATUS,
  Parser,
  entry,
  path_name,
  quieten_tensorflow,
  run,
  text_table,
  whole_number,
)
from data_pipelines.durable import write_atomically
from data_pipelines.reading.progress import telling, with_progress
from data_pipelines.sources import SPLITS, DataError

BATCH_SIZE = 32
TIMED_BATCHES = 8  # fewer do not tell a rate, since a few are read ahead
LONG = 5.0  # seconds before the first batch that are announced
ENDLESS = 1000  # images of a stream without end
MOST_VALUES = 12  # different values of a label that are listed one by one


def _count(counts: dict[int, int], values: np.ndarray) -> None:
  """Adds how often each value is in an array."""
  for value, count in zip(*np.unique(values, return_counts=True), strict=True):
    counts[value.item()] = counts.get(value.item(), 0) + int(count)


@dataclasses.dataclass
class Label:
  """What is known of a label: type and shape for one image, and its values or their range."""

  dtype: str
  shape: list[int]
  counts: dict[int, int] = dataclasses.field(default_factory=dict)  # of integers, by value
  smallest: float = np.inf
  largest: float = -np.inf

  def add(self, values: np.ndarray) -> None:
    """Takes a batch in."""
    if values.dtype.kind in "iub":
      _count(self.counts, values)
    self.smallest = min(self.smallest, float(values.min()))
    self.largest = max(self.largest, float(values.max()))

  def __str__(self):
    what = f"{self.dtype}{self.shape or ''}"
    if 0 < len(self.counts) <= MOST_VALUES:
      return f"{what}, " + ", ".join(f"{n}: {self.counts[n]}" for n in sorted(self.counts))
    return f"{what}, {self.smallest:.4g} to {self.largest:.4g}"


@dataclasses.dataclass
class Report:
  """What is known of a split; rates are images per second, after the first batch.

  `about` is how many images its files seem to have, where they do not say it at once.
  """

  promised: int | None = None
  about: int | None = None
  looked_at: int = 0
  image_shape: list[int] | None = None
  image_dtype: str = ""
  smallest: int | None = None
  largest: int | None = None
  channel_means: list[float] = dataclasses.field(default_factory=list)
  instances: dict[int, int] = dataclasses.field(default_factory=dict)  # images by how many; -1:
  # those without a mask
  labels: dict[str, Label] = dataclasses.field(default_factory=dict)
  num_corrupt: int = 0
  seconds_to_first: float = 0.0
  rate: float | None = None
  error: str = ""

  @property
  def good(self) -> bool:
    """Whether there are images and nothing is wrong with them."""
    return bool(self.looked_at) and not self.num_corrupt and not self.error


def instances_per_image(ids: np.ndarray) -> np.ndarray:
  """Ids [B, H, W] -> how many instances (different ids above 0) each image shows, [B]."""
  flat = np.maximum(ids, 0).reshape(len(ids), -1).astype(np.int64)
  numbered = np.unique(flat + (flat.max() + 1) * np.arange(len(ids))[:, None])
  image, instance = np.divmod(numbered, flat.max() + 1)
  return np.bincount(image[instance > 0], minlength=len(ids))


def _add(report: Report, batch: dict[str, np.ndarray]) -> None:
  """Takes a batch into a report; means are sums until the end."""
  images = batch["image"]
  report.image_shape, report.image_dtype = list(images.shape[1:]), str(images.dtype)
  smallest, largest = int(images.min()), int(images.max())
  report.smallest = smallest if report.looked_at == 0 else min(report.smallest, smallest)
  report.largest = largest if report.looked_at == 0 else max(report.largest, largest)
  sums = images.mean((1, 2)).sum(0).tolist()
  report.channel_means = [
    a + b for a, b in zip(report.channel_means or [0.0] * 3, sums, strict=True)
  ]
  if "instances" in batch:
    ids = batch["instances"]
    masked = (ids >= 0).any((1, 2))
    _count(report.instances, np.where(masked, instances_per_image(ids), -1))
  for name in sorted(batch.keys() - {"image", "instances"}):
    values = batch[name]
    label = report.labels.setdefault(name, Label(str(values.dtype), list(values.shape[1:])))
    label.add(values)
  report.looked_at += len(images)


def _look_ahead(report: Report, config, split: str) -> None:
  """Finds what is known without reading, and says what will take long."""
  report.promised = data_pipelines.num_examples(config, split)
  about, seconds = data_pipelines.tell_of_records(config, split) or (None, 0.0)
  if report.promised is None:
    report.about = about
  if seconds > LONG:
    print(
      f"the {split} split lies in a GZIP file, which has to be unpacked up to its first image: "
      f"about {seconds:.0f} s (prepare the data set once to read it at once)",
      file=sys.stderr,
    )


def inspect(config, split: str, num: int = 0) -> Report:
  """Looks at the first `num` images of a split (0: all of them).

  Args:
    config: fields of `configs/datasets.py`, and `image_size`; damaged records are left out and
      counted whatever `on_corrupt` says.
    split: "train", "val" or "test".
    num: how many images; of a stream without end, 1,000.
  """
  report, stream = Report(), None
  config = ml_collections.ConfigDict(config.to_dict())
  config.on_corrupt = "skip"
  try:
    _look_ahead(report, config, split)
    num = num or (ENDLESS if data_pipelines.is_generated(config) else 0)
    config.limit = min((most for most in (num, config.limit) if most), default=0)
    start = time.perf_counter()
    stream = data_pipelines.batches(config, split=split, batch_size=BATCH_SIZE, epochs=1)
    there = report.promised or report.about or num
    total = -(-min(there, config.limit or there) // BATCH_SIZE)
    with telling():
      for batch in with_progress(stream, total, f"looking at {split}", "part"):
        if not report.looked_at:
          first = time.perf_counter()
          report.seconds_to_first = first - start
        _add(report, batch)
    if report.looked_at >= TIMED_BATCHES * BATCH_SIZE:
      report.rate = (report.looked_at - BATCH_SIZE) / (time.perf_counter() - first)
  except DataError as error:
    report.error = str(error)
  report.num_corrupt = stream.num_corrupt if stream else 0
  report.channel_means = [total / report.looked_at for total in report.channel_means]
  return report


def _cells(report: Report, instances: list[int], labels: list[str]) -> dict[str, str]:
  """A report as cells of the table, by what they say."""
  shape = "x".join(map(str, report.image_shape or ()))
  seen = bool(report.looked_at)
  about = "unknown" if report.about is None else f"about {report.about:,}"
  with_instances = {
    f"  with {n} instance{'s' * (n != 1)}" if n >= 0 else "  without a mask": report.instances.get(
      n
    )
    for n in instances
  }
  return {
    "images": about if report.promised is None else f"{report.promised:,}",
    "looked at": f"{report.looked_at:,}",
    "image": f"{report.image_dtype} {shape}" if seen else "-",
    "pixels": f"{report.smallest} to {report.largest}" if seen else "-",
    "mean R, G, B": ", ".join(f"{mean:.1f}" for mean in report.channel_means) or "-",
    **{name: f"{count or 0:,}" for name, count in with_instances.items()},
    **{name: str(report.labels.get(name, "-")) for name in labels},
    "damaged records": f"{report.num_corrupt:,}",
    "first batch after": f"{report.seconds_to_first:.2f} s" if seen else "-",
    "images per second": f"{report.rate:,.0f}" if report.rate else "too few to tell",
  }


def table(reports: dict[str, Report]) -> str:
  """Reports by split, side by side."""
  instances = sorted({count for report in reports.values() for count in report.instances})
  labels = sorted({name for report in reports.values() for name in report.labels})
  columns = [_cells(report, instances, labels) for report in reports.values()]
  return text_table([["", *reports], *([name, *(c[name] for c in columns)] for name in columns[0])])


def _parser() -> Parser:
  parser = Parser("data_pipelines.inspect", __doc__)
  parser.add_argument("--split", choices=SPLITS, help="default: all three")
  parser.add_argument("--num", type=whole_number(0), default=1000, help="images of a split; 0: all")
  parser.add_argument("--json", type=path_name, metavar="FILE", help="write the same as JSON")
  return parser


@entry({ConfigError: 2, ValueError: 1, **STATUS})
def main(argv: list[str]) -> int:
  """Prints the table; returns the exit status."""
  quieten_tensorflow()
  options, overrides = parse(_parser(), argv)
  config = load_config(options.config, overrides).data
  source = data_pipelines.resolve(config)
  splits = [options.split] if options.split else SPLITS
  print(source.description, flush=True)
  reports = {split: inspect(config, split, options.num) for split in splits}
  print(table(reports))
  for split, report in reports.items():
    if report.error:
      print(f"error: {split}: {report.error}", file=sys.stderr)
  if options.json:
    content = {split: dataclasses.asdict(report) for split, report in reports.items()}
    content = {"source": source.metadata(), "splits": content}
    write_atomically(options.json, json.dumps(content, indent=2) + "\n")
  return 0 if all(report.good for report in reports.values()) else 1


if __name__ == "__main__":
  run(main)
