"""Renders scenes in place of a data set, in the format in which it was published.

    python -m data_pipelines.generate tetrominoes --out data/mine/tetrominoes --num 2000

`--config.data.data_dir=data/mine/tetrominoes` then trains on them. They are not the published
images: STAND_IN.json in the folder, and every run on it, say so. All of them have instance masks.
"""

import argparse
import importlib
from pathlib import Path

import data_pipelines
from data_pipelines.command_line import (
  Parser,
  as_options,
  checked_arguments,
  entry,
  path_name,
  quieten_tensorflow,
  run,
  seed_number,
  show_progress,
  whole_number,
)
from data_pipelines.defaults import settings, training_command
from data_pipelines.sources import SPLITS, STAND_IN_FILE, DataError

MULTI_OBJECT = ("datasets.multi_object.stand_in", "write")  # one module for four data sets
# Data set -> module here and its function, imported when it is needed: all of them import JAX.
WRITERS = {
  "gqn": ("datasets.gqn.stand_in", "write_gqn"),
  "multi_dsprites": ("datasets.multi_dsprites.stand_in", "write"),
  "objects_room": MULTI_OBJECT,
  "clevr": MULTI_OBJECT,
  "tetrominoes": MULTI_OBJECT,
  "multi_dsprites_colored": MULTI_OBJECT,
  "shapestacks": ("datasets.shapestacks.stand_in", "write"),
  "sketchy": ("datasets.sketchy.stand_in", "write"),
  "apc": ("datasets.apc.stand_in", "write"),
  "image_folder": ("datasets.image_folder.stand_in", "write"),
}
VIEWS = "; of gqn and objects_room, scenes that are seen from several places each"


def _parse_arguments(argv: list[str]) -> argparse.Namespace:
  parser = Parser("data_pipelines.generate", __doc__)
  parser.add_argument("name", choices=sorted(WRITERS), metavar="name", help=", ".join(WRITERS))
  parser.add_argument("--out", type=path_name, required=True, help="folder, made if need be")
  parser.add_argument("--num", required=True, type=whole_number(1), help=f"images{VIEWS}")
  parser.add_argument("--variant", help="default: that of the published experiments")
  parser.add_argument("--seed", type=seed_number, default=0, help="default: %(default)s")
  return parser.parse_args(argv)


def write(name: str, out: Path, *, variant: str, num: int, seed: int) -> Path:
  """Renders a data set; returns the folder with the files.

  Raises:
    DataError: it is there already.
    OSError: the folder is in use for something else, or cannot be written to.
    ValueError: an argument has an impossible value.
  """
  module, function = WRITERS[name]
  writer = getattr(importlib.import_module(f"data_pipelines.{module}"), function)
  dataset = dict(dataset=name) if WRITERS[name] == MULTI_OBJECT else {}
  there = set(out.glob(STAND_IN_FILE)) | set(out.glob(f"*/{STAND_IN_FILE}"))
  root = writer(out, variant=variant, num_scenes=num, seed=seed, **dataset)
  if root / STAND_IN_FILE in there:
    raise DataError(f"{root} has rendered scenes already; remove it or choose another --out")
  return root


def _report(config, root: Path) -> None:
  """Counts what was made by reading it as the published files are read, and says how to use it."""
  module = data_pipelines.published_reader(config)
  source = module.resolve(config)
  print(
    f"RENDERED STAND-IN for {config.name} {config.variant}, not the published images, in {root}"
  )
  for split in SPLITS:
    try:
      count = module.num_examples(config, source, split)
    except DataError:
      count = 0
    print(f"{split}: {'not counted' if count is None else count} images")
  print(f"train on it: {training_command(config, config.data_dir)}")


@entry(words=as_options)
def main(argv: list[str]) -> None:
  """Renders what the command line says."""
  arguments = _parse_arguments(argv)
  quieten_tensorflow()
  out = arguments.out
  config = settings(arguments.name, data_dir=str(out), variant=arguments.variant)
  show_progress()
  with checked_arguments():
    root = write(
      arguments.name, out, variant=config.variant, num=arguments.num, seed=arguments.seed
    )
  _report(config, root)


if __name__ == "__main__":
  run(main)
