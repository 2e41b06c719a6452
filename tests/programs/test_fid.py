"""FID: the network's golden numbers, the distance's closed forms, and the program around them."""

import concurrent.futures
import functools
import hashlib
import http.server
import json
import re
import threading

import golden
import jax
import numpy as np
import pytest
import torch_writer
from conftest import ON_ONE_DEVICE, TEST_IMAGES, tiny_config

import data_pipelines
import genesis_jax
from data_pipelines.stores import files as store_files
from experiments import compute_fid, inception_weights
from experiments.console.errors import UserError
from experiments.runs import importing
from experiments.scoring.fid import distance, weights
from experiments.scoring.fid.network import Network
from genesis_jax import fid, inception, objective, training
from genesis_jax.noise import draw_noise
from tests.support import programs

pytestmark = pytest.mark.slow


@functools.cache
def case() -> golden.Case:
  return golden.Case(golden.files()["inception_fid"])


@functools.cache
def state_dict() -> dict:
  return case().state_dict


@pytest.fixture(scope="module")
def variables():
  return jax.device_put(fid.inception_from_torch(state_dict()))


# The network.


@pytest.mark.parametrize("dim", fid.DIMS)
def test_features_are_golden(variables, dim):
  got = fid.features(variables, case().arrays["images"], dim=dim)
  assert got.dtype == np.float32
  np.testing.assert_allclose(got, case().arrays[f"features_{dim}"], 1e-4, 1e-4)


def test_batches_do_not_matter(variables):
  images = np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3), np.uint8)
  whole = fid.features(variables, images, dim=64)
  parts = fid.features(variables, jax.device_put(images), dim=64, batch_size=2)
  np.testing.assert_allclose(parts, whole, 1e-5, 1e-5)


@pytest.mark.parametrize("size", [32, 299, 500])
def test_resizes_as_defined(size):
  """Against the definition, pixel by pixel: centres at half, edges repeated, two neighbours."""
  image = np.random.default_rng(size).integers(0, 256, (size, size, 3), np.uint8)
  position = np.clip((np.arange(299) + 0.5) * size / 299 - 0.5, 0, size - 1)
  low = np.floor(position).astype(int)
  high, share = np.minimum(low + 1, size - 1), position - low
  rows = image[low] * (1 - share)[:, None, None] + image[high] * share[:, None, None]
  both = rows[:, low] * (1 - share)[:, None] + rows[:, high] * share[:, None]
  got = inception.prepare(image[None])[0]
  np.testing.assert_allclose(got, both / 127.5 - 1, atol=2e-6)


@pytest.mark.parametrize(
  "images, dim, words",
  [
    (np.zeros((2, 8, 8, 3), np.float32), 64, "float32; FID takes uint8"),
    (np.zeros((2, 8, 8), np.uint8), 64, r"shape \(2, 8, 8\)"),
    (np.zeros((0, 8, 8, 3), np.uint8), 64, r"shape \(0, 8, 8, 3\)"),
    (np.zeros((2, 8, 8, 3), np.uint8), 100, "dim is 100; allowed: 64, 192, 768, 2048"),
  ],
)
def test_refuses_what_is_no_batch_of_images(images, dim, words):
  with pytest.raises(ValueError, match=words):
    fid.features({}, images, dim)


def test_quantises_by_truncation():
  values = np.array([-0.5, 0, 0.9999 / 255, 1.0001 / 255, 0.99999, 1, 7], np.float32)
  np.testing.assert_array_equal(fid.quantise(values), [0, 0, 0, 1, 254, 255, 255])


WRONG = {
  "lacks 'Mixed_6e.branch_pool.bn.bias'": ("Mixed_6e.branch_pool.bn.bias", None),
  "lacks 'fc.weight'": ("fc.weight", None),
  "also has 'surplus'": ("surplus", np.zeros(3)),
  r"'fc.bias' has shape \(7,\); it must be \(1008,\)": ("fc.bias", np.zeros(7)),
  "'Mixed_5b.branch1x1.conv.weight' has shape": (
    "Mixed_5b.branch1x1.conv.weight",
    np.zeros((1, 1, 192, 64)),
  ),
  "'Conv2d_1a_3x3.bn.weight' has values that are not finite": (
    "Conv2d_1a_3x3.bn.weight",
    np.full(32, np.nan),
  ),
}


