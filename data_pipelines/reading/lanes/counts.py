"""How many records parts of files have: counted here, or told by the hosts that read them.

counts = Counts(ranges, mine, others, told)
counts.start()
counts.of(part)
"""

import collections
import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_pipelines.reading.lanes import index
from data_pipelines.reading.lanes.told import Told
from data_pipelines.reading.records import Range
from data_pipelines.reading.tfrecords import FOOTER, HEADER
from data_pipelines.stores.cache import is_of_store

NO_END = 2**62
THREADS, ASKING = 4, 16  # that count records on a disk, and in a store


class Part(NamedTuple):
  """Records of a file: those whose header begins at byte `begin` or later, but before `end`.

  `size` is about how many bytes of the file these are. Bytes of packed files are unpacked ones.
  """

  file: int
  begin: int
  end: int
  size: int


class Counts:
  """Numbers of records of parts of files; safe to use from several threads.

  Args:
    ranges: the files.
    mine: parts in the lanes of this host ...
    others: ... and in those of others.
    told: what hosts tell one another; None: nothing, so that each counts all.

  Attributes:
    mine, others: the same.
    damaged: files whose last records cannot be found, of those counted -> where the damage begins.
  """

  def __init__(
    self, ranges: Sequence[Range], mine: list[Part], others: list[Part], told: Told | None
  ):
    self._ranges, self.mine, self.others, self._told = ranges, mine, others, told
    self.damaged: dict[int, int] = {}
    self._my_files = self._mostly_mine()
    self._counts: dict[Part, int] = {}
    self._counting: list[threading.Thread] = []
    self._begun: set[Part] = set()  # that are being counted
    self._failure: OSError | None = None
    self._lock = threading.Lock()

  def _mostly_mine(self) -> set[int]:
    """The files of which this host has at least a half: of others a store is asked for parts."""
    sizes = collections.Counter()
    for sign, parts in ((1, self.mine), (-1, self.others)):
      for part in parts:
        sizes[part.file] += sign * part.size
    return {part.file for part in self.mine if sizes[part.file] >= 0}

  def is_mine(self, part: Part) -> bool:
    """Whether a part is of a file that lies in lanes of this host, most of it."""
    return part.file in self._my_files

  def starts(self, part: Part) -> tuple[np.ndarray, bool]:
    """Where the headers of a part's records begin, and whether the last of them is damaged."""
    path = self._ranges[part.file].path
    is_large = path.stat().st_size >= index.KEPT_BYTES
    sparing = not self.is_mine(part) and (self._told is None or not is_large)
    frames = index.frames(path, sparing=sparing)
    begins = frames.offsets - HEADER
    if frames.damage:
      end = frames.offsets[-1:] + frames.lengths[-1:] + FOOTER
      begins = np.concatenate([begins, end if len(end) else [0]])
    first, last = np.searchsorted(begins, (part.begin, part.end))
    return begins[first:last], bool(frames.damage and first < last == len(begins))

  def of(self, part: Part) -> int:
    """How many records of a part can be found."""
    told = self._told.get(self._name(part)) if self._told and part not in self._counts else None
    if told is not None:
      self._counts[part] = told
    if part not in self._counts:
      begins, is_damaged = self.starts(part)
      if is_damaged:
        self.damaged[part.file] = int(begins[-1])
      self.learn(part, len(begins) - is_damaged)
    return self._counts[part]

  def learn(self, part: Part, count: int) -> None:
    """Tells how many records a part has, as was seen when it was read."""
    self._counts[part] = count
    if self._told:
      self._told.put(self._name(part), count)

  def _name(self, part: Part) -> str:
    """What a part is called among hosts; another name once its file has changed."""
    path = self._ranges[part.file].path
    end = "all" if part.end == NO_END else part.end
    return f"{path.parent.name}/{path.name} {path.stat().st_size} {part.begin}-{end}"

  def start(self, parts: list[Part] | None = None) -> None:
    """Begins to count, unless that was begun before; does not wait for it.

    None are this host's own parts, and those of others on a disk or who tell nothing.
    """
    if parts is None:
      parts = self.mine if self._told else [*self.mine, *self.others]
    with self._lock:
      parts = [part for part in parts if part not in self._begun]
      self._begun.update(parts)
      number = min(ASKING if is_of_store(self._ranges[0].path) else THREADS, len(parts))
      parts = iter(parts)

      def count():
        try:
          for part in parts:
            self.of(part)
        except OSError as error:
          self._failure = error

      # They must not keep a program from ending.
      new = [threading.Thread(target=count, daemon=True) for _ in range(number)]
      self._counting += new
      for thread in new:
        thread.start()

  def wait(self) -> None:
    """Returns when all are counted.

    Raises:
      OSError: a file is gone, or another host cannot have its own.
    """
    self.start()
    self._join()
    if self._failure:
      raise self._failure
    if self._told:
      counts = self._told.all_of(map(self._name, self.others))
      self._counts.update(zip(self.others, counts, strict=True))

  def _join(self) -> None:
    for thread in self._counting:
      thread.join()

  def tell(self, told: Told) -> None:
    """Counts this host's own parts for others, of whom some may have the data in a store."""
    self.start(self.mine)
    self._join()
    if self._failure:
      told.fail(self._failure)
      return
    for part in self.mine:
      told.put(self._name(part), self.of(part))
