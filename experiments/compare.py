"""Many runs on one HTML page: scores over seeds, paired differences, curves, the same images.

  python -m experiments.compare runs/genesis runs/monet --measure
  python -m experiments.compare --sweep=runs/bottlenecks
  python -m experiments.compare runs/a_seed_0 runs/a_seed_1 runs/b_seed_0 --labels=A,B --out=ab.html

Runs that differ in nothing but their seeds are one group. Scores are those of evaluate on test
images, which training leaves behind; those of other images, data or definitions are not compared,
and the page says why. --measure scores all runs anew, on the test images of the first one. Beside
the page, a folder of its name has the tables in LaTeX and Markdown and the figures in PDF. Exit
status: 0 when done, 1 when something went wrong, 2 for a mistake on the command line.
"""

import argparse
import pathlib

from data_pipelines.command_line import Parser, file_name, place, whole_number
from data_pipelines.stores.files import is_remote
from experiments.console import program, startup

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.

NAME = "comparison.html"


def parse(argv: list[str]) -> argparse.Namespace:
  """Options; a mistake ends the program with one line and status 2."""

  def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]

  parser = Parser("experiments.compare", __doc__)
  add = parser.add_argument
  add("runs", nargs="*", type=place, metavar="RUN", help="folder or address of a run")
  add("--sweep", type=place, metavar="DIR", help="all runs in a folder, such as a sweep's")
  add("--out", type=file_name(".html"), metavar="FILE.html",
      help=f"default: {NAME} in the folder of the sweep, else here")  # fmt: skip
  add("--labels", type=names, metavar="A,...", help="of the groups; default: names of folders")
  add("--measure", action="store_true", help="score all runs on the first one's test images")
  add("--num_images", type=whole_number(1), help="that --measure draws; default: 320, or all")
  add("--num_pictures", type=whole_number(0), default=4, help="images shown; default: 4")
  add("--data_dir", metavar="DIR", help="where the data is now, if it has moved since training")
  options = parser.parse_args(argv)
  if not options.runs and options.sweep is None:
    parser.error("name the runs to compare, or --sweep=DIR")
  if options.num_images and not options.measure:
    parser.error("--num_images is of --measure, which is not given")
  if is_remote(options.out):
    parser.error(f"--out={options.out}: the page and its folder are written on this machine")
  if options.out is None:
    local = options.sweep is not None and not is_remote(options.sweep)
    options.out = options.sweep / NAME if local else pathlib.Path(NAME)
  return options


@program.entry
def main(argv: list[str]) -> None:
  """Compares the runs, and says where the page is."""
  options = parse(argv)
  if not options.measure:
    startup.stay_on_cpu()  # pictures take little, and a sweep may be training
  startup.prepare()
  # JAX reads the settings above when it is imported.
  from experiments.reporting.comparing import page, reading

  wanted = page.Wanted(
    labels=options.labels,
    measure=options.measure,
    num_images=options.num_images,
    num_pictures=options.num_pictures,
    data_dir=options.data_dir,
  )
  with reading.found(options.runs, options.sweep) as runs:
    out, *files = page.write(runs, options.out, wanted)
  print(f"tables     {len(files)} files of tables and figures in {out.with_suffix('')}")
  print(f"comparison {out} ({out.stat().st_size / 1e6:.1f} MB); open it in a browser", flush=True)


if __name__ == "__main__":
  program.run(main)
