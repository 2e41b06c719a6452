"""Small copies of runs: what is in them, and what reads them."""

import shutil

import jax
import numpy as np
import pytest
from conftest import do_steps, tiny_config

import genesis_jax
from experiments import export
from experiments.console.errors import UserError
from experiments.training import loop
from genesis_jax import packing, runs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory, gqn_root):
  workdir = tmp_path_factory.mktemp("export") / "run"
  config = tiny_config("tiny_slots", gqn_root)  # has batch statistics too
  config.num_steps = 3
  do_steps(config, workdir)
  (workdir / "imported.json").write_text("{}")  # as of a run that began elsewhere
  return config, workdir


@pytest.fixture(scope="module")
def copy(run, tmp_path_factory):
  out = tmp_path_factory.mktemp("copy") / "out"
  assert export.main([f"--workdir={run[1]}", f"--out={out}"]) == 0
  return out


def test_copy_holds_the_weights_and_loads_like_a_run(run, copy):
  _, whole, config = genesis_jax.load(run[1])
  model, variables, copied = genesis_jax.load(copy)
  assert config.to_json() == copied.to_json() and runs.checkpoint_steps(copy) == [3]
  assert variables["batch_stats"]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-3, 1e-6), variables, whole)
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
  images = jax.random.uniform(jax.random.key(1), (2, 32, 32, 3))
  noise = {"noise": jax.random.key(0)}
  recon, expected = (
    jax.jit(lambda v: model.apply(v, images, train=False, rngs=noise).recon)(v)
    for v in (variables, whole)
  )
  np.testing.assert_allclose(recon, expected, atol=0.01)


def test_copy_is_small_and_labelled(run, copy):
  size = sum(path.stat().st_size for path in (run[1] / runs.FOLDER).rglob("*") if path.is_file())
  assert (copy / runs.FOLDER / "3.npz").stat().st_size < size / 4
  assert (copy / "config.json").read_bytes() == (run[1] / "config.json").read_bytes()
  for name in ("metrics.jsonl", "run.json", "imported.json"):
    assert (copy / name).exists()


def test_training_cannot_go_on_from_a_copy(run, copy):
  with pytest.raises(UserError, match="checkpoint 3 in .* has weights only.*--config.init_from="):
    loop.train(run[0], copy)


def test_damage_is_noticed(copy, tmp_path):
  shutil.copytree(copy, tmp_path / "copy")
  file = tmp_path / "copy" / runs.FOLDER / "3.npz"
  content = bytearray(file.read_bytes())
  content[len(content) // 2] ^= 1
  file.write_bytes(content)
  with pytest.raises(ValueError, match=r"none of the checkpoints \[3\]"):
    genesis_jax.load(tmp_path / "copy")


def test_numbers_that_do_not_fit(tmp_path):
  state = {"params": {"layer": {"kernel": np.array([1.0, 1e6])}}, "batch_stats": {}}
  with pytest.raises(ValueError, match="params/layer/kernel has numbers .* up to 1000000"):
    packing.weights(state, {}, 3)


@pytest.mark.parametrize("arguments, message", [
  (["--step=7"], "the checkpoints of .* are [3]; --step=7"),
  (["--workdir=/nowhere"], "the checkpoints of /nowhere are none"),
  (["--out=/dev/null"], "--out=/dev/null exists and is not empty"),
])  # fmt: skip
def test_mistakes_are_one_line(run, tmp_path, capsys, arguments, message):
  words = [f"--workdir={run[1]}", f"--out={tmp_path / 'out'}", *arguments]
  assert export.main(words) == 1
  error = capsys.readouterr().err.strip()
  assert error.startswith("error: ") and "\n" not in error
  assert message.split(" .* ")[-1] in error
