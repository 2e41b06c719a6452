"""Where a model breaks: its scores as test images are shifted away from training, dial by dial.

  python -m experiments.robustness --workdir=runs/genesis_multi_dsprites
  python -m experiments.robustness --workdir=RUN --dials=objects,noise,slots --images=100
  python -m experiments.robustness --workdir=RUN --data objects_room:six_objects clevr:train=DIR

Scenes are drawn with more objects, or with colours, shapes, sizes, places, cameras and grounds that
training does not have; images are covered, cropped, faded, blurred and compressed; the model has
more slots or fewer; or the images are those of other data sets. Of each dial one level is the
training distribution. Writes curves with intervals (PNG, PDF), a table (Markdown, JSON) and a sheet
of the worst images to RUN/robustness. What a run cannot have is left out, and named.
"""

import argparse

from data_pipelines.command_line import Parser, path_name, place, seed_number, whole_number
from data_pipelines.sources import SPLITS
from experiments.console import program, startup
from experiments.shifts.catalogue import DIALS

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.

SOURCES = ("files", "generator")  # as data_pipelines.SOURCES


def _names(text: str) -> list[str]:
  names = list(dict.fromkeys(text.split(",")))
  for name in names:
    if name not in DIALS:
      raise argparse.ArgumentTypeError(f"{name!r} is no dial; allowed: {', '.join(DIALS)}")
  return names


def parse(argv: list[str]) -> argparse.Namespace:
  """Options; a mistake ends the program with one line and status 2."""
  parser = Parser("experiments.robustness", __doc__)
  add = parser.add_argument
  add("--workdir", type=place, required=True, help="folder of the run")
  dials = "; ".join(f"{name}, {about}" for name, about in DIALS.items())
  add("--dials", type=_names, metavar="NAME,...", help=f"default: all of {dials}")
  add("--num_images", "--images", type=whole_number(1), metavar="N",
      help="of each level; default: 200, or all there are")  # fmt: skip
  add("--data", nargs="+", default=[], metavar="NAME[:VARIANT][=DIR]",
      help="other data sets, as levels of a dial; DIR: where their files are")  # fmt: skip
  add("--source", choices=SOURCES, help="of all images; default: that of the run")
  add("--split", choices=SPLITS, default="test", help="of the data; default: test")
  add("--step", type=whole_number(0), help="checkpoint; default: the newest")
  add("--worst", type=whole_number(1), default=2, help="images shown of each dial; default: 2")
  add("--batch_size", type=whole_number(1), default=32, help="default: 32")
  add("--seed", type=seed_number, default=0, help="of the noise; default: 0")
  add("--sample_seed", type=seed_number, default=0, help="of the choice of images")
  add("--out", type=path_name, metavar="DIR", help="default: RUN/robustness")
  add("--data_dir", metavar="DIR", help="where the data is now, if it has moved since training")
  add("--raw_weights", action="store_true", help="not their average, where the run keeps one")
  return parser.parse_args(argv)


@program.entry
def main(argv: list[str]) -> None:
  """Measures, and says where the figures are."""
  options = parse(argv)
  startup.prepare()
  from experiments.shifts import session  # JAX and TensorFlow read what `prepare` sets
  from experiments.stores.reading import brought

  with brought(options.workdir, options.step) as workdir:
    result, paths = session.measure_run(workdir, options)
    print(f"model      {result['title']}")
    print(f"data       {result['data']['description']}")
    print(f"images     {result['images']}; of each level")
    for path in paths:
      print(f"results    {path}", flush=True)


if __name__ == "__main__":
  program.run(main)
