"""The page where slots are touched: edits without a browser, the server's caution, a visit."""

import asyncio
import base64
import functools
import io
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import chromium
import httpx
import jax
import jax.numpy as jnp
import numpy as np
import numpy_weights
import pytest
import uvicorn
from image_trees import picture
from PIL import Image

import genesis_jax
from experiments import explore
from experiments.figures.panels import to_uint8
from experiments.touch import scenes, server
from experiments.touch import table as tables
from experiments.touch.scenes import SceneError
from experiments.touch.stage import Stage
from experiments.touch.table import Table
from genesis_jax import editing

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SIZE, K = 32, 3
SMALL = dict(image_size=SIZE, num_slots=K, component_latent_dim=4, component_encoder_channels=8,
             component_decoder_channels=8, component_decoder_layers=2)  # fmt: skip
MODELS = {
  "genesis": SMALL | dict(name="genesis", mask_latent_dim=6),
  "genesis_v2": dict(name="genesis_v2", image_size=SIZE, num_slots=K, feature_dim=8),
  "monet": SMALL | dict(name="monet", unet_channels=8),
  "vae": dict(name="vae", image_size=SIZE, latent_dim=5, broadcast_decoder=True),
}


@functools.cache
def stage(name: str) -> Stage:
  """A model, large enough that slots differ, and two images."""
  model = genesis_jax.build_model(MODELS[name])
  keys = {"params": jax.random.key(0), "noise": jax.random.key(1)}
  image = jnp.zeros((1, SIZE, SIZE, 3))
  variables = numpy_weights.drawn(lambda: model.init(keys, image, train=False))
  params = jax.tree.map(lambda x: 2 * x if x.ndim > 1 else x, variables["params"])
  images = np.stack([picture(seed, SIZE, SIZE) for seed in range(2)])
  return Stage(name, model, variables | {"params": params}, images)


@functools.cache
def table(*names: str) -> Table:
  stages = [stage(name) for name in names]
  return Table(stages, stages[0].images, "None")


def state(*edits, image=0, **start) -> dict:
  return {"start": {"run": 0, **(start or {"image": image})}, "edits": list(edits)}


def pixels(data: str | bytes) -> np.ndarray:
  return np.asarray(
    Image.open(io.BytesIO(base64.b64decode(data) if isinstance(data, str) else data))
  )


def rerun(look: Table, wish: dict) -> dict:
  """What the lines of Python make, on the same table."""
  names = {"table": look}
  exec(look.lines(wish).replace("table = None", ""), names)
  return names


# Edits.


@pytest.mark.parametrize("name", MODELS)
def test_a_scene_is_what_the_model_makes_of_an_image(name):
  look = table(name)
  scene, shown = look.scene(state()), look.pictures(state())
  np.testing.assert_allclose(scene.samples.images, stage(name).outs[0].recon, atol=1e-5)
  np.testing.assert_array_equal(pixels(shown["input"]), look.images[0])
  np.testing.assert_array_equal(
    pixels(shown["picture"])[..., :3], to_uint8(scene.samples.images[0])
  )
  assert (pixels(shown["picture"])[..., 3] == 255).all() and len(shown["ids"]) == SIZE**2
  kl = sum(editing.nats(latent).sum() for latent in stage(name).outs[0].latents.values())
  assert sum(slot["nats"] for slot in shown["slots"]) == pytest.approx(float(kl), rel=1e-4)
  assert sum(slot["share"] for slot in shown["slots"]) == pytest.approx(1, abs=1e-4)
  # What cannot be is not offered.
  slots = [slot for slot in shown["slots"] if slot["can_draw"]]
  assert len(slots) == {"monet": 0, "vae": 1}.get(name, K)
  assert shown["can_add"] == (name in ("genesis", "genesis_v2"))
  assert [slot["is_rest"] for slot in shown["slots"]] == (
    [False, False, True] if name == "genesis" else [False] * len(shown["slots"])
  )
  (run,) = look.about()["runs"]
  assert run["slots"] == (name != "vae") and run["counts"] == (
    [1] if name == "vae" else [3, 4, 5, 6]
  )
  assert [nats for _, _, nats in run["dims"]] == sorted(row[2] for row in run["dims"])[::-1]
  json.dumps(look.about())


