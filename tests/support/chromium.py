"""A headless Chromium that tests look at pages with, through its debugging pipe.

  with Browser() as browser:
    browser.open(path)
    browser.run("document.title")
    browser.messages             # errors and warnings of the console, exceptions
    browser.requests             # addresses that the page asked for

Needs nothing but the program itself.
"""

import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = (
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-extensions",
  "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
SECONDS = 90  # for an answer; the machine may be busy


class Browser:
  """One page in one browser."""

  def __enter__(self) -> "Browser":
    self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    theirs_in, self._out = os.pipe()
    self._in, theirs_out = os.pipe()
    # The browser listens on descriptor 3 and answers on 4.
    script = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
    command = [PROGRAM, *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
    self._process = subprocess.Popen(
      ["bash", "-c", script, "bash", *command],
      pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs_in)
    os.close(theirs_out)
    self._number, self._buffer, self._session = 0, b"", None
    self.messages, self.requests = [], []
    self._loaded = False
    answer = self.ask("Target.attachToTarget", targetId=self._first_page(), flatten=True)
    self._session = answer["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
      self.ask(f"{domain}.enable")
    return self

  def _first_page(self) -> str:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
      for target in self.ask("Target.getTargets")["targetInfos"]:
        if target["type"] == "page":
          return target["targetId"]
      time.sleep(0.1)  # the browser answers before its first page is there
    raise TimeoutError(f"Chromium opened no page in {SECONDS} s")

  def __exit__(self, *exc_info):
    os.close(self._out)
    os.close(self._in)
    self._process.terminate()
    try:
      self._process.wait(20)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()
    self._profile.cleanup()

  def ask(self, method: str, **params) -> dict:
    """Sends a command of the DevTools protocol; its result."""
    self._number += 1
    message = {"id": self._number, "method": method, "params": params}
    if self._session:
      message["sessionId"] = self._session
    data = json.dumps(message).encode() + b"\0"
    while data:
      data = data[os.write(self._out, data) :]
    end = time.monotonic() + SECONDS
    while (answer := self._next(end)).get("id") != self._number:
      self._note(answer)
    if "error" in answer:
      raise RuntimeError(f"{method}: {answer['error']}")
    return answer["result"]

  def _next(self, end: float) -> dict:
    while b"\0" not in self._buffer:
      if not select.select([self._in], [], [], max(0, end - time.monotonic()))[0]:
        raise TimeoutError(f"Chromium did not answer in {SECONDS} s")
      self._buffer += os.read(self._in, 1 << 16)
    message, _, self._buffer = self._buffer.partition(b"\0")
    return json.loads(message)

  def _note(self, event: dict) -> None:
    params = event.get("params", {})
    match event.get("method"):
      case "Runtime.exceptionThrown":
        details = params["exceptionDetails"]
        self.messages.append(details.get("exception", {}).get("description", details["text"]))
      case "Runtime.consoleAPICalled":
        self.messages.append(f"{params['type']}: {[a.get('value') for a in params['args']]}")
      case "Log.entryAdded":
        self.messages.append(f"{params['entry']['level']}: {params['entry']['text']}")
      case "Network.requestWillBeSent":
        self.requests.append(params["request"]["url"])
      case "Page.loadEventFired":
        self._loaded = True

  def open(self, path: pathlib.Path | str) -> None:
    """Opens a file or an address, and waits until it is loaded."""
    self._loaded, self.messages, self.requests = False, [], []
    url = path if isinstance(path, str) else path.resolve().as_uri()
    self.ask("Page.navigate", url=url)
    end = time.monotonic() + SECONDS
    while not self._loaded:
      self._note(self._next(end))

  def run(self, script: str):
    """Value of a JavaScript expression; promises are waited for."""
    answer = self.ask(
      "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
    )  # fmt: skip
    if "exceptionDetails" in answer:
      raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
    return answer["result"].get("value")

  def press(self, key: str) -> None:
    """Presses and releases a key, such as "ArrowRight" or "a"."""
    codes = {"ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35, "Escape": 27, "Enter": 13}
    for kind in ("keyDown", "keyUp"):
      self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key,
               windowsVirtualKeyCode=codes.get(key) or ord(key.upper()))  # fmt: skip

  def point_at(self, selector: str) -> None:
    """Moves the mouse to the middle of an element, which is scrolled into view."""
    x, y = self.place_of(selector)
    self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

  def place_of(self, selector: str, right: float = 0.5, down: float = 0.5) -> tuple[float, float]:
    """Where in the window a point of an element is, which is scrolled into view."""
    return self.run(
      f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
      "e.scrollIntoView({block: 'center', behavior: 'instant'});"
      "const r = e.getBoundingClientRect();"
      f"return [r.x + {right} * r.width, r.y + {down} * r.height]; }})()"
    )

  def drag(self, selector: str, *stops: tuple[float, float]) -> None:
    """Presses the mouse at the first point of an element, and lets it go at the last."""
    for number, stop in enumerate(stops):
      x, y = self.place_of(selector, *stop)
      kinds = ["mousePressed"] if number == 0 else ["mouseMoved"]
      for kind in kinds + ["mouseReleased"] * (number == len(stops) - 1):
        self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1,
                 clickCount=1)  # fmt: skip

  def click(self, selector: str) -> None:
    """Clicks in the middle of an element."""
    self.point_at(selector)
    self.drag(selector, (0.5, 0.5))

  def drop(self, selector: str, path: pathlib.Path) -> None:
    """Drops a file on an element."""
    x, y = self.place_of(selector)
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
      self.ask("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

  def show_as(self, width: int, height: int, dark: bool = False) -> None:
    """Sets the size of the window and the colour scheme."""
    self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height,
             deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    self.ask("Emulation.setEmulatedMedia", features=[scheme])

  def screenshot(self, path: pathlib.Path, whole: bool = True) -> None:
    """Writes a PNG of the window, or of the whole page."""
    answer = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)
    path.write_bytes(base64.b64decode(answer["data"]))
