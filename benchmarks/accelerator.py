"""All that is worth knowing of an accelerator that is at hand for a short while, then training.

  python -m benchmarks.accelerator --minutes=10 --out=DIR
  python -m benchmarks.accelerator --minutes=10 --out=DIR --original=../genesis

The parts come in the order of their worth; each has a limit of its own, is left out where the time
does not suffice, and is written to DIR at once, so that being stopped loses nothing. The same
command goes on with what is missing, and resumes training. DIR/RESULTS.md is ready to be pasted
into benchmarks/RESULTS.md; DIR/<part>.txt is what a part printed. Neither TensorFlow nor CLU is
needed; `--part` chooses parts.
"""

import argparse
import json
import os
import pathlib
import time
from typing import Any, NamedTuple

from benchmarks import parts
from benchmarks.train_step import MODELS
from data_pipelines import durable
from data_pipelines.command_line import Parser, path_name
from experiments.console import program
from experiments.console.errors import UserError

ALL = {part.name: part for part in parts.PARTS}


def parse(argv: list[str]) -> argparse.Namespace:
  """Options; a mistake ends the program with status 2."""
  parser = Parser("benchmarks.accelerator", __doc__)
  parser.add_argument("--minutes", type=float, required=True, help="of this machine, in all")
  parser.add_argument("--out", type=path_name, required=True, help="folder for what is found")
  parser.add_argument("--part", action="append", choices=ALL, help="default: all")
  parser.add_argument("--original", type=path_name, help="checkout of the original's repository")
  parser.add_argument(
    "--train_share", type=float, default=0.5, help="of the time, kept for training (0.5)"
  )
  parser.add_argument(
    "--train", action="append", metavar="CONFIG[,FIELD=VALUE...]",
    help="what to train, side by side (GENESIS-V2 and GENESIS as published, on generated sprites)",
  )  # fmt: skip
  parser.add_argument("--model", action="append", choices=MODELS, help="default: all four")
  parser.add_argument("--size", type=int, default=64, help="side of the images (64)")
  parser.add_argument("--batch", type=int, default=32, help="images of a step (32)")
  parser.add_argument("--steps_per_call", type=int, default=50, help="of the larger call (50)")
  parser.add_argument("--seconds", type=float, default=0.5, help="least duration of a round (0.5)")
  options = parser.parse_args(argv)
  options.model = options.model or MODELS
  if not options.minutes > 0:
    parser.error(f"--minutes is {options.minutes}; it must be positive")
  if not 0 <= options.train_share <= 1:
    parser.error(f"--train_share is {options.train_share}; it must be from 0 to 1")
  return options


class Results(NamedTuple):
  """What is known so far, in a folder."""

  folder: pathlib.Path
  found: dict[str, dict[str, Any]]  # name of a part -> "rows" (a table) or "missing" (why)

  @classmethod
  def of(cls, folder: pathlib.Path) -> "Results":
    """Those of an earlier call, or none.

    Raises:
      UserError: the folder cannot be made, or its results cannot be read.
    """
    file = folder / "results.json"
    try:
      folder.mkdir(parents=True, exist_ok=True)
      found = json.loads(file.read_text()) if file.exists() else {}
    except (OSError, ValueError) as error:
      raise UserError(f"--out={folder} cannot be used ({error}); choose another folder") from None
    return cls(folder, found)

  def add(self, name: str, found: dict[str, Any]) -> None:
    """Writes a part's result, and the page of all."""
    self.found[name] = found
    durable.write_atomically(self.folder / "results.json", json.dumps(self.found, indent=2))
    durable.write_atomically(self.folder / "RESULTS.md", page(self.found))


def table(rows: list[dict[str, Any]]) -> str:
  """Rows with the same keys as Markdown."""
  titles = list(dict.fromkeys(title for row in rows for title in row))
  lines = [titles, ["---"] * len(titles)]
  lines += [[_cell(row.get(title)) for title in titles] for row in rows]
  return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value) -> str:
  if value is None:
    return ""
  return f"{value:.4g}" if isinstance(value, float) else str(value)


def page(found: dict[str, dict[str, Any]]) -> str:
  """All parts as Markdown, in their order."""
  sections = []
  for name, part in ALL.items():
    if name in found:
      result = found[name]
      text = [f"## {part.title}"]
      if result.get("rows"):
        text.append(table(result["rows"]))
      if result.get("missing"):
        text.append(f"Missing: {result['missing']}.")
      sections.append("\n\n".join(text))
  return "\n\n".join(sections) + "\n"


def run(part: parts.Part, machine: parts.Machine, end: float) -> dict[str, Any]:
  """A part's result; an error in it is one, too.

  Args:
    part: what to do.
    machine: on which.
    end: when it must have ended, by `time.monotonic`.
  """
  left = end - time.monotonic()
  if left < part.least:
    return {"missing": f"{max(0, left):.0f} s were left, and it needs {part.least} s"}
  left = min(left, part.most)
  machine.deadline = time.monotonic() + left
  try:
    rows = part.run(machine)
    return {"rows": rows} if rows else {"missing": f"it did not end within {left:.0f} s"}
  except Exception as error:  # of any kind: the other parts are worth having
    words = " ".join(str(error).split()) or type(error).__name__
    return {"missing": f"it failed ({words[:500]})"}


@program.entry
def main(argv: list[str]) -> None:
  """Does the parts that are missing, and says where they are."""
  start = time.monotonic()
  options = parse(argv)
  # Several programs share the device: none may take all of its memory.
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  results = Results.of(options.out)
  seconds = options.minutes * 60
  todo = [
    part
    for name, part in ALL.items()
    if name in (options.part or ALL)
    and (part.name == parts.TRAINING or not results.found.get(name, {}).get("rows"))
  ]
  machine = parts.Machine(options, {part.name for part in todo}, clock=time.monotonic)
  for part in todo:
    end = start + seconds * (1 if part is todo[-1] else 1 - options.train_share)
    print(f"{part.title} ... ({time.monotonic() - start:.0f} s of {seconds:.0f})", flush=True)
    result = run(part, machine, end)
    results.add(part.name, result)
    print(page({part.name: result}), flush=True)
  print(f"results    {options.out / 'RESULTS.md'}", flush=True)
  if machine.is_compiling:
    os._exit(0)  # it cannot be ended, and nobody waits for it any longer


if __name__ == "__main__":
  program.run(main)