@pytest.mark.parametrize("name", ["genesis", "genesis_v2", "monet"])
def test_slots_are_hidden_taken_out_moved_put_and_swapped(name):
  look, model = table(name), stage(name)
  plain, other = look.scene(state()), look.scene(state(image=1))
  masks = np.exp(plain.samples.log_masks[0])

  hidden = look.scene(state(["mark", "hidden", [1]])).picture
  np.testing.assert_array_equal(hidden[..., 3], to_uint8(masks[[0, 2]].sum(0)))
  out = look.scene(state(["mark", "out", [1]]))
  expected = editing.without(plain.samples, 1)
  np.testing.assert_allclose(out.samples.images, expected.images, atol=1e-5)

  move = ["move", 0, "component", 2, 1.5]
  moved = look.scene(state(["move", 0, "component", 2, -3], move))  # the last counts
  value = float(plain.latents["component"][0, 0, 2] + 1.5 * model.stds["component"][2])
  z = editing.moved(plain.latents, "component", 0, 2, [value])
  np.testing.assert_allclose(moved.moved["component"], z["component"], rtol=1e-6)
  decoded = model.decode(z)
  if name == "monet":
    decoded = editing.with_masks(decoded, plain.log_masks)
  np.testing.assert_allclose(moved.samples.images, decoded.images, atol=1e-5)
  strip = look.strip(state(), 0, "component", 2)
  np.testing.assert_array_equal(pixels(strip[2]), plain.picture)
  assert len(set(strip)) == 5

  put = ["put", state(move, image=1), 0]
  both = look.scene(state(put))
  mask = np.exp(look.scene(state(move, image=1)).samples.log_masks[0, 0])
  np.testing.assert_allclose(np.exp(both.samples.log_masks[0, K]), mask, atol=1e-4)
  np.testing.assert_allclose(np.exp(both.samples.log_masks[0, :K]).sum(0), 1 - mask, atol=1e-4)
  back = look.scene(state(put, ["mark", "out", [K]])).picture
  np.testing.assert_allclose(back.astype(int), plain.picture, atol=1)
  copied = look.scene(state(["copy", 1], ["move", K, "component", 0, 3]))
  assert len(copied.parts) == K + 1 and (copied.picture != plain.picture).any()

  swapped = look.scene(state(["swap", 1, state(image=1), 2]))
  z = editing.exchanged(plain.latents, 1, other.latents, 2)
  decoded = model.decode(z)
  if name == "monet":
    masks = np.array(plain.log_masks)
    masks[:, 1] = other.log_masks[:, 2]
    decoded = editing.with_masks(decoded, masks)
  np.testing.assert_allclose(swapped.samples.images, decoded.images, atol=1e-5)
  for edits in ([put, move], [put, ["swap", 1, state(put, image=1), K]]):  # of what was put in, too
    assert rerun(look, state(*edits))["scene"].picture.shape == (SIZE, SIZE, 4)


@pytest.mark.parametrize("name", ["genesis", "genesis_v2", "monet"])
def test_slots_are_drawn_given_those_before_them(name):
  look, model = table(name), stage(name)
  prior = state(draw=5)
  scene = look.scene(prior)
  rng = np.random.default_rng(5)
  noise = {n: rng.standard_normal(z.shape, np.float32) for n, z in sorted(scene.latents.items())}
  if name == "genesis_v2":
    noise["seed"] = np.zeros((1, SIZE, SIZE), np.float32)
  sample = jax.jit(lambda noise: model.model.apply(model.variables, 1, noise, method="sample"))
  np.testing.assert_allclose(scene.samples.images, sample(noise).images, atol=1e-4)
  assert scene.image is None and all(np.isnan(scene.nats))

  again = look.scene(state(["draw", 1, 7], draw=5))
  first = look.scene(state(["move", 0, "component", 0, 9], ["draw", 1, 7], draw=5))
  for n, z in again.latents.items():
    np.testing.assert_array_equal(z[:, [0, 2]], scene.latents[n][:, [0, 2]])
    assert (z[:, 1] != scene.latents[n][:, 1]).all()
  follows = any((z[:, 1] != first.latents[n][:, 1]).any() for n, z in again.latents.items())
  assert follows == (name == "genesis_v2")  # there the prior of a slot depends on that latent
  rest = look.scene(state(["mark", "locked", [0, 2]], ["draw_rest", 7], draw=5))
  for n, z in again.latents.items():
    np.testing.assert_array_equal(z, rest.latents[n])

  more = look.scene(state(["add", 3], ["draw_rest", 4], draw=5))
  assert len(more.parts) == K + 1 and more.order == (0, 1, 3, 2)
  assert len(look.scene(state(draw=5, slots=K + 1)).parts) == K + 1
  if name == "monet":
    with pytest.raises(SceneError, match="no prior"):
      look.scene(state(["draw", 1, 7]))
    with pytest.raises(SceneError, match="No further slot"):
      look.scene(state(["add", 7]))


