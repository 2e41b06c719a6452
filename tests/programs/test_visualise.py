"""Figures of a run: decoding and editing latents, colours, layout, and the program."""

import functools
import io
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpy_weights
import pytest
from conftest import TEST_IMAGES, tiny_config
from PIL import Image

import genesis_jax
from experiments import visualise
from experiments.console.errors import UserError
from experiments.figures import catalogue, films, galleries, panels, sheets
from experiments.figures import view as inference
from experiments.hardware import devices
from experiments.runs import checkpoints, importing
from genesis_jax import editing, objective, slot_matching, training
from genesis_jax.outputs import Latent, Samples

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SIZE, COUNT = 32, 3
SMALL = dict(
  image_size=SIZE, num_slots=3, mask_latent_dim=6, component_latent_dim=4,
  component_encoder_channels=8, component_decoder_channels=8, component_decoder_layers=2,
)  # fmt: skip
MODELS = {
  "genesis": SMALL | dict(name="genesis"),
  "one_stage": SMALL | dict(name="genesis", two_stage=False, pixel_bound=False),
  "genesis_v2": dict(name="genesis_v2", image_size=SIZE, num_slots=3, feature_dim=8),
  "monet": SMALL | dict(name="monet", unet_channels=8, mask_prior="scope"),
  "vae": dict(name="vae", image_size=SIZE, latent_dim=5, broadcast_decoder=True),
}


