"""Which files of a GQN data set are in a folder, of which set, and what lies beside them.

paths = files(root, "train")               # by number
describe(root, "jaco")                     # "jaco: 3 of 3600 train files, ... in data/gqn/jaco"
"""

import re
from pathlib import Path
from typing import NamedTuple

from data_pipelines.reading.record_files import is_empty, left_out
from data_pipelines.sources import DataError
from data_pipelines.stores.published import command


class Variant(NamedTuple):
  """Published size of a set: numbers of files, image side in pixels, views per record."""

  train_files: int
  test_files: int
  side: int
  views: int


VARIANTS = {
  "jaco": Variant(3600, 400, 64, 11),
  "mazes": Variant(1080, 120, 84, 300),
  "rooms_free_camera_with_object_rotations": Variant(2034, 226, 128, 10),
  "rooms_ring_camera": Variant(2160, 240, 64, 10),
  "rooms_free_camera_no_object_rotations": Variant(2160, 240, 64, 10),
  "shepard_metzler_5_parts": Variant(900, 100, 64, 15),
  "shepard_metzler_7_parts": Variant(900, 100, 64, 15),
}
FOLDERS = ("train", "test")
_NUMBER = re.compile(r"(\d+)-of-(\d+)\.tfrecord")


def numbers(path: Path) -> tuple[int, int]:
  """The i and n of i-of-n."""
  return tuple(map(int, _NUMBER.fullmatch(path.name).groups()))


def _found(root: Path, folder: str) -> tuple[list[Path], int]:
  """Record files of the folder train or test, by number, and how many more of them are empty."""
  named = (root / folder).glob("*-of-*.tfrecord")
  found = [path for path in named if _NUMBER.fullmatch(path.name)]
  paths = [path for path in found if not is_empty(path)]
  return sorted(paths, key=lambda path: numbers(path)[::-1]), len(found) - len(paths)


def files(root: Path, folder: str) -> list[Path]:
  """Record files of the folder train or test, by number; empty ones are left out."""
  return _found(root, folder)[0]


def beside(root: Path) -> str:
  """What to say about files that are left out, see `left_out`."""
  empty = sum(_found(root, folder)[1] for folder in FOLDERS)
  return left_out([root, *(root / folder for folder in FOLDERS)], empty=empty)


def expected(variant: str, folder: Path) -> str:
  """What is looked for, and how to get it."""
  size = VARIANTS[variant].train_files
  first = f"train/{1:0{len(str(size))}d}-of-{size}.tfrecord"
  return f"expected files such as {folder / first}; fetch them: {command('gqn', variant, folder)}"


def _promised(root: Path, variant: str, folder: str) -> set[int]:
  """How many files there are in all, by the names of those that are there.

  Raises:
    DataError: so many has another published set.
  """
  field = f"{folder}_files"
  published = {name: getattr(sizes, field) for name, sizes in VARIANTS.items()}
  promised = {numbers(path)[1] for path in files(root, folder)}
  for number in promised - {published[variant]}:
    if others := [name for name, size in published.items() if size == number]:
      raise _another_set(root, variant, f"has {folder} files that count to {number}", others)
  return promised


def _another_set(root: Path, variant: str, what: str, others: list[str]) -> DataError:
  return DataError(
    f"{root} {what}, as {' and '.join(others)} have it and not {variant}: choose "
    f"--config.data.variant={others[0]}, or name another --config.data.data_dir"
  )


def describe(root: Path, variant: str, num_files: dict[str, int]) -> str:
  """One line on published files.

  Raises:
    DataError: they are those of another set.
  """
  if root.name in VARIANTS and root.name != variant:
    raise _another_set(root, variant, f"is named {root.name}", [root.name])
  parts = []
  for folder, count in num_files.items():
    published = getattr(VARIANTS[variant], f"{folder}_files")
    promised = _promised(root, variant, folder) or {published}
    other = "" if promised == {published} else f" ({published} were published)"
    parts.append(f"{count} of {max(promised)} {folder} files{other}")
  return f"{variant}: {', '.join(parts)} in {root}{beside(root)}"
