"""What all hosts of a run can read, kept with the run for programs that go on with it.

  board = Board(workdir)
  board.put("train/0001-of-3600.tfrecord 25000000 0-all", "1000")       # on any host, at any time
  board.everything()                                                    # on all
  board.save()                                                          # before a checkpoint

Unlike operations between hosts, nobody waits for anybody: threads that read data may use it.
"""

import contextlib
import json
import pathlib

import jax
from jax._src import distributed  # nothing public gives the store of keys that the hosts share

from data_pipelines.durable import write_atomically
from experiments.hardware import devices
from experiments.runs.folder import dictionary_in

FILE = "records.json"
PREFIX = "genesis_jax/board/"


class Board:
  """Words by name, of which numbers are kept; see `data_pipelines.reading.lanes.told`.

  Args:
    workdir: of the run.
  """

  def __init__(self, workdir: pathlib.Path):
    self._path, self._words = workdir / FILE, {}
    with contextlib.suppress(OSError, ValueError):  # what is not kept is found out again
      kept = dictionary_in(self._path)
      self._words = {name: words for name, words in kept.items() if str(words).isdigit()}
    self._saved = dict(self._words)
    self._client = distributed.global_state.client  # None: a host alone

  def put(self, name: str, words: str) -> None:
    """Writes words under a name."""
    self._words[name] = words
    if self._client:
      with contextlib.suppress(jax.errors.JaxRuntimeError):  # a host has ended; `hosts` says so
        self._client.key_value_set(PREFIX + name, words, allow_overwrite=True)

  def everything(self) -> dict[str, str]:
    """All words that hosts of this run, and programs before them, have written, by name."""
    if self._client:
      with contextlib.suppress(jax.errors.JaxRuntimeError):
        found = self._client.key_value_dir_get(PREFIX)
        self._words.update((name.removeprefix(PREFIX), words) for name, words in found)
    return dict(self._words)

  def has(self, name: str) -> bool:
    """Whether there are words under a name; cheaper than to get all."""
    if self._client and name not in self._words:
      with contextlib.suppress(jax.errors.JaxRuntimeError):  # most often: it is not there
        return self._client.key_value_try_get(PREFIX + name) is not None
    return name in self._words

  def save(self) -> None:
    """Keeps the words with the run, if this host writes it and there are new ones."""
    if devices.is_main_host():
      words = {name: words for name, words in self.everything().items() if words.isdigit()}
      if words != self._saved:
        write_atomically(self._path, json.dumps(words))
        self._saved = words
