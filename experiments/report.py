"""One HTML page about a run: what was trained on what, its scores, curves and pictures.

  python -m experiments.report --workdir=runs/genesis_gqn
  python -m experiments.report --workdir=runs/genesis_gqn --out=genesis_gqn.html

The page is one file that needs no network: it can be sent and archived. It shows what there is in
the run's folder, and says what is missing and which program makes it. Training writes it when it
ends; write it again after evaluate, compute_fid or visualise.
"""

import argparse
import json
import os
import pathlib
import sys
import time

from absl import logging

from data_pipelines.command_line import Parser, file_name, path_name


def parse(argv: list[str]) -> argparse.Namespace:
  """Options; a mistake ends the program with one line and status 2."""
  parser = Parser("experiments.report", __doc__)
  parser.add_argument("--workdir", type=path_name, required=True, help="folder of the run")
  parser.add_argument(
    "--out", type=file_name(".html"), metavar="FILE.html", help="default: RUN/report.html"
  )
  return parser.parse_args(argv)


def _environment():
  import jinja2

  return jinja2.Environment(
    loader=jinja2.PackageLoader("experiments", "report_page"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )


def _content(record) -> dict:
  """What the template shows."""
  from experiments import report_curves, report_facts, report_galleries, report_scores

  config, goal = record.config, report_facts.goal(record.config)
  num_elements = 3 * config["model"]["image_size"] ** 2
  state, words = report_facts.status(record)
  return dict(
    title=report_facts.title(record),
    workdir=str(record.workdir),
    written=time.strftime("%Y-%m-%d %H:%M"),
    state=state,
    status=words,
    warnings=report_facts.warnings(record),
    stand_in=bool(record.labels.get("stand_in")),
    headline=report_facts.headline(record),
    facts=report_facts.facts(record),
    commands=report_facts.commands(record),
    config=json.dumps(config, indent=2),
    comparison=report_scores.comparison(record),
    differences=report_scores.differences(record),
    measured=report_scores.measured(record),
    missing=report_scores.missing(record),
    galleries=report_galleries.read(record.workdir),
    panels=report_curves.curves(record.rows, goal, num_elements),
    num_rows=len(record.rows),
    num_unreadable=record.num_unreadable,
    gaps=report_curves.gaps(record.rows),
  )


def page(record) -> str:
  """The page about a `run_records.Record`, as HTML."""
  import plotly.offline

  environment = _environment()
  source, _, _ = environment.loader.get_source(environment, "page.js")
  style, _, _ = environment.loader.get_source(environment, "page.css")
  return environment.get_template("page.html").render(
    _content(record), script=source, style=style, plotly=plotly.offline.get_plotlyjs()
  )


def write(workdir: pathlib.Path, out: pathlib.Path | None = None) -> pathlib.Path:
  """Writes the page about a run; returns its file.

  Args:
    workdir: of the run.
    out: where to; None: report.html in the run's folder.

  Raises:
    UserError: there is no run, or the file cannot be written.
  """
  from experiments import run_records, workdirs
  from experiments.errors import explained

  with explained():
    record = run_records.read(workdir)
    html = page(record)
  out = out or workdir / "report.html"
  workdirs.write_out(out, html)
  return out


def main(argv: list[str]) -> int:
  """Exit status: 0, or 1 with one line of what is wrong."""
  options = parse(argv)
  # Only reads small files: no reason to take an accelerator from a program that trains.
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  logging.set_verbosity(logging.WARNING)

  from experiments.errors import UserError

  try:
    path = write(options.workdir, options.out)
  except (UserError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  print(f"report     {path} ({path.stat().st_size / 1e6:.1f} MB); open it in a browser", flush=True)
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
