"""Trains a model.

  python -m experiments.main --config=configs/genesis_gqn.py
  python -m experiments.main --config=configs/experiment.py:genesis_v2,clevr --config.batch_size=64

The same command resumes. With several hosts, run it on each with --multihost (docs/many_hosts.md).
All settings are in docs/training.md. Exit status: 0 when done, and after SIGTERM or Ctrl-C with
everything saved; 130 after Ctrl-C before the first step; 1 when something went wrong; 2 for a
mistake on the command line.
"""

import argparse
import os
import re

from absl import logging

from configs import models
from configs.loading import load_config, parse
from data_pipelines.command_line import Parser, checked_arguments
from experiments.console import program, startup

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.


def _hosts(text: str) -> str | None:
  """A value of --multihost: None, "auto" or "address:port,index,count"."""
  plain = {"true": "auto", "auto": "auto", "false": None, "": None}
  if text in plain:
    return plain[text]
  if not re.fullmatch(r"[^,\s]+:\d+,\d+,\d+", text):
    raise argparse.ArgumentTypeError(
      "it takes no value, or ADDRESS:PORT,INDEX,COUNT, for example 10.0.0.1:1234,0,2"
    )
  _, index, count = text.split(",")
  if int(index) >= int(count):
    raise argparse.ArgumentTypeError(f"index {index} of {count} hosts: the first host has index 0")
  return text


def _parser() -> Parser:
  parser = Parser("experiments.main", __doc__)
  parser.add_argument("--workdir", help="default: runs/<configuration>")
  parser.add_argument(
    "--multihost",
    type=_hosts,
    nargs="?",
    const="auto",
    metavar="ADDRESS:PORT,INDEX,COUNT",
    help="train on several hosts; JAX finds them on TPU pods, Slurm, MPI, Kubernetes; elsewhere "
    "give the first host's address and this host's index, from 0",
  )
  parser.add_argument("--nomultihost", dest="multihost", action="store_const", const=None,
                      help=argparse.SUPPRESS)  # fmt: skip
  parser.add_argument("--accept_data_change", action="store_true",
                      help="resume although the data's files have changed")  # fmt: skip
  parser.add_argument(
    "--change",
    type=lambda text: text.split(","),
    default=[],
    metavar="FIELD,...",
    help="fields that a resumed run may change, such as optimizer.learning_rate",
  )
  parser.add_argument(
    "--verbosity", type=int, help="of libraries: -1 warnings (default), 0 information, 1 all"
  )
  return parser


@program.entry
def main(argv: list[str]) -> None:
  """Trains."""
  options, overrides = parse(_parser(), argv)
  config = load_config(options.config, overrides)
  with checked_arguments():
    models.check(config.model)
  if config.deterministic:
    startup.ask_for_determinism()
  # Only now, with a valid command line, is TensorFlow imported and JAX set up.
  startup.prepare()
  if options.verbosity is not None:
    logging.set_verbosity(options.verbosity)

  from experiments.hardware import hosts
  from experiments.training.loop import train

  with hosts.joined(options.multihost):
    workdir = os.path.expanduser(options.workdir or program.default_workdir(options.config))
    train(config, workdir, accept_data_change=options.accept_data_change, told=options.change)


if __name__ == "__main__":
  startup.use_huge_pages()
  program.run(main)
