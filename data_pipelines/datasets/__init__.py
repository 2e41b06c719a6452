"""The data sets: which there are, where their files lie, and stand-ins where there are none.

    source = resolve(config)               # finds published files, or renders a stand-in
    records = reader(config).split_records(config, source, "train")

A data set is a folder here with a `reader`, a `stand_in`, and a row of `DATASETS`; or anybody's
Python file, which a configuration names as `data.module` and which is both. A reader has

    PLACES                                 folders to look in where no data_dir is given
    VARIANTS                               values of config.variant; left out: only "default"
    check(config)                          in place of VARIANTS, where more is to be checked
    find(folder, config)                   where in a folder the files are: a path, or None
    missing(folder, config)                what is wrong then, and the cure; may be left out
    describe(config, root, notes)          the `Source`; `notes` are those of a stand-in, or None
    split_records(config, source, split)   all of a split's images, as `Records` or `Indexed`
    num_examples(config, source, split)    images, None: not counted; may be left out
    COUNTABLE_BYTES                        of records that are counted; may be left out
    images_per_scene(config)               images in a row that show the same; left out: 1

and a stand-in, which need not be,

    write(out_dir, *, variant, num_scenes, seed=0)      returns the folder of the files
    planned(config)                        `Planned`, for a configuration; may be left out
"""

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from absl import logging

from data_pipelines.sources import (
  STAND_IN_FILE,
  DataError,
  Source,
  check_choice,
  check_config,
  nothing_found,
  stand_in_notes,
  warn_once,
)
from data_pipelines.stores.cache import given
from data_pipelines.stores.files import is_remote

# Data set -> its folder here, whose modules are imported when they are first needed: readers import
# TensorFlow, and stand-ins JAX.
DATASETS = {
  "gqn": "gqn",
  "multi_dsprites": "multi_dsprites",
  "objects_room": "multi_object",
  "clevr": "multi_object",
  "tetrominoes": "multi_object",
  "multi_dsprites_colored": "multi_object",
  "shapestacks": "shapestacks",
  "sketchy": "sketchy",
  "apc": "apc",
  "clevrtex": "clevrtex",
  "image_folder": "image_folder",
  "tfds": "tfds",
  "hdf5": "hdf5",
}
STAND_INS = Path("data/stand_ins")
NEEDED = ("find", "describe", "split_records")  # of a reader


class Planned(NamedTuple):
  """The stand-in that a configuration asks for.

  Attributes:
    out: name of its folder, which tells apart what differs.
    below: where in it the files are.
    arguments: of `write`, besides folder and variant.
  """

  out: str
  below: str
  arguments: dict


def planned_images(config, *, least: int, version: int, apart: bool = False) -> Planned:
  """The stand-in that a configuration asks for, of so many images or the fewest there can be.

  Args:
    config: of the data set.
    least: images of a stand-in.
    version: of the pictures.
    apart: whether each variant has a folder of its own.
  """
  num = max(least, config.standin_scenes)
  below = f"/{config.variant}" if apart else ""
  out = f"{config.name}_{num}_images_v{version}{below}"
  return Planned(out, "", dict(num_scenes=num))


def reader(config) -> ModuleType:
  """The module that reads a data set's published files.

  Raises:
    DataError: it needs TensorFlow, which is not installed.
    ValueError: there is no such data set, or data_dir is empty.
  """
  module = getattr(config, "module", None)
  if module is None:
    check_choice("data.name", config.name, DATASETS)
  if config.data_dir == "":  # as from an unset variable of the shell; a path of it is this folder
    raise ValueError('data.data_dir is empty; it must name a folder ("." is the one you are in)')
  if module is not None:
    return _own(_address(module))
  return _imported(f"{__name__}.{DATASETS[config.name]}.reader")


def _imported(name: str) -> ModuleType:
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "tensorflow":
      raise
    raise DataError(
      "TensorFlow, which reads files of data sets, is not installed: pip install tensorflow, or "
      "choose --config.data.source=generator, which renders scenes without files"
    ) from None


def _address(module: str) -> str:
  """A file in full, as "mine.py" is another one in another folder; or an importable module.

  A file that is not there any more is looked for by its name where Python looks for modules.
  """
  if not module.endswith(".py"):
    return module
  path = Path(module).expanduser()
  places = (path, *(Path(folder, path.name) for folder in sys.path))
  return str(next((place for place in places if place.is_file()), path).absolute())


@functools.cache
def _own(module: str) -> ModuleType:
  """A reader of somebody's own."""
  try:
    if module.endswith(".py"):
      spec = importlib.util.spec_from_file_location(f"data set {module}", module)
      found = importlib.util.module_from_spec(spec)
      sys.modules[spec.name] = found  # where its classes look for themselves
      spec.loader.exec_module(found)
    else:
      found = _imported(module)
  except (FileNotFoundError, ModuleNotFoundError) as error:
    raise ValueError(
      f"data.module is {module!r}, but {error}; it must name the Python file of a reader: put it "
      "back, or name the folder where it lies now in PYTHONPATH"
    ) from error
  lacking = [name for name in NEEDED if not hasattr(found, name)]
  if lacking:
    raise ValueError(f"data.module {module} has no {', '.join(lacking)}, which readers must have")
  return found


