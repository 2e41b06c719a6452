"""Pictures of data sets: where images, instances and labels are drawn, and how mistakes end."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import visualise_data
from experiments.figures import data
from experiments.figures.panels import BACKGROUND, PALETTE
from experiments.figures.sheets import MARGIN, TITLE

ROOT = Path(__file__).parents[2]
CONFIG = f"--config={ROOT}/configs/genesis_gqn.py"


def batch(count: int, side: int = 48) -> dict[str, np.ndarray]:
  ids = np.zeros((count, side, side), np.int32)
  ids[:, : side // 2], ids[:, :, : side // 2] = 1, 2
  image = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
  return {"image": image, "instances": ids}


def test_images_stand_beside_their_instances():
  content = batch(3)
  drawn = np.asarray(data.picture(content, "title"))
  tile, top = 96, MARGIN + TITLE
  shown = drawn[top : top + tile, MARGIN : MARGIN + tile]
  np.testing.assert_array_equal(shown[::2, ::2], content["image"][0])
  masks = drawn[top : top + tile, MARGIN + tile : MARGIN + 2 * tile]
  np.testing.assert_array_equal(masks[90, 90], BACKGROUND)
  np.testing.assert_array_equal(masks[5, 90], PALETTE[0])
  np.testing.assert_array_equal(masks[90, 5], PALETTE[1])


def test_labels_stand_below():
  content = batch(2) | {
    "stable": np.array([0, 1], np.int32),
    "height": np.array([2, 6], np.int32),
    "place": np.zeros((2, 5, 3), np.float32),
  }
  assert data.captions(content) == ["height 2, stable 0", "height 6, stable 1"]
  assert data.captions(batch(2)) == ["", ""]
  taller = data.picture(content, "").size[1] - data.picture(batch(2), "").size[1]
  assert taller == data.LINE


def test_without_instances_and_in_rows():
  content = {"image": batch(40)["image"]}
  width, height = data.picture(content, "").size
  assert width <= data.WIDTH + 2 * MARGIN
  assert height == TITLE + 3 * (96 + 3) + 2 * MARGIN  # 16 columns


def test_a_long_title_fits():
  assert data.picture(batch(1), "word " * 80).size[0] > 1000


def test_writes_a_picture(gqn_root, capsys, tmp_path):
  words = [CONFIG, f"--config.data.data_dir={gqn_root}", "--split=val", "--num=5"]
  assert visualise_data.main([*words, f"--workdir={tmp_path / 'run'}"]) == 0
  path = tmp_path / "run" / "data_val.png"
  assert capsys.readouterr().out == f"wrote {path}\n"
  with Image.open(path) as drawn:
    assert drawn.format == "PNG" and drawn.size[1] == TITLE + 128 + 3 + 2 * MARGIN
  assert visualise_data.main([*words, f"--out={tmp_path / 'a' / 'b.png'}"]) == 0
  assert (tmp_path / "a" / "b.png").read_bytes() == path.read_bytes()
  again = [*words[:2], "--num=5", f"--out={tmp_path / 'seed.png'}"]
  pictures = set()
  for seed in (0, 0, 1):
    assert visualise_data.main([*again, f"--seed={seed}"]) == 0
    pictures.add((tmp_path / "seed.png").read_bytes())
  assert len(pictures) == 2


@pytest.mark.parametrize(
  "words,status,message",
  [
    ((CONFIG, "--config.data.data_dir=/nowhere"), 1, "/nowhere does not exist"),
    ((CONFIG, "--config.data.on_corrupt=skp"), 1, "data.on_corrupt is 'skp'"),
    ((CONFIG, "--config.data.limits=1"), 2, "no field limits"),
    ((CONFIG, "--num=0"), 2, "0 is too small"),
    ((CONFIG, "--split=vali"), 2, "invalid choice: 'vali'"),
    (("--config=none.py",), 2, "'none.py' is not a file"),
  ],
)
def test_mistakes_are_one_line(capsys, words, status, message):
  try:
    got = visualise_data.main([*words])
  except SystemExit as stopped:
    got = stopped.code
  err = capsys.readouterr().err
  assert got == status and message in err
  assert err.startswith("error: ") and len(err.splitlines()) == 1


def test_what_cannot_be_written_is_one_line(gqn_root, capsys, tmp_path):
  (tmp_path / "file").touch()
  out = f"--out={tmp_path / 'file' / 'x.png'}"
  assert visualise_data.main([CONFIG, f"--config.data.data_dir={gqn_root}", "--num=2", out]) == 1
  assert capsys.readouterr().err.startswith("error: ")
