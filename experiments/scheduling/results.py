"""The table of a sweep, of the runs that are done."""

from experiments.scheduling.plan import Run
from experiments.scheduling.standing import look
from experiments.scoring import sweep_results
from experiments.stores import glance
from experiments.stores.reading import folder_brought
from experiments.stores.transfers import side_by_side


def report(workdir: glance.Place, title: str, runs: list[Run], points: dict[str, dict]) -> None:
  """Writes sweep.md, sweep.csv and sweep.json into the sweep's folder, and prints the table."""
  numbers = dict(zip(runs, side_by_side(_final_numbers, runs), strict=True))
  rows = [
    sweep_results.Row(
      name, fields, {run.seed: numbers[run] for run in runs if run.point == name and numbers[run]}
    )
    for name, fields in points.items()
  ]
  with folder_brought(workdir) as here:
    sweep_results.write(here, rows, title)
  print(sweep_results.as_text(rows))
  if sweep_results.has_stand_ins(rows):
    print(sweep_results.STAND_IN)
  print(f"table      {workdir}/sweep.md, sweep.csv, sweep.json", flush=True)


def _final_numbers(run: Run) -> dict:
  return glance.dictionary(run.workdir, "metrics.json") if look(run).is_done else {}
