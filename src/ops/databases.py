"""The databases of the services: read-only snapshots, and sessions that write."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

import asyncpg

from ops.errors import OpsError, first_line
from shared.db import FAILURES, connect
from shared.settings import PostgresUrl, Settings

_CONNECT = 10.0
# A whole table may have to be read and sorted.
_STATEMENT = 900.0
_CLOSE = 2.0
_PREFETCH = 1_000
_SETTINGS = {"application_name": "ops", "TimeZone": "UTC"}


@dataclass(frozen=True, kw_only=True, repr=False)
class DatabaseUrls(Settings):
    products_database_url: PostgresUrl
    orders_database_url: PostgresUrl


class Session:
    """A connection. Each method raises OpsError for every failure of the database."""

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
    async def transaction(self) -> AsyncIterator[None]:
        with _named(self._name):
            async with self._connection.transaction():
                yield


@asynccontextmanager
async def session(url: str, name: str) -> AsyncIterator[Session]:
    """Each statement that is in no transaction is one of its own."""
    with _named(name):
        connection = await connect(url, timeout=_CONNECT, command_timeout=_STATEMENT, server_settings=_SETTINGS)
    try:
        yield Session(name, connection)
    finally:
        with suppress(*FAILURES):
            await connection.close(timeout=_CLOSE)


@asynccontextmanager
async def snapshot(url: str, name: str) -> AsyncIterator[Session]:
    """Every statement sees the same moment, whatever is written meanwhile, and none can change anything."""
    async with session(url, name) as database:
        await database.fetch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")  # it ends with the connection
        await database.fetch("SELECT")  # the first statement fixes the moment
        yield database


@asynccontextmanager
async def both(
    urls: DatabaseUrls, opened: Callable[[str, str], AbstractAsyncContextManager[Session]]
) -> AsyncIterator[tuple[Session, Session]]:
    """orders-db and products-db, each `opened` by `session` or `snapshot`."""
    async with (
        opened(urls.orders_database_url, "orders-db") as orders,
        opened(urls.products_database_url, "products-db") as products,
    ):
        yield orders, products


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except FAILURES as error:
        raise OpsError(f"{name}: {first_line(error)}") from error
