"""Who imports whom: the library must stay free of TensorFlow, files and programs."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# Package -> top-level packages it must not import anywhere.
FORBIDDEN = {
  "genesis_jax": {"tensorflow", "tensorflow_datasets", "clu", "configs", "data_pipelines",
                  "experiments", "absl"},
  "configs": {"data_pipelines", "experiments", "jax", "tensorflow"},
  "data_pipelines": {"configs", "experiments", "clu"},
}  # fmt: skip
# Of data_pipelines: they may read configurations.
PROGRAMS = {"prepare", "generate", "inspect", "benchmark"}
# Layers of the library from the ground up: a module imports only from layers before its own.
LAYERS = [
  {"outputs", "convolutions"},
  {"layers"},
  {"distributions", "noise", "objective", "metrics"},
  {"networks"},
  {"slots", "priors"},
  {"models"},
  {"training", "torch_names"},
  {"runs"},
]


def imports(path: pathlib.Path) -> set[str]:
  """Dotted names that a file imports, wherever in it."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and node.module:
      names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
  return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_packages_import_only_what_they_may(package):
  for path in (ROOT / package).rglob("*.py"):
    names = imports(path)
    if package == "data_pipelines" and path.stem in PROGRAMS:
      names = {name for name in names if not name.startswith("configs")}
    tops = {name.split(".")[0] for name in names}
    assert not tops & FORBIDDEN[package], path


def test_only_what_renders_reaches_into_the_library():
  for path in (ROOT / "data_pipelines").rglob("*.py"):
    inside = {name for name in imports(path) if name.startswith("genesis_jax")}
    if path.stem in ("generator", "stand_in"):
      assert all(name.startswith("genesis_jax.scenes") for name in inside)
    else:
      assert not inside, path


def test_readers_do_without_what_renders():
  """They are found, and stand-ins rendered, above them."""
  for path in (ROOT / "data_pipelines").rglob("*.py"):
    if path.stem != "stand_in":
      assert not any("stand_in." in f"{name}." for name in imports(path)), path


def test_layers_of_the_library():
  level = {name: i for i, names in enumerate(LAYERS) for name in names}
  for name, own in level.items():
    path = ROOT / "genesis_jax" / f"{name}.py"
    files = [path] if path.exists() else list((ROOT / "genesis_jax" / name).glob("*.py"))
    assert files, name
    for file in files:
      for imported in imports(file):
        parts = imported.split(".")
        if parts[0] == "genesis_jax" and len(parts) > 1 and parts[1] in level and parts[1] != name:
          assert level[parts[1]] <= own, f"{file.name} imports {imported}"


def test_import_is_light():
  code = (
    "import sys, genesis_jax; "
    "bad = {'tensorflow', 'clu', 'orbax', 'matplotlib'} & set(sys.modules); "
    "assert not bad, bad"
  )
  subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
