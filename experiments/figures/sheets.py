"""Sheets of picture tiles with headings and labels: as PNG by Pillow, as PDF by matplotlib.

  sheet = table([Row("1", [image, mask]), Row("2", [image_2, mask_2])], ["input", "mask"])
  titled(sheet, "genesis on gqn, step 500000").image(scale=2).save("figure.png")

Lengths are in units: pixels of a PNG at scale 1, a hundredth of an inch on paper. Tiles are
enlarged by whole factors without smoothing, so that a pixel of the model stays a square.
"""

import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

UNITS_PER_INCH = 100
TILE = 96  # units of a tile's side, at least
GAP, MARGIN, TITLE = 3, 10, 26
WIDE_GAP = 14  # between groups of columns or rows
STRIP = 5  # height of the coloured strip on a tile
FONT_SIZE, SMALLEST = 13, 8
LINE = 18  # height of a line of headings


@dataclasses.dataclass(frozen=True)
class Tile:
  """A square picture uint8 `[S,S,3]`, with a strip of a colour uint8 `[3]` on top."""

  pixels: np.ndarray
  colour: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Row:
  """Tiles (None: nothing there) between two labels; `apart` from the row above."""

  label: str
  tiles: Sequence[Tile | np.ndarray | None]
  right: str = ""
  apart: bool = False


@dataclasses.dataclass(frozen=True)
class _Picture:
  x: int
  y: int
  width: int
  height: int
  pixels: np.ndarray

  def enlarged(self, scale: int = 1) -> Image.Image:
    size = (self.width * scale, self.height * scale)
    return Image.fromarray(self.pixels).resize(size, Image.Resampling.NEAREST)


@dataclasses.dataclass(frozen=True)
class _Text:
  x: int
  y: int  # of the middle of the line
  words: str
  anchor: str  # of x: l(eft), m(iddle), r(ight)
  size: int


def text_width(words: str, size: int = FONT_SIZE) -> int:
  """Units that a line of text takes."""
  return int(np.ceil(ImageFont.load_default(size).getlength(words)))


@dataclasses.dataclass
class Sheet:
  """Pictures and texts at their places."""

  width: int
  height: int
  pictures: list[_Picture] = dataclasses.field(default_factory=list)
  texts: list[_Text] = dataclasses.field(default_factory=list)

  def paste(self, other: "Sheet", x: int, y: int) -> None:
    """Adds all of another sheet, its corner at (x, y)."""
    for mine, theirs in ((self.pictures, other.pictures), (self.texts, other.texts)):
      mine += [dataclasses.replace(item, x=item.x + x, y=item.y + y) for item in theirs]

  def write(self, words: str, x: int, y: int, anchor: str = "l", width: int | None = None) -> None:
    """Adds a line of text; smaller where it is wider than `width`."""
    size = FONT_SIZE
    while width and size > SMALLEST and text_width(words, size) > width:
      size -= 1
    self.texts.append(_Text(x, y, words, anchor, size))

  def image(self, scale: int = 1) -> Image.Image:
    """The sheet, with `scale` pixels for a unit."""
    canvas = Image.new("RGB", (self.width * scale, self.height * scale), "white")
    draw = ImageDraw.Draw(canvas)
    for picture in self.pictures:
      canvas.paste(picture.enlarged(scale), (picture.x * scale, picture.y * scale))
    for text in self.texts:
      font = ImageFont.load_default(text.size * scale)
      place = (text.x * scale, text.y * scale)
      draw.text(place, text.words, fill="black", font=font, anchor=f"{text.anchor}m")
    return canvas

  def png(self, scale: int = 1) -> bytes:
    """The sheet as a PNG that is as large on paper at any scale."""
    buffer, dpi = io.BytesIO(), UNITS_PER_INCH * scale
    self.image(scale).save(buffer, "PNG", dpi=(dpi, dpi))
    return buffer.getvalue()

  def pdf(self) -> bytes:
    """The sheet as a PDF whose text is text; needs matplotlib, and no screen."""
    import matplotlib  # heavy: PNGs do without
    from matplotlib.figure import Figure

    size = (self.width / UNITS_PER_INCH, self.height / UNITS_PER_INCH)
    figure = Figure(figsize=size)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for p in self.pictures:
      extent = (p.x, p.x + p.width, p.y + p.height, p.y)
      axes.imshow(np.asarray(p.enlarged()), extent=extent, interpolation="none", aspect="auto")
    where = {"l": "left", "m": "center", "r": "right"}
    for text in self.texts:
      # In points; its font is wider than Pillow's.
      size = text.size * 72 / UNITS_PER_INCH * 0.87
      axes.text(text.x, text.y, text.words, size=size, ha=where[text.anchor], va="center")
    axes.set(xlim=(0, self.width), ylim=(self.height, 0))
    buffer = io.BytesIO()
    with matplotlib.rc_context({"pdf.fonttype": 42}):  # publishers refuse the default's fonts
      figure.savefig(buffer, format="pdf", metadata={"CreationDate": None})
    return buffer.getvalue()


