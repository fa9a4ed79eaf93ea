"""Runs one process: settings, logs, application, socket, and an ordered end."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol, TypeVar

import structlog
import uvloop
from aiohttp import http_parser, web
from aiohttp.typedefs import Middleware

from shared import logs
from shared.settings import Listen, SettingsError
from shared.web import health, security
from shared.web.connections import raise_open_files, serving
from shared.web.peers import Limits
from shared.web.requests import MAX_BODY

log = structlog.get_logger()

_WRONG_SETTINGS = 2
_LIMITS = Limits()


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


async def serve(app: web.Application, listen: Listen, limits: Limits = _LIMITS) -> int:
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
    app.on_response_prepare.append(security.on_prepare)
    return app
