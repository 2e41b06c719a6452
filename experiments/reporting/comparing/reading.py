"""The runs to compare, wherever they are.

with found(["runs/a", "gs://bucket/runs/b"], sweep="runs/grid") as records:
  page.write(records, out, wanted)
"""

import contextlib
import pathlib
import sys
from collections.abc import Iterator, Sequence

from experiments.console.errors import UserError
from experiments.reporting.comparing.groups import in_order, path_of
from experiments.runs import records
from experiments.runs.records import Record
from experiments.stores.reading import all_brought, runs_below

Place = str | pathlib.Path


def _readable(workdirs: Sequence[pathlib.Path]) -> list[Record]:
  """Runs of a sweep; what cannot be read is a warning, so that it does not hide the others."""
  found = []
  for workdir in workdirs:
    try:
      found.append(records.read(workdir))
    except UserError as error:
      print(f"WARNING: {error}", file=sys.stderr, flush=True)
  return found


@contextlib.contextmanager
def found(named: Sequence[Place], sweep: Place | None) -> Iterator[list[Record]]:
  """Runs that were named, then those of a sweep.

  Raises:
    UserError: fewer than two are there, one is named twice, or one that was named is none.
  """
  below = in_order(map(str, runs_below(sweep))) if sweep is not None else []
  with all_brought([*named, *below], "none") as workdirs:
    runs = [records.read(workdir) for workdir in workdirs[: len(named)]]
    runs += _readable(workdirs[len(named) :])
    paths = [path_of(run) for run in runs]
    if twice := sorted({path for path in paths if paths.count(path) > 1}):
      raise UserError(f"{twice[0]} is given twice")
    if len(runs) < 2:
      raise UserError(
        f"a comparison needs two runs, and here is {len(runs)}; experiments.report shows one"
      )
    yield runs
