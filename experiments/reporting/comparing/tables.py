"""The tables of a comparison, in Markdown and in LaTeX (with booktabs).

tables = all_tables(groups, found)          # name -> Table
tables["scores"].markdown(), tables["scores"].latex()
"""

import dataclasses
import re
from collections.abc import Sequence

from experiments.reporting.comparing.groups import NOTHING, Group
from experiments.reporting.comparing.measured import Comparison, Difference, best
from experiments.scoring.scores import label, score
from experiments.scoring.summaries import markdown_table, number, plus_minus

ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}
IN_LATEX = {
  "\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$",
  "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
  "↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--", "²": r"$^2$",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Cell:
  """A text, in bold where it is the best of its column."""

  text: str
  bold: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
  """Rows of cells under a head; the first column has names."""

  caption: str
  head: list[str]
  rows: list[list[Cell]]

  def markdown(self) -> str:
    """With its caption above."""
    rows = [[f"**{c.text}**" if c.bold else c.text for c in row] for row in self.rows]
    escaped = [[text.replace("|", r"\|") for text in row] for row in (self.head, *rows)]
    return f"{self.caption}\n\n{markdown_table(escaped)}\n"

  def latex(self) -> str:
    """A `tabular`; needs the package booktabs."""
    columns = "l" + "r" * (len(self.head) - 1)
    rows = [
      [rf"\textbf{{{_escaped(c.text)}}}" if c.bold else _escaped(c.text) for c in row]
      for row in self.rows
    ]
    head, *body = (" & ".join(row) + r" \\" for row in (map(_escaped, self.head), *rows))
    lines = [f"% {self.caption}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head]
    return "\n".join([*lines, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _escaped(text: str) -> str:
  return re.sub("|".join(map(re.escape, IN_LATEX)), lambda match: IN_LATEX[match[0]], text)


def headings(names: Sequence[str]) -> list[str]:
  """Of scores, with an arrow that says which way is better."""
  return [label(name) + ARROWS[score(name).better] for name in names]


def difference(value: Difference | None) -> str:
  """A difference with its interval."""
  if value is None:
    return NOTHING
  low, high = number(value.low, 3), number(value.high, 3)
  return f"{'+' if value.mean > 0 else ''}{number(value.mean, 3)} [{low}, {high}]"


def seen_from(reference: int, other: int, pairs: dict) -> Difference | None:
  """By how much a group is above the reference."""
  if (reference, other) in pairs:
    return pairs[reference, other]
  turned = pairs.get((other, reference))
  return turned and Difference(-turned.mean, -turned.high, -turned.low, turned.num_images)


def scores(groups: Sequence[Group], found: Comparison) -> Table:
  """Mean ± standard deviation over seeds."""
  first = {name: best(name, found.means[name]) for name in found.names}
  rows = [
    [Cell(group.label), Cell(str(len(group.runs)))]
    + [
      Cell(plus_minus(*found.means[name][i][:2]) or NOTHING, i in first[name])
      for name in found.names
    ]
    for i, group in enumerate(groups)
  ]
  caption = f"Mean ± sample standard deviation over seeds. Scored: {found.source}."
  return Table(caption, ["model", "runs", *headings(found.names)], rows)


def differences(groups: Sequence[Group], found: Comparison, reference: int = 0) -> Table:
  """Paired differences to one group."""
  names = [name for name in found.names if name in found.pairs]
  rows = [
    [Cell(group.label)]
    + [Cell(difference(seen_from(reference, i, found.pairs[name]))) for name in names]
    for i, group in enumerate(groups)
    if i != reference
  ]
  caption = (
    f"Above {groups[reference].label}, on the same test images: mean difference [95% interval, "
    "bootstrapped over images]."
  )
  return Table(caption, ["model", *headings(names)], rows)


def value_text(value: object) -> str:
  """The value of a setting, with large numbers in groups of three digits."""
  whole = isinstance(value, int) and not isinstance(value, bool)
  return f"{value:,}" if whole else str(value)


def settings(groups: Sequence[Group]) -> Table:
  """The settings that differ: a row for each, or for each group where there are more of these."""
  names, labels = list(groups[0].settings), [group.label for group in groups]
  cells = [[value_text(group.settings[name]) for name in names] for group in groups]
  head, heads = ["model", *names], labels
  if not by_group(groups):
    head, heads, cells = ["setting", *labels], names, list(map(list, zip(*cells, strict=True)))
  rows = [[Cell(first), *map(Cell, row)] for first, row in zip(heads, cells, strict=True)]
  return Table("Settings that differ.", head, rows if names else [])


def by_group(groups: Sequence[Group]) -> bool:
  """Whether a row of the table of settings is a group."""
  return len(groups) > len(groups[0].settings)


def all_tables(groups: Sequence[Group], found: Comparison) -> dict[str, Table]:
  """Name of its files -> each table that has something in it."""
  tables = {"scores": scores(groups, found) if found.names else None,
            "differences": differences(groups, found) if found.pairs else None,
            "settings": settings(groups)}  # fmt: skip
  return {name: table for name, table in tables.items() if table and table.rows}
