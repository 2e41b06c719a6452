"""What wandb wrote offline: records of protobuf in the log format of LevelDB, blocks of 32 KiB."""

import json
import pathlib
import struct

HEADER, BLOCK = 7, 2**15  # bytes: of the file, and of each part of a record too
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: pathlib.Path) -> list:
  """All records of a file `run-*.wandb`, in order."""
  from wandb.proto import wandb_internal_pb2

  content, place, whole, found = path.read_bytes(), HEADER, b"", []
  assert content[:4] == b":W&B"
  while place + HEADER <= len(content):
    if BLOCK - place % BLOCK < HEADER:
      place += BLOCK - place % BLOCK
      continue
    _, size, kind = struct.unpack_from("<IHB", content, place)
    whole += content[place + HEADER : place + HEADER + size]
    place += HEADER + size
    if kind in (FULL, LAST):
      found.append(wandb_internal_pb2.Record.FromString(whole))
      whole = b""
  return found


def read(workdir: pathlib.Path) -> list[tuple]:
  """(id, name, group, settings, rows) of each time that a run was tracked, in order.

  Rows are what was logged, name -> value.
  """
  return [_run(path) for path in sorted(workdir.glob("wandb/offline-run-*/run-*.wandb"))]


def _run(path: pathlib.Path) -> tuple:
  rows, settings = [], {}
  for record in records(path):
    kind = record.WhichOneof("record_type")
    if kind == "run":
      run = record.run
      settings = {item.key: json.loads(item.value_json) for item in run.config.update}
    elif kind == "history":
      rows.append({})
      for item in record.history.item:
        *above, last = item.nested_key or [item.key]
        node = rows[-1]
        for name in above:
          node = node.setdefault(name, {})
        node[last] = json.loads(item.value_json)
  return run.run_id, run.display_name, run.run_group, settings, rows
