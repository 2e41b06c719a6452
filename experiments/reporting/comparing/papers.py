"""What a comparison leaves for papers: tables in LaTeX and Markdown, figures in PDF.

files = write(pathlib.Path("comparison"), groups, found, swept.axes(groups), sheet)
"""

import pathlib
import re
from collections.abc import Sequence

from experiments.figures.sheets import Sheet
from experiments.reporting.comparing import drawing, swept, tables
from experiments.reporting.comparing.groups import Group
from experiments.reporting.comparing.measured import Comparison
from experiments.runs import folder
from experiments.scoring import scores


def _file(name: str) -> str:
  return re.sub(r"[^\w.-]+", "_", name)


def write(
  place: pathlib.Path,
  members: Sequence[Group],
  found: Comparison,
  axes: Sequence[swept.Axis],
  sheet: Sheet | None,
) -> list[pathlib.Path]:
  """Writes tables and figures into a folder; returns the files.

  Raises:
    UserError: they cannot be written.
  """
  files: dict[str, str | bytes] = {}
  for name, table in tables.all_tables(members, found).items():
    files |= {f"{name}.md": table.markdown(), f"{name}.tex": table.latex()}
  runs = [run for group in members for run in group.runs]
  known, labels = drawing.known_values(runs), [group.label for group in members]
  for name in scores.named(known, scores.LINE):
    figure = drawing.curves([group.runs for group in members], labels, [name], "steps")
    files[f"curves_{name}.pdf"] = drawing.encoded(figure, "pdf")
  for axis in axes:
    for name in found.names:
      if lines := axis.lines(found.means[name]):
        figure = drawing.against(axis, name, lines)
        files[_file(f"{name}_against_{axis.setting}.pdf")] = drawing.encoded(figure, "pdf")
  if sheet is not None:
    files["pictures.pdf"] = sheet.pdf()
  for name, content in files.items():
    folder.write_out(place / name, content)
  return [place / name for name in files]
