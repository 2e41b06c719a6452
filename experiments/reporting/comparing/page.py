"""The page that compares runs, and the files beside it: tables and figures for papers.

wanted = Wanted(labels=None, measure=False, num_images=None, num_pictures=4, data_dir=None)
paths = write(records, pathlib.Path("comparison.html"), wanted)
"""

import base64
import pathlib
import time
from collections.abc import Sequence
from typing import NamedTuple

from experiments.console.errors import explained
from experiments.console.program import command
from experiments.figures.sheets import Sheet
from experiments.reporting import facts
from experiments.reporting.comparing import (
  bands,
  checkpoints,
  groups,
  measured,
  papers,
  pictures,
  swept,
  tables,
)
from experiments.reporting.comparing.groups import NOTHING, Group
from experiments.reporting.comparing.measured import Comparison
from experiments.reporting.galleries import Picture
from experiments.reporting.page import rendered
from experiments.runs import folder
from experiments.runs.records import Record
from experiments.scoring import scores
from experiments.scoring.files import check_writable
from experiments.stores.addresses import name_of

MOST_NAMED = 4  # runs in one warning


class Wanted(NamedTuple):
  """What goes into a comparison.

  Attributes:
    labels: one for each group; None: made from the names of folders.
    measure: whether all runs are scored anew, on the first one's test images.
    num_images: that many, if so; None: as evaluate.
    num_pictures: test images that are shown.
    data_dir: where the data is now, if it has moved since training.
  """

  labels: Sequence[str] | None = None
  measure: bool = False
  num_images: int | None = None
  num_pictures: int = 4
  data_dir: str | None = None


def _name(run: Record) -> str:
  return name_of(run.workdir)


def _title(runs: Sequence[Record]) -> str:
  titles = list(dict.fromkeys(facts.title(run) for run in runs))
  methods = list(dict.fromkeys(title.partition(" on ")[0] for title in titles))
  data = list(dict.fromkeys(title.partition(" on ")[2] for title in titles))
  return f"{', '.join(methods)} on {', '.join(data)}"


def _warnings(members: Sequence[Group]) -> list[str]:
  """What must be known before any number is read."""
  runs = [run for group in members for run in group.runs]
  lines = groups.warnings(members)
  if count := sum(bool(run.labels.get("stand_in")) for run in runs):
    whose = "all runs" if count == len(runs) else f"{count} of {len(runs)} runs"
    lines.append(
      f"STAND-IN or GENERATED DATA in {whose}: numbers are not comparable with published results."
    )
  open_ones = [
    f"{_name(run)} ({words[0].lower()}{words[1:]})"
    for run in runs
    for state, words in [facts.status(run)]
    if state != "good"
  ]
  if open_ones:
    more = f" and {len(open_ones) - MOST_NAMED} more" if len(open_ones) > MOST_NAMED else ""
    listed = "; ".join(open_ones[:MOST_NAMED])
    lines.append(f"Not trained to the end, so that numbers may change: {listed}{more}.")
  return lines + [problem for run in runs for problem in run.problems]


def _missing(found: Comparison) -> list[dict]:
  """What was not measured, with the command that does."""
  lines = []
  for runs, what in (
    (found.unscored, "no scores"),
    (found.unpaired, "no scores of single images, and so no paired intervals"),
  ):
    if runs:
      *others, last = map(_name, runs)
      listed = ", ".join([*others, last][:MOST_NAMED]) + ", ..." * (len(runs) > MOST_NAMED)
      again = command("evaluate", runs[-1].workdir, *(f"--workdir={name}" for name in others))
      lines.append(dict(text=f"{len(runs)} of the runs have {what} ({listed}); run", command=again))
  return lines


def _columns(names: Sequence[str]) -> list[dict]:
  headings = tables.headings(names)
  return [
    dict(name=name, label=words, about=scores.definition(name))
    for name, words in zip(names, headings, strict=True)
  ]


def _pairs(members: Sequence[Group], found: Comparison) -> list[dict]:
  """For each group as the reference, rows of what the others are above it."""
  names = [name for name in found.names if name in found.pairs]

  def cell(reference, other, name):
    value = tables.seen_from(reference, other, found.pairs[name])
    how = measured.verdict(name, value) if value else ""
    mean, _, interval = tables.difference(value).partition(" ")
    return dict(mean=mean, interval=interval, verdict=how)

  return [
    dict(label=group.label, rows=[
      dict(group=j, cells=[cell(i, j, name) for name in names])
      for j in range(len(members)) if j != i
    ])
    for i, group in enumerate(members)
  ] if names else []  # fmt: skip


