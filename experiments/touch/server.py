"""The page's server: a thin shell around `Table`, for the person who was given the link.

Starlette and uvicorn with a page of our own, rather than Gradio: slots are clicked in the picture
itself, and a link is the whole state.

Nothing is written or kept: a page sends its state with each request, so that tabs know nothing of
each other. Requests must name this machine as their host, or bring the token; and those that a page
from elsewhere sends are refused.
"""

import json
import pathlib
import secrets
import socket
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from experiments.console.errors import UserError
from experiments.touch.scenes import SceneError
from experiments.touch.table import Table, edited, encoded

FILES = {"": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
LOCAL = ("localhost", "127.0.0.1", "::1")
PORTS = (*range(8000, 8100), 0)  # tried in turn
MOST_BYTES = 16 * 2**20  # of a request
HEADERS = {
  "content-security-policy": "default-src 'none'; img-src data:; style-src 'self'; "
  "script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
  "frame-ancestors 'self' http://localhost:* http://127.0.0.1:*",  # such as Jupyter
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cache-control": "no-store",
}


def refusal(method: str, headers: Mapping[str, str], token: str | None) -> str | None:
  """Why a request is not answered; None where it is."""
  host, origin = headers.get("host", ""), headers.get("origin")
  try:
    name = urlsplit(f"//{host}").hostname
    if origin is not None and urlsplit(origin).netloc != host:
      return "pages from elsewhere are not answered"
  except ValueError:
    return "these are no addresses"
  if token is None:
    return None if name in LOCAL else "this machine has another name: see --token"
  # The page itself is no secret, and is asked for without headers.
  given = headers.get("x-token", "")
  right = method == "GET" or secrets.compare_digest(given.encode(), token.encode())
  return None if right else "the token in the link is missing or wrong"


class Guard:
  """Refuses, and sets headers that keep the page to itself."""

  def __init__(self, app, token: str | None):
    self._app, self._token = app, token

  async def __call__(self, scope, receive, send):
    async def send_with_headers(message):
      if message["type"] == "http.response.start":
        message["headers"] += [(name.encode(), text.encode()) for name, text in HEADERS.items()]
      await send(message)

    reason = refusal(scope["method"], Request(scope).headers, self._token)
    app = self._app if reason is None else JSONResponse({"error": reason}, 403)
    await app(scope, receive, send_with_headers)


def application(table: Table, token: str | None = None) -> Starlette:
  """The page, and what it asks for."""
  folder, lock = pathlib.Path(__file__).parent, threading.Lock()

  def page(request: Request) -> Response:
    name = request.path_params.get("name", "")
    if name not in FILES:
      return PlainTextResponse("there is nothing here\n", 404)
    return Response((folder / (name or "page.html")).read_bytes(), media_type=FILES[name])

  def picture(wish: dict) -> dict:
    state = edited(wish["state"], wish["edit"]) if "edit" in wish else wish["state"]
    return {"state": state, **table.pictures(state)}

  answers = {
    "about": lambda data: table.about(),
    "upload": lambda data: {"png": encoded(table.cropped(data))},
    "picture": lambda data: picture(json.loads(data)),
    "strip": lambda data: table.strip(**json.loads(data)),
    "save": lambda data: table.saved(**json.loads(data)),
  }

  def answered(name: str, data: bytes) -> Response:
    try:
      with lock:  # each scene takes all cores
        answer = answers[name](data)
      return Response(answer) if isinstance(answer, bytes) else JSONResponse(answer)
    except (SceneError, UserError) as error:
      return JSONResponse({"error": str(error)}, 400)
    except (TypeError, ValueError, LookupError, RecursionError):
      return JSONResponse({"error": "This is nothing that the page asks for."}, 400)

  async def answer(request: Request) -> Response:
    data = bytearray()
    async for chunk in request.stream():
      data += chunk
      if len(data) > MOST_BYTES:
        return JSONResponse({"error": f"The file has more than {MOST_BYTES >> 20} MiB."}, 413)
    return await run_in_threadpool(answered, request.path_params["name"], bytes(data))

  routes = [Route(path, page) for path in ("/", "/{name}")]
  routes.append(Route("/{name}", answer, methods=["POST"]))
  return Starlette(routes=routes, middleware=[Middleware(Guard, token=token)])


def listening(host: str, port: int | None) -> socket.socket:
  """A socket on a port, or on the first that is free.

  Raises:
    UserError: there is none.
  """
  for number in PORTS if port is None else (port,):
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
      listener.bind((host, number))
      listener.listen()  # until then others may have the same
      return listener
    except (OSError, OverflowError) as error:
      listener.close()
      reason = error
  raise UserError(f"cannot listen on {host}, port {port}: {reason}; choose another --port")


def link(listener: socket.socket, token: str | None) -> str:
  """What to open in a browser."""
  host, port = listener.getsockname()[:2]
  host = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
  return f"http://{host}:{port}/" + (f"?token={token}" if token else "")


def serve(table: Table, listener: socket.socket, token: str | None) -> None:
  """Answers until Ctrl-C."""
  config = uvicorn.Config(
    application(table, token), log_level="warning", lifespan="off", timeout_graceful_shutdown=1
  )
  uvicorn.Server(config).run(sockets=[listener])
