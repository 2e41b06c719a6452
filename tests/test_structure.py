"""The house's rules: who imports whom, and what a folder may hold.

All Python files are looked at, in new folders too, and all imports in them: those within functions
and those for type checkers as well.
"""

import ast
import collections
import functools
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ("genesis_jax", "configs", "data_pipelines", "experiments", "benchmarks", "examples")

# Package -> what of the others it may import; only configurations and numpy arrays cross.
MAY_IMPORT = {
  "genesis_jax": set(),
  "configs": set(),
  "data_pipelines": set(),
  "experiments": {"genesis_jax", "data_pipelines", "configs"},
  "benchmarks": {"genesis_jax", "data_pipelines", "configs", "experiments"},
  "examples": {"genesis_jax", "data_pipelines", "configs"},
}
# Modules that may import a little more, as regular expressions -> what it is.
EXCEPTIONS = {
  r"data_pipelines\.datasets\.(generator|\w+\.stand_in)": "genesis_jax.scenes",
  r"configs\.of_run": "data_pipelines.stores.files",  # a run may be in a store
}
# Others' packages that a package stays free of. TensorFlow reads data and nothing else; clu and
# Orbax write to disks, and import TensorFlow in places.
FORBIDDEN = {
  "genesis_jax": {"tensorflow", "tensorflow_datasets", "clu", "orbax", "absl", "matplotlib"},
  "configs": {"jax", "flax", "tensorflow", "tensorflow_datasets", "clu", "orbax"},
  "data_pipelines": {"flax", "clu", "orbax"},
  "benchmarks": {"clu", "orbax"},
  "examples": {"clu", "orbax"},
}
READS_CHECKPOINTS = "genesis_jax.runs"  # with Orbax, which it imports when it reads one

# Within a package, from the ground up: a module imports from its own row's own name, and from rows
# above its own in this list. Programs stand on all of them.
ORDERS = {
  "genesis_jax": [
    {"outputs", "noise", "convolutions", "norms", "optimizers", "contingency", "slot_matching",
     "inception", "torch_files", "packing", "scenes"},
    {"layers", "distributions", "editing", "metrics", "fid", "objective"},
    {"networks"},
    {"slots", "priors"},
    {"models"},
    {"training", "runs", "torch_names"},
    {"__init__"},
  ],
  "data_pipelines": [
    {"interrupts", "durable", "sources", "sampling"},
    {"stores"},
    {"command_line"},
    {"reading"},
    {"datasets"},
    {"datasets.generator"},
    # Whoever asks for batches is given a prepared set where one fits, which its card tells; it is
    # written from what anybody else is given.
    {"prepared.card"},
    {"prepared.reader"},
    {"__init__"},
    {"prepared"},
  ],
  "experiments": [
    {"__init__"},
    {"stores.addresses"},  # what people call a run
    {"console"},
    {"stores.transfers"},  # single files
    {"hardware"},
    {"runs"},
    {"stores"},
    {"trackers"},
    {"scoring"},
    {"features", "scoring.fid"},  # both draw images as scores do
    {"figures"},
    {"touch", "diagnosis"},  # both look at what figures show
    {"reporting", "scheduling"},
    {"reporting.comparing"},
    {"shifts"},  # writes figures as comparisons do
    {"training"},
  ],
}  # fmt: skip

MOST_ENTRIES = 14  # of a folder
MORE_ENTRIES = {
  "experiments": 32,  # 19 programs and the folders of what they share
  "configs": 40,  # one file a published experiment
  "genesis_jax": 24,  # building blocks that are read as one list, from small to large
}


def module_name(path: pathlib.Path) -> str:
  parts = path.relative_to(ROOT).with_suffix("").parts
  return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
  module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
}


@functools.cache
def imports(module: str) -> frozenset[str]:
  """Dotted names that a module imports, wherever in it: modules as such, of others their names."""
  names = set()
  for node in ast.walk(ast.parse(MODULES[module].read_text())):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f"{module} has a relative import"
      for alias in node.names:
        name = f"{node.module}.{alias.name}"
        ours = node.module.split(".")[0] in PACKAGES
        names.add(node.module if ours and name not in MODULES else name)
  return frozenset(names)


def package_of(name: str) -> str:
  return name.split(".")[0]


def is_within(name: str, other: str) -> bool:
  return name == other or name.startswith(f"{other}.")


def is_program(module: str) -> bool:
  """Whether people run it."""
  body = ast.parse(MODULES[module].read_text()).body
  return any(isinstance(x, ast.If) and "'__main__'" in ast.unparse(x.test) for x in body)


PROGRAMS = {
  module
  for module in MODULES
  if package_of(module) in ("experiments", "data_pipelines") and is_program(module)
}