def test_an_image_without_slots_is_moved_and_drawn():
  look = table("vae")
  moved = look.scene(state(["move", 0, "latent", 3, 2.0]))
  z = {"latent": jnp.asarray(moved.latents["latent"][:, 0]).at[0, 3].add(2.0)}
  model = stage("vae").model
  expected = model.apply(stage("vae").variables, z, method="decode").images
  np.testing.assert_allclose(moved.samples.images, expected, atol=1e-5)
  drawn = [look.scene(state(draw=seed)).picture for seed in (1, 2, 1)]
  assert (drawn[0] != drawn[1]).any() and (drawn[0] == drawn[2]).all()


def test_what_is_saved_makes_the_same_picture():
  look = table("genesis")
  png = server.encoded(look.images[1])
  wish = state(["draw", 1, 3], ["put", state(["copy", 0], png=png), 1], ["mark", "hidden", [0]])
  scene = look.scene(wish)
  names = rerun(look, wish)
  np.testing.assert_array_equal(names["image"], scene.picture)
  np.testing.assert_array_equal(pixels(look.saved(wish, "picture.png")), scene.picture)
  with Image.open(io.BytesIO(look.saved(wish, "masks.png"))) as masks:
    np.testing.assert_array_equal(np.asarray(masks), scene.ids)
  arrays = np.load(io.BytesIO(look.saved(state(["draw", 1, 3]), "latents.npz")))
  z = {name: arrays[name][None, arrays["order"]] for name in ("component", "mask")}
  decoded = stage("genesis").decode(z).images
  np.testing.assert_array_equal(
    to_uint8(decoded[0]), look.scene(state(["draw", 1, 3])).picture[..., :3]
  )
  assert look.saved(wish, "scene.py").decode() == look.lines(wish)


@pytest.mark.parametrize(
  "wish",
  [
    None, [], {}, {"start": {"run": 0}}, state(["jump"]), state(["_drawn", [0], 1]), state("ab"),
    state(["mark", "out", [0, 1, 2]]), state(["mark", "out", [3]]), state(["draw"]),
    state(["move", 9, "mask", 0, 1]), state(run=7),
    state(["move", 0, "mask", -1, 1.0]), state(["move", 0, "mask", 0, float("nan")]),
    state(["move", 0, "scene", 0, 1.0]), state(["draw", 0, -1]), state(["put", {}, 0]),
    state(image=99), state(png="#"), state(png="aaaa"), state(draw=1, slots=99), state(draw="x"),
    state(nothing=1), state(*[["copy", 0]] * 14), state(*[["mark", "out", []]] * 301),
    state(["mark", ["hidden"], [0]]),
  ],
)  # fmt: skip
def test_damaged_states_are_refused(wish):
  with pytest.raises(SceneError):
    table("genesis").pictures(wish)


def test_a_model_with_a_prior_of_its_own_is_not_drawn_from(monkeypatch):
  monkeypatch.delattr(type(stage("genesis").model), "redraw")
  assert not stage("genesis").draws
  with pytest.raises(SceneError, match="cannot be drawn"):
    scenes.from_prior(stage("genesis"), 1)


# The server.


def ask(method: str, path: str, token=None, content=b"", **headers) -> httpx.Response:
  """What the application answers, without a network."""
  base = {"host": "localhost:9000", "origin": "http://localhost:9000"}

  async def send():
    transport = httpx.ASGITransport(server.application(table("genesis"), token))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
      return await client.request(method, path, content=content, headers=base | headers)

  return asyncio.run(send())


