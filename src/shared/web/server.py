"""Runs one process: settings, logs, application, socket, and an ordered end."""

import asyncio
import gc
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from typing import TypeVar, cast

import structlog
import uvloop
from aiohttp import http_parser, web
from aiohttp.typedefs import Middleware

from shared import logs
from shared.settings import ServiceSettings, SettingsError
from shared.web import health, responses
from shared.web.connection import Connection, Prepare, ServerLimits
from shared.web.requests import MAX_BODY

log = structlog.get_logger()

_WRONG_SETTINGS = 2
_BACKLOG = 1_024
_FINISH_REQUESTS = 6.0
# Left free for databases, the broker, upstreams and what else the process opens.
_OTHER_FILES = 1_024


Settings = TypeVar("Settings", bound=ServiceSettings)


def run(
    name: str, load: Callable[[Mapping[str, str]], Settings], create_app: Callable[[Settings], web.Application]
) -> int:
    """Returns the exit status: 0 after SIGTERM or SIGINT, 2 for wrong settings, 1 if it could not serve."""
    try:
        settings = load(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{name}: the settings are wrong\n" + "".join(f"  {line}\n" for line in error.problems))
        return _WRONG_SETTINGS
    logs.configure(name, settings.log_level)
    require_c_parsers()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(create_app(settings), settings))


def require_c_parsers() -> None:
    """Raises RuntimeError where a pure-Python fallback would make the process several times slower without a word."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise RuntimeError("aiohttp was installed without its C parser")
    import hiredis  # noqa: F401, PLC0415  # raises if it is missing: redis would go on without it, slowly


async def serve(app: web.Application, settings: ServiceSettings) -> int:
    """On SIGTERM: not ready → stop accepting → finish requests → close what the application opened, last first."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    limits = ServerLimits()
    async with serving(app, replace(limits, connections=raise_open_files(limits.connections))) as connections:
        try:
            port = await connections.listen(settings.host, settings.port)
        except OSError as error:
            log.critical("cannot listen", host=settings.host, port=settings.port, error=os.strerror(error.errno or 0))
            return 1
        _spare_the_collector()
        log.info("listening", host=settings.host, port=port)
        await stop.wait()
        log.info("stopping")
        app[health.HEALTH].draining = True
    log.info("stopped")
    return 0


def application(*middlewares: Middleware) -> web.Application:
    """An application with the body limit of the API and the headers of every answer; `trace` comes first in it."""
    app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY)
    app.on_response_prepare.append(responses.on_prepare)
    return app


@asynccontextmanager
async def serving(app: web.Application, limits: ServerLimits) -> AsyncIterator["Connections"]:
    """Opens the application; at the end it stops accepting, finishes the requests, and closes the application."""
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=_FINISH_REQUESTS)
    try:
        await runner.setup()
        prepare = app.on_response_prepare.send
        with closing(Connections(cast("web.Server", runner.server), limits, prepare)) as connections:
            yield connections
    finally:
        await runner.cleanup()


class Connections:
    """Checks each open connection every `ServerLimits.sweep` seconds, and closes new ones unread past the limit."""

    def __init__(self, server: web.Server, limits: ServerLimits, prepare: Prepare) -> None:
        self._server = server
        self._prepare = prepare
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._open: set[Connection] = set()
        self._turned_away = 0
        self._listener: asyncio.Server | None = None
        self._closed = False
        self._loop.call_later(limits.sweep, self._sweep)

    async def listen(self, host: str, port: int) -> int:
        """Returns the port, which the system chooses if `port` is 0. Raises OSError if it is not free."""
        self._listener = await self._loop.create_server(self._accept, host, port, backlog=_BACKLOG)
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    def close(self) -> None:
        """Accepts no more connections; the open ones are still checked."""
        self._closed = True
        if self._listener is not None:
            self._listener.close()

    def __len__(self) -> int:
        return len(self._open)

    def _accept(self) -> asyncio.BaseProtocol:
        if len(self._open) < self._limits.connections:
            return Connection(self._server, self._open, self._limits, self._loop, self._prepare)
        self._turned_away += 1
        return _TurnedAway()

    def _sweep(self) -> None:
        if self._open or not self._closed:
            self._loop.call_later(self._limits.sweep, self._sweep)
        if self._turned_away:
            log.warning("too many connections", open=len(self._open), turned_away=self._turned_away)
            self._turned_away = 0
        now = self._loop.time()
        for connection in tuple(self._open):
            connection.check(now)


class _TurnedAway(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()


def raise_open_files(connections: int) -> int:
    """Allows as many open files as the system permits, and returns how many of the connections then fit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return connections if hard == resource.RLIM_INFINITY else max(1, min(connections, hard - _OTHER_FILES))


def _spare_the_collector() -> None:
    """Collects rarely, and nothing that was made at start: the search for cycles took a tenth of the CPU."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
