"""Empty files of records, and what else is beside those that are read, in a few words.

files = [path for path in found if not is_empty(path)]
f"{len(files)} files{left_out([root], empty=len(found) - len(files))}"
"""

import collections
import gzip
import re
from collections.abc import Iterable
from pathlib import Path

from data_pipelines.reading.gzipped import compression

_MOST_EMPTY = 512  # bytes of a GZIP file of nothing, which may hold its name
_LEFTOVER = re.compile(  # of downloads that did not end, and files that were not unpacked
  r"\.(gstmp|part|partial|crdownload|download|aria2|tmp|unfinished|zip|gz|tgz|bz2|xz|tar)$", re.I
)


def is_empty(path: Path) -> bool:
  """Whether a file is empty, once unpacked."""
  size = path.stat().st_size
  if 0 < size <= _MOST_EMPTY and compression(path):
    try:
      with gzip.open(path) as file:
        return not file.read(1)
    except (OSError, EOFError):
      return False  # damaged, which is said when it is read
  return size == 0


def left_out(folders: Iterable[Path], *, empty: int = 0, prefix: str = "") -> str:
  """What to add to the description of a data set about files that are not read, if there are any.

  Args:
    folders: in which files of the set lie.
    empty: how many empty files of it there are.
    prefix: how names begin that belong to the set, where others may be in these folders.
  """
  names = [path.name for folder in folders if folder.is_dir() for path in folder.iterdir()]
  found = [_LEFTOVER.search(name) for name in names if name.startswith(prefix)]
  counts = collections.Counter(match[0].lower() for match in found if match)
  parts = [f"{empty} empty file{'s' * (empty != 1)}"] * (empty > 0)
  parts += [f"{count} {ending}" for ending, count in sorted(counts.items())]
  return f"; left out: {', '.join(parts)}" if parts else ""
