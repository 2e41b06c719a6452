"""A training cut into pieces is the same training; what one starts from; when it must end."""

import jax
import numpy as np
import optax
import pytest
from conftest import do_steps, tiny_config

import genesis_jax
from configs import of_run
from configs.experiment import compose
from experiments import export
from experiments.console.errors import UserError
from experiments.runs import changes, folder, opening, records
from experiments.training import loop, pilot, stop, transfer
from genesis_jax import packing, runs, training

PART_BYTES = 500_000  # so that the whole state has several parts
LEVERS = {"warmup_steps": 2, "schedule": "cosine", "clip_norm": 10.0, "ema_decay": 0.9}


@pytest.fixture(scope="module")
def pieces(tmp_path_factory, gqn_root):
  """The same run with all levers: whole, and in two pieces, the second one elsewhere."""
  folders = tmp_path_factory.mktemp("pieces")
  config = tiny_config("tiny", gqn_root)
  config.update(num_steps=4, validate_every=2, num_validation_images=8)
  config.optimizer.update(LEVERS)
  do_steps(config, folders / "whole")
  age, listen = [0.0], stop.Stop.listen

  def late_after_two(self):
    listen(self)
    age[0] += 50

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(stop, "program_age", lambda: age[0])
    patch.setattr(stop.Stop, "listen", late_after_two)
    config.time_limit = "1m40s"
    do_steps(config, folders / "cut")
  words = [f"--workdir={folders / 'cut'}", f"--out={folders / 'copy'}", "--with_optimizer"]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(packing, "PART_BYTES", PART_BYTES)
    assert export.main(words) == 0
  with loop.opened(config, folders / "cut") as (run, state):
    assert run.first == 2
    at_stop = runs.checkpoint_steps(folders / "cut"), jax.tree.map(np.asarray, state)
  do_steps(of_run.get_config(str(folders / "copy")), folders / "copy")
  return folders, at_stop


@pytest.mark.slow
def test_pieces_are_the_whole(pieces):
  folders, (steps, resumed) = pieces
  assert steps == [2]
  copied = runs.checkpoint_files(folders / "copy", 2)
  assert len(copied) == 4 and all(path.stat().st_size <= PART_BYTES for path in copied)
  saved, _ = runs.read_checkpoint(folders / "copy", 2)
  jax.tree.map(np.testing.assert_array_equal, resumed.variables, runs.variables(saved))
  whole, _ = runs.read_checkpoint(folders / "whole", 4)
  parts, _ = runs.read_checkpoint(folders / "copy", 4)
  jax.tree.map(np.testing.assert_array_equal, whole, parts)
  # The first piece had no time for a validation: the second one makes up for it.
  one, two = (records.read(folders / name).rows[0] for name in ("whole", "copy"))
  assert one["step"] == two["step"] == 2 and one["val/elbo"] == two["val/elbo"]
  assert "val/elbo" not in records.read(folders / "cut").rows[0]


@pytest.mark.slow
def test_the_average_is_what_is_loaded(pieces):
  folders, _ = pieces
  workdir = folders / "whole"
  state, _ = runs.read_checkpoint(workdir, 4)
  raw = genesis_jax.load(workdir, raw_weights=True)[1]["params"]
  jax.tree.map(np.testing.assert_array_equal, raw, state["params"])
  opened = opening.opened(workdir, 4, raw_weights=True)[2]["params"]
  jax.tree.map(np.testing.assert_array_equal, opened, raw)
  _, average, _ = genesis_jax.load(workdir)
  export.export(workdir, None, folders / "small")
  small = genesis_jax.load(folders / "small")[1]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-3, 1e-4), small, average)
  biased = jax.tree.map(lambda a, b: np.abs(a - b).max(), average["params"], raw)
  assert max(jax.tree.leaves(biased)) > 1e-6


@pytest.mark.parametrize("limit, expected", [
  (None, None), ("90s", 90), ("9m", 540), ("1h30m", 5400), ("2h", 7200), (540, 540), ("45.5", 45.5),
  ("1d 2h", 93_600),
])  # fmt: skip
def test_limits(limit, expected):
  assert stop.seconds(limit) == expected


@pytest.mark.parametrize("limit", ["", "m", "1h30", "0s", -1, "nan", "inf", "9 minutes", "1m1h"])
def test_what_is_no_limit(limit):
  with pytest.raises(ValueError, match="time_limit is .*; allowed: seconds as a number above 0"):
    stop.seconds(limit)


def test_time_runs_out_before_the_state_can_no_longer_be_saved(monkeypatch):
  age = [10.0]
  monkeypatch.setattr(stop, "program_age", lambda: age[0])
  assert not stop.Stop(None).asked
  asked = stop.Stop(100.0)
  asked._took = {"first call": 20.0, "call": 1.0, "saving": 10.0, "validation": 30.0}
  assert asked.has_time_for("validation") and not asked.asked
  age[0] = 70.0  # 13 seconds and a margin are needed to go on, and 5 to end as it began
  assert not asked.asked and not asked.has_time_for("pictures")  # which may compile for 20
  assert asked.asked and "time_limit" in asked.reason
  age[0] = 10.0
  asked = stop.Stop(100.0, steps_per_call=10)
  with asked.timed("call"):
    pass
  asked.expect_saving(10 * stop.SLOW_DISK)
  age[0] = 80.0
  assert not asked.asked
  age[0] = 82.0
  assert asked.asked


def test_the_age_of_the_program_is_that_of_its_process():
  age = stop.program_age()
  assert age > 0 and abs(stop.program_age() - age) < 1


