"""What `robustness` writes: numbers, a table for people, curves, and the worst images.

described = content(...)                    # as written to JSON
write(folder, described, figure, sheet)
"""

import pathlib
from collections.abc import Sequence

from data_pipelines.durable import write_atomically
from experiments.figures.sheets import MARGIN, Sheet, titled
from experiments.reporting.comparing.drawing import encoded
from experiments.runs.folder import write_json
from experiments.scoring import scores
from experiments.scoring.files import STAND_IN
from experiments.scoring.summaries import number
from experiments.shifts.drawing import Found
from experiments.shifts.measuring import ranking

INTERVALS = "95% bootstrap intervals of the mean over images"
GIVEN = (
  "but for the dial of slots the model has those of training; reconstruction is measured against "
  "the image that the model is given: noise that it leaves out counts as error, and an image of "
  "low contrast is easy to come close to; ARI-FG of an image with one object is 1 or 0"
)


def levels(found: Found) -> list[dict]:
  """The dials as plain values."""
  return [
    dict(
      name=dial.name,
      about=dial.about,
      levels=[
        dict(
          label=level.label,
          is_training=level.is_training,
          images=one.images,
          num_images=one.num_images,
          scores=one.scores,
        )
        for level, one in zip(dial.levels, measured, strict=True)
      ],
    )
    for dial, measured in found
  ]


def _cell(score: dict | None) -> str:
  if not score or score["mean"] is None:
    return "-"
  return f"{number(score['mean'], 3)} [{number(score['low'], 3)}, {number(score['high'], 3)}]"


def _defined(name: str) -> str:
  label, words = scores.label(name), scores.definition(name)
  return words if words.startswith(label) else f"{label}: {words}"


def _row(cells: Sequence[str]) -> str:
  return f"| {' | '.join(cells)} |"


def as_markdown(result: dict, names: Sequence[str]) -> str:
  """The table, with all that a reader must know."""
  lines = [f"# {result['title']}", "", f"{result['images']}. {INTERVALS}; {GIVEN}.", ""]
  if result["stand_in"]:
    lines += [f"**{STAND_IN}.**", ""]
  lines += [_row(["dial", "level", *map(scores.label, names)]), _row(["---"] * (2 + len(names)))]
  for dial in result["dials"]:
    for position, level in enumerate(dial["levels"]):
      words = f"{dial['name']}: {dial['about']}" if position == 0 else ""
      label = f"**{level['label']}** (training)" if level["is_training"] else level["label"]
      lines.append(_row([words, label, *(_cell(level["scores"].get(name)) for name in names)]))
  if result["left_out"]:
    lines += ["", "Left out:", ""]
    lines += [f"- {name}: {reason}" for name, reason in result["left_out"].items()]
  lines += ["", *(f"{_defined(name)}.  " for name in names)]
  return "\n".join(lines) + "\n"


def write(
  folder: pathlib.Path, result: dict, names: Sequence[str], figure, worst: Sheet
) -> list[pathlib.Path]:
  """Writes everything; returns the files."""
  by = ", ".join(map(scores.label, ranking(names)))
  words = f"{result['title']}: the worst images of each dial's worst level, by the mean of {by}"
  worst = titled(worst, words, MARGIN)
  contents = {
    "robustness.md": as_markdown(result, names).encode(),
    "curves.png": encoded(figure, "png"),
    "curves.pdf": encoded(figure, "pdf"),
    "worst.png": worst.png(),
    "worst.pdf": worst.pdf(),
  }
  write_json(folder / "robustness.json", result)
  for name, content in contents.items():
    write_atomically(folder / name, content)
  return [folder / "robustness.json", *(folder / name for name in contents)]