@pytest.mark.parametrize("words", WRONG)
def test_names_the_weight_that_is_wrong(words):
  name, value = WRONG[words]
  changed = {k: v for k, v in (state_dict() | {name: value}).items() if v is not None}
  with pytest.raises(ValueError, match=words):
    fid.inception_from_torch(changed)


def test_ignores_counters():
  counters = {"Conv2d_1a_3x3.bn.num_batches_tracked": np.int64(3)}
  fid.inception_from_torch(state_dict() | counters)


# The distance and its statistics.


def test_distance_is_golden():
  a, b = case().arrays["frechet_a"], case().arrays["frechet_b"]
  got = fid.frechet_distance(a.mean(0), np.cov(a.T), b.mean(0), np.cov(b.T))
  assert got.dtype == np.float64
  np.testing.assert_allclose(got, case().arrays["frechet_distance"], 1e-10)


def normal_samples(count, dim, seed):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(count, dim)) @ rng.normal(size=(dim, dim)) + rng.normal(size=dim)


@pytest.mark.parametrize("count_a, count_b", [(200, 150), (30, 20), (2, 100)])
def test_distance_of_few_samples(count_a, count_b):
  """Covariances X^T X and Y^T Y, of any rank: the trace of the root is a sum over X Y^T alone."""
  a, b = normal_samples(count_a, 60, 1), normal_samples(count_b, 60, 2)
  x = (a - a.mean(0)) / np.sqrt(count_a - 1)
  y = (b - b.mean(0)) / np.sqrt(count_b - 1)
  overlap = np.linalg.svd(x @ y.T, compute_uv=False).sum()
  expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + (x**2).sum() + (y**2).sum() - 2 * overlap
  moments_a, moments_b = (a.mean(0), np.cov(a.T)), (b.mean(0), np.cov(b.T))
  np.testing.assert_allclose(fid.frechet_distance(*moments_a, *moments_b), expected, 1e-10)
  np.testing.assert_allclose(fid.frechet_distance(*moments_b, *moments_a), expected, 1e-10)
  assert 0 <= fid.frechet_distance(*moments_a, *moments_a) < 1e-10 * (x**2).sum()


def test_distance_of_independent_features():
  mean, variance_a, variance_b = np.arange(5.0), np.array([0, 1, 4, 9, 16]), np.full(5, 4.0)
  got = fid.frechet_distance(mean, np.diag(variance_a), 0 * mean, np.diag(variance_b))
  expected = (mean**2).sum() + ((np.sqrt(variance_a) - np.sqrt(variance_b)) ** 2).sum()
  np.testing.assert_allclose(got, expected, 1e-12)


def test_distance_refuses_what_does_not_fit():
  one, two = (np.zeros(1), np.eye(1)), (np.zeros(2), np.eye(2))
  with pytest.raises(ValueError, match="compare 1 features with 2"):
    fid.frechet_distance(*one, *two)
  with pytest.raises(ValueError, match=r"shapes \(2,\) and \(1, 1\)"):
    fid.frechet_distance(two[0], one[1], *two)
  with pytest.raises(ValueError, match="not finite"):
    fid.frechet_distance(*one, np.array([np.nan]), one[1])


def test_statistics_of_parts_are_those_of_the_whole():
  # A mean of 1e6 standard deviations: sums of squares would keep four digits.
  rows = normal_samples(700, 12, 3) + 1e7
  statistics = fid.Statistics(12)
  for chunk in np.split(rows, [1, 400]):
    for batch in np.array_split(chunk, 5):  # some are empty
      statistics.update(batch)
  assert statistics.num_images == 700
  np.testing.assert_allclose(statistics.mean, rows.mean(0), 1e-14)
  np.testing.assert_allclose(statistics.cov, np.cov(rows.T), 1e-8, 1e-7)


def test_statistics_refuse_what_is_no_number():
  statistics = fid.Statistics(3)
  with pytest.raises(ValueError, match="no image"):
    _ = statistics.mean
  statistics.update(np.ones((1, 3)))
  with pytest.raises(ValueError, match="there is 1"):
    _ = statistics.cov
  with pytest.raises(ValueError, match=r"of 1 of 2 images \(after the first 1\) are not finite"):
    statistics.update(np.array([[0, 1, 2], [0, np.nan, np.inf]]))
  with pytest.raises(ValueError, match=r"shape \(2, 4\)"):
    statistics.update(np.zeros((2, 4)))
  assert statistics.num_images == 1