def test_all_code_is_looked_at():
  folders = {path.parent.relative_to(ROOT).parts[0] for path in ROOT.glob("*/*.py")}
  assert folders - {"tests"} == set(PACKAGES)
  assert all(name in MODULES or (ROOT / package_of(name)).is_dir() for name in PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_they_may(package):
  for module in MODULES:
    if package_of(module) != package:
      continue
    may = {package} | MAY_IMPORT[package]
    if module in PROGRAMS:
      may |= {"configs"}
    few = [more for pattern, more in EXCEPTIONS.items() if re.fullmatch(pattern, module)]
    for name in imports(module):
      allowed = package_of(name) in may or any(is_within(name, more) for more in few)
      assert allowed or package_of(name) not in PACKAGES, f"{module} imports {name}"
      forbidden = set(FORBIDDEN.get(package, ()))
      if module == READS_CHECKPOINTS:
        forbidden -= {"orbax"}
      assert package_of(name) not in forbidden, f"{module} imports {name}"


def place(module: str) -> str:
  """The entry of its package's order that a module belongs to."""
  package, _, inner = module.partition(".")
  entries = [name for names in ORDERS[package] for name in names]
  found = [entry for entry in entries if is_within(inner or "__init__", entry)]
  assert found, f"{module} has no place in the order of {package}: give it one in ORDERS"
  return max(found, key=len)


@pytest.mark.parametrize("package", ORDERS)
def test_nothing_imports_from_above(package):
  level = {name: number for number, names in enumerate(ORDERS[package]) for name in names}
  for module in MODULES.keys() - PROGRAMS:
    if package_of(module) != package:
      continue
    own = place(module)
    for name in imports(module) & MODULES.keys() - PROGRAMS:
      if package_of(name) == package and place(name) != own:
        assert level[place(name)] < level[own], f"{module} imports {name}"


def data_set(module: str) -> str | None:
  """The data set whose folder a module is in, if it is in any."""
  parts = module.split(".")
  inside = parts[:2] == ["data_pipelines", "datasets"] and len(parts) > 3
  return parts[2] if inside else None


def test_data_sets_do_not_know_each_other():
  for module in filter(data_set, MODULES):
    known = {data_set(name) for name in imports(module) & MODULES.keys()} - {None}
    assert known <= {data_set(module)}, f"{module} imports of {known}"


def test_readers_do_without_what_renders():
  """Files are found, and stand-ins rendered, above them."""
  for module in MODULES:
    found = {name for name in imports(module) if ".stand_in" in name.replace("stand_ins", "")}
    assert not found, f"{module} imports {found}"


def circles() -> list[set[str]]:
  """Sets of modules that import each other, perhaps by way of others (Tarjan's algorithm)."""
  number, low, stack, found = {}, {}, [], []

  def visit(module):
    number[module] = low[module] = len(number)
    stack.append(module)
    for other in imports(module) & MODULES.keys() - {module}:
      if other not in number:
        visit(other)
      if other in stack:
        low[module] = min(low[module], low[other])
    if low[module] == number[module]:
      position = stack.index(module)
      found.append(set(stack[position:]))
      del stack[position:]

  for module in MODULES:
    if module not in number:
      visit(module)
  return [circle for circle in found if len(circle) > 1]


def test_no_import_circle():
  assert circles() == []


def test_programs_lie_at_the_roots_and_nothing_imports_them():
  for module in PROGRAMS:
    assert module.count(".") == 1, f"{module} is a program, and lies in a folder"
  for module in MODULES:
    assert not imports(module) & PROGRAMS, f"{module} imports a program"
  at_root = {name for name in MODULES if MODULES[name].parent == ROOT / "experiments"}
  assert at_root - PROGRAMS == {"experiments"}, "only programs lie at the root of experiments"


def entries() -> dict[str, list[str]]:
  """Folder -> what it holds: modules, and folders of them."""
  held = collections.defaultdict(set)
  for path in MODULES.values():
    inside = path.relative_to(ROOT)
    for child, folder in zip(inside.parts[1:], inside.parents[-2::-1], strict=True):
      if child != "__init__.py":
        held[folder.as_posix()].add(child.removesuffix(".py"))
  return {folder: sorted(names) for folder, names in held.items()}


def test_folders_are_small():
  for folder, names in entries().items():
    most = MORE_ENTRIES.get(folder, MOST_ENTRIES)
    assert len(names) <= most, f"{folder} has {len(names)} entries, more than {most}"


def test_no_two_names_differ_by_a_plural():
  for folder, names in entries().items():
    pairs = [name for name in names if f"{name}s" in names]
    assert not pairs, f"{folder} has {pairs[0]} and {pairs[0]}s"


def test_import_is_light():
  code = (
    "import sys, genesis_jax; "
    "bad = {'tensorflow', 'clu', 'orbax', 'matplotlib'} & set(sys.modules); "
    "assert not bad, bad"
  )
  subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
