"""Writes what a model makes of a split: features, slot latents and masks, beside the labels.

  python -m experiments.extract_features --workdir=runs/genesis_shapestacks --split=train
  python -m experiments.extract_features --workdir=runs/genesis_shapestacks --num_images=1000

The results are .npz files with an index.json that says what every array is, in
RUN/features/<split>_<step> or --out; `experiments.probe` and `numpy.load` read them. An image's
noise depends on --seed and its place in the split alone, not on the size of batches. With
--num_images the images are drawn at random from the whole split: --sample_seed decides which. All
of train come in one fixed order, shuffled, the same for all runs on that data.
"""

import argparse

from data_pipelines.command_line import Parser, place, seed_number, whole_number
from data_pipelines.sources import SPLITS
from experiments.console import program, startup

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.


def parse(argv: list[str]) -> argparse.Namespace:
  """Options; a mistake ends the program with status 2."""
  parser = Parser("experiments.extract_features", __doc__)
  parser.add_argument("--workdir", type=place, required=True, help="folder of the run")
  parser.add_argument("--step", type=whole_number(0), help="checkpoint; default: the newest")
  parser.add_argument("--split", choices=SPLITS, default="test", help="default: test")
  parser.add_argument("--num_images", type=whole_number(1), help="default: all of the split")
  parser.add_argument("--data_dir", help="where the data is now, if it has moved since training")
  parser.add_argument("--out", type=place, metavar="DIR", help="folder to make")
  parser.add_argument("--no_masks", action="store_true", help="leave out masks, not segments")
  parser.add_argument("--batch_size", type=whole_number(1), default=64, help="default: 64")
  parser.add_argument("--seed", type=seed_number, default=0, help="of the noise; default: 0")
  parser.add_argument("--sample_seed", type=seed_number, default=0, help="of the choice of images")
  parser.add_argument(
    "--raw_weights", action="store_true", help="not their average, where the run keeps one"
  )
  options = parser.parse_args(argv)
  options.batch_size = min(options.batch_size, options.num_images or options.batch_size)
  return options


@program.entry
def main(argv: list[str]) -> None:
  """Extracts, and says what is where."""
  options = parse(argv)
  startup.prepare()
  from experiments.features.extraction import extract
  from experiments.stores.addresses import name_of
  from experiments.stores.reading import brought
  from experiments.stores.writing import folder_made

  with (
    brought(options.workdir, options.step) as options.workdir,
    folder_made(options.out) as options.out,
  ):
    folder, index = extract(options)
    where = name_of(folder)
  model = index["run"]["model"]["name"]
  print(f"features   {index['num_images']} {options.split} images: {model}, checkpoint "
        f"{index['run']['step']}")  # fmt: skip
  print(f"data       {index['data']['description']}")
  if "images" in index:
    print(f"images     {index['images']}")
  for name, array in index["arrays"].items():
    print(f"array      {name} {array['dtype']}{array['shape']}: {array['what']}")
  if index["num_corrupt"]:
    print(f"note       {index['num_corrupt']} damaged records were left out")
  print(f"results    {where}", flush=True)


if __name__ == "__main__":
  program.run(main)
