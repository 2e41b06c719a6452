"""The tables of docs/from_pytorch.md say what the code does."""

import importlib.util
import itertools
import pathlib
import re

import pytest

from configs import datasets, experiment, models
from experiments.runs import original_runs
from genesis_jax.models.options import FIXED_FLAGS, ORIGINAL_NAMES, OTHER_FLAGS

ROOT = pathlib.Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "from_pytorch.md").read_text()
ROW = re.compile(r"^\| `(\w+)` (\*? ?)\| (?:`([\w.-]+)`|–) \|", re.M)
ROWS = {flag: (bool(mark.strip()), field) for flag, mark, field in ROW.findall(TEXT)}


def configurations():
  return [
    experiment.compose(*pair) for pair in itertools.product(models.names(), datasets.DATASETS)
  ]


def fields(tree, prefix=""):
  """Names such as "model.num_slots"."""
  for name, value in tree.items():
    yield prefix + name
    if hasattr(value, "items"):
      yield from fields(value, f"{prefix}{name}.")


def test_every_flag_is_in_a_table_once():
  names = [flag for flag, *_ in ROW.findall(TEXT)]
  assert len(names) == len(set(names))
  same = {field for config in configurations() for field in config.model}
  same -= {"name", "dtype", *ORIGINAL_NAMES.values()} - {"pixel_std"}
  assert set(names) == {*ORIGINAL_NAMES, *OTHER_FLAGS, *FIXED_FLAGS, *same}


def test_every_field_exists():
  known = {field for config in configurations() for field in fields(config)}
  assert {field for _, field in ROWS.values()} <= known | {"--workdir", ""}


@pytest.mark.parametrize("flag", sorted(ROWS))
def test_a_field_is_the_one_that_an_import_sets(flag):
  ignored, field = ROWS[flag]
  if flag in original_runs.TRAINING:
    assert field == original_runs.TRAINING[flag]
  elif field.startswith("model.") and flag != "model_config":
    assert field == f"model.{ORIGINAL_NAMES.get(flag, flag)}"
  flags = {"model_config": "models/genesis_config.py", "data_config": "datasets/gqn_config.py"}
  config = experiment.compose("genesis", "gqn")
  listed = original_runs.ignored_flags(flags | {flag: None}, config)
  own = not field.startswith("model.") or field.removeprefix("model.") in config.model
  assert not own or (listed == [flag]) == ignored


def test_programs_and_their_options_exist():
  section = TEXT[TEXT.index("## Scripts") : TEXT.index("## Import checkpoints")]
  programs = set(re.findall(r"python -m ([\w.]+)", TEXT))
  assert len(programs) == 7
  sources = [pathlib.Path(importlib.util.find_spec(name).origin) for name in programs]
  source = "".join(path.read_text() for path in (ROOT / "experiments").rglob("*.py"))
  assert all(path.is_file() for path in sources)
  for option in set(re.findall(r"`(--\w+)`", section)):
    assert f'"{option}"' in source, option
