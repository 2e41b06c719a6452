"""Which records of a set of TensorFlow Datasets make up train, val and test.

texts = split_texts(builder.info.splits, config)     # {"train": "train[:90%]", ...}
parts, num_files = ranges(root, builder.info.splits, "train", texts["train"])
"""

import os
from pathlib import Path

from data_pipelines.reading.records import Range
from data_pipelines.sources import SPLITS, DataError

NAMES = {
  "train": ("train",),
  "val": ("validation", "val", "valid", "dev"),
  "test": ("test",),
}
HELD_OUT = 10  # percent of train, where a set has no split for validation or testing


def split_texts(splits, config) -> dict[str, str]:
  """What each split is, in the words of tfds; splits that cannot be told are left out.

  Args:
    splits: of the set, `builder.info.splits`.
    config: its fields train_split, val_split and test_split; those that are unset are the splits
      of the usual names. If none is set, what is missing is held out of train.
  """
  there = [name for name in splits if splits[name].num_examples]
  given = {split: config[f"{split}_split"] for split in SPLITS}
  texts = {
    split: given[split] or next((name for name in NAMES[split] if name in there), None)
    for split in SPLITS
  }
  if texts["train"] is None and len(there) == 1:
    texts["train"] = there[0]
  whole, lacking = texts["train"], [split for split in ("val", "test") if texts[split] is None]
  if whole and lacking and not any(given.values()):
    end = 100 - HELD_OUT * len(lacking)
    texts["train"] = f"{whole}[:{end}%]"
    for number, split in enumerate(lacking):
      first = end + HELD_OUT * number
      texts[split] = f"{whole}[{first}%:{first + HELD_OUT}%]"
  return {split: text for split, text in texts.items() if text}


def shared(some: tuple[Range, ...], others: tuple[Range, ...]) -> int:
  """How many records two splits have in common."""
  total = 0
  for one in some:
    for other in (other for other in others if other.path == one.path):
      end = min(one.first + one.count, other.first + other.count)
      total += max(end - max(one.first, other.first), 0)
  return total


def ranges(root: Path, splits, split: str, text: str | None) -> tuple[tuple[Range, ...], int]:
  """The records of a split as far as its files are there, and how many files it has in all.

  Raises:
    DataError: no records are known to make up the split.
    ValueError: `text` names no split of the set, or is not written as tfds writes them.
  """
  names = ", ".join(splits)
  if text is None:
    raise DataError(
      f"nothing is known to be the {split} split of {root}, which has {names}; "
      f"set --config.data.{split}_split, for example to train[90%:]"
    )
  try:
    instructions = splits[text].file_instructions
  except Exception as error:  # tfds has many
    what = " ".join(str(error).split())
    raise ValueError(
      f"data.{split}_split is {text!r}, which tfds does not understand ({what:.120}); allowed: "
      f"{names}, and parts of them such as train[:90%]"
    ) from None
  parts = [
    Range(
      root / os.path.basename(one.filename), one.skip, one.take, one.take == one.examples_in_shard
    )
    for one in instructions
    if one.take
  ]
  return tuple(part for part in parts if part.path.is_file()), len(parts)
