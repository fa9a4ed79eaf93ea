"""Keeps a connection to RabbitMQ: aiormq itself does not reconnect."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import NoReturn

import aiormq
import structlog
from aiormq.abc import AbstractConnection
from yarl import URL

from shared.messaging import topology
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
    cancelled). The broker's UI shows `name`. A `heartbeat` in the URL, in seconds, replaces the default of 10.
    """

    def __init__(self, url: str, name: str, session: Session) -> None:
        self._url = URL(url).update_query({"heartbeat": str(_HEARTBEAT), **URL(url).query, "name": name})
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
            if _is_cancelled():
                # aiormq swallows a cancellation that arrives while it cleans up after a failed connect.
                raise asyncio.CancelledError
            await asyncio.sleep(next(self._pauses))

    async def _connect_and_hold(self) -> None:
        async with asyncio.timeout(_CONNECT):
            connection = _Connection(self._url)
            await connection.connect()
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
        if _is_cancelled():
            raise
        raise aiormq.AMQPConnectionError("the broker does not answer") from error


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def close(connection: AbstractConnection) -> None:
    """Closes within 2 s, whatever the state of the connection."""
    try:
        async with asyncio.timeout(_CLOSE):
            await connection.close()
    except FAILURES:
        log.debug("broker connection did not close cleanly")
