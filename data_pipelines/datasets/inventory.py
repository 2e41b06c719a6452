"""Which files a data set consists of, to detect changes later.

    files = taken(source)                        # {"train/01.png": 1234, ...}
    digest(files)                                # {"files": 40, "bytes": 81920, "digest": "6f..."}
    difference(condensed(files), taken(source))  # "40 added (train/41.png, ...)"

Only names and sizes are looked at: a million files take seconds, and nothing is read.
"""

import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from data_pipelines.sources import STAND_IN_FILE, Source, stand_in_notes

MOST = 2_000  # entries of a condensed inventory
NAMED = 3  # files that a difference names, of each kind


def taken(source: Source) -> dict[str, int] | None:
  """Names of a source's files, relative to its folder, and their sizes in bytes.

  For a stand-in, its notes take the place of files: its images follow from them.

  Returns:
    None where there are no files.
  """
  if source.root is None:
    return None
  if source.stand_in and (notes := stand_in_notes(source.root)):
    return {f"{STAND_IN_FILE}, {name} {value}": 0 for name, value in sorted(notes.items())}
  if source.root.is_file():
    return {"archive": source.root.stat().st_size}
  return dict(sorted(_below(source.root, source.parts)))


def _below(root: Path, parts: tuple[str, ...]) -> Iterator[tuple[str, int]]:
  """Names and sizes of the files in some parts of a folder, but hidden ones; follows links."""
  links, waiting = set(), [part for part in reversed(parts) if (root / part).is_dir()]
  for part in parts:
    if (root / part).is_file():
      yield part, (root / part).stat().st_size
  while waiting:
    folder = waiting.pop()
    with os.scandir(root / folder) as found:
      entries = sorted((e for e in found if e.name[0] != "."), key=lambda e: e.name, reverse=True)
    for entry in entries:
      name = f"{folder}/{entry.name}" if folder else entry.name
      if entry.is_symlink():
        target = os.path.realpath(entry.path)
        if not os.path.exists(target) or (os.path.isdir(target) and target in links):
          continue  # leads nowhere, or round in a circle
        links.add(target)
      if entry.is_dir():
        waiting.append(name)
      else:
        yield name, entry.stat().st_size


def digest(files: dict[str, int]) -> dict:
  """An inventory in three plain values: how many files and bytes, and a hash of all of it."""
  lines = hashlib.sha256()
  for name, size in sorted(files.items()):
    lines.update(f"{size} {name}\n".encode(errors="surrogateescape"))
  return dict(files=len(files), bytes=sum(files.values()), digest=lines.hexdigest()[:16])


def condensed(files: dict[str, int], depth: int | None = None) -> dict:
  """An inventory with at most `MOST` entries: where files are many, one for each of their folders.

  Args:
    files: from `taken`.
    depth: of the folders, in place of the first that makes few enough of them.

  Returns:
    "depth", and "entries": size by name of a file, or what is in it by name of a folder.
  """
  if depth is None:
    depth = 1 + max((name.count("/") for name in files), default=0)
    while depth and len({tuple(name.split("/", depth)[:depth]) for name in files}) > MOST:
      depth -= 1
  entries, folders = {}, {}
  for name, size in files.items():
    if name.count("/") < depth:
      entries[name] = size
    else:
      folders.setdefault("/".join(name.split("/")[:depth]) + "/", []).append(f"{size} {name}")
  for folder, names in folders.items():
    text = "\n".join(sorted(names)).encode(errors="surrogateescape")
    entries[folder] = f"{len(names)} files, {zlib.crc32(text):08x}"
  return {"depth": depth, "entries": entries}


def difference(then: dict, now: dict[str, int]) -> str:
  """What has changed, in a part of a line.

  Args:
    then: a condensed inventory.
    now: from `taken`.
  """
  old, new = then["entries"], condensed(now, then["depth"])["entries"]
  kinds = {
    "added": [name for name in new if name not in old],
    "missing": [name for name in old if name not in new],
    "changed": [f"{n}: {old[n]} -> {new[n]}" for n in new if n in old and new[n] != old[n]],
  }
  words = []
  for kind, names in kinds.items():
    if names:
      more = ", ..." if len(names) > NAMED else ""
      words.append(f"{len(names)} {kind} ({', '.join(names[:NAMED])}{more})")
  return "; ".join(words)