def test_pages_from_elsewhere_are_not_answered():
  for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}, {"origin": "null"},
                  {"origin": "http://localhost:1"}, {"host": "localhost.evil.example:9000"},
                  {"host": "[", "origin": "http://["}):  # fmt: skip
    for answer in (ask("GET", "/", **headers), ask("POST", "/about", **headers)):
      assert answer.status_code == 403 and "error" in answer.json()
  assert ask("POST", "/about").json()["runs"][0]["name"] == "genesis"
  # Through an SSH tunnel the port is another one.
  tunnel = dict(host="127.0.0.1:1234", origin="http://127.0.0.1:1234")
  assert ask("GET", "/", **tunnel).status_code == 200
  there = dict(token="secret", host="gpu7:8000", origin="http://gpu7:8000")
  right = {"x-token": "secret"}
  assert ask("GET", "/?token=secret", **there).status_code == 200
  assert ask("POST", "/about", **there, **right).status_code == 200
  assert ask("POST", "/about", **there).status_code == 403
  assert ask("POST", "/about", **there, **{"x-token": "sécret".encode()}).status_code == 403
  there["origin"] = "http://evil.example"
  assert ask("POST", "/about", **there, **right).status_code == 403


def test_nothing_but_the_page_is_served():
  page = ask("GET", "/")
  assert "default-src 'none'" in page.headers["content-security-policy"]
  assert page.headers["cache-control"] == "no-store" and "http" not in page.text
  for name in ("page.css", "page.js"):
    answer = ask("GET", f"/{name}")
    assert answer.status_code == 200 and answer.headers["x-content-type-options"] == "nosniff"
    assert "url(http" not in answer.text and "import(" not in answer.text
  for path in (
    "server.py",
    "..%2fserver.py",
    "%2e%2e/explore.py",
    "page.html",
    "etc/passwd",
    "about",
  ):
    assert ask("GET", f"/{path}").status_code in (404, 405)
  assert ask("PUT", "/about").status_code == 405


def test_uploads_are_cropped_or_refused():
  def upload(data: bytes):
    return ask("POST", "/upload", content=data)

  wide = Image.new("RGB", (90, 30), "red")
  wide.paste("blue", (30, 0, 60, 30))
  for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
    buffer = io.BytesIO()
    wide.save(buffer, kind)
    image = pixels(upload(buffer.getvalue()).json()["png"])
    assert image.shape == (SIZE, SIZE, 3) and (image[:, 4:-4].argmax(-1) == 2).all()
  tiff, bomb = buffer.getvalue(), io.BytesIO()
  Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
  for data, words in [(b"", "no PNG"), (b"%PDF-1.4", "no PNG"), (b"\x89PNG\r\n\x1a\n", "used"),
                      (tiff[:60], "used"), (bomb.getvalue(), "too large")]:  # fmt: skip
    answer = upload(data)
    assert answer.status_code == 400 and words in answer.json()["error"], answer.json()
  answer = upload(bytes(server.MOST_BYTES + 1))
  assert answer.status_code == 413 and "16 MiB" in answer.json()["error"]


def test_odd_requests_are_refused():
  for name, data in [("picture", b"{"), ("picture", b"[]"), ("picture", b"[" * 100_000),
                     ("picture", b'{"state": 1}'), ("picture", b'{"state": {}, "edit": []}'),
                     ("strip", b"{}"), ("save", b'{"state": 1, "what": "/etc/passwd"}'),
                     ("save", json.dumps({"state": state(), "what": "../x"}).encode()),
                     ("nothing", b"{}")]:  # fmt: skip
    answer = ask("POST", f"/{name}", content=data)
    assert answer.status_code == 400 and answer.json()["error"].endswith(".")


def test_ports_and_links():
  with server.listening("127.0.0.1", None) as one, server.listening("127.0.0.1", None) as two:
    assert one.getsockname()[1] != two.getsockname()[1]
    assert server.link(one, None) == f"http://127.0.0.1:{one.getsockname()[1]}/"
    assert server.link(one, "t").endswith("/?token=t")
    with pytest.raises(server.UserError, match="another --port"):
      server.listening("127.0.0.1", one.getsockname()[1])


