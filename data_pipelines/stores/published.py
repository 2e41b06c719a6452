"""Where data sets are published, and which of their files are needed: one table.

    published("gqn", "jaco").urls             # ("gs://gqn-dataset/jaco",)
    command("gqn", "jaco", Path("data/gqn/jaco"))     # the line that fetches it

A place that has moved is given on the command line, by `--source`.
"""

import shlex
from pathlib import Path

from data_pipelines.durable import own_cache
from data_pipelines.stores.jobs import Published

AFTERNOON_GB = 10  # of a larger set: they come within an afternoon at 10 Mbit/s, and train a model


_GQN = (
  "rooms_ring_camera", "rooms_free_camera_no_object_rotations",
  "rooms_free_camera_with_object_rotations", "jaco", "mazes", "shepard_metzler_5_parts",
  "shepard_metzler_7_parts",
)  # fmt: skip
_SHAPESTACKS = "http://shapestacks-file.robots.ox.ac.uk/static/download/v1/shapestacks-"
_CLEVRTEX = "https://thor.robots.ox.ac.uk/datasets/clevrtex/clevrtex_"


def _multi_object(folder: str, gb: float, *variants: str) -> Published:
  url = f"gs://multi-object-datasets/{folder}/{folder}_{{variant}}.tfrecords"
  return Published((url,), f"data/multi-object-datasets/{folder}", gb, variants)


PUBLISHED = {
  "gqn": Published(
    ("gs://gqn-dataset/{variant}",),
    "data/gqn/{variant}",
    250,
    _GQN,
    r"(?P<path>(train|test)/\d+-of-\d+\.tfrecord)",
  ),
  "multi_dsprites": Published(
    (
      "https://github.com/google-deepmind/dsprites-dataset/raw/master/"
      "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",
    ),
    "data/multi_dsprites",
    0.026,
    ("default", "unique"),
  ),
  "objects_room": _multi_object(
    "objects_room", 8, "train", "six_objects", "empty_room", "identical_color"
  ),
  "clevr": _multi_object("clevr_with_masks", 20, "train"),
  "tetrominoes": _multi_object("tetrominoes", 1, "train"),
  "multi_dsprites_colored": _multi_object(
    "multi_dsprites", 5, "colored_on_colored", "colored_on_grayscale", "binarized"
  ),
  "shapestacks": Published(
    (
      f"{_SHAPESTACKS}meta.tar.gz",
      f"{_SHAPESTACKS}rgb.tar.gz",
      # The maps of instances, which are not with the rest.
      "https://drive.usercontent.google.com/download"
      "?id=1KsSQCgb1JJExbKyrIkTwBL9VidGcq2k7&export=download&confirm=t",
    ),
    "data/shapestacks",
    34,
    ("default", "blocks_all", "ccs_all"),
    r"(.*/)?(?P<path>splits/.+\.txt|recordings/[^/]+/rgb-[^/]+\.png|iseg/[^/]+/[^/]+\.map)",
  ),
  "sketchy": Published(
    tuple(
      f"gs://sketchy-data/{task}__demos-0000{i}-of-00002.tar.bz2"
      for task in ("lift_green", "stack_green_on_red")
      for i in range(2)
    ),
    "data/sketchy/records",
    100,
    needed=r"(.*/)?(?P<path>\d+_[0-9a-f-]{36}|[^/.][^/]*\.tfrecords?(-[^/]*)?)",
  ),
  "apc": Published(
    ("http://3dvision.princeton.edu/projects/2016/apc/downloads/training.zip",),
    "data/apc",
    130,
    needed=r"(?P<path>(?P<whole>training/[^/]+/[^/]+/scene-[^/]*)/"
    r"(frame-[^/]*\.color|masks/frame-[^/]*\.mask)\.png)",
  ),
  "clevrtex": Published(
    (f"{_CLEVRTEX}{{variant}}.tar.gz",),
    "data/clevrtex",
    30,
    ("full", "pbg", "vbg", "grassbg", "camo", "outd"),
    r"(.*/)?(?P<path>clevrtex_[a-z]+/.+\.(png|json))",
  ),
  "inception": Published(
    (
      "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
      "pt_inception-2015-12-05-6726825d.pth",
    ),
    str(own_cache() / "fid"),
    0.096,
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
  ),
}
# What is named otherwise there: part of an address -> names in its place.
_NAMED = {
  f"{_CLEVRTEX}full.": tuple(f"{_CLEVRTEX}full_part{i}." for i in range(1, 6)),
  f"{_CLEVRTEX}grassbg.": (f"{_CLEVRTEX}grassbd.",),
}


def published(name: str, variant: str) -> Published:
  """The row of a variant."""
  row = PUBLISHED[name]
  urls = [url.format(variant=variant) for url in row.urls]
  for part, names in _NAMED.items():
    urls = [url.replace(part, name) for url in urls for name in (names if part in url else (part,))]
  return row._replace(urls=tuple(urls), out=row.out.format(variant=variant))


def command(name: str, variant: str, out: Path) -> str:
  """The line for a shell that fetches a data set into a folder, or an afternoon's part of it."""
  row = published(name, variant)
  words = ["python", "-m", "data_pipelines.fetch", name]
  words += ["--variant", variant] if variant != row.variants[0] else []
  words += ["--max_gb", str(AFTERNOON_GB)] if row.gb > AFTERNOON_GB else []
  is_copy = out.is_relative_to(own_cache())  # of a store, which is no place to fetch into
  words += ["--out", str(out)] if Path(row.out) != out and not is_copy else []
  return shlex.join(words)
