"""A run in an object store, and its copy in a folder of this machine.

In the store a run has the files that it has on a disk, under the same names, and beside them
  .stored/manifest.json      the checkpoints: step -> name of each file -> [bytes, CRC-32]
  .stored/lease/<number>     see `lease`

Stores write one object at a time, and a checkpoint has many. Its files are uploaded first and named
in the manifest last, and it is removed the other way round: whenever a program is killed, what the
manifest names is whole. Readers believe nothing else. Other files are whole by themselves.
"""

import contextlib
import json
import os
import pathlib
import secrets
import shutil
import zlib
from collections.abc import Collection, Iterator

from data_pipelines.durable import partial_file, partial_folder, write_atomically
from data_pipelines.stores import files
from experiments.console.errors import UserError
from experiments.stores.addresses import STATE
from experiments.stores.transfers import (
  DamagedError,
  crc_of,
  side_by_side,
  stamp,
  upload,
)
from genesis_jax import packing, runs

MANIFEST = ".stored/manifest.json"
FOLDERS = ("pictures", "evaluation", "visualisations", "robustness")  # that copies have too

Files = dict[str, list[int]]  # name -> [bytes, CRC-32]


class StoredRun:
  """A run in a store.

  Args:
    address: of the run.
    folder: of its copy, made if need be.

  Attributes:
    checkpoints: what the manifest said when it was last read or written: step -> files.
    system: the file system of the store.
    lineage: the name of that manifest; "" for none. Each program that trains gives a new one.
  """

  def __init__(self, address: str, folder: pathlib.Path):
    self.address, self.folder = address, folder
    folder.mkdir(parents=True, exist_ok=True)
    self.system, self._root = files.open_store(address)
    self.system.auto_mkdir = True  # of file://; others have no folders
    self.checkpoints: dict[int, Files] = {}
    self.lineage = ""
    self._state = {"address": address, "lineages": [], "files": {}}
    with contextlib.suppress(OSError, ValueError):
      self._state |= json.loads((folder / STATE).read_text())

  def at(self, name: str) -> str:
    """The path in the store of a file of the run."""
    return f"{self._root}/{name}"

  def _save_state(self) -> None:
    write_atomically(self.folder / STATE, json.dumps(self._state))

  # The manifest.

  def read_manifest(self) -> bool:
    """Brings `checkpoints` and `lineage` up to date; returns whether there is a manifest."""
    try:
      manifest = json.loads(self.system.cat_file(self.at(MANIFEST)))
    except FileNotFoundError:
      self.checkpoints, self.lineage = {}, ""
      return False
    self.checkpoints = {int(step): named for step, named in manifest["checkpoints"].items()}
    self.lineage = manifest["lineage"]
    return True

  def write_manifest(self, checkpoints: dict[int, Files]) -> None:
    """Makes these the run's checkpoints."""
    content = json.dumps({"lineage": self.lineage, "checkpoints": checkpoints}, indent=1)
    self.system.pipe_file(self.at(MANIFEST), content.encode())
    self.checkpoints = checkpoints

  def is_continued_here(self) -> bool:
    """Whether no other copy has been trained since this one was."""
    return self.lineage in (self._state["lineages"] or [""])

  def begin_lineage(self) -> None:
    """Makes this copy the one that the run continues from, to be called before it does."""
    old, self.lineage = self.lineage, secrets.token_hex(8)
    self._remember(old, self.lineage)  # whoever dies now finds either
    self.write_manifest(self.checkpoints)
    self._remember(self.lineage)

  def _remember(self, *lineages: str) -> None:
    self._state["lineages"] = lineages
    self._save_state()

  # Checkpoints.

  def send_checkpoint(self, step: int, source: pathlib.Path) -> Files:
    """Uploads the files of a checkpoint; it counts once the manifest has what this returns.

    Args:
      step: of it.
      source: the run's folder of checkpoints, or one in its place.
    """
    self.remove_files(step)
    made = [x for x in source.iterdir() if packing.step_of(x.name) == str(step)]
    paths = sorted(x for top in made for x in (top, *top.rglob("*")) if x.is_file())
    names = [f"{runs.FOLDER}/{path.relative_to(source)}" for path in paths]
    side_by_side(lambda path, name: upload(self.system, path, self.at(name)), paths, names)
    sent = dict(zip(names, side_by_side(crc_of, paths), strict=True))
    sizes = self._sizes(step)
    if wrong := [name for name in names if sizes.get(name) != sent[name][0]]:
      raise OSError(f"{wrong[0]} has {sizes.get(wrong[0])} bytes instead of {sent[wrong[0]][0]}")
    return sent

  def remove_files(self, step: int) -> None:
    """Removes what there is of a checkpoint that the manifest does not name."""
    side_by_side(lambda name: self.system.rm_file(self.at(name)), self._sizes(step))

  def _sizes(self, step: int | None = None) -> dict[str, int]:
    """Names -> bytes of the files that the store has of a checkpoint, or of all."""
    found = self.system.find(self.at(runs.FOLDER), detail=True)
    sizes = {path.removeprefix(self.at("")): int(info["size"]) for path, info in found.items()}
    return {name: size for name, size in sizes.items() if step in (None, _step_of(name))}

  def remove_unnamed(self) -> None:
    """Removes what killed programs left of checkpoints."""
    for step in {_step_of(name) for name in self._sizes()} - {None, *self.checkpoints}:
      self.remove_files(step)

  def bring_checkpoint(self, step: int) -> None:
    """Copies a checkpoint that the manifest names here, whole or not at all.

    Raises:
      FileNotFoundError: it has been removed meanwhile.
      DamagedError: it is not what was uploaded.
    """
    named, final = self.checkpoints[step], self.folder / runs.FOLDER / str(step)
    packed = [name for name in named if not name.startswith(f"{runs.FOLDER}/{step}/")]
    if final.exists() or packed and all((self.folder / name).exists() for name in packed):
      return
    if packed:  # files without a folder of their own
      final = final.with_name(f".{step}")
      shutil.rmtree(final, ignore_errors=True)
    with partial_folder(final) as partial:

      def bring(name: str, expected: list[int]) -> None:
        path = partial / name.removeprefix(f"{runs.FOLDER}/").removeprefix(f"{step}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.system.get_file(self.at(name), str(path))
        if (found := crc_of(path)) != expected:
          raise DamagedError(f"{name} has {found} instead of {expected} bytes and CRC-32")

      side_by_side(bring, *zip(*named.items(), strict=True))
    for name in packed:
      os.replace(final / pathlib.PurePosixPath(name).name, self.folder / name)
    if packed:
      final.rmdir()

  def bring_newest(self) -> None:
    """Copies the newest checkpoint here that is undamaged, if there is any."""
    for step in sorted(self.checkpoints, reverse=True):
      try:
        return self.bring_checkpoint(step)
      except DamagedError as error:
        print(f"WARNING: checkpoint {step} of {self.address} is damaged ({error})", flush=True)
        damaged = error
    if self.checkpoints:
      raise UserError(f"no checkpoint of {self.address} is whole: {damaged}; restore one")

  def forget_checkpoints(self) -> None:
    """Removes from the copy the checkpoints that the store has no more."""
    for step in set(runs.checkpoint_steps(self.folder)) - set(self.checkpoints):
      for path in runs.checkpoint_files(self.folder, step):
        shutil.rmtree(path) if path.is_dir() else path.unlink()

  # Other files.

  def bring_files(self) -> None:
    """Makes the copy's files what the store's are, but for those that only the copy has."""
    found = self.system.find(self._root, detail=True)
    listed = {path.removeprefix(self.at("")): info for path, info in found.items()}
    wanted = {
      name: zlib.crc32(repr(sorted((key, str(value)) for key, value in info.items())).encode())
      for name, info in listed.items()
      if not name.startswith(".") and ("/" not in name or name.partition("/")[0] in FOLDERS)
      if name != "report.html"  # which every program writes anew
    }
    known = self._state["files"]

    def bring(name: str) -> None:
      with partial_file(self.folder / name) as partial:
        self.system.get_file(self.at(name), str(partial))
      known[name] = {"here": stamp(self.folder / name), "there": wanted[name]}

    as_known = {name for name, old in known.items() if old["here"] == stamp(self.folder / name)}
    side_by_side(bring, [n for n in wanted if n not in as_known or known[n]["there"] != wanted[n]])
    for name in known.keys() - listed.keys():
      if name in as_known:
        (self.folder / name).unlink()
      del known[name]
    self._save_state()

  def send_files(self, but: Collection[str] = ()) -> list[str]:
    """Uploads the files that were made or changed here; returns their names.

    Args:
      but: folders to leave out.
    """
    known = self._state["files"]
    changed = [
      name
      for name in self._names()
      if name.partition("/")[0] not in but
      and known.get(name, {}).get("here") != stamp(self.folder / name)
    ]

    def send(name: str) -> None:
      if before := stamp(self.folder / name):  # else it has been removed
        upload(self.system, self.folder / name, self.at(name))
        known[name] = {"here": before, "there": None}

    indices = [name for name in changed if name.endswith("/index.json")]  # of the files beside them
    try:
      side_by_side(send, [name for name in changed if name not in indices])
      side_by_side(send, indices)
    finally:
      if changed:
        self._save_state()
    return changed

  def _names(self) -> Iterator[str]:
    """All files of the copy but checkpoints and hidden ones."""
    for folder, folders, names in os.walk(self.folder):
      folders[:] = [f for f in folders if f != runs.FOLDER and not f.startswith(".")]
      for name in names:
        if not name.startswith("."):
          yield str(pathlib.Path(folder, name).relative_to(self.folder))

  def empty(self) -> None:
    """Removes what the copy has of the run."""
    for name in list(self._names()):
      (self.folder / name).unlink()
    shutil.rmtree(self.folder / runs.FOLDER, ignore_errors=True)
    self._state |= {"files": {}}
    self._save_state()


def _step_of(name: str) -> int | None:
  """The step of the checkpoint that a file belongs to; None if it has another's name."""
  step = packing.step_of(name.split("/")[1])
  return int(step) if step.isdecimal() else None
