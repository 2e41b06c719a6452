"""README and docs/ say what is there: links, commands, options, settings, the version."""

import argparse
import ast
import importlib
import pathlib
import re
import shlex

import pytest

import genesis_jax
from configs import datasets, experiment, loading, models

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TRAINING = ROOT / "docs" / "training.md"
OTHERS = ("--help", "--signal")  # options of argparse and of Slurm
COMMAND = re.compile(r"python (?:-u )?-m ((?:experiments|data_pipelines|benchmarks)\.[^`'#&\n]+)")


def commands() -> list[tuple[str, bool]]:
  """What follows `python -m` in all pages, if it is one of our programs, and whether it is whole.

  Between words of a sentence a program may be named without the arguments that it needs.
  """
  found = []
  for page in PAGES:
    text = re.sub(r"\\\n\s*", "", page.read_text())  # continued lines
    for number, part in enumerate(text.split("```")):
      words = [re.sub(r"\$\w+", "0", words).strip() for words in COMMAND.findall(part)]
      found += [(command, number % 2 == 1) for command in words]
  return list(dict.fromkeys(found))


def test_readme_is_short_and_leads_to_every_page():
  readme = (ROOT / "README.md").read_text()
  assert len(readme.splitlines()) <= 150
  for page in PAGES[1:]:
    assert f"]({page.relative_to(ROOT)})" in readme, page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
  for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
    assert "://" in target or (page.parent / target).exists(), target


class Parsed(Exception):
  """In place of what a program does once its options are read."""


@pytest.mark.parametrize("command, is_whole", commands())
def test_commands_are_understood(command, is_whole, monkeypatch):
  name, *words = shlex.split(command)
  program = importlib.import_module(name)
  parse = argparse.ArgumentParser.parse_known_args

  def stop(self, *args, **kwargs):
    for action in self._actions:
      action.required &= is_whole
    raise Parsed(*parse(self, *args, **kwargs))

  monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", stop)
  with pytest.raises(Parsed) as parsed:
    program.main(words)
  options, overrides = parsed.value.args
  config = getattr(options, "config", None)
  if config is None:
    assert not overrides
  elif not config.endswith("MODEL,DATASET"):  # the overrides name fields that exist
    loading.load_config(str(ROOT / config), overrides)


def test_options_that_are_mentioned_exist():
  source = "".join(
    path.read_text()
    for package in ("experiments", "data_pipelines", "benchmarks", "configs")
    for path in (ROOT / package).rglob("*.py")
  )
  for page in PAGES:
    for option in re.findall(r"`(--\w+)(?=[`= ])", page.read_text()):
      spelled = (f'"{option}"', f'"{option.removeprefix("--")}"')  # some are made of their fields
      assert option in OTHERS or any(text in source for text in spelled), f"{page.name}: {option}"


def tables(text: str) -> list[list[dict[str, str]]]:
  """Tables whose columns have names: rows of name of the column -> cell, without backquotes."""
  found = []
  for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
    head, _, *rows = (
      [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
      for line in block.replace("`", "").splitlines()
    )
    if head[0]:
      found.append([dict(zip(head, row, strict=True)) for row in rows])
  return found


def value_of(cell: str):
  """What a cell stands for: a number, a word, True, False or None."""
  if cell == "unset":
    return None
  try:
    return ast.literal_eval(cell.replace(",", ""))
  except (SyntaxError, ValueError):
    return cell


def documented(model: str, dataset: str) -> dict[str, object]:
  """Field -> default, as the tables of settings have it."""
  *by_field, by_dataset = tables(TRAINING.read_text().partition("## All settings")[2])
  own = {row["name"]: row for row in by_dataset}[dataset]
  values = {}
  for row in (row for table in by_field for row in table):
    cells = [row[column] for column in (model, dataset, "default") if column in row]
    if not cells or cells[0] == "–":
      continue
    field = row["field"]
    assert field not in values, f"{field} is there twice"
    values[field] = value_of(
      own[field.rpartition(".")[2]] if cells[0] == "by data set" else cells[0]
    )
  return values


def flat(tree, prefix: str = "") -> dict[str, object]:
  """A configuration as "model.num_slots" -> value."""
  values = {}
  for name, value in tree.items():
    nested = hasattr(value, "items")
    values |= flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
  return values


@pytest.mark.parametrize("model", models.names())
@pytest.mark.parametrize("dataset", datasets.DATASETS)
def test_settings_have_the_defaults_that_are_documented(model, dataset):
  changed = experiment.SPECIAL_CASES.get((model, dataset), {})
  assert flat(experiment.compose(model, dataset)) == documented(model, dataset) | changed


def test_special_cases_are_documented():
  text = TRAINING.read_text()
  for (model, dataset), fields in experiment.SPECIAL_CASES.items():
    for field, value in fields.items():
      (row,) = re.findall(rf"^\| `{re.escape(field)}` \|.*$", text, re.M)
      assert f"{value} for `{model},{dataset}`" in row


def test_every_data_set_is_described():
  for page in (ROOT / "README.md", ROOT / "docs" / "data.md"):
    assert all(f"`{name}`" in page.read_text() for name in datasets.DATASETS), page


def test_the_version_is_one():
  version = genesis_jax.__version__
  assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
  assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1] == version
  assert f"{{{version}}}" in (ROOT / "README.md").read_text()
