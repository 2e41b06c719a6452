"""A page in the browser where scenes are taken apart: hide, move, exchange and draw their slots.

  python -m experiments.explore --workdir=runs/demo
  python -m experiments.explore --workdir=runs/a --workdir=runs/b          # to compare them

Prints a link, and answers this machine only, until Ctrl-C. From elsewhere: `ssh -L
8000:localhost:8000 HOST`, and open the same link. In Jupyter on this machine:
`IPython.display.IFrame("http://127.0.0.1:8000/", "100%", 900)`; on another one start the program
with --token, and add `?token=...` to the address of jupyter-server-proxy. Exit status: 1 when
something went wrong, 2 for a mistake on the command line, 130 after Ctrl-C.
"""

import argparse
import importlib.util
import secrets

from data_pipelines.command_line import Parser, place, seed_number, whole_number
from data_pipelines.reading.progress import with_progress
from data_pipelines.sources import SPLITS
from experiments.console import program, startup
from experiments.console.errors import UserError

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.

LOCAL = ("127.0.0.1", "localhost", "::1")


def parse(argv: list[str]) -> argparse.Namespace:
  """Options; a mistake ends the program with one line and status 2."""
  parser = Parser("experiments.explore", __doc__)
  add = parser.add_argument
  add("--workdir", type=place, action="append", required=True,
      help="folder of a run; repeat it to compare runs")  # fmt: skip
  add("--step", type=whole_number(0), action="append",
      help="checkpoint; repeat it to compare checkpoints; default: the newest")  # fmt: skip
  add("--num", type=whole_number(1), default=24, help="test images to choose from; default: 24")
  add("--split", choices=SPLITS, default="test", help="of the data; default: test")
  add("--seed", type=seed_number, default=0, help="which images")
  add("--data_dir", metavar="DIR", help="if the data lies elsewhere than in training")
  add("--host", default=LOCAL[0], help="address to listen on; default: this machine's own")
  add("--port", type=whole_number(1), help="default: the first that is free from 8000 on")
  add("--token", action="store_true",
      help="answer those who have the link only; always so on another --host")  # fmt: skip
  return parser.parse_args(argv)


@program.entry
def main(argv: list[str]) -> None:
  """Opens the page."""
  options = parse(argv)
  if missing := [name for name in ("starlette", "uvicorn") if not importlib.util.find_spec(name)]:
    raise UserError(f"{missing[0]} is not installed: pip install starlette uvicorn")
  startup.prepare()
  from experiments.stores.reading import all_brought
  from experiments.touch import server
  from experiments.touch.table import Table

  needed = "all" if options.step else "newest"
  with (
    all_brought(options.workdir, needed) as workdirs,
    server.listening(options.host, options.port) as listener,
  ):
    token = secrets.token_urlsafe() if options.token or options.host not in LOCAL else None
    table = Table.open(workdirs, options.step or [None], options.num, options.split,
                       options.seed, options.data_dir)  # fmt: skip
    sizes = [(stage, count) for stage in table.stages for count in stage.counts]
    for stage, count in with_progress(sizes, len(sizes), "compiling", "program", aside=True):
      stage.compile(count)
    print(f"open       {server.link(listener, token)}   (Ctrl-C ends)", flush=True)
    server.serve(table, listener, token)


if __name__ == "__main__":
  program.run(main)