def test_the_program_opens_what_it_is_told(monkeypatch, capsys):
  look, served = stage("vae"), []
  data, model = SimpleNamespace(resize="protocol"), SimpleNamespace(name="vae", image_size=SIZE)
  config = SimpleNamespace(data=data, model=model)

  def opened(workdir, step, data_dir):
    return step or 7, look.model, look.variables, config

  monkeypatch.setattr(tables, "opened", opened)
  monkeypatch.setattr(tables, "chosen", lambda *args: {"image": look.images[: args[2]]})
  monkeypatch.setattr(server, "serve", lambda *args: served.append(args))
  assert explore.main(["--workdir=a", "--step=3", "--step=5", "--num=2"]) == 0
  found, _, token = served.pop()
  assert [one.name for one in found.stages] == ["vae, a, step 3", "vae, a, step 5"]
  assert token is None and "open       http://127.0.0.1:80" in capsys.readouterr().out
  wish = {"start": {"run": 1, "image": 1}, "edits": [["move", 0, "latent", 1, 2.0]]}
  names = {}
  exec(found.lines(wish), names)
  np.testing.assert_array_equal(names["image"], found.scene(wish).picture)
  assert explore.main(["--workdir=a", "--num=2", "--host=0.0.0.0"]) == 0
  assert f"?token={served.pop()[2]}" in capsys.readouterr().out


def test_what_is_missing_is_told_in_one_line(monkeypatch, capsys):
  monkeypatch.setattr(explore.importlib.util, "find_spec", lambda name: None)
  assert explore.main(["--workdir=RUN"]) == 1
  line = "error: starlette is not installed: pip install starlette uvicorn\n"
  assert capsys.readouterr().err == line


def test_ctrl_c_ends_it():
  code = (
    "from experiments.console import program; from experiments.touch import server\n"
    "@program.entry\n"
    "def main(argv):\n"
    "  with server.listening('127.0.0.1', None) as listener:\n"
    "    print(server.link(listener, None), flush=True)\n"
    "    server.serve(None, listener, None)\n"
    "program.run(main)"
  )
  command = [sys.executable, "-c", f"import sys; sys.argv = ['-m']\n{code}"]
  pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  process = subprocess.Popen(command, cwd=ROOT, **pipes)
  assert process.stdout.readline().startswith("http://127.0.0.1:")
  process.send_signal(signal.SIGINT)
  _, errors = process.communicate(timeout=60)
  assert process.returncode == 130
  assert errors.endswith("interrupted\n") and "Traceback" not in errors


# A visit.


class Visit(chromium.Browser):
  """A browser on the page."""

  def settled(self):
    """What the page shows, once nothing is left to be done."""
    end = time.monotonic() + chromium.SECONDS
    while not self.run("!!shown && !working"):
      assert time.monotonic() < end, self.messages
    return self.run("({state: current(), slots: shown.slots.length, place, selected, "
                    "message: document.getElementById('message').textContent})")  # fmt: skip

  def do(self, selector: str) -> dict:
    self.click(selector)
    return self.settled()


@pytest.fixture
def address():
  """Of a running server."""
  with server.listening("127.0.0.1", None) as listener:
    config = uvicorn.Config(server.application(table("genesis", "monet")), log_level="error")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    yield server.link(listener, None)
    running.should_exit = True
    thread.join()