def _offsets(count: int, pitch: int, apart: Iterable[int]) -> list[int]:
  """Where each of `count` tiles begins, those in `apart` after a wider gap."""
  apart = set(apart)
  return [i * pitch + sum(0 < j <= i for j in apart) * WIDE_GAP for i in range(count)]


def table(
  rows: Sequence[Row],
  headings: Sequence[str] = (),
  groups: Mapping[int, str] | None = None,
) -> Sheet:
  """Rows of tiles under headings.

  Args:
    rows: all with equally many tiles.
    headings: one for each column, or none.
    groups: first column of a group, which stands apart -> heading of the group, or "".
  """
  groups = groups or {}
  side = next(_tile(t).pixels.shape[0] for row in rows for t in row.tiles if t is not None)
  tile = side * max(1, -(-TILE // side))
  left = max(text_width(row.label) for row in rows)
  left += 2 * GAP if left else 0
  xs = [left + x for x in _offsets(len(rows[0].tiles), tile + GAP, groups)]
  has_groups = any(groups.values())
  top = LINE * (bool(headings) + has_groups) + (GAP if headings else 0)
  ys = _offsets(len(rows), tile + GAP, (i for i, row in enumerate(rows) if row.apart))
  right = max(text_width(row.right) for row in rows)
  sheet = Sheet(xs[-1] + tile + (2 * GAP + right if right else 0), top + ys[-1] + tile)
  for column, words in groups.items():
    sheet.write(words, xs[column], LINE // 2)
  for x, words in zip(xs, headings, strict=False):
    sheet.write(words, x + tile // 2, top - GAP - LINE // 2, "m", tile)
  for y, row in zip(ys, rows, strict=True):
    _fill(sheet, row, xs, top + y, tile)
  return sheet


def _tile(tile: Tile | np.ndarray) -> Tile:
  return tile if isinstance(tile, Tile) else Tile(tile)


def _fill(sheet: Sheet, row: Row, xs: list[int], y: int, tile: int) -> None:
  middle = y + tile // 2
  sheet.write(row.label, xs[0] - 2 * GAP, middle, "r")
  sheet.write(row.right, xs[-1] + tile + 2 * GAP, middle)
  for x, content in zip(xs, row.tiles, strict=True):
    if content is None:
      continue
    content = _tile(content)
    sheet.pictures.append(_Picture(x, y, tile, tile, content.pixels))
    if content.colour is not None:
      sheet.pictures.append(_Picture(x, y, tile, STRIP, content.colour[None, None]))


def arranged(sheets: Sequence[Sheet], num_columns: int) -> Sheet:
  """Sheets of equal size, row by row; or below each other, or side by side."""
  gap = 2 * WIDE_GAP
  lines = [sheets[i : i + num_columns] for i in range(0, len(sheets), num_columns)]
  width = max(sum(s.width for s in line) + gap * (len(line) - 1) for line in lines)
  whole = Sheet(width, 0)
  for line in lines:
    y = whole.height + (gap if whole.height else 0)
    x = 0
    for sheet in line:
      whole.paste(sheet, x, y)
      x += sheet.width + gap
    whole.height = y + max(sheet.height for sheet in line)
  return whole


def titled(sheet: Sheet, title: str, margin: int = 0) -> Sheet:
  """A sheet with a line above it, unless that is "", and a margin around."""
  top = TITLE if title else 0
  width = max(sheet.width, text_width(title))
  whole = Sheet(width + 2 * margin, sheet.height + top + 2 * margin)
  whole.paste(sheet, margin, margin + top)
  if title:
    whole.write(title, margin, margin + LINE // 2)
  return whole
