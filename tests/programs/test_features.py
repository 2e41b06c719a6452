"""Extracted features: what they are, that they are whole, and what goes wrong in one line."""

import contextlib
import io
import json
import os
import re

import feature_runs
import jax
import numpy as np
import pytest

import data_pipelines
import genesis_jax
from experiments import extract_features, probe
from experiments.console.errors import UserError
from experiments.features import files
from experiments.features.files import FeatureFolder, Writer
from genesis_jax.noise import draw_noise

NUM_TEST = feature_runs.NUM_TEST


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
  root = tmp_path_factory.mktemp("features")
  feature_runs.write_tetrominoes(root / "data")
  feature_runs.write_run(root / "run", "tiny_slots", root / "data")
  return root / "run"


@pytest.fixture(scope="module")
def extracted(run_dir):
  """What the program prints for the test split, and the folder it makes."""
  out = io.StringIO()
  with contextlib.redirect_stdout(out):
    assert call(run_dir, batch_size=8) == 0
  return out.getvalue(), run_dir / "features" / "test_0"


def everything(path) -> dict[str, np.ndarray]:
  folder = FeatureFolder(path)
  shards = list(folder.shards(folder.arrays))
  return {name: np.concatenate([shard[name] for shard in shards]) for name in folder.arrays}


def call(run_dir, **options) -> int:
  return extract_features.main(
    [f"--workdir={options.pop('workdir', run_dir)}", *(f"--{k}={v}" for k, v in options.items())]
  )


def test_arrays_are_what_the_model_and_the_data_give(extracted, run_dir):
  """All images at once, without shards and batches."""
  model, variables, config = genesis_jax.load(run_dir)
  batches = data_pipelines.batches(config.data, split="test", batch_size=NUM_TEST, epochs=1)
  batch, got = next(batches), everything(extracted[1])
  images = batch["image"] / np.float32(255)
  noise = draw_noise(jax.random.key(0), model.noise_spec(), np.arange(NUM_TEST))
  out = jax.jit(model.apply)(variables, images, noise=noise)
  expected = {
    f"latent_{name}_{part}": getattr(latent, part)
    for name, latent in out.latents.items()
    for part in ("mean", "std", "sample")
  }
  samples = [out.latents[name].sample.reshape(NUM_TEST, -1) for name in ("component", "mask")]
  expected["features"] = np.concatenate(samples, 1)
  for name, value in expected.items():
    np.testing.assert_allclose(got.pop(name), value, 1e-3, 1e-4, err_msg=name)
  for suffix, log_masks in (("", out.log_masks), ("_recon", out.log_masks_recon)):
    masks = np.exp(log_masks)
    np.testing.assert_allclose(got.pop(f"masks{suffix}") / 255, masks, atol=0.51 / 255 + 1e-4)
    segments = got.pop(f"segments{suffix}").astype(int)
    chosen = np.take_along_axis(masks, segments[:, None], 1)[:, 0]
    np.testing.assert_allclose(chosen, masks.max(1), atol=1e-4)
  np.testing.assert_array_equal(got.pop("index"), np.arange(NUM_TEST))
  del batch["image"]
  for name in list(got):
    np.testing.assert_array_equal(got.pop(name), batch.pop(name.removeprefix("label_")), name)
  assert not batch  # every label is there


def test_labels_are_those_of_the_records(extracted):
  got = everything(extracted[1])
  for index in range(NUM_TEST):
    for name, value in feature_runs.factors(index).items():
      np.testing.assert_array_equal(got[f"label_{name}"][index], value)


def test_index_says_what_is_there(extracted, run_dir):
  out, path = extracted
  index = json.loads((path / "index.json").read_text())
  arrays = everything(path)
  assert index["num_images"] == NUM_TEST == len(arrays["features"])
  assert index["run"]["step"] == 0 and index["run"]["model"]["name"] == "TinySlots"
  assert index["data"]["name"] == "tetrominoes" and index["data"]["split"] == "test"
  assert index["stand_in"] is False and index["noise_seed"] == 0
  for name, array in arrays.items():
    said = index["arrays"][name]
    assert (said["dtype"], said["shape"]) == (str(array.dtype), list(array.shape[1:])), name
    assert said["kind"] and said["what"] and name in out
  assert arrays["masks"].dtype == np.uint8 and str(path) in out


def test_neither_batches_nor_shards_change_anything(extracted, run_dir, tmp_path, monkeypatch):
  monkeypatch.setattr(files, "SHARD_BYTES", 1)
  assert call(run_dir, batch_size=5, out=tmp_path / "f") == 0
  assert len(list((tmp_path / "f").glob("shard_*.npz"))) == 8  # seven of 5 images, and 4
  expected, got = everything(extracted[1]), everything(tmp_path / "f")
  assert expected.keys() == got.keys()
  for name, value in expected.items():
    if value.dtype.kind == "f":
      np.testing.assert_allclose(got[name], value, 1e-3, 1e-4, err_msg=name)
    else:
      close = 1 if name.startswith("masks") else 0
      differ = np.abs(got[name].astype(int) - value.astype(int)) > close
      assert differ.mean() < (1e-3 if name.startswith("segments") else 1e-9), name


