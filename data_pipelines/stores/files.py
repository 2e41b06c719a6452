"""Object stores and web servers as file systems, and their errors in one line.

    if is_remote("gs://bucket/folder"):
      system, path = open_store("gs://bucket/folder")     # of fsspec; "bucket/folder"
      names = retried(lambda: system.ls(path), "gs://bucket/folder")      # or a StoreError

gs:// asks as whoever is logged in on this machine, and where nobody is, as a stranger, who may read
public buckets. fsspec, and what it needs for an address, are imported when the first is opened.
"""

import errno
import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import absl.logging

if TYPE_CHECKING:
  import fsspec

TRIES, FIRST_WAIT_SECONDS = 5, 1.0
CONNECT_SECONDS, SILENT_SECONDS = 20, 60  # without an answer, until a request counts as failed
EMULATOR = "STORAGE_EMULATOR_HOST"  # environment variable: address of a store to use as gs://
EXTRAS = {"s3": "s3fs", "s3a": "s3fs"}  # packages that are not installed along with the others
AGAIN = "then give the same command again"
# Answers that another try may change: too slow, too many requests, the server's own trouble.
PASSING = {408, 425, 429, 500, 502, 503, 504}
_BROKEN = {  # by name: of Python, aiohttp, fsspec, requests and botocore
  "ConnectionError", "TimeoutError", "FSTimeoutError", "ProxyError", "ClientConnectionError",
  "ClientPayloadError", "HTTPClientError", "TransportError",
}  # fmt: skip
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")  # one letter is a drive of Windows


class StoreError(OSError):
  """A file in a store that cannot be had; the message is one line with cause and cure."""


def is_remote(path: str | os.PathLike) -> bool:
  """Whether this is an address such as gs://bucket/run, and no path of this machine."""
  return _ADDRESS.match(str(path)) is not None


def address(path: str | os.PathLike) -> str:
  """An address as it was given; a `Path` of it has one slash left of two."""
  return re.sub(r"^([^:/]+):/+", r"\1://", str(path)).rstrip("/")


def open_store(url: str | os.PathLike) -> tuple["fsspec.AbstractFileSystem", str]:
  """The file system of an address, and the path in it; asks nothing of the network yet.

  Raises:
    StoreError: no store has such addresses, or a package is missing for it.
  """
  url = address(url)
  scheme = url.partition(":")[0]
  # Read when gcsfs is imported: else it first asks over gRPC what kind of bucket it is, for a
  # minute where only HTTPS gets through.
  os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
  if not _on_google():
    os.environ.setdefault("NO_GCE_CHECK", "true")  # seconds of looking for a server of credentials
  for name in ("gcsfs", "aiobotocore", "google.auth"):
    logging.getLogger(name).setLevel(logging.CRITICAL)  # they log errors that they raise, at length
  import fsspec  # not above: only for addresses

  try:
    return fsspec.core.url_to_fs(url, **_options(scheme))
  except ImportError as error:
    package = EXTRAS.get(scheme, error.name)
    cure = f"{url} needs the package {package}: pip install {package}"
    raise StoreError(cure) from None
  except ValueError:
    known = "gs://, s3://, https://"
    raise StoreError(f"{url} is no address of a store; they begin with {known}") from None
  except Exception as error:  # of the login, which is read here
    raise StoreError(explained(error, url)) from None


def _on_google() -> bool:
  """Whether this machine may have a server of credentials beside it."""
  try:
    return Path("/sys/class/dmi/id/product_name").read_text().startswith("Google")
  except OSError:
    return False


def _options(scheme: str) -> dict:
  """What to tell a file system: to give up on a silent server, and to look each time."""
  fresh = dict(use_listings_cache=False)
  if scheme in EXTRAS:
    return fresh | dict(
      config_kwargs=dict(connect_timeout=CONNECT_SECONDS, read_timeout=SILENT_SECONDS),
      anon=not _has_login_of_s3(),
    )
  if scheme not in ("gs", "gcs", "http", "https"):
    return {}
  import aiohttp  # only for addresses

  timeout = aiohttp.ClientTimeout(
    total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS
  )
  session = dict(trust_env=True)  # proxies
  if scheme in ("http", "https"):
    return fresh | dict(client_kwargs=session | dict(timeout=timeout))
  own = dict(requests_timeout=timeout, session_kwargs=session)
  if host := os.environ.get(EMULATOR):
    own |= dict(token="anon", endpoint_url=host if "://" in host else f"http://{host}")
  return fresh | own


