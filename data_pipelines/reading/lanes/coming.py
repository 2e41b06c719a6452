"""Files of a store come before the lanes that read them are there."""

from collections.abc import Sequence

from data_pipelines.reading.lanes.plan import Plan
from data_pipelines.reading.records import Range
from data_pipelines.stores.cache import ahead


class Coming:
  """The files that lanes have not begun, in the order in which they will.

  Args:
    plan: of the lanes.
    ranges: the files.
    lanes: of this host.
    epoch: which they begin.
    epochs: how many there are.
  """

  def __init__(self, plan: Plan, ranges: Sequence[Range], lanes: range, epoch: int, epochs: int):
    self._plan, self._ranges, self._epochs = plan, ranges, epochs
    self._at = dict.fromkeys(lanes, (epoch, -1))

  def begins(self, lane: int, epoch: int, number: int) -> None:
    """Tells that a part of a lane is about to be read."""
    if lane in self._at:  # which gifts of other hosts' lanes are not
      self._at[lane] = max(self._at[lane], (epoch, number))

  def call(self) -> None:
    """Lets the next files come, as many as may be on their way."""
    found = []
    for lane, (now, number) in list(self._at.items()):
      for epoch in range(now, min(now + 2, self._epochs)):
        before = 0
        for i, part in enumerate(self._plan.parts(lane, epoch)):
          if (epoch, i) > (now, number) and self._plan.counts.is_mine(part):
            found.append((epoch, before / self._plan.sizes[lane], part.file))
          before += part.size
    ahead(self._ranges[file].path for _, _, file in sorted(found))