def state_of(**params):
  return training.TrainState(
    step=np.int32(0), params=params, batch_stats={}, opt_state=(), key=np.zeros(2, np.uint32),
    diverged_at=np.int32(-1))  # fmt: skip


@pytest.fixture
def other_run(tmp_path):
  """Weights of another model."""
  params = {"kept": {"w": np.ones(3, np.float32)}, "wider": np.ones((2, 5)), "gone": np.ones(1)}
  variables = {"params": params, "batch_stats": {}}
  contents = packing.weights(variables, {"config": {"model": {"name": "vae"}}}, 9)
  (tmp_path / "other" / runs.FOLDER).mkdir(parents=True)
  for name, content in contents.items():
    (tmp_path / "other" / runs.FOLDER / name).write_bytes(content)
  return tmp_path / "other"


def test_weights_of_another_run(other_run, tmp_path, capsys):
  zeros = np.zeros(3, np.float32)
  fresh = state_of(kept={"w": zeros}, wider=np.zeros((2, 4)), new=np.zeros(1))
  state = transfer.started(fresh, optax.sgd(0.1, momentum=0.9), str(other_run), tmp_path)
  assert (state.params["kept"]["w"] == 1).all() and (state.params["wider"] == 0).all()
  assert all((leaf == 0).all() for leaf in jax.tree.leaves(state.opt_state)) and state.step == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines == [
    f"weights    of {other_run}, step 9: 1 of 3 arrays",
    "           another shape, left fresh: 1 arrays (params/wider [2, 5] -> [2, 4])",
    "           not there, left fresh: 1 arrays (params/new)",
    "           not used: 1 arrays (params/gone)",
  ]
  noted = folder.read_json(tmp_path / folder.BEGINNING)["init_from"]
  assert noted["step"] == 9 and noted["arrays"] == 1 and len(noted["misfits"]) == 3


def test_weights_of_which_nothing_fits(other_run, tmp_path):
  with pytest.raises(UserError, match="nothing of its vae fits this model; another shape.*wider"):
    transfer.started(state_of(wider=np.zeros(1)), optax.sgd(0.1), str(other_run), tmp_path)
  with pytest.raises(UserError, match=f"init_from={tmp_path}: no checkpoint in"):
    transfer.started(state_of(), optax.sgd(0.1), str(tmp_path), tmp_path)


def noisy(std: float, size: int = 64) -> np.ndarray:
  rng = np.random.default_rng(0)
  ramp = np.linspace(0.3, 0.7, size)[:, None, None]
  images = ramp + std * rng.standard_normal((32, size, size, 3))
  return np.round(255 * images.clip(0, 1)).astype(np.uint8)


def test_the_noise_floor_is_the_variance_of_the_noise():
  for size in (32, 64, 128):
    assert pilot.noise_floor(noisy(0.1, size)) == pytest.approx(0.01, rel=0.03)


def test_a_goal_is_found_once(tmp_path, monkeypatch, capsys):
  config = compose("vae", "gqn")
  config.objective.goal = "auto"
  images = [noisy(0.1)]
  monkeypatch.setattr(
    pilot.data_pipelines, "batches", lambda *args, **kwargs: iter([{"image": images[0]}])
  )
  goal = pilot.settled(config, tmp_path).objective.goal
  assert goal == pytest.approx(0.56226 + 0.01 / 0.98, abs=5e-4)
  assert "20.0 dB" in capsys.readouterr().out
  images[0] = noisy(0.0)  # as clean as drawn ones
  clean = pilot.settled(config, tmp_path).objective.goal
  assert clean == pytest.approx(0.56226 + 0.001 / 0.98, abs=1e-5)
  (tmp_path / runs.FOLDER / "3").mkdir(parents=True)
  images[0] = noisy(0.1)
  assert pilot.settled(config, tmp_path).objective.goal == clean  # it is the run's now
  (tmp_path / folder.BEGINNING).unlink()
  with pytest.raises(UserError, match="was not begun with it"):
    pilot.settled(config, tmp_path)
  assert config.objective.goal == "auto"


def test_schedules_hold_the_number_of_steps():
  def origin(**fields):
    optimizer = {"schedule": fields.pop("schedule", "constant")}
    goal = fields.pop("goal", 0.5)
    config = {"num_steps": 1, "objective": {"geco": True, "goal": goal}, "optimizer": optimizer}
    return {"config": config | fields, "source": {}}

  assert not changes.differences(origin(), origin(num_steps=2))
  cosine = origin(schedule="cosine")
  changed = changes.differences(cosine, origin(schedule="cosine", num_steps=2))
  assert changed == {"num_steps": "1 -> 2"}
  assert not changes.differences(origin(), origin(goal="auto", time_limit="9m"))


@pytest.mark.slow
def test_a_schedule_of_another_length_when_told(tmp_path, gqn_root):
  config = tiny_config("tiny", gqn_root)
  config.num_steps, config.optimizer.schedule = 4, "cosine"
  do_steps(config, tmp_path)
  config.num_steps = 6
  with pytest.raises(UserError, match="num_steps: 4 -> 6; or resume anyway, with --change=num_"):
    do_steps(config, tmp_path)
  do_steps(config, tmp_path, told=["num_steps"])
  (before, _), (after, origin) = (runs.read_checkpoint(tmp_path, step) for step in (4, 6))
  assert origin["config"]["num_steps"] == 6
  moved = jax.tree.map(lambda a, b: np.any(a != b), before["params"], after["params"])
  assert all(jax.tree.leaves(moved))  # the old schedule had ended at a rate of 0
  do_steps(config, tmp_path)  # it is the run's now
