"""The open connections of a process: how many there may be, and that none takes longer than it may."""

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import structlog
from aiohttp import web

from shared.web.connection import Connection
from shared.web.door import DOOR, Door
from shared.web.peers import Limits

log = structlog.get_logger()

_BACKLOG = 1_024
_FINISH_REQUESTS = 6.0
# For databases, the broker, upstreams and what else the process opens.
_OTHER_FILES = 1_024


class Connections:
    """Looks at each of them once every `Limits.sweep` seconds; past the most, new ones are closed unread."""

    def __init__(self, server: web.Server, limits: Limits, door: Door | None = None) -> None:
        self._web = server
        self._limits = limits
        self._door = door
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
        return Connection(self._web, self, self._limits, self._loop, self._door)

    def _sweep(self) -> None:
        self._timer = self._loop.call_later(self._limits.sweep, self._sweep)
        if self._turned_away:
            log.warning("too many connections", open=len(self._open), turned_away=self._turned_away)
            self._turned_away = 0
        now = self._loop.time()
        for connection in tuple(self._open):
            connection.check(now)


@asynccontextmanager
async def serving(app: web.Application, limits: Limits) -> AsyncIterator[Connections]:
    """The application, open; at the end: stop accepting → finish requests → close it."""
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=_FINISH_REQUESTS)
    connections = None
    try:
        await runner.setup()
        connections = Connections(cast("web.Server", runner.server), limits, app.get(DOOR))
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