def test_parts_other_noise_and_no_masks(extracted, run_dir, tmp_path):
  options = [f"--workdir={run_dir}", "--num_images=9", "--batch_size=8", "--no_masks"]
  assert extract_features.main([*options, "--seed=1", f"--out={tmp_path / 'f'}"]) == 0
  whole, got = everything(extracted[1]), everything(tmp_path / "f")
  assert set(whole) - set(got) == {"masks", "masks_recon"} and len(got["features"]) == 9
  index = got["index"]  # of images drawn from all of the split
  assert len(set(index)) == 9 and index.max() > 9 and (np.diff(index) > 0).all()
  name = "latent_mask_sample"
  samples, means = (whole[name][index], got[name]), (whole["latent_mask_mean"][index],
                                                     got["latent_mask_mean"])  # fmt: skip
  draws = [x - mean for x, mean in zip(samples, means, strict=True)]
  assert np.abs(np.corrcoef(*(draw.ravel() for draw in draws))[0, 1]) < 0.5
  np.testing.assert_array_equal(got["label_x"], whole["label_x"][index])
  said = json.loads((tmp_path / "f" / "index.json").read_text())
  assert said["images"] == f"9 of {NUM_TEST} test images, drawn at random (seed 0)"


def test_a_model_without_slots_has_features_and_one_latent(run_dir, tmp_path):
  feature_runs.write_run(tmp_path / "tiny", "tiny", run_dir.parent / "data")
  assert call(run_dir, workdir=tmp_path / "tiny", split="val", out=tmp_path / "f") == 0
  got = everything(tmp_path / "f")
  np.testing.assert_array_equal(got["features"], got["latent_latent_sample"])
  assert not {"masks", "segments"} & set(got) and len(got["features"]) == feature_runs.NUM_VAL


def test_probes_read_what_was_extracted(extracted, monkeypatch, capsys):
  monkeypatch.setenv("JAX_PLATFORMS", os.environ.get("JAX_PLATFORMS", "cpu"))
  options = [f"--features={extracted[1]}", "--probe=linear", "--num_seeds=2"]
  assert probe.main([*options, "--target=shape,color,x"]) == 0
  content = json.loads((extracted[1] / "probe_shape_color_x.json").read_text())
  ids = everything(extracted[1])["instances"]
  visible = sum(len(set(np.unique(image)) - {0}) for image in ids)
  for result, (metric, columns) in zip(
    content["results"], [("accuracy", None), ("r2", 3), ("r2", None)], strict=True
  ):
    assert result["of"] == "objects" and result["metric"] == metric
    assert result["num_features"] == 4 + 3 and result["matching"]["objects"] == visible
    linear = result["scores"]["linear"]
    assert len(linear["values"]) == 2 and len(linear.get("columns", [])) == (columns or 0)
  assert "held-out images" in capsys.readouterr().out
  assert probe.main([*options, "--target=visibility"]) == 1
  assert "all have the value 1.0: there is nothing to predict" in capsys.readouterr().err


def index_of(number: int) -> dict:
  arrays = {"features": {"kind": "features", "what": "numbers"}}
  return {"run": {"step": number}, "data": {}, "noise_seed": 0, "arrays": arrays}


def write_numbers(path, number: int) -> None:
  with Writer(path, index_of(number)) as writer:
    writer.add({"features": np.full((3, 2), number, np.float32)})


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
  write_numbers(tmp_path / "f", 1)
  with pytest.raises(RuntimeError), Writer(tmp_path / "f", index_of(2)) as writer:
    writer.add({"features": np.zeros((3, 2), np.float32)})
    raise RuntimeError
  assert (everything(tmp_path / "f")["features"] == 1).all()
  write_numbers(tmp_path / "f", 3)
  assert (everything(tmp_path / "f")["features"] == 3).all()
  assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_only_features_are_replaced(tmp_path):
  write_numbers(tmp_path / "f", 1)
  (tmp_path / "f" / "probe_color.json").write_text("{}")
  write_numbers(tmp_path / "f", 2)
  (tmp_path / "f" / "notes.txt").write_text("mine")
  with pytest.raises(UserError, match="holds other things than features"):
    write_numbers(tmp_path / "f", 3)
  (tmp_path / "g").mkdir()
  (tmp_path / "g" / "index.json").write_text('{"figures": []}')
  with pytest.raises(UserError, match="holds other things than features"):
    write_numbers(tmp_path / "g", 1)
  assert (everything(tmp_path / "f")["features"] == 2).all()


def test_damage_and_mixtures_are_told(tmp_path):
  write_numbers(tmp_path / "a", 1)
  write_numbers(tmp_path / "b", 2)
  shard = tmp_path / "a" / "shard_00000.npz"
  whole = shard.read_bytes()
  shard.write_bytes((tmp_path / "b" / "shard_00000.npz").read_bytes())
  with pytest.raises(UserError, match="of another run, split or seed"):
    everything(tmp_path / "a")
  for damage in (whole[: len(whole) // 2], b"", whole[:40] + b"\0" * 30 + whole[70:]):
    shard.write_bytes(damage)
    with pytest.raises(UserError, match="shard_00000.npz is missing or damaged"):
      everything(tmp_path / "a")
  (tmp_path / "a" / "index.json").write_text("{}")
  with pytest.raises(UserError, match="cannot be used"):
    FeatureFolder(tmp_path / "a")


def test_mistakes_are_one_line(run_dir, tmp_path, capsys):
  (tmp_path / "mine").mkdir()
  mistakes = {
    "no checkpoint in": dict(workdir=tmp_path / "absent"),
    r"the checkpoints of .* are \[0\]": dict(step=5),
    f"has {NUM_TEST} test images, not 50; pass --num_images={NUM_TEST}": dict(num_images=50),
    "mine is there already and holds other things": dict(out=tmp_path / "mine"),
    "nowhere does not exist": dict(data_dir=tmp_path / "nowhere"),
  }
  for words, options in mistakes.items():
    assert call(run_dir, **options) == 1
    error = capsys.readouterr().err
    assert re.search(f"^error: .*{words}", error) and error.count("\n") == 1, error
  assert not list(tmp_path.glob("*/*"))
