"""Files in stores: which there are, their sizes and checksums, and their bytes, range by range.

for file in listed("gs://gqn-dataset/jaco/train"):
  file.name, file.size, file.stamp        # "0001-of-3600.tfrecord", bytes, changes if it does
file = found("https://host/training.zip")
file.read(0, 1000)                        # bytes, after as many tries as it takes
"""

import base64
import dataclasses
import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from functools import cached_property

from data_pipelines.stores.files import (
  StoreError,
  address,
  explained,
  no_store,
  open_store,
  retried,
)
from data_pipelines.stores.threads import in_order

PIECE = 2**23  # bytes of a request
PIECES_AHEAD = 3  # requests of one file side by side
LISTINGS = 16  # questions about single files side by side, where a listing tells no sizes
_WEB = ("http://", "https://")


class Changed(StoreError):
  """A file in a store is not the one any more that was looked at."""


@dataclasses.dataclass(frozen=True)
class Remote:
  """A file in a store as it was when somebody looked.

  Attributes:
    url: its address.
    name: below the folder that was listed.
    size: in bytes; None: the server does not tell.
    version: what changes with the content, as far as the store has such a thing.
    checksum: "crc32c" or "md5", and its value; None: the store has none.
    has_ranges: whether a part of it can be asked for.
  """

  url: str
  name: str
  size: int | None
  version: str
  checksum: tuple[str, bytes] | None = None
  has_ranges: bool = True

  @property
  def stamp(self) -> int:
    """A number below 2**32 that tells it from earlier and later files of this name."""
    return zlib.crc32(f"{self.size} {self.version} {self.checksum}".encode())

  @cached_property
  def _opened(self):
    return open_store(self.url)

  def read(self, start: int, end: int) -> bytes:
    """The bytes from `start` to before `end`.

    Raises:
      Changed: it was replaced since it was looked at.
      StoreError: it cannot be read, for another reason.
    """
    system, path = self._opened

    def ask():
      if self.url.startswith(_WEB):
        data = self._of_web(start, end)
      else:
        own = dict(generation=self.version) if system.protocol[0] == "gs" else {}
        data = system.cat_file(path, start=start, end=end, **own)
      if len(data) != end - start:
        raise ConnectionError(f"{len(data)} of {end - start} bytes came")
      return data

    try:
      return retried(ask, self.url) if start < end else b""
    except Changed:
      raise
    except StoreError:
      if found(self.url).stamp != self.stamp:
        raise Changed(
          f"{self.url} changed while it was read; give the same command again"
        ) from None
      raise

  def _of_web(self, start: int, end: int) -> bytes:
    with _answer(self.url, start, end) as answer:
      now = _of_headers(self.url, answer.r)
      if (now.size, now.version) != (self.size, self.version):
        raise Changed(f"{self.url} changed while it was read; give the same command again")
      return b"".join(_body(answer, end - start))

  def pieces(self, start: int, end: int) -> Iterator[bytes]:
    """The bytes from `start` to before `end`, some at a time; the next ones are asked for early."""
    if not self.has_ranges or end is None:
      with _answer(self.url, 0, None) as answer:  # `start` is 0
        yield from _body(answer, None)
      return
    spans = ((first, min(first + PIECE, end)) for first in range(start, end, PIECE))
    yield from in_order(lambda span: self.read(*span), spans, PIECES_AHEAD)

  def opened(self) -> io.BufferedReader:
    """A file to seek in, for the directory of an archive."""
    return io.BufferedReader(_Seekable(self), 2**16)


class _Seekable(io.RawIOBase):
  """A remote file as Python has files."""

  def __init__(self, file: Remote):
    self._file, self._at = file, 0

  def seekable(self) -> bool:
    return True

  def readable(self) -> bool:
    return True

  def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
    self._at = (
      offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
    )
    return self._at

  def readinto(self, buffer) -> int:
    data = self._file.read(self._at, min(self._at + len(buffer), self._file.size))
    buffer[: len(data)] = data
    self._at += len(data)
    return len(data)


def checker(kind: str):
  """Something with `update` and `digest`, for "crc32c" or the names of hashlib."""
  if kind == "crc32c":
    import google_crc32c  # not above: what fetches nothing does without

    return google_crc32c.Checksum()
  return hashlib.new(kind)


