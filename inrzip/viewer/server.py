"""The page and what it asks for over HTTP, on this machine alone.

Whoever asks must know the token in the address, and have asked for this machine by its own name: so neither other
users nor other pages in the same browser can look, whatever they make names resolve to.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import socket
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from importlib import resources
from typing import Any, cast

import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import InrzipError
from ..measure import measure
from ..reports import error_text, json_text
from ..signal import Kind
from .rendering import Answer, PlaneQuery, Source, block, plane, surface, waves
from .signals import Viewed, rate_of

HOST = "127.0.0.1"
KEPT_BYTES = 96 << 20
"""Of answers that may be asked for again."""
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
MOST_AT_FIRST = 1 << 20
"""Pixels of a picture that is decoded whole before it is asked for, as a screen has room for it."""
UNPROCESSABLE, CLIENT_GONE = 422, 499
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Kept:
    """Answers that were given last."""

    def __init__(self, limit: int):
        self._limit, self._size = limit, 0
        self._answers: OrderedDict[str, Answer] = OrderedDict()

    def find(self, key: str) -> Answer | None:
        """None: it is not there, any more."""
        if key in self._answers:
            self._answers.move_to_end(key)
        return self._answers.get(key)

    def keep(self, key: str, answer: Answer) -> None:
        """Forgets what was not asked for for longest."""
        if key in self._answers:
            return
        self._answers[key] = answer
        self._size += len(answer.data)
        while self._size > self._limit and len(self._answers) > 1:
            self._size -= len(self._answers.popitem(last=False)[1].data)


class Viewer:
    """Answers of the page's questions about some signals: one at a time for each file."""

    def __init__(self, signals: Sequence[Viewed], token: str):
        self.signals, self.token = signals, token
        self._locks = {viewed.path: asyncio.Lock() for viewed in signals}
        self._kept = Kept(KEPT_BYTES)
        self._static = {file.name: file for file in resources.files(__package__).joinpath("static").iterdir()}

    def application(self, hosts: Sequence[str]) -> ASGIApp:
        """What a server runs. `hosts`: names that the page may be asked for by, with their port."""
        base = f"/{self.token}"
        app = Starlette(
            routes=[
                Route(f"{base}/", self._page),
                Route(f"{base}/static/{{name}}", self._page),
                Route(f"{base}/api/signals", self._list),
                Route(f"{base}/api/{{number:int}}/{{what}}", self._ask),
            ],
            lifespan=self._lifespan,
        )
        return _Guarded(app, hosts)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """What is first on the page is decoded while the browser starts."""
        warming = asyncio.create_task(self._warm())
        yield
        warming.cancel()

    async def _warm(self) -> None:
        for viewed in self.signals[:1]:
            with contextlib.suppress(Exception):  # whoever looks will be told
                async with self._locks[viewed.path]:
                    query = await anyio.to_thread.run_sync(_first_look, viewed)
                    if query:
                        key = _key(0, "plane", query)
                        self._kept.keep(key, await anyio.to_thread.run_sync(_plane, viewed, query))

    async def _page(self, request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        file = self._static.get(name)
        kind = TYPES.get("." + name.rpartition(".")[2])
        if file is None or kind is None:
            return PlainTextResponse("not found", 404)
        return Response(file.read_bytes(), media_type=kind)

    async def _list(self, request: Request) -> Response:
        found = await anyio.to_thread.run_sync(lambda: [_description(viewed) for viewed in self.signals])
        return Response(json_text(found), media_type="application/json")

    async def _ask(self, request: Request) -> Response:
        number, what = request.path_params["number"], request.path_params["what"]
        if number >= len(self.signals) or what not in _QUESTIONS:
            return JSONResponse({"error": "the page asked for what there is not"}, 404)
        viewed, key = self.signals[number], _key(number, what, dict(request.query_params))
        answer = self._kept.find(key)
        if answer is None:
            async with self._locks[viewed.path]:
                if await request.is_disconnected():
                    return Response(status_code=CLIENT_GONE)
                try:
                    answer = self._kept.find(key)  # the question before may have been the same
                    if answer is None:
                        answer = await anyio.to_thread.run_sync(_QUESTIONS[what], viewed, dict(request.query_params))
                except BaseException as error:
                    if isinstance(error, (KeyboardInterrupt, asyncio.CancelledError)):
                        raise
                    text = error_text(error, "decompress", [viewed.name])
                    return JSONResponse({"error": text}, UNPROCESSABLE)
            self._kept.keep(key, answer)
        if not answer.shape:
            return Response(answer.data, media_type="application/json")
        headers = {"X-Shape": ",".join(map(str, answer.shape))}
        return Response(answer.data, media_type="application/octet-stream", headers=headers)


class _Guarded:
    """Lets only this machine's own page in, and adds what browsers should heed."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]):
        self._app, self._hosts = app, {host.encode() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        named = [value for key, value in scope["headers"] if key == b"host"]

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    *((key.lower().encode(), value.encode()) for key, value in HEADERS.items()),
                ]
            await send(message)

        if len(named) != 1 or named[0] not in self._hosts:
            await PlainTextResponse("this page is for this machine alone", 403)(scope, receive, with_headers)
        else:
            await self._app(scope, receive, with_headers)


# ---- questions ----


def _key(number: int, what: str, query: dict[str, str]) -> str:
    return f"{number}/{what}?{sorted(query.items())}"


def _first_look(viewed: Viewed) -> dict[str, str] | None:
    """Reads weights and compiles what the first view needs; returns what the page asks for first, if that is known."""
    reader = viewed.signal()
    shape = reader.spec.shape
    if reader.spec.kind in (Kind.IMAGE, Kind.VIDEO) and math.prod(shape[-2:]) <= MOST_AT_FIRST:
        ranges = [f"0:{n}" for n in ((1, *shape[1:]) if reader.spec.kind == Kind.VIDEO else shape)]
        return {"source": "decoded", "bounds": ",".join(ranges), "scale": "1"}
    if reader.spec.kind == Kind.SHAPE:
        reader.mesh(scale=0.25)
    elif reader.spec.kind == Kind.VIDEO:
        reader.render(frames=(0, 1))
    else:
        reader.render([(0, min(n, _FIRST_SIDE[len(shape)])) for n in shape])
    return None


_FIRST_SIDE = {1: 16384, 2: 128, 3: 25, 4: 11}
"""Samples along each axis that make a whole block of points (`architectures.base.POINT_BLOCKS`) and little more."""


def _description(viewed: Viewed) -> dict[str, object]:
    """What the page has to know of a signal before it looks."""
    about: dict[str, object] = {"name": viewed.name, "error": viewed.error, "note": viewed.note}
    if viewed.reader is None:
        return about
    spec = viewed.reader.spec
    times = spec.meta.get("times")
    return about | {
        "kind": spec.kind.name.lower(),
        "shape": list(spec.shape),
        "channels": spec.channels,
        "low": spec.low,
        "high": spec.high,
        "rate": rate_of(spec, 25 if spec.kind == Kind.VIDEO else 44100),
        "times": [t / 90000 for t in times] if isinstance(times, tuple) else None,
        "aspect": list(cast(tuple[int, int], spec.meta.get("aspect", (1, 1)))),
        "original": viewed.original.path.name if viewed.original is not None else None,
        "sounds": viewed.reader.container.n_tracks > 0,
    }


def _source(query: dict[str, str]) -> Source:
    source = query.get("source", "decoded")
    if source not in ("decoded", "original", "error"):
        raise InrzipError("a source is decoded, original or error")
    return cast(Source, source)


def _number(query: dict[str, str], key: str, usual: str | None = None) -> float:
    try:
        return float(query[key] if usual is None else query.get(key, usual))
    except (KeyError, ValueError):
        raise InrzipError(f"{key} has to be a number") from None


def _whole(query: dict[str, str], key: str, usual: str | None = None) -> int:
    value = _number(query, key, usual)
    if not (value.is_integer() and abs(value) < 1 << 53):
        raise InrzipError(f"{key} has to be a whole number")
    return int(value)


def _plane(viewed: Viewed, query: dict[str, str]) -> Answer:
    try:
        pairs = [tuple(map(int, part.split(":"))) for part in query["bounds"].split(",")]
        bounds = tuple((start, stop) for start, stop in pairs)
    except (KeyError, ValueError):
        raise InrzipError("bounds have to be ranges like 0:10,5:20") from None
    return plane(viewed, PlaneQuery(_source(query), bounds, _number(query, "scale", "1")))


def _waves(viewed: Viewed, query: dict[str, str]) -> Answer:
    start, stop = _whole(query, "start"), _whole(query, "stop")
    return waves(viewed, _source(query), start, stop, _number(query, "scale", "1"))


def _sound(viewed: Viewed, query: dict[str, str]) -> Answer:
    """How a video's sound is: samples, channels, and samples a second."""
    sound = viewed.sound()
    if sound is None:
        raise InrzipError(f"{viewed.name}: has no sound")
    shape = (*sound.samples.shape, round(sound.rate))
    return Answer(shape, b"")


def _surface(viewed: Viewed, query: dict[str, str]) -> Answer:
    return surface(viewed, _source(query), _number(query, "scale", "1"))


def _block(viewed: Viewed, query: dict[str, str]) -> Answer:
    return block(
        viewed, _source(query), _whole(query, "step"), _whole(query, "index", "0"), _whole(query, "channel", "0")
    )


def _quality(viewed: Viewed, query: dict[str, str]) -> Answer:
    """Measured on all that is decoded, as `inrzip verify --against` does."""
    from .. import media

    if viewed.original is None:
        raise InrzipError("there is no original to measure against")
    found = measure(media.read_signal(viewed.original.path, kind=viewed.signal().spec.kind), viewed.signal())
    return Answer((), json_text(found).encode())


def _facts(viewed: Viewed, query: dict[str, str]) -> Answer:
    viewed.signal()
    return Answer((), json_text(viewed.facts()).encode())


_QUESTIONS: dict[str, Callable[[Viewed, dict[str, str]], Answer]] = {
    "plane": _plane,
    "waves": _waves,
    "sound": _sound,
    "surface": _surface,
    "block": _block,
    "quality": _quality,
    "facts": _facts,
}


# ---- serving ----


def listen(port: int) -> socket.socket:
    """A socket on this machine's loopback; port 0 is any that is free. Raises InrzipError."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except OSError as error:
        listening.close()
        raise InrzipError(f"--port {port}: {error.strerror}; leave it out for any that is free") from error
    return listening


def serve(signals: Sequence[Viewed], listening: socket.socket, started: Callable[[str], None]) -> None:
    """Serves until it is interrupted. `started` is told the page's address, which can be asked for from then on."""
    server, address = make_server(signals, listening)
    started(address)
    server.run(sockets=[listening])


def make_server(signals: Sequence[Viewed], listening: socket.socket) -> tuple[uvicorn.Server, str]:
    """A server to run, and the address of its page."""
    token = secrets.token_urlsafe(16)
    port = listening.getsockname()[1]
    hosts = [f"{HOST}:{port}", f"localhost:{port}"]
    config = uvicorn.Config(
        Viewer(signals, token).application(hosts),
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        http="h11",
        ws="none",
    )
    listening.listen()
    return uvicorn.Server(config), f"http://{hosts[0]}/{token}/"
