"""What a sweep began with, in beginning.json of its folder: the same command must go on with it.

Points and seeds may be added, and fields that a resumed run may change may change.
"""

import json

from experiments.console.errors import UserError
from experiments.runs import changes, folder
from experiments.scheduling.plan import Run
from experiments.stores import glance
from experiments.stores.reading import folder_brought


def _settings(runs: list[Run]) -> dict[str, dict]:
  """Point -> its configuration without the seed."""
  return {run.point: json.loads(run.config.to_json_best_effort()) | {"seed": None} for run in runs}


def _difference(began: dict[str, dict], now: dict[str, dict]) -> str | None:
  """In words what is not as it began; None if nothing is."""
  for point, saved in began.items():
    if point not in now:
      return f"point {point} is not in it any more"
    if changed := changes.differences_of_settings(saved, now[point]):
      words = "; ".join(f"{name}: {values}" for name, values in changed.items())
      return f"point {point} is now another experiment: {words}"
  return None


def check(workdir: glance.Place, runs: list[Run], note: bool) -> None:
  """Compares the runs with what the sweep began with.

  Args:
    workdir: of the sweep.
    runs: all of it.
    note: whether to write down what is new.

  Raises:
    UserError: it began with something else, or its folder is that of a run.
  """
  if glance.text(workdir, "run.json") is not None:
    raise UserError(f"{workdir} holds a run, not a sweep; choose another --workdir")
  now = _settings(runs)
  if not note:
    return _compare(workdir, glance.dictionary(workdir, folder.BEGINNING), now)
  with folder_brought(workdir) as here:
    path = here / folder.BEGINNING
    try:
      with folder.alone_with(path):
        _compare(workdir, began := folder.read_json(path), now)
        points = began.get("points", {}) | now
        if points != began.get("points"):
          folder.write_json(path, {"points": points})
    except OSError as error:
      raise UserError(f"cannot write to --workdir {workdir}: {error.strerror}") from error


def _compare(workdir: glance.Place, began: dict, now: dict[str, dict]) -> None:
  if words := _difference(began.get("points", {}), now):
    raise UserError(
      f"the sweep in {workdir} began with another configuration (began -> now): {words}; undo "
      "that, or choose another --workdir"
    )
