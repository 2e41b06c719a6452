"""The folder that a checkpoint's figures are written to, with an index of what they are.

  with Folder(workdir, None, about) as folder:
    folder.add(figure, "genesis on gqn, step 500000")

`index.json` lists each figure with its file, its caption, and which checkpoint and data it shows. A
figure that is made again takes its own place; others stay.
"""

import io
import pathlib

import numpy as np
from PIL import Image

from data_pipelines.durable import write_atomically
from experiments.console.errors import UserError
from experiments.figures.galleries import Figure
from experiments.figures.sheets import MARGIN, titled
from experiments.runs import folder, logbook

FOLDER = "visualisations"  # within a run's folder


class Folder:
  """Writes figures, also for TensorBoard where TensorFlow is installed.

  Args:
    workdir: of the run.
    out: where to write instead of its folder for figures.
    about: of the checkpoint and the data, for each entry of the index.
    scale: of PNGs, see `sheets`.
    pdf: whether to write PDF files too.
    titles: whether to write titles above figures.

  Raises:
    UserError: there is an index that cannot be read.
  """

  def __init__(
    self,
    workdir: pathlib.Path,
    out: pathlib.Path | None,
    about: dict,
    scale: int = 1,
    pdf: bool = False,
    titles: bool = True,
  ):
    self._path = out or workdir / FOLDER
    self._about, self._scale, self._pdf, self._titles = about, scale, pdf, titles
    self._index = self._path / "index.json"
    self._entries()  # what is wrong with them is said before anything is drawn
    self._path.mkdir(parents=True, exist_ok=True)
    # Beside the run's own curves, under a name of its own.
    self._writer = logbook.clu_writer((out or workdir) / "tensorboard" / FOLDER)

  def _entries(self) -> dict[str, dict]:
    """What the index says, by name of a figure."""
    try:
      index = folder.read_json(self._index)
      if index and "figures" not in index:
        raise UserError(f"{self._index} is not about figures; choose another --out")
      return {e["name"]: e for e in index.get("figures", [])}
    except (KeyError, TypeError) as error:
      raise UserError(f"{self._index} is damaged ({error}); remove it") from error

  def __enter__(self) -> "Folder":
    return self

  def __exit__(self, *exc_info):
    if self._writer is not None:
      self._writer.close()

  def add(self, figure: Figure, title: str) -> None:
    """Writes a figure."""
    sheet = titled(figure.sheet, title if self._titles else "", MARGIN)
    files = {"file": (f"{figure.name}.png", sheet.png(self._scale))}
    if self._pdf:
      files["pdf"] = (f"{figure.name}.pdf", sheet.pdf())
    self._write(figure.name, files, figure.caption)

  def add_film(self, name: str, content: bytes, caption: str) -> None:
    """Writes a GIF."""
    self._write(name, {"file": (f"{name}.gif", content)}, caption)

  def _write(self, name: str, files: dict[str, tuple[str, bytes]], caption: str) -> None:
    for path, content in files.values():
      write_atomically(self._path / path, content)
      print(f"wrote      {self._path / path}", flush=True)
    entry = {kind: path for kind, (path, _) in files.items()}
    entry = {"name": name, **entry, "caption": caption, **self._about}
    with folder.alone_with(self._index):
      entries = self._entries() | {name: entry}
      folder.write_json(self._index, {"figures": list(entries.values())})
    if self._writer is not None:
      with Image.open(io.BytesIO(files["file"][1])) as image:
        pixels = np.asarray(image.convert("RGB"))[None]
      self._writer.write_images(self._about["step"], {f"{FOLDER}/{name}": pixels})
