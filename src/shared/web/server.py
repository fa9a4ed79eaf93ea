"""Runs one process: settings, logs, application, socket, and an ordered end."""

import asyncio
import gc
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Protocol, TypeVar, cast

import structlog
import uvloop
from aiohttp import http_parser, web
from aiohttp.typedefs import Middleware

from shared import logs
from shared.settings import Listen, SettingsError
from shared.web import health, responses
from shared.web.connection import Connection, ServerLimits
from shared.web.requests import MAX_BODY

log = structlog.get_logger()

_BACKLOG = 1_024
_FINISH_REQUESTS = 6.0
# For databases, the broker, upstreams and what else the process opens.
_OTHER_FILES = 1_024


class Connections:
    """Looks at each of them once every `ServerLimits.sweep` seconds; past the most, new ones are closed unread."""

    def __init__(self, server: web.Server, limits: ServerLimits) -> None:
        self._web = server
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._open: set[Connection] = set()
        self._turned_away = 0
        self._listener: asyncio.Server | None = None
        self._timer = self._loop.call_later(limits.sweep, self._sweep)

    async def listen(self, host: str, port: int) -> int:
        """The port, chosen by the system if 0 is asked for. Raises OSError if it cannot be had."""
        self._listener = await self._loop.create_server(self._connection, host, port, backlog=_BACKLOG)
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    def close(self) -> None:
        """No more are accepted; those that are open stay."""
        if self._listener is not None:
            self._listener.close()

    def stop(self) -> None:
        """They are no longer looked at."""
        self._timer.cancel()

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Connection) -> bool:
        if len(self._open) >= self._limits.connections:
            self._turned_away += 1
            return False
        self._open.add(connection)
        return True

    def leave(self, connection: Connection) -> None:
        self._open.discard(connection)

    def _connection(self) -> Connection:
        return Connection(self._web, self, self._limits, self._loop)

    def _sweep(self) -> None:
        self._timer = self._loop.call_later(self._limits.sweep, self._sweep)
        if self._turned_away:
            log.warning("too many connections", open=len(self._open), turned_away=self._turned_away)
            self._turned_away = 0
        now = self._loop.time()
        for connection in tuple(self._open):
            connection.check(now)


@asynccontextmanager
async def serving(app: web.Application, limits: ServerLimits) -> AsyncIterator[Connections]:
    """The application, open; at the end: stop accepting → finish requests → close it."""
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=_FINISH_REQUESTS)
    connections = None
    try:
        await runner.setup()
        connections = Connections(cast("web.Server", runner.server), limits)
        yield connections
    finally:
        if connections is not None:
            connections.close()
        await runner.cleanup()
        if connections is not None:
            connections.stop()


def raise_open_files(connections: int) -> int:
    """Allows as many open files as the system lets us; how many of the connections fit, with room for the rest."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return connections if hard == resource.RLIM_INFINITY else max(1, min(connections, hard - _OTHER_FILES))


log = structlog.get_logger()

_WRONG_SETTINGS = 2
_LIMITS = ServerLimits()


class ServiceSettings(Protocol):
    @property
    def listen(self) -> Listen: ...


Settings = TypeVar("Settings", bound=ServiceSettings)


def run(
    name: str, load: Callable[[Mapping[str, str]], Settings], create_app: Callable[[Settings], web.Application]
) -> int:
    """The exit status: 0 after SIGTERM or SIGINT, 2 for wrong settings, 1 if it could not serve."""
    try:
        settings = load(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{name}: the settings are wrong\n" + "".join(f"  {line}\n" for line in error.problems))
        return _WRONG_SETTINGS
    logs.configure(name, settings.listen.log_level)
    require_c_parsers()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(create_app(settings), settings.listen))


def require_c_parsers() -> None:
    """Raises RuntimeError where a pure-Python fallback would make the process several times slower, unsaid."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise RuntimeError("aiohttp was installed without its C parser")
    import hiredis  # noqa: F401, PLC0415  # only to see that it is there: redis would do without it, slowly


async def serve(app: web.Application, listen: Listen, limits: ServerLimits = _LIMITS) -> int:
    """On SIGTERM: not ready → stop accepting → finish requests → close what the application opened, last first."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    limits = replace(limits, connections=raise_open_files(limits.connections))
    async with serving(app, limits) as connections:
        try:
            port = await connections.listen(listen.host, listen.port)
        except OSError as error:
            log.critical("cannot listen", host=listen.host, port=listen.port, error=os.strerror(error.errno or 0))
            return 1
        _spare_the_collector()
        log.info("listening", host=listen.host, port=port)
        await stop.wait()
        log.info("stopping")
        app[health.HEALTH].draining = True
    log.info("stopped")
    return 0


def _spare_the_collector() -> None:
    """What was made at start stays, and a request leaves few cycles: a tenth of the CPU went into looking for them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def application(*middlewares: Middleware) -> web.Application:
    """An application with the body limit of the API and the headers of every answer."""
    app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY)
    app.on_response_prepare.append(responses.on_prepare)
    return app