# The weights' file.


@pytest.fixture(scope="module")
def weight_files(tmp_path_factory):
  """The golden weights as PyTorch writes them, and converted by the program."""
  folder = tmp_path_factory.mktemp("weights")
  torch_writer.write_torch(folder / "weights.pth", state_dict(), older=False)
  options = [f"--inception_weights={folder / 'weights.pth'}", f"--convert={folder / 'w.npz'}"]
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("JAX_PLATFORMS", "cpu")  # which the program would set, and leave so
    assert inception_weights.main(options) == 0
  return folder / "weights.pth", folder / "w.npz"


def test_both_files_are_the_same_weights(weight_files):
  torch, npz = (weights.read(path) for path in weight_files)
  assert torch.sha256 == npz.sha256 == hashlib.sha256(weight_files[0].read_bytes()).hexdigest()
  assert not torch.published
  for file in (torch, npz):
    assert file.state_dict.keys() == state_dict().keys()
    for name, array in state_dict().items():
      np.testing.assert_array_equal(file.state_dict[name], array)


def test_other_files_are_named(tmp_path, weight_files):
  (tmp_path / "text.pth").write_text("not weights")
  (tmp_path / "empty.npz").touch()
  (tmp_path / "cut.npz").write_bytes(weight_files[1].read_bytes()[:5000])
  torch_writer.write_torch(tmp_path / "list.pth", [1, 2], older=False)
  for name in ("absent.pth", "text.pth", "empty.npz", "cut.npz", "list.pth"):
    with pytest.raises(UserError, match=name) as caught:
      weights.read(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.fixture
def server(tmp_path, monkeypatch):
  """Serves a folder in place of the published file's host; says what was asked for."""
  asked = []

  class Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args):
      super().__init__(*args, directory=str(tmp_path / "served"))

    def log_message(self, *args):
      asked.append(self.path)

  (tmp_path / "served").mkdir()
  host = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  threading.Thread(target=host.serve_forever, daemon=True).start()
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  monkeypatch.delenv("TORCH_HOME", raising=False)
  monkeypatch.setattr(weights, "URL", f"http://127.0.0.1:{host.server_port}/file.pth")
  yield tmp_path, asked
  host.shutdown()
  host.server_close()


def test_downloads_once_and_checks(server, monkeypatch):
  folder, asked = server
  content = np.random.default_rng(0).bytes(3 * 2**20 + 17)
  (folder / "served" / "file.pth").write_bytes(content[:-1])
  monkeypatch.setattr(weights, "SHA256", hashlib.sha256(content).hexdigest())
  with pytest.raises(UserError, match="arrived damaged") as caught:
    weights.fetch()
  assert str(weights.cache_folder()) in str(caught.value)
  assert not list(weights.cache_folder().iterdir())  # nothing is left behind

  (folder / "served" / "file.pth").write_bytes(content)
  path = weights.fetch()
  assert path.read_bytes() == content and path.is_relative_to(folder / "cache")
  asked.clear()
  assert weights.fetch() == path and not asked
  path.write_bytes(content[:100])
  with pytest.raises(UserError, match="is damaged .* remove it"):
    weights.read(None)


def test_takes_the_file_that_pytorch_has(server):
  folder, asked = server
  theirs = folder / "cache" / "torch" / "hub" / "checkpoints" / weights.FILE_NAME
  theirs.parent.mkdir(parents=True)
  theirs.touch()
  assert weights.fetch() == theirs and not asked


def test_says_what_to_fetch_without_a_network(server, monkeypatch, capsys):
  monkeypatch.setattr(weights, "URL", "http://127.0.0.1:9/" + weights.FILE_NAME)
  monkeypatch.setattr(store_files, "FIRST_WAIT_SECONDS", 0.01)
  assert inception_weights.main(["--convert=w.npz"]) == 1
  error = capsys.readouterr().err
  assert error.startswith("error: cannot download the Inception weights") and error.count("\n") == 1
  assert weights.URL in error and "--inception_weights" in error
  assert str(weights.cache_folder() / weights.FILE_NAME) in error


# The program.

NUM_IMAGES = 12  # a batch and a half


