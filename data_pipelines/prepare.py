"""Writes a data set, as published or rendered, into compact tfrecords that are fast to read.

    python -m data_pipelines.prepare apc --source training.zip --out data/prepared

The set is written to `<out>/<name>/<variant>_<image size>px_<resize>/1.0.0`. Training finds it
there if `data_dir` is `<out>` (not needed for data/prepared), and TensorFlow Datasets reads it.
Images are PNGs at the size of the published experiments, in the source's order, with ids of
instances and labels where the source has them; the splits are called train, val and test.

A killed run continues when it is started again; the set appears under its name only once it is
complete and has as many images as the source promised.
"""

import argparse
from pathlib import Path

import ml_collections

from configs.datasets import DATASETS, own_fields
from configs.settings import settings, training_command
from data_pipelines.command_line import (
  Parser,
  as_options,
  checked_arguments,
  entry,
  path_name,
  quieten_tensorflow,
  run,
  show_progress,
  whole_number,
)
from data_pipelines.prepared.card import Card
from data_pipelines.sources import ON_CORRUPT, RESIZE, SPLITS, check_choice


def _parse_arguments(argv: list[str]) -> argparse.Namespace:
  parser = Parser("data_pipelines.prepare", __doc__)
  names = f"{', '.join(DATASETS)}; or a configuration file of your own"
  parser.add_argument("name", help=names)
  parser.add_argument(
    "--source", required=True, help="folder (or archive) with the published files"
  )
  out = Path("data/prepared")
  parser.add_argument("--out", type=path_name, default=out, help="default: %(default)s")
  parser.add_argument("--variant", help="default: that of the published experiments")
  parser.add_argument("--image_size", type=whole_number(1), help="pixels; default: likewise")
  parser.add_argument("--resize", help=f"{', '.join(RESIZE)}; default: likewise")
  for field, names in own_fields().items():
    default = DATASETS[names[0]]()[field]
    kind = str if default is None else type(default)
    help_ = f"of {', '.join(names)}, as config.data has it"
    parser.add_argument(f"--{field}", type=kind, help=help_)
  parser.add_argument("--on_corrupt", choices=ON_CORRUPT, help="error (default), or skip and count")
  parser.add_argument("--limit", type=whole_number(0), help="images of each split; default: all")
  parser.add_argument("--splits", default=",".join(SPLITS), help="default: %(default)s")
  parser.add_argument("--num_val", type=whole_number(0), help="of single-file sets; default: 10000")
  parser.add_argument("--num_test", type=whole_number(0), help="likewise")
  parser.add_argument(
    "--shard_images", type=whole_number(1), help="images a file; default: by size"
  )
  return parser.parse_args(argv)


def _report(name: str, config: ml_collections.ConfigDict, card: Card, root: Path, out: str) -> None:
  """Says what there is now, and how to use it."""
  if card.stand_in:
    print("made from a RENDERED STAND-IN, not from the published images")
  for split_name, split in card.splits.items():
    size = sum(split.shard_bytes) / 2**20
    left_out = f", {split.damaged} damaged records left out" if split.damaged else ""
    shards = len(split.shard_images)
    print(f"{split_name}: {split.num_images} images in {shards} files, {size:.1f} MiB{left_out}")
  print(f"in {root}")
  print(f"read it: tfds.load({'/'.join(root.parts[-3:-1])!r}, data_dir={out!r})")
  print(f"train on it: {training_command(name, config, out)}")


@entry(words=as_options)
def main(argv: list[str]) -> None:
  """Prepares what the command line says."""
  arguments = vars(_parse_arguments(argv))
  name, source, out = (arguments.pop(key) for key in ("name", "source", "out"))
  splits, shard_images = arguments.pop("splits").split(","), arguments.pop("shard_images")
  show_progress()
  quieten_tensorflow()
  # Imports TensorFlow, for which nobody with a typo waits.
  from data_pipelines.prepared import writer

  with checked_arguments():
    for split in splits:
      check_choice("splits", split, SPLITS)
    config = settings(name, data_dir=source, **arguments)
    plan = writer.plan(config, tuple(splits), shard_images)
  card, root, is_new = writer.carry_out(plan, out)
  print("done" if is_new else f"{root} is complete already; nothing was changed")
  _report(name, config, card, root, str(out))


if __name__ == "__main__":
  run(main)