def _runs(members: Sequence[Group], results: measured.Measured) -> list[dict]:
  rows = []
  for index, group in enumerate(members):
    for run in group.runs:
      state, words = facts.status(run)
      scored = results.get(run.workdir) or measured.newest(run)
      rows.append(dict(group=index, seed=run.config["seed"], state=state, status=words,
                       data=run.labels["data"]["description"], name=_name(run),
                       step=f"{scored['step']:,}" if scored else NOTHING))  # fmt: skip
  return rows


def _picture(sheet: Sheet, first: Record) -> Picture:
  uri = f"data:image/png;base64,{base64.b64encode(sheet.png()).decode()}"
  caption = (
    f"Test images of {first.labels['data']['description']}. Below each, with its true segments: "
    "what each model makes of it, and the slot with the largest attention mask of each pixel. "
    "Where there are true segments, a slot has the colour of the one that it overlaps with most. "
    "Latents are at the means of their posteriors; of several seeds the first one is shown."
  )
  return Picture(uri, caption, "The same test images through all models", sheet.width, sheet.height)


def _key(members: Sequence[Group]) -> list[dict]:
  """Of lines: label, colour and dash."""
  arrays = {
    "solid": "none",
    "dash": "7 3",
    "dot": "2 3",
    "dashdot": "8 3 2 3",
    "longdash": "12 2",
    "longdashdot": "14 2 2 2",
  }
  looks = [bands.look(index) for index in range(len(members))]
  return [
    dict(label=group.label, colour=colour, dashes=arrays[dash])
    for group, (colour, dash) in zip(members, looks, strict=True)
  ]


def _content(
  members: Sequence[Group], found: Comparison, axes: Sequence[swept.Axis], notes: Sequence[str]
) -> dict:
  """What the template shows, but pictures and files."""
  against, over_steps = swept.panels(axes, found), bands.panels(members)
  runs = [run for group in members for run in group.runs]
  return dict(
    title=_title(runs),
    written=time.strftime("%Y-%m-%d %H:%M"),
    groups=_key(members),
    num_runs=len(runs),
    warnings=_warnings(members),
    source=found.source,
    columns=_columns(found.names),
    scores=tables.scores(members, found).rows,
    refused=[
      dict(names=", ".join(map(scores.label, names)), reason=reason)
      for names, reason in found.refused
    ],
    missing=[dict(text=note, command=None) for note in notes] + _missing(found),
    paired=_columns([name for name in found.names if name in found.pairs]),
    references=_pairs(members, found),
    settings=tables.settings(members),
    by_group=tables.by_group(members),
    against=against,
    curves=over_steps,
    panels=against + over_steps,
  )


def write(runs: Sequence[Record], out: pathlib.Path, wanted: Wanted) -> list[pathlib.Path]:
  """Writes the page and the files beside it, in a folder of its name; returns all of them.

  Raises:
    UserError, DataError: there are other than as many labels as groups, the data to measure on
      cannot be read, or a file cannot be written.
  """
  with explained():
    members = groups.grouped(runs, wanted.labels)
  for group in members:
    print(f"group      {group.label}: {len(group.runs)} run{'s' * (len(group.runs) != 1)}")
  place = out.with_suffix("")
  check_writable(place)
  results, notes = {}, []
  if wanted.measure:
    results, notes = checkpoints.score_all(runs, wanted.num_images, wanted.data_dir)
  found, axes = measured.compared(members, results), swept.axes(members)
  sheet, unseen = None, []
  if wanted.num_pictures:
    sheet, unseen = pictures.side_by_side(members, wanted.num_pictures, wanted.data_dir)
  files = papers.write(place, members, found, axes, sheet)
  content = _content(members, found, axes, notes) | dict(
    runs=_runs(members, results),
    picture=sheet and _picture(sheet, members[0].runs[0]),
    unseen=unseen,
    place=str(place),
    files=[path.name for path in files],
  )
  folder.write_out(out, rendered("comparison.html", content, "reporting/comparing"))
  return [out, *files]
