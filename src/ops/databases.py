"""The databases of the services: read-only snapshots, and transactions that write."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import asyncpg

from ops.errors import OpsError, first_line

_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
_CONNECT = 10.0
# A whole table may have to be read and sorted.
_STATEMENT = 900.0
_CLOSE = 2.0
_PREFETCH = 1_000


class Snapshot:
    """Every statement sees the same moment, whatever is written meanwhile, and none can change anything."""

    def __init__(self, name: str, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._name = name
        self._connection = connection

    async def fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        with _named(self._name):
            return await self._connection.fetch(statement, *arguments)

    async def stream(self, statement: str, *arguments: object) -> AsyncIterator[asyncpg.Record]:
        """Yields the rows; about 1,000 of them are in memory at a time."""
        with _named(self._name):
            async for row in self._connection.cursor(statement, *arguments, prefetch=_PREFETCH, timeout=_STATEMENT):
                yield row


@asynccontextmanager
async def snapshot(url: str, name: str) -> AsyncIterator[Snapshot]:
    """Raises OpsError for every failure of the database, in the context too."""
    with _named(name):
        connection = await _connect(url)
    try:
        transaction = connection.transaction(isolation="repeatable_read", readonly=True)
        with _named(name):
            await transaction.start()
            await connection.execute("SELECT")  # the first statement fixes the moment
        yield Snapshot(name, connection)
    finally:
        # There is nothing to commit; the transaction ends with the connection.
        with suppress(*_FAILURES):
            await connection.close(timeout=_CLOSE)


@asynccontextmanager
async def transaction(url: str, name: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Writes, at the end of the context. Raises OpsError for every failure of the database, in the context too."""
    with _named(name):
        connection = await _connect(url)
        try:
            async with connection.transaction():
                yield connection
        finally:
            await connection.close(timeout=_CLOSE)


async def _connect(url: str) -> "asyncpg.Connection[asyncpg.Record]":
    return await asyncpg.connect(
        url, timeout=_CONNECT, command_timeout=_STATEMENT, server_settings={"application_name": "ops"}
    )


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        raise OpsError(f"{name}: {first_line(error)}") from error
