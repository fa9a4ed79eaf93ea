"""Keeps a connection to RabbitMQ: aiormq itself does not reconnect."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import NoReturn

import aiormq
import structlog
from aiormq.abc import AbstractConnection
from yarl import URL

from shared.hosts import first_of
from shared.messaging import topology
from shared.settings import each_host
from shared.tasks import backoff

log = structlog.get_logger()

# Seconds.
_CONNECT = 10.0
_CLOSE = 2.0
_HEARTBEAT = 10


class _Connection(aiormq.Connection):
    """Gives a silent broker up within two heartbeats: it looks every half of one. The default is more than three."""

    HEARTBEAT_GRACE_MULTIPLIER = 1.3  # type: ignore[assignment]  # it may be any number


# aiormq raises RuntimeError for a call on a channel or connection that is closed meanwhile.
FAILURES = (aiormq.AMQPError, OSError, TimeoutError, RuntimeError)

Session = Callable[[AbstractConnection], AbstractAsyncContextManager[asyncio.Future[object]]]


class SupervisedConnection:
    """Connects, declares the topology, opens a `session`, and repeats this whenever the session is lost.

    A session yields a future that is done when the session has become useless (its channel closed, its consumer
    cancelled). Of several hosts the one after that which was lost is the first to be tried again.
    """

    def __init__(self, url: str, name: str, session: Session) -> None:
        self._hosts = deque(each_host(url))
        self._name = name
        self._session = session
        self._pauses = backoff()
        self.connected = False

    async def run(self) -> NoReturn:
        """Runs until it is cancelled; the pause between tries grows to 5 s."""
        while True:
            try:
                with silence_as_error():
                    await self._connect_and_hold()
                log.warning("broker session ended", connection=self._name)
            except FAILURES as error:
                log.warning("broker not connected", connection=self._name, error=repr(error))
            except Exception:
                # A broken peer or proxy can make the client library raise anything; a new connection may work.
                log.exception("broker session crashed", connection=self._name)
            if is_cancelled():
                raise asyncio.CancelledError
            await asyncio.sleep(next(self._pauses))

    async def _connect_and_hold(self) -> None:
        connection = await connect(self._hosts, self._name)
        try:
            async with asyncio.timeout(_CONNECT):
                await topology.declare(connection)
            async with self._session(connection) as lost:
                self.connected = True
                self._pauses = backoff()
                log.info("broker connected", connection=self._name)
                await asyncio.wait({connection.closing, lost}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.connected = False
            await close(connection)


@contextmanager
def silence_as_error() -> Iterator[None]:
    """Raises AMQPConnectionError where aiormq cancels a waiting call because heartbeats were missed."""
    try:
        yield
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        raise aiormq.AMQPConnectionError("the broker does not answer") from error


def is_cancelled() -> bool:
    """Whether this task was told to end, although nothing may have been raised: aiormq loses some cancellations."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def connect(hosts: deque[str], name: str) -> AbstractConnection:
    """Tries the URLs in turn within 10 s, and leaves that in front which comes after the one that is connected.

    The broker's UI shows `name`. A `heartbeat` in a URL, in seconds, replaces the default of 10.
    """

    async def attempt(host: str) -> AbstractConnection:
        hosts.rotate(-1)
        url = URL(host)
        connection = _Connection(url.update_query({"heartbeat": str(_HEARTBEAT), **url.query, "name": name}))
        await connection.connect()
        return connection

    return await first_of(tuple(hosts), attempt, _CONNECT, FAILURES)


async def close(connection: AbstractConnection) -> None:
    """Closes within 2 s, whatever the state of the connection."""
    try:
        async with asyncio.timeout(_CLOSE):
            await connection.close()
    except FAILURES:
        log.debug("broker connection did not close cleanly")
