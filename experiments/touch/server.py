"""The page's server: a thin shell around `Table`, for the people who were given the link only.

Starlette and uvicorn with a page of our own, rather than Gradio: slots are clicked in the picture
itself, a link is the state, and nothing is fetched from anywhere.

Nothing is written or kept: a page sends its whole state with each request, so that tabs know
nothing of each other. Requests are answered only if they name this machine as their host, or bring
the token; and never if a page from elsewhere sent them.
"""

import json
import pathlib
import secrets
import socket
import threading
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
MOST_BYTES = 16 * 2**20  # of an upload
LOCAL = ("localhost", "127.0.0.1", "::1")
PORTS = range(8000, 8100)  # tried in turn
HEADERS = {
  "Content-Security-Policy": "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; "
  "script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'",
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cache-Control": "no-store",
}


def refused(headers, token: str | None) -> str | None:
  """Why a request is not answered; None where it is."""
  host = headers.get("host", "")
  origin = headers.get("origin")
  if origin is not None and urlsplit(origin).netloc != host:
    return f"requests from {origin} are not answered"
  if token is not None:
    given = headers.get("x-token", "")
    return None if secrets.compare_digest(given.encode(), token.encode()) else "the token is wrong"
  try:
    name = urlsplit(f"//{host}").hostname
  except ValueError:
    name = None
  return None if name in LOCAL else f"{host!r} is not this machine; see --token"


class Guard:
  """Answers 403 to what is refused, and sets headers that keep the page to itself."""

  def __init__(self, app, token: str | None):
    self._app, self._token = app, token

  async def __call__(self, scope, receive, send):
    if scope["type"] != "http":
      return await self._app(scope, receive, send)
    request = Request(scope)
    # The page's own files are no secret, and cannot bring a header.
    token = None if request.method == "GET" else self._token
    reason = refused(request.headers, token) if self._token is None or token else None

    async def send_with_headers(message):
      if message["type"] == "http.response.start":
        message["headers"] += [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
      await send(message)

    app = self._app if reason is None else PlainTextResponse(f"{reason}\n", 403)
    await app(scope, receive, send_with_headers)


async def body(request: Request) -> bytes:
  """What was sent; SceneError as soon as it is too much."""
  data = bytearray()
  async for chunk in request.stream():
    data += chunk
    if len(data) > MOST_BYTES:
      raise SceneError(f"This file cannot be used: it has more than {MOST_BYTES >> 20} MiB.")
  return bytes(data)


def application(table: Table, token: str | None = None) -> Starlette:
  """The page, and what it asks for."""
  folder, lock = pathlib.Path(__file__).parent, threading.Lock()

  def page(request: Request) -> Response:
    name = request.path_params.get("name", "")
    if name not in FILES:
      return PlainTextResponse("there is nothing here\n", 404)
    return Response((folder / (name or "page.html")).read_bytes(), media_type=FILES[name])

  def picture(wish: dict) -> dict:
    state = wish["state"] if "edit" not in wish else edited(wish["state"], wish["edit"])
    return {"state": state, **table.pictures(state)}

  answers = {
    "about": lambda wish: table.about(),
    "picture": picture,
    "strip": lambda wish: table.strip(wish["state"], *wish["of"]),
    "save": lambda wish: table.saved(wish["state"], wish["what"]),
  }

  def answered(name: str, data: bytes) -> Response:
    try:
      with lock:  # the cores are shared out within a scene
        if name == "upload":
          return JSONResponse({"png": encoded(table.cropped(data))})
        answer = answers[name](json.loads(data))
    except SceneError as error:
      return JSONResponse({"error": str(error)}, 400)
    except (KeyError, TypeError, ValueError, RecursionError):
      return JSONResponse({"error": "This is no request of the page."}, 400)
    return Response(answer) if isinstance(answer, bytes) else JSONResponse(answer)

  async def answer(request: Request) -> Response:
    try:
      data = await body(request)
    except SceneError as error:
      return JSONResponse({"error": str(error)}, 413)
    return await run_in_threadpool(answered, request.path_params["name"], data)

  routes = [
    Route("/", page),
    Route("/{name:str}", page),
    Route("/{name:str}", answer, methods=["POST"]),
  ]
  return Starlette(routes=routes, middleware=[Middleware(Guard, token=token)])


def listening(host: str, port: int | None) -> socket.socket:
  """A socket on a port, or on the first free one.

  Raises:
    UserError: it cannot be had.
  """
  family = socket.AF_INET6 if ":" in host else socket.AF_INET
  for number in (*PORTS, 0) if port is None else (port,):
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
      listener.bind((host, number))
      return listener
    except (OSError, OverflowError) as error:
      listener.close()
      reason = error
  raise UserError(f"cannot listen on {host}, port {port}: {reason}; choose another --port")


def link(listener: socket.socket, token: str | None) -> str:
  """What to open in a browser."""
  host, port = listener.getsockname()[:2]
  host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
  host = f"[{host}]" if ":" in host else host
  return f"http://{host}:{port}/" + (f"?token={token}" if token else "")


def serve(table: Table, listener: socket.socket, token: str | None) -> None:
  """Answers until Ctrl-C."""
  config = uvicorn.Config(
    application(table, token), log_level="warning", timeout_graceful_shutdown=1, lifespan="off"
  )
  uvicorn.Server(config).run(sockets=[listener])
