"""One HTML page about a run: what was trained on what, its scores, curves and pictures.

  python -m experiments.report --workdir=runs/genesis_gqn
  python -m experiments.report --workdir=runs/genesis_gqn --out=genesis_gqn.html

The page is one file that needs no network: it can be sent and archived. It shows what there is in
the run's folder, and says what is missing and which program makes it. Training writes it when it
ends; write it again after evaluate, compute_fid or visualise.
"""

import argparse

from data_pipelines.command_line import Parser, file_name, place
from experiments.console import program, startup

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.


def parse(argv: list[str]) -> argparse.Namespace:
  """Options; a mistake ends the program with one line and status 2."""
  parser = Parser("experiments.report", __doc__)
  parser.add_argument("--workdir", type=place, required=True, help="folder of the run")
  parser.add_argument(
    "--out", type=file_name(".html"), metavar="FILE.html", help="default: RUN/report.html"
  )
  return parser.parse_args(argv)


@program.entry
def main(argv: list[str]) -> None:
  """Writes the page, and says where."""
  options = parse(argv)
  startup.stay_on_cpu()

  # JAX reads the settings above when it is imported.
  from experiments.reporting import page
  from experiments.stores.addresses import name_of
  from experiments.stores.reading import brought
  from experiments.stores.writing import file_written

  with brought(options.workdir, "none") as workdir, file_written(options.out) as out:
    path = page.write(workdir, out)
    size = path.stat().st_size / 1e6
    print(f"report     {name_of(path)} ({size:.1f} MB); open it in a browser", flush=True)


if __name__ == "__main__":
  program.run(main)