def _has_login_of_s3() -> bool:
  """Whether there is anything to sign requests with; without, buckets that are public are read."""
  try:
    import botocore.session  # comes with s3fs

    return botocore.session.Session().get_credentials() is not None
  except ImportError:
    return True  # and s3fs is missing, which is said when it is imported


def status_of(error: BaseException) -> int | None:
  """The status of HTTP in an error, whichever library raised it."""
  for name in ("status", "code"):
    value = getattr(error, name, None)
    if str(value).isdigit():
      return int(value)
  answer = getattr(error.__cause__ or error, "response", None)
  if isinstance(answer, dict):  # of botocore, also below errors of s3fs
    return answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
  return None


def is_passing(error: BaseException) -> bool:
  """Whether another try may succeed: no answer, a broken connection, a server in trouble."""
  status = status_of(error)
  if status is not None:
    return status in PASSING
  if isinstance(error, OSError) and error.errno in (errno.EBUSY, errno.EIO):  # so s3fs has 5xx
    return True
  kinds = {kind.__name__ for kind in type(error).__mro__}
  return bool(kinds & _BROKEN) and "InvalidURL" not in kinds


def explained(error: BaseException, url: str | os.PathLike) -> str:
  """What an error of a store means and what to do about it, in one line."""
  url, text = address(url), " ".join(str(error).split())
  kind, status = type(error).__name__, status_of(error)
  if isinstance(error, StoreError):
    return text
  if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
    return f"the disk is full ({text}) while {url} is copied; make room, {AGAIN}"
  if isinstance(error, FileNotFoundError) or status == 404:
    return f"{url} is not there; see that the bucket and the path are spelt as in the store"
  if _is_of_a_login(kind, text):
    return f"the login of this machine does not count at {url} ({text[:120]}): {_login(url)}"
  if isinstance(error, PermissionError) or status in (401, 403) or "Forbidden" in text[:20]:
    return f"{url} may not be read by you ({text[:120]}): ask its owner, or {_login(url)}"
  if isinstance(error, ValueError) and status is None:  # no JSON, no XML
    return no_store(url, text)
  if status in PASSING:
    return f"{url}: the server has trouble (status {status}); wait, {AGAIN}"
  if is_passing(error):
    return f"{url} does not answer ({text[:120] or kind}); see that the network is there, {AGAIN}"
  return f"{url} cannot be read ({kind}: {text[:200]})"


def _is_of_a_login(kind: str, text: str) -> bool:
  """Whether a login is missing, damaged or has run out, by the words of the libraries."""
  kinds = ("RefreshError", "DefaultCredentialsError", "NoCredentialsError", "GoogleAuthError")
  words = r"expired|invalid.?(credentials|token|_grant)|invalid authentication|token has run out"
  return kind in kinds or re.search(words, text, re.IGNORECASE) is not None


def _login(url: str) -> str:
  """How to log in."""
  if url.startswith("s3"):
    return "log in with `aws configure`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
  if url.startswith("http"):
    return "name an address that needs no login"
  return (
    "log in with `gcloud auth application-default login`, or name the file of a key in "
    "GOOGLE_APPLICATION_CREDENTIALS"
  )


def no_store(url: str, text: str) -> str:
  """The error for an answer that no store gives."""
  return (
    f"what answers for {url} is no store ({text[:80]}), but perhaps a proxy or a page of a login; "
    f"open the address in a browser or set HTTPS_PROXY, {AGAIN}"
  )


def retried(ask: Callable[[], Any], url: str | os.PathLike) -> Any:
  """What `ask` returns; after an error that may pass it is called again, ever later.

  Raises:
    StoreError: it did not pass, or is of another kind.
  """
  for wait in [FIRST_WAIT_SECONDS * 2**n for n in range(TRIES - 1)] + [None]:
    try:
      return ask()
    except StoreError:
      raise
    except Exception as error:
      if wait is None or not is_passing(error):
        raise StoreError(explained(error, url)) from error
      absl.logging.info("%s; trying again in %.3g s", explained(error, url), wait)
      time.sleep(wait)
  raise AssertionError