@pytest.mark.skipif(chromium.PROGRAM is None, reason="no Chromium")
def test_a_visit(address, tmp_path):
  with Visit() as page, Visit() as other:
    page.show_as(1000, 1400)
    page.open(address)
    assert page.settled()["state"]["edits"] == []
    other.open(address)
    elsewhere = other.settled()

    # An image of one's own, and one that is damaged.
    mine = Image.fromarray(picture(7, 48, 64))
    mine.save(tmp_path / "mine.png")
    page.drop("#panels", tmp_path / "mine.png")
    while "png" not in (found := page.settled())["state"]["start"]:
      pass
    assert "central square, resized to 32x32" in found["message"]
    (tmp_path / "damaged.png").write_bytes((tmp_path / "mine.png").read_bytes()[:60])
    page.drop("#panels", tmp_path / "damaged.png")
    while "cannot be used" not in (after := page.settled())["message"]:
      pass
    assert after["state"] == found["state"]

    # A slot is clicked in the picture, hidden, and shown again.
    middle = page.run(f"shown.ids[{SIZE // 2 * SIZE + SIZE // 2}]")
    assert page.do("#panels figure:nth-child(2) .view")["selected"] == middle
    hidden = page.do("[data-do=hidden]")
    assert hidden["state"]["edits"] == [["mark", "hidden", [middle]]]
    pressed = "document.querySelector('[data-do=hidden]').ariaPressed"
    assert page.run(pressed) == "true"
    assert page.do("[data-do=undo]")["state"]["edits"] == [] and page.run(pressed) == "false"
    assert page.do("[data-do=redo]")["state"] == hidden["state"]
    page.do("[data-do=undo]")

    # Two slots are hidden faster than the first is answered.
    page.run("acts.hidden(); selected = (selected + 1) % 3; acts.hidden()")
    assert len(page.settled()["state"]["edits"][-1][2]) == 2
    page.do("[data-do=undo]")
    page.do("[data-do=undo]")
    page.do("#panels figure:nth-child(2) .view")

    # Ten quick drags: one edit, and the last state.
    page.drag(".slider input", *((x, 0.5) for x in np.linspace(0.5, 0.95, 10)))
    moved = page.settled()
    ((name, slot, _, _, by),) = moved["state"]["edits"]
    assert (name, slot) == ("move", middle) and by > 2 and moved["place"] == found["place"] + 1
    assert page.run("Number(document.querySelector('.slider input').value)") == by
    assert page.do("[data-do=undo]")["state"]["edits"] == []
    page.do(".slider button")
    while page.run("document.querySelectorAll('.strip img').length") != 5:
      pass

    # A slot is carried to another image, and swapped there.
    page.do("[data-do=take]")
    page.do("#images button:nth-child(2)")
    assert page.do("[data-do=put]")["slots"] == K + 1
    swapped = page.do("#tiles button:nth-child(1)") and page.do("[data-do=swap]")
    assert [edit[0] for edit in swapped["state"]["edits"]] == ["put", "swap"]

    # From the prior: one slot is locked, the rest drawn again.
    page.do("[data-do=scene]")
    page.run("document.activeElement.blur()")
    page.do("#tiles button:nth-child(2)")
    page.do("[data-do=locked]")
    before = page.run("shown.slots.map((slot) => slot.appearance)")
    page.do("[data-do=rest]")
    after = page.run("shown.slots.map((slot) => slot.appearance)")
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True, False]
    assert page.do("[data-do=add]")["slots"] == K + 1

    # By keyboard; and beside another model.
    page.run("document.activeElement.blur()")
    page.press("1")
    page.press("h")
    assert page.settled()["state"]["edits"][-1] == ["mark", "hidden", [0]]
    page.run("(s => { s.value = 1; s.dispatchEvent(new Event('change')) })"
             "(document.getElementById('beside'))")  # fmt: skip
    last = page.settled()
    assert page.run("document.querySelectorAll('#other figure:not([hidden])').length") == 2

    # The link restores it, with what came before; a save is what is shown.
    link, picture_shown = page.run("location.href"), page.run("shown.picture")
    page.open("about:blank")
    page.open(link)
    again = page.settled()
    assert again["state"] == last["state"] and page.run("shown.picture") == picture_shown
    assert page.do("[data-do=undo]")["state"]["edits"] == last["state"]["edits"][:-1]
    page.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "saved"))
    page.do("[data-do=redo]")
    page.click("[data-save='picture.png']")
    end = time.monotonic() + chromium.SECONDS
    while not (saved := list((tmp_path / "saved").glob("picture.png"))):
      assert time.monotonic() < end
    np.testing.assert_array_equal(pixels(saved[0].read_bytes()), pixels(picture_shown))

    assert other.settled() == elsewhere  # the other tab
    page.open(address + "#nonsense")
    assert page.settled()["message"] == "This link does not describe a scene."
    assert {request.split("/")[2] for request in page.requests if "data:" not in request} == {
      address.split("/")[2]
    }
    assert not page.messages and not other.messages