def found(url: str) -> Remote:
  """The file at an address; a StoreError if there is none."""
  url = address(url)
  name = url.rpartition("/")[2]
  if url.startswith(_WEB):
    with retried(lambda: _answer(url, 0, 1), url) as answer:
      return _of_headers(url, answer.r)
  system, path = open_store(url)
  facts = retried(lambda: system.info(path), url)
  if facts["type"] != "file":
    raise StoreError(explained(FileNotFoundError(url), url))
  return _of_facts(url, name, facts)


def listed(url: str) -> list[Remote]:
  """The files below a folder, or the one file of that address; sorted by name.

  Raises:
    StoreError: there are none, or they cannot be listed.
  """
  url = address(url)
  none = StoreError(explained(FileNotFoundError(url), url))
  if url.startswith(_WEB):
    try:
      return [found(url)]
    except StoreError as error:  # it may be a page of links
      none = error
  system, path = open_store(url)
  root = system._strip_protocol(path).rstrip("/")
  below = retried(lambda: system.find(root, detail=True), url)
  files = []
  for full, facts in below.items():
    name = full.removeprefix(root).strip("/")
    own = f"{url}/{name}" if name else url
    if not full.endswith("/") and facts["type"] == "file" and "?" not in name:
      files.append(_of_facts(own, name or url.rpartition("/")[2], facts))
  if url.startswith(_WEB):  # a page of links tells nothing of what it links to
    looked = in_order(lambda file: found(file.url), files, LISTINGS)
    files = [
      dataclasses.replace(new, name=old.name) for new, old in zip(looked, files, strict=True)
    ]
  if not files:
    raise none
  return sorted(files, key=lambda file: file.name)


def folders(url: str) -> list[str]:
  """Names of the folders in a folder of a store."""
  system, path = open_store(url)
  entries = retried(lambda: system.ls(path, detail=True), url)
  return [e["name"].rstrip("/").rpartition("/")[2] for e in entries if e["type"] == "directory"]


def _of_facts(url: str, name: str, facts: dict) -> Remote:
  """Of what file systems of fsspec tell: those of Google and Amazon by their own words."""
  checksum, tag = None, str(facts.get("ETag") or "").strip('"')
  if "crc32c" in facts:
    checksum = "crc32c", base64.b64decode(facts["crc32c"])
  elif "md5Hash" in facts:
    checksum = "md5", base64.b64decode(facts["md5Hash"])
  elif url.startswith("s3") and re.fullmatch("[0-9a-f]{32}", tag):  # of an upload in one part
    checksum = "md5", bytes.fromhex(tag)
  words = ("generation", "ETag", "LastModified", "mtime", "created")
  version = next((str(facts[word]) for word in words if facts.get(word)), "")
  return Remote(url, name, facts["size"], version, checksum)


def _answer(url: str, start: int, end: int | None):
  """The stream of an answer of a web server, to be closed; asks once."""
  system, path = open_store(url)
  headers = {"Accept-Encoding": "identity"}
  if end is not None:
    headers["Range"] = f"bytes={start}-{end - 1}"
  answer = system.open(
    path, block_size=0, size=1, headers=headers
  )  # 0: no blocks, no question more
  kind = answer.r.headers.get("Content-Type", "")
  try:
    if kind.startswith("text/html") and not path.endswith((".html", ".htm", "/")):
      raise StoreError(no_store(url, "it sends a page of HTML"))
    if end is not None and start and answer.r.status != 206:
      raise Changed(f"{url} cannot be asked for a part any more; give the same command again")
  except StoreError:
    answer.close()
    raise
  return answer


def _body(answer, size: int | None) -> Iterator[bytes]:
  """What is in an answer, at most `size` bytes."""
  left = size
  while left is None or left > 0:
    data = answer.read(PIECE if left is None else min(left, PIECE))
    if not data:
      return
    left = None if left is None else left - len(data)
    yield data


def _of_headers(url: str, answer) -> Remote:
  """Of an answer to a question for the first byte."""
  headers, has_ranges = answer.headers, answer.status == 206
  size = (
    headers.get("Content-Range", "").rpartition("/")[2]
    if has_ranges
    else (headers.get("Content-Length", ""))
  )
  sums = dict(re.findall(r"(crc32c|md5)=([A-Za-z0-9+/=]+)", headers.get("x-goog-hash", "")))
  if not sums and "Content-MD5" in headers and not has_ranges:
    sums = {"md5": headers["Content-MD5"]}
  checksum = next(((kind, base64.b64decode(sums[kind])) for kind in sorted(sums)), None)
  version = headers.get("ETag") or headers.get("Last-Modified") or ""
  name = url.rpartition("/")[2]
  return Remote(url, name, int(size) if size.isdigit() else None, version, checksum, has_ranges)
