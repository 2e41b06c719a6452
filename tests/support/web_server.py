"""A web server on loopback that serves bytes from memory, by ranges, and fails as it is told.

with WebServer({"a/b.bin": content}) as server:
  server.url                      # "http://127.0.0.1:..."
  server.failures.append("503")   # of the next answer: a status, "cut", "wrong", "html"
"""

import collections
import http.server
import re
import threading
import time


class WebServer:
  """`sent` counts the bytes of content by name; `rate` is bytes a second, over all answers."""

  def __init__(self, files: dict[str, bytes], *, rate: float | None = None):
    self.files, self.has_ranges, self.rate = files, True, rate
    self.failures: collections.deque[str] = collections.deque()
    self.sent: collections.Counter[str] = collections.Counter()
    self._free_at, self._lock = 0.0, threading.Lock()
    handler = type("Handler", (_Handler,), dict(web=self))
    self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    self._server.daemon_threads = True
    self._server.handle_error = lambda *_: None  # clients that were killed
    self.url = f"http://127.0.0.1:{self._server.server_port}"

  def __enter__(self) -> "WebServer":
    threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
    return self

  def __exit__(self, *error) -> None:
    self._server.shutdown()
    self._server.server_close()

  def paced(self, size: int) -> None:
    """Waits until so many more bytes may be sent."""
    if self.rate:
      with self._lock:
        self._free_at = max(self._free_at, time.monotonic()) + size / self.rate
        wait = self._free_at - time.monotonic()
      time.sleep(max(wait, 0))


class _Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = "HTTP/1.1"

  def log_message(self, *words):
    pass

  def do_GET(self):
    web, name = self.web, self.path.strip("/")
    failure = web.failures.popleft() if web.failures else ""
    if failure.isdigit():
      return self._answer(int(failure), b"", {})
    if failure == "html":
      return self._answer(200, b"<html>log in</html>", {"Content-Type": "text/html"})
    if name not in web.files:
      return self._index(f"{name}/" if name else "")
    data = web.files[name]
    headers = {"ETag": f'"{hash(data):x}"'}
    if failure == "wrong":
      data = bytes(len(data))
    status, found = 200, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
    if found and web.has_ranges:
      first, last = int(found[1]), min(int(found[2]), len(data) - 1)
      headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
      status, data = 206, data[first : last + 1]
    self._answer(status, data, headers, cut=failure == "cut", name=name)

  def _index(self, folder: str) -> None:
    below = {name[len(folder) :] for name in self.web.files if name.startswith(folder)}
    if not below:
      return self._answer(404, b"", {})
    entries = {name.partition("/")[0] + "/" * ("/" in name) for name in below}
    page = "".join(f'<a href="{entry}">{entry}</a>' for entry in sorted(entries))
    self._answer(200, page.encode(), {"Content-Type": "text/html"})

  def _answer(self, status, data, headers, cut=False, name=""):
    self.send_response(status)
    for field, value in {"Content-Length": len(data), **headers}.items():
      self.send_header(field, str(value))
    self.end_headers()
    if cut:
      data, self.close_connection = data[: len(data) // 2], True
    sent = self.web.sent  # a test that puts another one in its place counts what is asked for later
    for start in range(0, len(data), 2**18):
      piece = data[start : start + 2**18]
      self.web.paced(len(piece))
      self.wfile.write(piece)
      sent[name] += len(piece)
