"""The report's page, filled with what there is in a run's folder."""

import json
import pathlib
import time

import jinja2
import plotly.offline

from experiments.console.errors import explained
from experiments.console.program import command
from experiments.diagnosis import curves as diagnosis
from experiments.reporting import curves, facts, galleries, scores
from experiments.runs import folder, records
from experiments.stores.addresses import name_of


def rendered(template: str, content: dict, folder: str = "reporting") -> str:
  """A page as HTML, with the style and the scripts that all pages have.

  Args:
    template: a file that extends base.html.
    content: what it shows, with "panels" for the plots of the script.
    folder: of the package of programs, where the template lies.
  """
  folders = [jinja2.PackageLoader("experiments", name) for name in ("reporting", folder)]
  environment = jinja2.Environment(
    loader=jinja2.ChoiceLoader(folders),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  source, _, _ = environment.loader.get_source(environment, "page.js")
  style, _, _ = environment.loader.get_source(environment, "page.css")
  return environment.get_template(template).render(
    content, script=source, style=style, plotly=plotly.offline.get_plotlyjs()
  )


def _content(record) -> dict:
  """What the template shows."""
  config, goal = record.config, facts.goal(record.config)
  num_elements = 3 * config["model"]["image_size"] ** 2
  state, words = facts.status(record)
  return dict(
    title=facts.title(record),
    workdir=name_of(record.workdir),
    written=time.strftime("%Y-%m-%d %H:%M"),
    state=state,
    status=words,
    warnings=facts.warnings(record),
    findings=[found.line for found in diagnosis.findings(config, record.rows) if found.is_problem],
    stand_in=bool(record.labels.get("stand_in")),
    headline=facts.headline(record),
    facts=facts.facts(record),
    commands=facts.commands(record),
    config=json.dumps(config, indent=2),
    comparison=scores.comparison(record),
    differences=scores.differences(record),
    measured=scores.measured(record),
    missing=scores.missing(record),
    galleries=galleries.read(record.workdir),
    visualise=command("visualise", record.workdir),
    panels=curves.curves(record.rows, goal, num_elements),
    num_rows=len(record.rows),
    num_unreadable=record.num_unreadable,
    gaps=curves.gaps(record.rows),
  )


def page(record) -> str:
  """The page about a `run_records.Record`, as HTML."""
  return rendered("page.html", _content(record))


def write(workdir: pathlib.Path, out: pathlib.Path | None = None) -> pathlib.Path:
  """Writes the page about a run; returns its file.

  Args:
    workdir: of the run.
    out: where to; None: report.html in the run's folder.

  Raises:
    UserError: there is no run, or the file cannot be written.
  """
  with explained():
    record = records.read(workdir)
    html = page(record)
  out = out or workdir / "report.html"
  folder.write_out(out, html)
  return out
