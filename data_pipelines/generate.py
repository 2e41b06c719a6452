"""Renders scenes in place of a data set, in the format in which it was published.

    python -m data_pipelines.generate tetrominoes --out data/mine/tetrominoes --num 2000

`--config.data.data_dir=data/mine/tetrominoes` then trains on them. They are not the published
images: STAND_IN.json in the folder, and every run on it, say so. All of them have instance masks.
"""

import argparse
from pathlib import Path

from configs.datasets import DATASETS
from configs.settings import settings, training_command
from data_pipelines import datasets
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
from data_pipelines.sources import SPLITS, STAND_IN_FILE, DataError

VIEWS = "; of gqn and objects_room, scenes that are seen from several places each"


def _parse_arguments(argv: list[str]) -> argparse.Namespace:
  parser = Parser("data_pipelines.generate", __doc__)
  names = f"{', '.join(DATASETS)}; or a configuration file of your own"
  parser.add_argument("name", help=names)
  parser.add_argument("--out", type=path_name, required=True, help="folder, made if need be")
  parser.add_argument("--num", required=True, type=whole_number(1), help=f"images{VIEWS}")
  parser.add_argument("--variant", help="default: that of the published experiments")
  parser.add_argument("--seed", type=seed_number, default=0, help="default: %(default)s")
  return parser.parse_args(argv)


def write(config, out: Path, *, num: int, seed: int) -> Path:
  """Renders a data set; returns the folder with the files.

  Raises:
    DataError: it is there already.
    OSError: the folder is in use for something else, or cannot be written to.
    ValueError: an argument has an impossible value.
  """
  there = set(out.glob(STAND_IN_FILE)) | set(out.glob(f"*/{STAND_IN_FILE}"))
  root = datasets.write_stand_in(config, out, num_scenes=num, seed=seed)
  if root / STAND_IN_FILE in there:
    raise DataError(f"{root} has rendered scenes already; remove it or choose another --out")
  return root


def _report(name: str, config, root: Path) -> None:
  """Counts what was made by reading it as the published files are read, and says how to use it."""
  source = datasets.resolve(config)
  print(
    f"RENDERED STAND-IN for {config.name} {config.variant}, not the published images, in {root}"
  )
  for split in SPLITS:
    try:
      count = datasets.num_examples(config, source, split)
    except DataError:
      count = 0
    print(f"{split}: {'not counted' if count is None else count} images")
  print(f"train on it: {training_command(name, config, config.data_dir)}")


@entry(words=as_options)
def main(argv: list[str]) -> None:
  """Renders what the command line says."""
  arguments = _parse_arguments(argv)
  quieten_tensorflow()
  out = arguments.out
  show_progress()
  with checked_arguments():
    config = settings(arguments.name, data_dir=str(out), variant=arguments.variant)
    root = write(config, out, num=arguments.num, seed=arguments.seed)
  _report(arguments.name, config, root)


if __name__ == "__main__":
  run(main)
