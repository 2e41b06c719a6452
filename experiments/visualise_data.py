"""Draws images of a data set beside their instances, to look at before training on them.

  python -m experiments.visualise_data --config=configs/genesis_gqn.py
  python -m experiments.visualise_data --config=configs/genesis_v2_apc.py --split=val --num=16

Writes a PNG and says where: `data_<split>.png` in --workdir, or what --out names. Instances have
colours that all kinds of colour vision tell apart, on dark grey; labels stand below. Exit status: 0
when done, 1 when something went wrong, 2 for a mistake on the command line.
"""

import argparse
import pathlib

import data_pipelines
from configs.loading import load_config, parse
from data_pipelines.command_line import (
  Parser,
  file_name,
  place,
  quieten_tensorflow,
  seed_number,
  whole_number,
)
from data_pipelines.sources import SPLITS
from experiments.console import program
from experiments.console.errors import explained

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.


def _parser() -> argparse.ArgumentParser:
  parser = Parser("experiments.visualise_data", __doc__)
  parser.add_argument("--split", choices=SPLITS, default="train")
  parser.add_argument("--num", type=whole_number(1), default=32, help="images; default: 32")
  parser.add_argument("--seed", type=seed_number, default=0, help="which images of train")
  parser.add_argument("--workdir", type=place, help="default: runs/data_<name>_<variant>")
  parser.add_argument("--out", type=file_name(".png"), metavar="FILE.png",
                      help="instead of --workdir")  # fmt: skip
  return parser


def _draw(options: argparse.Namespace, overrides: list[str]) -> pathlib.Path | str:
  """Writes the picture and returns where it is."""
  from data_pipelines import durable
  from experiments.figures import data  # imports JAX
  from experiments.stores.writing import file_written

  config = load_config(options.config, overrides).data
  with explained():
    source = data_pipelines.resolve(config)
    batch = data.read(config, options.split, options.num, options.seed)
  title = f"{options.split} split of {source.description}"
  folder = options.workdir or pathlib.Path("runs", f"data_{config.name}_{config.variant}")
  place = options.out or f"{folder}/data_{options.split}.png"
  with file_written(place) as path, durable.partial_file(path) as partial:
    data.picture(batch, title).save(partial, "PNG")
  return place


@program.entry
def main(argv: list[str]) -> None:
  """Draws, and says where the picture is."""
  quieten_tensorflow()
  options, overrides = parse(_parser(), argv)
  print(f"wrote {_draw(options, overrides)}")


if __name__ == "__main__":
  program.run(main)