@pytest.fixture(scope="module")
def untrained(gqn_root):
  """The configuration and the state of a tiny model."""
  config = tiny_config("tiny", gqn_root)
  model, tx = genesis_jax.build_model(config.model), objective.optimizer(config)
  create = jax.jit(functools.partial(training.create_train_state, model=model, tx=tx))
  return config, jax.tree.map(np.asarray, create(jax.random.key(0)))


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, untrained):
  folder = tmp_path_factory.mktemp("fid") / "run"
  importing.write_run(folder, *untrained, {})
  return folder


def options_for(run_dir, weight_files, **settings) -> list[str]:
  settings = dict(workdir=run_dir, inception_weights=weight_files[1], dim=64) | settings
  return [f"--{name}={value}" for name, value in settings.items()]


def results(run_dir) -> list[dict]:
  return json.loads((run_dir / "evaluation" / "fid.json").read_text())["results"]


@pytest.fixture(scope="module")
def first_result(run_dir, weight_files, tmp_path_factory):
  """What the program prints, and the number it writes, on one device."""
  options = options_for(run_dir, weight_files, num_images=NUM_IMAGES, batch_size=8)
  done = programs.run(["experiments.compute_fid", *options], env=ON_ONE_DEVICE, timeout=300)
  assert done.returncode == 0, done.stderr
  return done.stdout, results(run_dir)[0]


def test_program_measures_what_numpy_does(first_result, run_dir, variables):
  """The value from all images and samples at once, without streams, batches and caches."""
  model, weights, config = genesis_jax.load(run_dir)
  (rows,) = data_pipelines.sample(config.data, "test", NUM_IMAGES, batch_size=NUM_IMAGES)
  real = np.asarray(fid.features(variables, rows["image"], 64), np.float64)
  key, index = jax.random.key(0), np.arange(NUM_IMAGES)
  noise = draw_noise(key, model.noise_spec(), index)
  sample = jax.jit(functools.partial(model.apply, method="sample"), static_argnums=1)
  images = sample(weights, NUM_IMAGES, noise=noise).images
  fake = np.asarray(fid.features(variables, (images * 255).astype(np.uint8), 64), np.float64)
  moments = [x for rows in (real, fake) for x in (rows.mean(0), np.cov(rows.T))]
  expected = fid.frechet_distance(*moments)
  assert first_result[1]["fid"] == pytest.approx(expected, rel=1e-3)


def test_program_says_what_the_number_is(first_result):
  out, result = first_result
  assert f"FID        {result['fid']:.4g}" in out
  caveats = ("values of 12 images", "not the published ones", "papers use 2048", "singular")
  drawn = "of 12 of 40 test images, drawn at random (seed 0)"
  for words in ("1 of 1 test files (240 were published)", drawn, "Frechet", *caveats):
    assert words in out
  assert result["step"] == 0 and result["num_images"] == NUM_IMAGES and result["dim"] == 64
  assert result["data"]["stand_in"] is False and len(result["weights_sha256"]) == 64


def test_statistics_of_test_images_are_cached(
  first_result, run_dir, weight_files, monkeypatch, capsys
):
  """The second time reads no more than the first images, and adds an entry for another seed."""
  options = options_for(run_dir, weight_files, num_images=NUM_IMAGES, batch_size=8)
  measured = []
  statistics = Network.statistics

  def spy(self, batches, num_images, what):
    measured.append(what)
    return statistics(self, batches, num_images, what)

  monkeypatch.setattr(Network, "statistics", spy)
  assert compute_fid.main(options) == 0, capsys.readouterr()
  assert measured == ["features of samples"]
  assert [row["fid"] for row in results(run_dir)] == [
    pytest.approx(first_result[1]["fid"], rel=1e-4)
  ]
  assert compute_fid.main([*options, "--seed=1"]) == 0
  assert [row["seed"] for row in results(run_dir)] == [0, 1]
  assert results(run_dir)[0]["fid"] != results(run_dir)[1]["fid"]
  # Of other images the statistics are others.
  assert compute_fid.main([*options, "--sample_seed=1"]) == 0
  assert measured[-2:] == ["features of test images", "features of samples"]
  assert [row["sample_seed"] for row in results(run_dir)] == [0, 0, 1]