def stand_in(config) -> ModuleType | None:
  """The module that renders a data set's stand-in, if there is one."""
  if getattr(config, "module", None) is None:
    name = f"{__name__}.{DATASETS[config.name]}.stand_in"
    return _imported(name) if importlib.util.find_spec(name) else None
  module = _own(_address(config.module))
  return module if hasattr(module, "write") else None


def resolve(config) -> Source:
  """Finds a data set's files (or renders a stand-in when no data_dir is given and none are found).

  Raises:
    DataError: data_dir does not exist or has no such files, or they cannot be what they should.
    ValueError: a field of `config` has an impossible value.
  """
  module = reader(config)
  _check(module, config)
  source = _described(module, config, _found(module, config) or _rendered(module, config))
  logging.info("%s", source.description)
  return source


def split_records(config, source: Source, split: str):
  """At most `config.limit` images of a split, as `Records` or `Indexed`; a DataError if none."""
  images = reader(config).split_records(config, source, split)
  return images.limited(config.limit) if config.limit else images


def num_examples(config, source: Source, split: str) -> int | None:
  """Images of a split; None where counting would take long."""
  module = reader(config)
  if hasattr(module, "num_examples"):
    return module.num_examples(config, source, split)
  images = split_records(config, source, split)
  most = getattr(module, "COUNTABLE_BYTES", None)
  is_large = most is not None and not config.limit and images.num_bytes() > most
  return None if is_large else images.num_images()


def images_per_scene(config) -> int:
  """How many images in a row show the same scene."""
  module = reader(config)
  return module.images_per_scene(config) if hasattr(module, "images_per_scene") else 1


def is_there(config) -> bool:
  """Whether there are published files where a configuration looks; renders no stand-in."""
  module = reader(config)
  _check(module, config)
  try:
    root = _found(module, config)
    return root is not None and _described(module, config, root) is not None
  except DataError:
    return False


def _check(module: ModuleType, config) -> None:
  if hasattr(module, "check"):
    module.check(config)
  else:
    check_config(config, getattr(module, "VARIANTS", ("default",)))


def _described(module: ModuleType, config, root: Path) -> Source:
  return module.describe(config, root, stand_in_notes(root))


def _places(module: ModuleType, config) -> list[Path]:
  """Folders to look in."""
  if config.data_dir is not None:
    return [given(config)]
  return [Path(place.format(variant=config.variant)) for place in getattr(module, "PLACES", ())]


def _missing(module: ModuleType, config, folder: Path) -> tuple[str, str]:
  """What is wrong with a folder where nothing is found, and the cure."""
  if hasattr(module, "missing"):
    return module.missing(folder, config)
  return f"has no files of {config.name}", "name the folder that they are in"


def _found(module: ModuleType, config) -> Path | None:
  """Where the files are; None if there is no data_dir and nothing is found."""
  places = _places(module, config)
  for place in places:
    if root := module.find(place, config):
      return root
  if config.data_dir is None:
    return None
  what, cure = _missing(module, config, places[0])
  if is_remote(config.data_dir):
    cure = "give the address of a folder that has the files as published"
    raise DataError(f"data.data_dir {config.data_dir} {what}; {cure}")
  raise nothing_found(places[0], what, cure)


def _rendered(module: ModuleType, config) -> Path:
  """Folder of the stand-in for a configuration, rendered now unless it was before."""
  places, renderer = _places(module, config), stand_in(config)
  where = f"FOUND under {', '.join(map(str, places))}" if places else "GIVEN"
  cure = _missing(module, config, places[0])[1] if places else "set --config.data.data_dir"
  if renderer is None:
    raise DataError(f"no {config.name} data {where.lower()}, and no stand-in; {cure}")
  default = Planned(
    f"{config.name}_{config.variant}_{config.standin_scenes}_scenes",
    "",
    dict(num_scenes=config.standin_scenes),
  )
  plan = renderer.planned(config) if hasattr(renderer, "planned") else default
  out = STAND_INS / plan.out
  root = out / plan.below
  warn_once(
    f"NO {config.name.upper()} DATA {where}: rendered stand-in scenes in {root} are used instead. "
    f"For the real ones, {cure}"
  )
  if not (root / STAND_IN_FILE).exists():
    write_stand_in(config, out, **plan.arguments)
  return root


def write_stand_in(config, out_dir: Path, **arguments) -> Path:
  """Renders a data set's stand-in; returns the folder with the files.

  Args:
    config: its name and variant.
    out_dir: folder, made if need be.
    **arguments: num_scenes, seed, and others of the data set's `write`.

  Raises:
    ValueError: an argument has an impossible value, or there is no stand-in.
    OSError: the folder is in use for something else, or cannot be written to.
  """
  renderer = stand_in(config)
  if renderer is None:
    which = getattr(config, "module", None) or config.name
    raise ValueError(f"{which} has no function write, which renders a stand-in")
  # A folder of several data sets is told which.
  several = DATASETS.get(config.name, config.name) != config.name
  which = dict(dataset=config.name) if several else {}
  return renderer.write(out_dir, variant=config.variant, **arguments, **which)
