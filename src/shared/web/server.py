"""Runs a program: settings, logs, application, socket, and an ordered end."""

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from typing import TypeVar, cast

import structlog
import uvloop
from aiohttp import http_parser, web
from aiohttp.typedefs import Middleware

from shared import logs, metrics, spans
from shared.settings import ServiceSettings, SettingsError
from shared.tasks import BackgroundTasks
from shared.web import health, middleware, responses
from shared.web.connection import ServerLimits
from shared.web.connections import HOLDER, Connections
from shared.web.processes import supervise
from shared.web.requests import MAX_BODY

log = structlog.get_logger()

_WRONG_SETTINGS = 2
_FINISH_REQUESTS = 6.0
# Left free for connections that are turned away, databases, the broker, upstreams and what else the process opens.
_OTHER_FILES = 1_536
_OPERATIONAL_CONNECTIONS = 64


Settings = TypeVar("Settings", bound=ServiceSettings)
TASKS = web.AppKey("tasks", BackgroundTasks)


def run(
    name: str, load: Callable[[Mapping[str, str]], Settings], create_app: Callable[[Settings], web.Application]
) -> int:
    """Returns the exit status: 0 after SIGTERM or SIGINT, 2 for wrong settings, 1 if it could not serve, or go on."""
    try:
        settings = load(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{name}: the settings are wrong\n" + "".join(f"  {line}\n" for line in error.problems))
        return _WRONG_SETTINGS
    listener = None

    def work(number: int, previous: Mapping[str, int]) -> int:
        own = replace(settings, admin_port=settings.admin_port and settings.admin_port + number)
        about = {"service": name, **({"process": str(number)} if listener else {})}
        with logs.to_stdout(own.log_level, about):
            if previous:
                log.error("process ended unasked", **previous)
            if own.otel_exporter_otlp_endpoint:
                from shared.otlp import Recorder  # noqa: PLC0415  # takes time and memory

                spans.recorder = Recorder(name)
            with closing(spans.recorder), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                require_c_parsers()
                return runner.run(serve(create_app(own), own, listener))

    if settings.processes == 1:
        return work(0, {})
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        with logs.to_stdout(settings.log_level, {"service": name}):
            log.critical("cannot listen", host=settings.host, port=settings.port, error=os.strerror(error.errno or 0))
            return 1
    return supervise(settings.processes, listener, work)


def require_c_parsers() -> None:
    """Raises RuntimeError where a pure-Python fallback would make the process several times slower without a word."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise RuntimeError("aiohttp was installed without its C parser")
    import hiredis  # noqa: F401, PLC0415  # raises if it is missing: redis would go on without it, slowly


async def serve(app: web.Application, settings: ServiceSettings, listener: socket.socket | None = None) -> int:
    """On SIGTERM: not ready → a pause that balancers notice → stop accepting → finish requests → close the rest."""
    tasks = app[TASKS]
    loop = asyncio.get_running_loop()
    metrics.watch(loop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, tasks.stop.set)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    limits = ServerLimits()
    limits = replace(limits, connections=raise_open_files(limits.connections))
    own_limits = replace(limits, connections=_OPERATIONAL_CONNECTIONS)
    async with serving(app, limits) as clients, serving(_operational(app), own_limits) as operational:
        doors = {"port": (clients, settings.port, listener), "admin_port": (operational, settings.admin_port, None)}
        bound: dict[str, int] = {}
        for name, (connections, port, inherited) in doors.items():
            if port is None:
                continue
            try:
                bound[name] = await connections.listen(settings.host, port, inherited)
            except OSError as error:
                log.critical("cannot listen", host=settings.host, port=port, error=os.strerror(error.errno or 0))
                return 1
        _spare_the_collector()
        log.info("listening", host=settings.host, **bound)
        await tasks.stop.wait()
        log.info("stopping")
        app[health.HEALTH].draining = True
        await asyncio.sleep(settings.drain_seconds)
    log.info("stopped")
    return 1 if tasks.failed else 0


def application(*middlewares: Middleware) -> web.Application:
    """An application with the body limit of the API and the headers of every answer; `trace` comes first in it."""
    app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY)
    app.on_response_prepare.append(responses.on_prepare)
    app[TASKS], app[health.HEALTH] = BackgroundTasks(), health.Health()
    return app


def _operational(app: web.Application) -> web.Application:
    """Health and metrics for a listener that clients neither reach nor fill."""
    own = application(middleware.trace, middleware.errors)
    own[health.HEALTH] = app[health.HEALTH]
    own.add_routes(health.ROUTES)
    return own


@asynccontextmanager
async def serving(app: web.Application, limits: ServerLimits) -> AsyncIterator["Connections"]:
    """Opens the application; at the end it stops accepting, finishes the requests, and closes the application."""
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=_FINISH_REQUESTS)
    try:
        await runner.setup()
        prepare = app.on_response_prepare.send
        server, holder_of = cast("web.Server", runner.server), app.get(HOLDER, str)
        with closing(Connections(server, limits, prepare, holder_of)) as connections:
            yield connections
    finally:
        await runner.cleanup()


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
