#!/bin/sh
# Everything in two commands, on a machine with nothing but Python:
#   ./quickstart.sh         installs into .venv, shows what a trained GENESIS makes of test images,
#                           trains the demo on the CPU, names its report
#   ./quickstart.sh test    installs into .venv, runs the tests
#   ./quickstart.sh pretrained    installs into .venv, shows models that are trained already
#   ./quickstart.sh explore       installs into .venv, opens a page to edit scenes with these models
# Further arguments go to the program: ./quickstart.sh demo --workdir=runs/another
set -eu
cd "$(dirname "$0")"

usage() {
  echo "usage: ./quickstart.sh [demo | test | pretrained | explore | install] [arguments]" >&2
  exit 2
}

find_python() {
  for name in "${PYTHON:-python3}" python3.11 python3.12 python3.13 python3 python; do
    # Of the pinned versions, TensorFlow is the one that newer Pythons cannot install.
    if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  echo "quickstart: no Python 3.11, 3.12 or 3.13 found; set PYTHON=/path/to/one of them" >&2
  exit 1
}

install() {
  wanted=$(cat requirements.txt pyproject.toml | cksum)
  if [ -x .venv/bin/python ] && [ "$(cat .venv/installed 2>/dev/null)" = "$wanted" ]; then
    return
  fi
  python=$(find_python)
  echo "quickstart: installing into .venv with $("$python" --version); about a minute"
  if ! "$python" -m venv .venv; then
    echo "quickstart: $python cannot make a virtual environment; on Debian: apt install python3-venv" >&2
    exit 1
  fi
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
  echo "$wanted" > .venv/installed
}

# Pictures to look at while the demo trains.
show() {
  shown=runs/pretrained/genesis_multi_dsprites
  [ ! -e "$shown/visualisations/index.json" ] || return 0
  echo "quickstart: what a GENESIS that is trained already makes of test images"
  copy_pretrained
  .venv/bin/python -m experiments.visualise --workdir="$shown" --what=reconstructions,samples
  echo "quickstart: now the demo, a small model from scratch"
}

copy_pretrained() {
  mkdir -p runs/pretrained
  cp -R examples/pretrained/*_* runs/pretrained
}

# The trained models in a folder, as options of a program.
workdirs() {
  for run in "$1"/*_*; do
    echo "--workdir=$run"
  done
}

# Scores, figures and reports of examples/pretrained, in copies in runs/pretrained.
pretrained() {
  copy_pretrained
  .venv/bin/python -m experiments.evaluate $(workdirs runs/pretrained) "$@"
  for run in runs/pretrained/*_*; do
    .venv/bin/python -m experiments.visualise --workdir="$run"
    .venv/bin/python -m experiments.report --workdir="$run"
  done
}

command=${1:-demo}
[ $# -eq 0 ] || shift
case "$command" in
  demo) install; show; exec .venv/bin/python -m experiments.main --config=configs/demo.py "$@" ;;
  # Two processes: most of the time goes into compiling, which uses one core. Files of many slow
  # tests come first (tests/conftest.py).
  test)
    install
    exec .venv/bin/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder "$@" ;;
  pretrained) install; pretrained "$@" ;;
  explore)
    install
    exec .venv/bin/python -m experiments.explore $(workdirs examples/pretrained) "$@" ;;
  install) install ;;
  *) usage ;;
esac
