"""The pictures of a report as data URIs: some of those made in training, and visualise.py's.

  galleries = read(workdir)     # [Gallery("In training", [Picture(...), ...], notes=[...]), ...]

A page must stay small enough for a browser: of many pictures some are taken, spread over training;
large ones are made smaller; what is left out is told.
"""

import base64
import dataclasses
import io
import pathlib
import re

from PIL import Image

from experiments.console.errors import UserError
from experiments.figures import catalogue
from experiments.runs.folder import read_json

MAX_IN_TRAINING = 16  # pictures
MAX_PICTURE = 1_000_000  # bytes of a file; a larger one is made smaller
MAX_TOTAL = 13_000_000  # bytes of all files; base64 makes four thirds of it
KINDS = {".png": "image/png", ".gif": "image/gif"}

TRAINING = "In training"
COLUMNS = (
  "One row for each image. Segments have the colour of the slot with the largest mask; where there "
  "is a column “decoded”, its masks are decoded from the slots' latents, as those of samples are. "
  "MONet does not use these in its reconstructions, and learns them last."
)


@dataclasses.dataclass(frozen=True)
class Picture:
  """A picture: `uri` has its data, `alt` says in words what it shows."""

  uri: str
  caption: str
  alt: str
  width: int
  height: int


@dataclasses.dataclass(frozen=True)
class Gallery:
  """Pictures under one tab.

  Attributes:
    notes: what is not there.
    steps: whether it is one picture at many steps.
    about: how to read the pictures.
  """

  title: str
  pictures: list[Picture]
  notes: list[str]
  steps: bool = False
  about: str = ""


class _Budget:
  """Counts bytes over all galleries."""

  def __init__(self):
    self._left = MAX_TOTAL

  def picture(self, path: pathlib.Path, caption: str) -> Picture:
    """A picture file, made smaller if need be.

    Raises:
      ValueError: it is damaged, or there is no room for it.
    """
    try:
      content, kind, size = _small(path)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
      reason = getattr(error, "strerror", None) or "it is damaged"
      raise ValueError(f"{path} cannot be shown: {reason}") from error
    if len(content) > self._left:
      raise ValueError(f"{path} is left out, as the page would become too large")
    self._left -= len(content)
    uri = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    alt = f"{path.stem.replace('_', ' ')}: {caption}"
    return Picture(uri, caption, alt, *size)


def _small(path: pathlib.Path) -> tuple[bytes, str, tuple[int, int]]:
  """A file's content, media type and size; a large PNG becomes a smaller JPEG, a GIF stays."""
  content = path.read_bytes()
  with Image.open(io.BytesIO(content)) as image:
    image.load()
    if path.suffix == ".gif" or len(content) <= MAX_PICTURE:
      return content, KINDS[path.suffix], image.size
    image = image.convert("RGB")
  while True:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    if buffer.tell() <= MAX_PICTURE:
      return buffer.getvalue(), "image/jpeg", image.size
    image = image.resize((image.width * 3 // 4, image.height * 3 // 4), Image.Resampling.LANCZOS)


def _spread(paths: list, count: int) -> list:
  """`count` of them, with the first and the last."""
  if len(paths) <= count:
    return paths
  return [paths[round(i * (len(paths) - 1) / (count - 1))] for i in range(count)]


def _in_training(workdir: pathlib.Path, budget: _Budget) -> Gallery:
  folder = workdir / "pictures"
  steps = sorted(p for p in folder.glob("step_*.png") if re.fullmatch(r"step_\d+", p.stem))
  last = [path for path in [folder / "final.png"] if path.is_file()]
  paths = _spread(steps + last, MAX_IN_TRAINING)
  pictures, notes = {}, []
  for path in reversed(paths):  # the last ones first, should there be no room for all
    step = "end of training" if path.stem == "final" else f"step {int(path.stem[5:]):,}"
    try:
      pictures[path] = budget.picture(path, step)
    except ValueError as error:
      notes.append(f"{error}.")
  if (left := len(steps + last) - len(paths)) > 0:
    notes.append(f"{left} more pictures are in {folder}.")
  if not steps + last:
    why = "the run is too short, was stopped early, or is an exported copy"
    notes.append(f"No picture of training is here: {why}.")
  shown = [pictures[p] for p in paths if p in pictures]
  return Gallery(TRAINING, shown, notes, steps=True, about=COLUMNS if shown else "")


def _entries(folder: pathlib.Path) -> list[dict]:
  """Figures in the index of visualise.py.

  Raises:
    ValueError: if it is damaged.
  """
  index = folder / "index.json"
  try:
    figures = read_json(index).get("figures", [])
    return [f for f in figures if (f["name"], f["file"], f["caption"]) and f["step"] is not None]
  except UserError as error:
    raise ValueError(str(error)) from error
  except (AttributeError, KeyError, TypeError) as error:
    raise ValueError(f"{index} is damaged ({type(error).__name__}: {error}); remove it") from error


def _kind(name: str) -> str:
  titles = catalogue.titles().items()
  return next((title for start, title in titles if name.startswith(start)), "More")


def _visualised(workdir: pathlib.Path, budget: _Budget) -> list[Gallery]:
  folder = workdir / "visualisations"
  try:
    entries = _entries(folder)
  except ValueError as error:
    return [Gallery("More", [], [f"{error}."])]
  galleries = {title: Gallery(title, [], []) for title in [*catalogue.titles().values(), "More"]}
  for entry in entries:
    gallery = galleries[_kind(entry["name"])]
    path = folder / pathlib.PurePath(entry["file"]).name  # never a file elsewhere
    where = f"Step {entry['step']:,}, {entry.get('split', 'unknown')} split."
    try:
      if path.suffix not in KINDS:
        raise ValueError(f"{path} is no PNG or GIF")
      gallery.pictures.append(budget.picture(path, f"{entry['caption']} {where}"))
    except ValueError as error:
      gallery.notes.append(f"{error}.")
  return [gallery for gallery in galleries.values() if gallery.pictures or gallery.notes]


def read(workdir: pathlib.Path) -> list[Gallery]:
  """The galleries of a run; the first is that of training, and is always there."""
  budget = _Budget()
  visualised = _visualised(workdir, budget)  # made on purpose: they have what room there is
  return [_in_training(workdir, budget), *visualised]
