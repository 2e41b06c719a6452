"""Begins to send what a run logs to trackers, or goes on with it.

with begun(config, workdir, source, stop) as senders:
  for sender in senders:
    sender.send("write_scalars", step, values)     # returns at once, whatever happens there
"""

import contextlib
import json
import pathlib
import re
import secrets
from collections.abc import Iterator

from experiments.hardware import devices
from experiments.runs import folder
from experiments.stores.addresses import name_of
from experiments.trackers.catalogue import Tracked, check_installed
from experiments.trackers.process import Sender

IDENTITIES = "trackers.json"  # in a run's folder: name of each tracker -> what it calls the run


@contextlib.contextmanager
def begun(config, workdir: pathlib.Path, source, stop) -> Iterator[list[Sender]]:
  """Begins what `config.trackers` names, or goes on with it; none on hosts but the first.

  Args:
    config: of the experiment.
    workdir: of the run.
    source: of its data.
    stop: its `asked` and `seconds_left` shorten the end.

  Raises:
    UserError: there is something for the user to do first, such as to log in.
  """
  if not config.trackers or not devices.is_main_host():
    yield []
    return
  check_installed(config.trackers)
  settings = json.loads(config.to_json_best_effort()) | {"source": source.metadata()}
  name, group = names_of(workdir)
  with contextlib.ExitStack() as stack:
    senders = []
    for tracker in dict.fromkeys(config.trackers):
      run = Tracked(_identity(workdir, tracker), name, group, workdir.absolute(), settings)
      senders.append(stack.enter_context(Sender(tracker, run, stop)))
    for sender in senders:
      sender.wait_for_login()
    yield senders


def _identity(workdir: pathlib.Path, tracker: str) -> str:
  """What a tracker calls the run; kept in its folder, so that a resumed run goes on there."""
  known = folder.read_json(workdir / IDENTITIES)
  if tracker not in known:
    known[tracker] = secrets.token_hex(4)
    folder.write_json(workdir / IDENTITIES, known)
  return known[tracker]


def names_of(workdir: pathlib.Path) -> tuple[str, str | None]:
  """What to call a run, and its group: SWEEP/POINT/seed_0 -> "POINT/seed_0", "SWEEP/POINT"."""
  *above, last = name_of(workdir.absolute()).rstrip("/").split("/")
  if re.fullmatch(r"seed_\d+", last) and len(above) > 1:
    return f"{above[-1]}/{last}", "/".join(above[-2:])
  return last, None