def test_a_place_that_cannot_be_written_is_found_first(run_dir, weight_files, tmp_path, capsys,
                                                       monkeypatch):  # fmt: skip
  monkeypatch.setattr(distance, "measure", lambda *args: pytest.fail("was measured"))
  (tmp_path / "file").touch()
  (tmp_path / "damaged.json").write_text("{")
  for name, words in (("file/fid.json", "cannot write to"), ("damaged.json", "is damaged")):
    assert compute_fid.main(options_for(run_dir, weight_files, out=tmp_path / name)) == 1
    assert words in capsys.readouterr().err
  monkeypatch.setattr(distance, "measure", lambda *args: dict.fromkeys(distance.KEYS, 0))
  distance.measure_run(run_dir, None, distance.Settings(), tmp_path / "new" / "fid.json")
  assert len(json.loads((tmp_path / "new" / "fid.json").read_text())["results"]) == 1


def test_statistics_from_a_file(run_dir, weight_files, tmp_path, capsys):
  """pytorch-fid's format; the data itself is not needed."""
  np.savez(tmp_path / "stats.npz", mu=np.zeros(64), sigma=np.zeros((64, 64)))
  options = options_for(run_dir, weight_files, num_images=8, batch_size=16)
  assert compute_fid.main([*options, f"--reference_stats={tmp_path / 'stats.npz'}"]) == 0
  newest = max(results(run_dir), key=lambda row: row["finished"])
  assert newest["num_reference_images"] is None and "stats.npz" in newest["data"]["description"]
  np.savez(tmp_path / "other.npz", mu=np.zeros(2048), sigma=np.zeros((3, 3)))
  assert compute_fid.main([*options, f"--reference_stats={tmp_path / 'other.npz'}"]) == 1
  assert "shapes (2048,) and (3, 3), but --dim is 64" in capsys.readouterr().err


def test_mistakes_are_one_line(run_dir, weight_files, untrained, tmp_path, capsys):
  config, state = untrained
  params = jax.tree.map(np.copy, state.params)
  jax.tree.leaves(params)[-1].flat[0] = np.nan
  importing.write_run(tmp_path / "nans", config, state.replace(params=params), {})
  mistakes = {
    "no checkpoint in": dict(workdir=tmp_path / "empty"),
    "the checkpoints of .* are \\[0\\]": dict(step=7),
    f"has {TEST_IMAGES} test images, not 41.*--num_images={TEST_IMAGES}": dict(num_images=41),
    "has NaNs in params/": dict(workdir=tmp_path / "nans"),
    "absent.pth is not a file": dict(num_images=8, inception_weights=tmp_path / "absent.pth"),
    "cannot be read as reference statistics": dict(reference_stats=tmp_path / "absent.npz"),
  }
  for words, settings in mistakes.items():
    assert compute_fid.main(options_for(run_dir, weight_files, **settings)) == 1
    error = capsys.readouterr().err
    assert re.search(f"^error: .*{words}", error) and error.count("\n") == 1, error
  flag = [*options_for(run_dir, weight_files), "--original_prior_mean"]
  assert compute_fid.main(flag) == 1
  assert "is an option of GENESIS, not of TinyModel" in capsys.readouterr().err


def test_a_model_without_a_prior_is_one_line():
  with pytest.raises(UserError, match="object has no prior to sample from"):
    distance.sampler(object(), original_prior_mean=False)


def test_original_sampling_of_genesis(gqn_root):
  """The option reaches the model: the mask prior's mean is not bounded."""
  config = tiny_config("genesis", gqn_root)
  model = genesis_jax.build_model(config.model)
  images = np.zeros((1, 32, 32, 3), np.float32)
  rngs = {"params": jax.random.key(0), "noise": jax.random.key(1)}
  variables = jax.eval_shape(functools.partial(model.init, train=False), rngs, images)

  def num_tanh(original):
    sample = distance.sampler(model, original)
    return str(jax.make_jaxpr(sample)(variables, jax.random.key(2), np.arange(2))).count("= tanh")

  assert num_tanh(original=True) < num_tanh(original=False)


def test_programs_that_measure_at_once_lose_nothing(tmp_path):
  path = tmp_path / "evaluation" / "fid.json"

  def record(seed):
    distance.record(path, dict.fromkeys(distance.KEYS, 0) | {"seed": seed, "fid": 1.0})

  with concurrent.futures.ThreadPoolExecutor(4) as pool:  # each opens the lock for itself
    list(pool.map(record, range(40)))
  results = json.loads(path.read_text())["results"]
  assert sorted(result["seed"] for result in results) == list(range(40))
