"""gs:// on loopback: an emulator of Google's store, for this process and for those it starts."""

import contextlib
import logging
from collections.abc import Iterator

import pytest

from data_pipelines.stores import files

BUCKET = "bucket"


@contextlib.contextmanager
def emulated() -> Iterator:
  """Serves an empty bucket, gs://bucket; gives its file system."""
  from gcp_storage_emulator.server import create_server

  server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
  server.start()
  logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)  # what is not there
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv(files.EMULATOR, f"http://127.0.0.1:{server._api._httpd.server_port}")
    yield files.open_store(f"gs://{BUCKET}")[0]
  server.stop()