def batch(count: int = COUNT) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  coarse = rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
  ids = np.zeros((count, SIZE, SIZE), np.int32)
  ids[:, :12], ids[:, 20:, :10] = 1, 4
  return {"image": coarse.repeat(SIZE // 4, 1).repeat(SIZE // 4, 2), "instances": ids}


@functools.cache
def built(name: str):
  """(model, weights) large enough that slots differ."""
  model = genesis_jax.build_model(MODELS[name])
  keys = {"params": jax.random.key(0), "noise": jax.random.key(1)}
  images = jnp.zeros((1, SIZE, SIZE, 3))
  variables = numpy_weights.drawn(lambda: model.init(keys, images, train=False))
  params = jax.tree.map(lambda x: 2 * x if x.ndim > 1 else x, variables["params"])
  return model, variables | {"params": params}


@functools.cache
def view(name: str, **settings) -> inference.View:
  model, variables = built(name)
  return inference.View(model, variables, inference.Network(model), batch(), **settings)


# Decoding.


@pytest.mark.parametrize("name", MODELS)
def test_decodes_what_was_sampled_and_what_was_inferred(name):
  """Inference decodes on a path of its own; MONet keeps the masks that it was trained with."""
  model, variables = built(name)
  look = view(name)
  samples = look.network.sample(variables, 4)
  decoded = look.decode(samples.latents)
  for a, b in zip(jax.tree.leaves(samples), jax.tree.leaves(decoded), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
  assert sorted(samples.latents) == list(model.latent_names()) == sorted(look.out.latents)
  for latent in look.out.latents.values():
    np.testing.assert_array_equal(latent.sample, latent.mean)  # no noise
  assert (inference.MASKS in look.latents) == look.keeps_attention == (name == "monet")
  np.testing.assert_allclose(look.decoded.images, look.out.recon, rtol=1e-5, atol=1e-5)
  if name != "vae":
    np.testing.assert_allclose(look.decoded.log_masks, look.log_masks, rtol=1e-4, atol=1e-4)


def test_refuses_latents_that_a_model_has_not():
  model, variables = built("genesis")
  with pytest.raises(ValueError, match=r"\['mask'\]; Genesis decodes \['component', 'mask'\]"):
    model.apply(variables, {"mask": jnp.zeros((1, 3, 6))}, method="decode")


def test_any_number_of_images_is_decoded_alike():
  look = view("monet")
  many = {name: np.repeat(z, 7, 0) for name, z in look.latents.items()}  # 21: two chunks
  images = look.decode(many).images
  assert len(images) == 21
  np.testing.assert_allclose(images[::7], look.decoded.images, rtol=1e-5, atol=1e-6)


def test_nans_are_named():
  _, variables = built("vae")
  broken = jax.tree.map(lambda x: x * np.nan, variables)
  with pytest.raises(UserError, match="hold NaNs"):
    view("vae").network.infer(broken, batch()["image"])


# Editing.


def random_samples(num_slots: int = 4) -> Samples:
  rng = np.random.default_rng(1)
  logits = rng.normal(size=(2, num_slots, 8, 8)).astype(np.float32)
  log_masks = logits - np.log(np.exp(logits).sum(1, keepdims=True))
  components = rng.uniform(size=(2, num_slots, 8, 8, 3)).astype(np.float32)
  images = (np.exp(log_masks)[..., None] * components).sum(1)
  return Samples(images, {}, components, log_masks)


def test_a_slot_swapped_with_itself_changes_nothing():
  look = view("genesis")
  a, b = editing.one(look.latents, 0), editing.one(look.latents, 1)
  for name, z in editing.exchanged(a, 1, a, 1).items():
    np.testing.assert_array_equal(z, a[name])
  swapped = editing.exchanged(a, 0, b, 2)
  for name, z in swapped.items():
    np.testing.assert_array_equal(z[0, 0], b[name][0, 2])
    np.testing.assert_array_equal(z[0, 1:], a[name][0, 1:])
  back = editing.exchanged(swapped, 0, a, 0)
  np.testing.assert_array_equal(look.decode(back).images, look.decode(a).images)
  assert np.abs(look.decode(swapped).images - look.decode(a).images).max() > 1e-3


def test_without_a_slot_the_others_share_its_place():
  samples = random_samples()
  rest = editing.without(samples, 2)
  masks, before = np.exp(rest.log_masks), np.exp(samples.log_masks)
  np.testing.assert_allclose(masks.sum(1), 1, atol=1e-6)
  np.testing.assert_array_equal(masks[:, 2], 0)
  np.testing.assert_allclose(masks[:, 0] / masks[:, 3], before[:, 0] / before[:, 3], rtol=1e-4)
  np.testing.assert_allclose(rest.images, (masks[..., None] * samples.components).sum(1), 1e-5)


def test_without_the_only_slot_there_is():
  """The others have shares as small as those of slots that are not there, or none at all."""
  samples = random_samples()
  log_masks = np.full_like(samples.log_masks, editing.NO_MASK)
  log_masks[:, 1] = 0
  log_masks[1, [0, 2, 3]] = -np.array([200, 201, 500])[:, None, None]
  masks = np.exp(editing.without(samples.replace(log_masks=log_masks), 1).log_masks)
  np.testing.assert_allclose(masks[0, :, 0, 0], [1 / 3, 0, 1 / 3, 1 / 3], atol=1e-6)
  share = 1 / (1 + np.exp(-1))
  np.testing.assert_allclose(masks[1, :, 0, 0], [share, 0, 1 - share, 0], atol=1e-6)


def test_slot_after_slot_becomes_the_sample():
  samples = random_samples()
  stages = list(editing.cumulative(samples))
  np.testing.assert_allclose(stages[-1], samples.images, atol=1e-6)
  first = np.exp(samples.log_masks[:, 0, ..., None]) * samples.components[:, 0]
  np.testing.assert_allclose(stages[0], first, atol=1e-6)


def test_moves_one_number():
  latents = {"mask": np.zeros((1, 3, 2)), "component": np.ones((1, 3, 4))}
  moved = editing.moved(latents, "component", 1, 3, [5, 6])
  np.testing.assert_array_equal(moved["mask"], np.zeros((2, 3, 2)))
  np.testing.assert_array_equal(moved["component"][:, 1, 3], [5, 6])
  assert moved["component"].sum() == 2 * 12 - 2 + 11
  flat = editing.moved({"latent": np.zeros((1, 4))}, "latent", None, 2, [1, 2, 3])
  np.testing.assert_array_equal(flat["latent"], np.outer([1, 2, 3], [0, 0, 1, 0]))


def test_nats_of_each_dimension():
  mean = np.array([[[0.0, 1.0], [0.0, 3.0]]])
  std = np.array([[[1.0, 1.0], [1.0, 0.5]]])
  unit = editing.nats_per_dim(Latent(mean, std, mean))
  np.testing.assert_allclose(unit, [0, (0.5 + 4.125 + np.log(2)) / 2])
  np.testing.assert_allclose(editing.nats_per_dim(Latent(mean, std, mean, mean, std)), 0)


# Matching and colours.


def test_slots_are_matched_with_instances():
  ids = batch(2)["instances"]
  ids[1, 5:8, 5:8] = -1  # unknown
  log_masks = np.full((2, 4, SIZE, SIZE), -5.0, np.float32)
  for k, label in enumerate((4, 0, 1)):
    log_masks[0, k][ids[0] == label] = 0
    log_masks[1, (k + 1) % 3][ids[1] == label] = 0
  log_masks[1, 3][ids[1] < 0] = 0  # a slot on unknown pixels alone matches nothing
  labels = slot_matching.matched_labels(log_masks, ids)
  np.testing.assert_array_equal(labels, [[4, 0, 1, 5], [1, 4, 0, 5]])


def test_matching_maximises_the_overlap_in_all():
  """One slot over two instances goes to that which leaves the most for the others."""
  rng = np.random.default_rng(3)
  ids = rng.integers(0, 4, (6, 6))
  slots = rng.integers(0, 5, (6, 6))
  present, iou = slot_matching.overlaps(ids, slots, 5)
  for t, k in itertools.product(range(4), range(5)):
    a, b = ids == present[t], slots == k
    assert iou[t, k] == pytest.approx((a & b).sum() / (a | b).sum())
  log_masks = np.log(np.eye(5)[slots].transpose(2, 0, 1)[None] + 1e-9)
  labels = slot_matching.matched_labels(log_masks, ids[None])[0]
  got = sum(iou[t, k] for t in range(4) for k in range(5) if labels[k] == present[t])
  best = max(sum(iou[t, k] for t, k in enumerate(p)) for p in itertools.permutations(range(5), 4))
  assert got == pytest.approx(best)


def seen_by(kind: str, colours: np.ndarray) -> np.ndarray:
  """CIE L*a*b* of what people with full colour vision, or dichromats, see (Machado et al. 2009)."""
  vision = {
    "all": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
               [0.004733, 0.691367, 0.303900]],
  }[kind]  # fmt: skip
  c = colours / 255
  linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
  rgb = np.clip(linear @ np.transpose(vision), 0, 1)
  to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
  xyz = rgb @ np.transpose(to_xyz) / [0.9505, 1, 1.089]
  x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116).T
  return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


@pytest.mark.parametrize("kind", ["all", "protan", "deutan", "tritan"])
def test_everybody_can_tell_sixteen_slots_apart(kind):
  colours = seen_by(kind, np.concatenate([panels.PALETTE, [panels.BACKGROUND]]))
  assert len(colours) == 17
  for a, b in itertools.combinations(colours, 2):
    assert np.linalg.norm(a - b) > 13  # 2.3 is just noticeable, side by side


def test_colours_stay_the_same():
  """Figures of different years stand side by side: Okabe and Ito's first, in this order."""
  first = ["56b4e9", "e69f00", "009e73", "f0e442", "0072b2", "d55e00", "cc79a7"]
  assert ["".join(f"{v:02x}" for v in c) for c in panels.PALETTE[:7]] == first


@pytest.mark.parametrize("name", ["genesis", "genesis_v2"])
def test_a_slot_has_one_colour_in_all_figures(name):
  look = view(name)
  by_title = galleries.whole_images(look)
  owner = look.log_masks.argmax(1)
  shown = by_title["decoded" if name == "genesis_v2" else "attention"]
  np.testing.assert_array_equal(shown, panels.PALETTE[owner])
  tiles = galleries.slot_tiles(np.zeros((3, 4, 4, 3), np.uint8), look.labels[0])
  np.testing.assert_array_equal([tile.colour for tile in tiles], panels.PALETTE[:3])


@pytest.mark.parametrize("name, mixed", [("genesis_v2", "decoded"), ("monet", "attention")])
def test_pictures_of_training_show_the_masks_that_make_them(name, mixed):
  look = view(name)
  painter = panels.Painter(look.model, look.batch)
  out = look.out
  by_title = painter.panels(out, look.samples)
  masks = {"attention": out.log_masks, "decoded": out.log_masks_recon}
  for kind, log_masks in masks.items():
    np.testing.assert_array_equal(by_title[kind], panels.coloured(log_masks.argmax(1)))
    np.testing.assert_array_equal(by_title[f"{kind} mask"], panels.grey(np.exp(log_masks)))
  shares = np.exp(masks[mixed])[..., None] * out.components
  np.testing.assert_allclose(shares.sum(1), out.recon, atol=1e-5)
  np.testing.assert_array_equal(by_title["masked appearance"], panels.to_uint8(shares))
  headings = [title for title, _ in panels._columns(by_title)]
  assert headings[:5] == ["input", "reconstruction", "attention", "decoded", "instances"]
  assert headings[5:7] == [f"{mixed} mask 1", "slot 1"] and len(headings) == 5 + 2 * 3
  assert {"images/attention_mask", "images/decoded_mask"} <= panels.for_tensorboard(by_title).keys()


def test_a_model_of_one_slot_has_figures():
  model = genesis_jax.build_model(MODELS["genesis"] | {"num_slots": 1})
  assert catalogue.impossible("removal", model, 3) == "it takes at least 2 slots"
  assert catalogue.impossible("swaps", model, 3) is None


def test_matched_slots_have_their_instances_colours():
  look = view("genesis", match=True)
  by_title = galleries.whole_images(look)
  for i, ids in enumerate(look.batch["instances"]):
    matched = [k for k, label in enumerate(look.labels[i]) if label in ids]
    assert matched  # the largest slot overlaps with something
    for k in matched:
      pixels = look.log_masks[i].argmax(0) == k
      expected = by_title["instances"][i][ids == look.labels[i][k]][0]
      np.testing.assert_array_equal(
        by_title["attention"][i][pixels], np.tile(expected, (pixels.sum(), 1))
      )


# Layout.


def test_tiles_lie_where_headings_say():
  red, blue = (np.full((32, 32, 3), c, np.uint8) for c in ((255, 0, 0), (0, 0, 255)))
  mark = np.array((1, 2, 3), np.uint8)
  rows = [
    sheets.Row("", [red, sheets.Tile(blue, mark)]),
    sheets.Row("", [None, red], apart=True),
  ]
  sheet = sheets.table(rows, ["a", "b"], {1: ""})

  for scale in (1, 3):
    pixels = np.asarray(sheet.image(scale))[::scale, ::scale]

    def at(x, y, pixels=pixels):
      return pixels[y, x].tolist()

    top, right = sheet.height - 2 * 96 - sheets.GAP - sheets.WIDE_GAP, sheet.width - 96
    below = sheet.height - 96
    assert at(1, top + 1) == [255, 0, 0] and at(right + 1, top + 1) == [1, 2, 3]
    assert at(right + 1, top + sheets.STRIP) == [0, 0, 255]
    assert at(1, below + 1) == [255, 255, 255] and at(right + 1, below + 1) == [255, 0, 0]
    assert right == 96 + sheets.GAP + sheets.WIDE_GAP
    assert pixels[:top].min() < 150  # headings


def test_headings_fit_their_columns():
  tile = np.zeros((32, 32, 3), np.uint8)
  sheet = sheets.table([sheets.Row("", [tile, tile])], ["a heading that is long", "b"])
  assert sheets.text_width(sheet.texts[0].words, sheet.texts[0].size) <= 96
  titled = sheets.titled(sheet, "w" * 200, 10)
  assert titled.width > sheets.text_width("w" * 200)


def test_pdf_has_text_and_all_tiles():
  tile = np.zeros((32, 32, 3), np.uint8)
  pdf = sheets.table([sheets.Row("row", [tile, tile])], ["one", "two"]).pdf()
  assert pdf.startswith(b"%PDF") and pdf.count(b"/Subtype /Image") >= 1
  assert b"/Type /Font" in pdf and b"/Subtype /Type3" not in pdf


def test_film_keeps_the_colours_of_segments():
  rng = np.random.default_rng(0)
  strip = np.repeat(panels.PALETTE[None], 8, 0)
  noise = [rng.integers(0, 256, (40, 16, 3), dtype=np.uint8) for _ in range(4)]
  frames = [Image.fromarray(np.concatenate([strip, n])) for n in noise]
  with Image.open(io.BytesIO(films.gif(frames))) as film:
    assert film.n_frames == 4 and film.info["loop"] == 0
    for index in range(4):
      film.seek(index)
      shown = np.asarray(film.convert("RGB"))
      np.testing.assert_array_equal(shown[:8], strip)
      assert np.abs(shown[8:].astype(int) - noise[index]).mean() < 30
    assert film.info["duration"] == films.LAST


@pytest.mark.parametrize("name", ["genesis", "vae"])
def test_traversal_begins_at_the_decoded_image(name):
  look = view(name, num_dims=2)
  for figure in galleries.traversals(look):
    tiles = [p.pixels for p in figure.sheet.pictures if p.height > sheets.STRIP]
    decoded = panels.to_uint8(look.decoded.images[0])
    same = sum(np.abs(tile.astype(int) - decoded).max() <= 1 for tile in tiles)
    assert same >= 2 * (3 if name == "genesis" else 1)  # the means of each slot and dimension
    assert len(tiles) == (3 * (1 + 2 * 5) if name == "genesis" else 2 * 5)


# The program.


@pytest.fixture(scope="module")
def run_dir(gqn_root, tmp_path_factory):
  """An untrained model of slots with checkpoints of steps 0 and 4, which differ."""
  return write_run(tmp_path_factory.mktemp("visualise") / "run", "tiny_slots", gqn_root)


def write_run(folder: Path, model: str, gqn_root, broken: bool = False) -> Path:
  config = tiny_config(model, gqn_root)
  network, tx = genesis_jax.build_model(config.model), objective.optimizer(config)
  create = functools.partial(training.create_train_state, model=network, tx=tx)
  state = jax.tree.map(np.array, numpy_weights.drawn(create, jax.random.key(0)))
  if broken:
    jax.tree.leaves(state.params)[-1].flat[0] = np.nan
  importing.write_run(folder, config, state, {})
  if model == "tiny_slots":
    origin = checkpoints.origin_of(config, importing.published_source(config))
    later = state.replace(step=state.step + 4, params=jax.tree.map(lambda x: 2 * x, state.params))
    with checkpoints.Checkpoints(folder, origin, config) as writer:
      writer.restore(state)
      writer.save(devices.replicate(later))
      writer.wait()
  return folder


def test_program_makes_all_figures(run_dir, capsys):
  options = [f"--workdir={run_dir}", "--num=2", "--seed=3", "--format=pdf"]
  assert visualise.main(options) == 0, capsys.readouterr().err
  folder = run_dir / "visualisations"
  figures = json.loads((folder / "index.json").read_text())["figures"]
  what = list(catalogue.FIGURES)
  names = [*what[:4], "traversals_component", "traversals_mask", *what[5:]]
  assert [figure["name"] for figure in figures] == names
  for figure in figures:
    assert figure["step"] == 4 and figure["stand_in"] is False and figure["caption"].endswith(".")
    assert "test files" in figure["data"] and figure["split"] == "test"
    with Image.open(folder / figure["file"]) as image:
      assert image.format == ("GIF" if figure["name"] == "film" else "PNG")
      assert np.asarray(image.convert("RGB")).std() > 10
    if figure["name"] != "film":
      assert (folder / figure["pdf"]).read_bytes().startswith(b"%PDF")
  assert "steps [0, 4]" in figures[-1]["caption"]
  with Image.open(folder / "film.gif") as film:
    assert film.n_frames == 2
  events = list((run_dir / "tensorboard" / "visualisations").glob("events*"))
  assert events and b"visualisations/swaps" in events[0].read_bytes()
  assert f"wrote      {folder / 'swaps.png'}" in capsys.readouterr().out


def test_index_keeps_what_is_not_made_again(run_dir, tmp_path, capsys):
  options = [f"--workdir={run_dir}", f"--out={tmp_path}", "--num=1", "--no_title"]
  assert visualise.main([*options, "--what=samples,reconstructions", "--step=0"]) == 0
  small = Image.open(tmp_path / "samples.png").size
  assert visualise.main([*options, "--what=samples", "--scale=2"]) == 0
  index = json.loads((tmp_path / "index.json").read_text())["figures"]
  assert [(f["name"], f["step"]) for f in index] == [("samples", 4), ("reconstructions", 0)]
  with Image.open(tmp_path / "samples.png") as large:
    assert large.size == (2 * small[0], 2 * small[1])
    assert large.info["dpi"] == pytest.approx((200, 200), rel=1e-3)


def test_a_model_without_slots(gqn_root, tmp_path, capsys):
  """What it cannot have is left out and named; a film of one checkpoint is said to be one."""
  run = write_run(tmp_path / "tiny", "tiny", gqn_root)
  assert visualise.main([f"--workdir={run}", "--num=2"]) == 0
  out = capsys.readouterr().out
  need_slots = [name for name, kind in catalogue.FIGURES.items() if kind.needs_slots]
  assert re.findall(r"skipped    (\w+): TinyModel has no slots", out) == need_slots
  assert "one frame, since there is no checkpoint but that of step 0" in out
  files = {path.name for path in (run / "visualisations").glob("*.[pg][ni][gf]")}
  assert files == {"reconstructions.png", "samples.png", "traversals_latent.png", "film.gif"}
  for words, options in {
    "--what=removal: TinyModel has no slots": ["--what=samples,removal"],
    "--match_slots: TinyModel has no slots": ["--match_slots"],
  }.items():
    assert visualise.main([f"--workdir={run}", *options]) == 1
    assert words in capsys.readouterr().err


def test_mistakes_are_one_line(run_dir, gqn_root, tmp_path, capsys):
  broken = write_run(tmp_path / "nans", "tiny", gqn_root, broken=True)
  (tmp_path / "out").mkdir()
  (tmp_path / "out" / "index.json").write_text("[")
  (tmp_path / "features").mkdir()
  (tmp_path / "features" / "index.json").write_text('{"shards": []}')
  mistakes = {
    "no checkpoint in": [f"--workdir={tmp_path / 'empty'}"],
    r"the checkpoints of .* are \[0, 4\]": ["--step=7"],
    f"--num=41, but the test split has {TEST_IMAGES} images": ["--num=41"],
    "has NaNs in params/": [f"--workdir={broken}"],
    "the data has no instances": ["--match_slots"],
    "/nowhere does not exist": ["--data_dir=/nowhere"],
    "--what=swaps: it takes at least 2 images": ["--what=swaps", "--num=1"],
    "index.json is damaged": [f"--out={tmp_path / 'out'}"],
    "index.json is not about figures": [f"--out={tmp_path / 'features'}"],
  }
  for words, options in mistakes.items():
    assert visualise.main([f"--workdir={run_dir}", *options]) == 1, words
    error = capsys.readouterr().err
    assert re.search(f"^error: .*{words}", error) and error.count("\n") == 1, error


@pytest.mark.parametrize(
  "options, words",
  [
    (["--what=samples,slot"], "'slot' is no figure; allowed: reconstructions, slots, samples,"),
    (["--edit=0,1"], "'0,1' is not two numbers from 1 on"),
    (["--edit=1,9"], "--edit names image 9 of --num=8"),
    (["--num=0"], "0 is too small"),
    (["--format=svg"], "invalid choice: 'svg'"),
  ],
)
def test_mistakes_on_the_command_line(options, words, capsys):
  with pytest.raises(SystemExit) as stopped:
    visualise.parse(["--workdir=run", *options])
  assert stopped.value.code == 2
  error = capsys.readouterr().err
  assert words in error and error.startswith("error: ") and error.count("\n") == 1


def test_as_a_program():
  command = [sys.executable, "-m", "experiments.visualise", "--workdir=run", "--what=slot"]
  done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
  assert done.returncode == 2 and done.stdout == "" and done.stderr.startswith("error: ")
