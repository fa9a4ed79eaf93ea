"""The open connections of a listener: how many there may be, and who has to give way when there are too many."""

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast
from weakref import WeakValueDictionary

import structlog
from aiohttp import web

from shared.shares import Shares
from shared.web.connection import Connection, Prepare, ServerLimits

log = structlog.get_logger()

_BACKLOG = 1_024
# Of one check; those beyond are closed at once.
_MOST_TURNED_AWAY = 1_024
# Whom a connection from an address is counted for. None: for nobody, it is one of a proxy with many clients.
HOLDER: web.AppKey[Callable[[str], str | None]] = web.AppKey("holder")


class Connections:
    """Divides the connections between their holders, and checks each every `ServerLimits.sweep` seconds.

    A new one past its holder's share takes the place of the one of that holder that has been idle longest. If none has
    been idle for `ServerLimits.settled` seconds it is closed unread, `ServerLimits.sweep` seconds later: a holder that
    comes again at once would keep the process busy. Where no place is left at all, the holder with the most idle
    ones gives one up.
    """

    def __init__(
        self, server: web.Server, limits: ServerLimits, prepare: Prepare, holder_of: Callable[[str], str | None]
    ) -> None:
        self._server = server
        self._prepare = prepare
        self._limits = limits
        self._holder_of = holder_of
        self._loop = asyncio.get_running_loop()
        self._shares = Shares(limits.connections)
        self._open: dict[Connection, str | None] = {}
        self._lingering: set[Connection] = set()
        self._idle: WeakValueDictionary[str | None, OrderedDict[Connection, float]] = WeakValueDictionary()
        self._closed_idle = 0
        self._turned_away = 0
        self._listener: asyncio.Server | None = None
        self._closed = False
        self._loop.call_later(limits.sweep, self._sweep)

    async def listen(self, host: str, port: int, inherited: socket.socket | None = None) -> int:
        """Returns the port, which the system chooses if `port` is 0. Raises OSError if it is not free."""
        where: dict[str, Any] = {"sock": inherited} if inherited else {"host": host, "port": port}
        self._listener = await self._loop.create_server(lambda: _Arrival(self._admit), **where, backlog=_BACKLOG)
        for each in self._listener.sockets:  # every connection inherits it; else up to 256 KB of each are read at once
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._limits.unread)
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    def close(self) -> None:
        """Accepts no more connections; the open ones are still checked."""
        self._closed = True
        if self._listener is not None:
            self._listener.close()

    def __len__(self) -> int:
        return len(self._open)

    def _admit(self, transport: asyncio.Transport) -> None:
        peer = transport.get_extra_info("peername")
        holder = self._holder_of(peer[0] if peer else "")
        if not self._shares.take(holder):
            self._close_idle(holder)
            if not self._shares.take(holder):
                self._turned_away += 1
                later = self._limits.sweep if self._turned_away <= _MOST_TURNED_AWAY else 0
                self._loop.call_later(later, transport.abort)
                return
        idle = self._idle.setdefault(holder, OrderedDict())
        connection = Connection(
            self._server, idle, self._forget, self._limits, self._prepare, lingering=self._lingering
        )
        self._open[connection] = holder
        transport.set_protocol(connection)
        connection.connection_made(transport)

    def _close_idle(self, holder: str | None) -> None:
        if is_own := self._shares.left > 0:
            idle = self._idle.get(holder)
        else:
            idle = max(self._idle.values(), key=len, default=None)
        if not idle:
            return
        connection, since = next(iter(idle.items()))
        if not is_own or time.monotonic() - since >= self._limits.settled:
            self._closed_idle += 1
            self._forget(connection)
            connection.force_close()

    def _forget(self, connection: Connection) -> None:
        if connection in self._open:
            self._shares.give_back(self._open.pop(connection))
            connection.idle.pop(connection, None)

    def _sweep(self) -> None:
        if self._open or not self._closed:
            self._loop.call_later(self._limits.sweep, self._sweep)
        if self._closed_idle or self._turned_away:
            closed, away = self._closed_idle, self._turned_away
            self._closed_idle = self._turned_away = 0
            log.warning("too many connections", open=len(self._open), closed_idle=closed, turned_away=away)
        now = self._loop.time()
        for connection in tuple(self._open):
            connection.check(now)


class _Arrival(asyncio.Protocol):
    """Stands for a new connection until its peer is known, and for one that is turned away until it is closed."""

    def __init__(self, admit: Callable[[asyncio.Transport], None]) -> None:
        self._admit = admit

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport does not derive from it
        self._admit(self._transport)

    def data_received(self, _: bytes) -> None:
        self._transport.pause_reading()  # earlier it has no effect: uvloop begins to read after `connection_made`
