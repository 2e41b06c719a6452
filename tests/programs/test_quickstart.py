"""The script that installs: which Python it takes."""

import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def quickstart(folder: pathlib.Path, version: tuple[int, int], *arguments):
  """Runs the script in a copy, where the only Python claims to be `version`, and stops at venv."""
  tools = folder / "bin"
  tools.mkdir()
  for name in ("sh", "cat", "cksum", "dirname"):
    (tools / name).symlink_to(shutil.which(name))
  python = tools / "python3"
  python.write_text(f"""#!/bin/sh
case "$1" in
  -c) exec {sys.executable} -c 'import sys; sys.version_info = {version}; exec(sys.argv[1])' "$2" ;;
  -m) echo "asked for $2"; exit 1 ;;
esac
""")
  python.chmod(0o755)
  for name in ("quickstart.sh", "requirements.txt", "pyproject.toml"):
    shutil.copy(ROOT / name, folder)
  command = ["./quickstart.sh", *arguments]
  return subprocess.run(command, cwd=folder, env={"PATH": str(tools)}, text=True,
                        capture_output=True)  # fmt: skip


@pytest.mark.parametrize("version", [(3, 11), (3, 13)])
def test_takes_a_python_that_was_tested(tmp_path, version):
  result = quickstart(tmp_path, version, "install")
  assert "asked for venv" in result.stdout
  assert "cannot make a virtual environment" in result.stderr and result.returncode == 1


@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_says_which_pythons_it_wants(tmp_path, version):
  result = quickstart(tmp_path, version, "install")
  assert "no Python 3.11, 3.12 or 3.13 found; set PYTHON=" in result.stderr
  assert result.returncode == 1 and "asked for" not in result.stdout


def test_says_what_it_can_do(tmp_path):
  result = quickstart(tmp_path, (3, 11), "instal")
  assert result.stderr.startswith("usage:") and result.returncode == 2


def test_demo_begins_with_a_trained_model(tmp_path):
  for name in ("quickstart.sh", "requirements.txt", "pyproject.toml"):
    shutil.copy(ROOT / name, tmp_path)
  shutil.copytree(ROOT / "examples/pretrained", tmp_path / "examples/pretrained")
  python = tmp_path / ".venv/bin/python"
  python.parent.mkdir(parents=True)
  python.write_text("#!/bin/sh\necho ran $*\n")
  python.chmod(0o755)
  wanted = subprocess.run(
    "cat requirements.txt pyproject.toml | cksum", shell=True, cwd=tmp_path, capture_output=True
  )
  (tmp_path / ".venv/installed").write_bytes(wanted.stdout)
  run = tmp_path / "runs/pretrained/genesis_multi_dsprites"

  def programs():
    result = subprocess.run("./quickstart.sh", cwd=tmp_path, text=True, capture_output=True)
    assert result.returncode == 0
    return [line.split()[2] for line in result.stdout.splitlines() if line.startswith("ran")]

  assert programs() == ["experiments.visualise", "experiments.main"]
  assert (run / "checkpoints").is_dir()
  (run / "visualisations").mkdir()
  (run / "visualisations/index.json").write_text("[]")
  assert programs() == ["experiments.main"]  # shown already
