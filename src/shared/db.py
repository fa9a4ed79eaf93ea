"""PostgreSQL: a pool in which every wait has a limit, and which reports an outage as UNAVAILABLE.

A write whose outcome an outage leaves open is settled, or reported as OUTCOME_UNKNOWN.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from functools import partial
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar

import asyncpg
import asyncpg.pool
import structlog

from shared import metrics, spans
from shared.errors import AppError, Code
from shared.hosts import first_of
from shared.settings import each_host
from shared.tasks import backoff

log = structlog.get_logger()

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Result = TypeVar("Result")

PURGE_SECONDS = 600.0

# Seconds. A request learns within 2 s that the database does not answer: 1.5 s to work, the rest for the release.
_WORK = 1.5
_ACQUIRE = 1.0
_SETTLE = 2.5  # a planned switch to another primary takes less, and the clients of a request wait for no more
_GRACE = 0.01  # for what waits for something else than the database
_RELEASE = 0.4
_CLOSE = 1.0
# Between two renewals of all connections: a server that goes on refusing is not kept busy with signing in.
_RENEWAL = 1.0
_MAX_CONNECTIONS = 8
# Rows that one statement deletes, so that their locks are short.
_PURGED_AT_ONCE = 500

# Only an error of data (SQLSTATE classes 22 and 23) may blame a request or an event. Any other may go away while these
# stay as they are: it comes from the server's state, its settings, the schema or a pooler between.
FAULTS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# With these a server or a pooler says that it has lost sight of the statement, or asyncpg that the session has ended.
_LOSSES = (asyncpg.PostgresConnectionError, asyncpg.StatementCompletionUnknownError)


class _LostError(AppError):
    """An outage that leaves open whether what was sent last is committed, or will be: nobody has answered it."""


class LockedError(AppError):
    """UNAVAILABLE, because others keep a lock that is needed."""


class Database:
    """Connections for one piece of work at a time; the caller that knows the use case owns the transaction."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool
        self._renewable = 0.0  # on the monotonic clock

    @asynccontextmanager
    async def connection(self, limit: float = _WORK) -> AsyncIterator[Connection]:
        """A connection for at most `limit` seconds. Raises AppError UNAVAILABLE, LockedError if it is for a lock.

        The connection ends with them, and no call is cancelled: of a commit that waits for a standby a cancellation
        makes one that others see and no standby has, and the next primary gives its numbers to other orders.
        """
        try:
            connection = await self._pool.acquire(timeout=min(_ACQUIRE, limit))
        except FAILURES as error:
            is_full = self._pool.get_size() - self._pool.get_idle_size() == _MAX_CONNECTIONS
            message = "All connections to the database are taken" if is_full else "The database cannot be reached"
            raise AppError(Code.UNAVAILABLE, message) from error
        is_over = False

        def end() -> None:
            nonlocal is_over
            is_over = True
            connection.terminate()

        timer = asyncio.get_running_loop().call_later(limit, end)
        try:
            with spans.recorder.span("postgresql", {"db.system.name": "postgresql"}):
                async with asyncio.timeout(limit + _GRACE):
                    yield connection
        except FAULTS:
            raise
        except asyncpg.LockNotAvailableError as error:
            raise LockedError(Code.UNAVAILABLE, "Others are changing this at the moment") from error
        except FAILURES as error:
            # A primary that was demoted keeps its sessions while the clients' address leads to another one.
            if is_over or isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                await self._renew()
            is_answer = isinstance(error, asyncpg.PostgresError) and not isinstance(error, _LOSSES)
            kind = AppError if is_answer else _LostError
            cause = TimeoutError() if is_over else error
            raise kind(Code.UNAVAILABLE, "The database did not answer") from cause
        finally:
            timer.cancel()
            with suppress(*FAILURES):  # the pool has terminated the connection by then
                await self._pool.release(connection, timeout=_RELEASE)

    async def _renew(self) -> None:
        """Replaces all connections, at most once a second: to a server that is silent on one, or takes no writes."""
        if time.monotonic() > self._renewable:
            self._renewable = time.monotonic() + _RENEWAL
            await self._pool.expire_connections()

    @asynccontextmanager
    async def transaction(self, limit: float = _WORK) -> AsyncIterator[Connection]:
        """Like `connection`, in one transaction: committed at the end, rolled back by any exception."""
        is_committing = False
        try:
            async with self.connection(limit) as connection:
                try:
                    await connection.execute("BEGIN")
                    yield connection
                    is_committing = True
                    await connection.execute("COMMIT")
                except BaseException:
                    await _roll_back(connection)
                    raise
        except _LostError as error:
            raise error if is_committing else AppError(error.code, error.message) from error.__cause__

    async def write(
        self,
        work: Callable[[Connection], Awaitable[Result]],
        *,
        first: Callable[[Connection], Awaitable[Result]] | None = None,
    ) -> Result:
        """Runs `work` in a transaction, and for some seconds in others if it is not known whether that was committed.

        Only a commit that was confirmed is believed, so `work` must find what it has done before, and write even then.
        `first` is run in its place at first, without a transaction. Raises AppError UNAVAILABLE if nothing was
        committed, OUTCOME_UNKNOWN if that is not known.
        """
        try:
            async with self.connection() if first else self.transaction() as connection:
                return await (first or work)(connection)
        except _LostError as error:
            log.warning("write repeated", error=repr(error.__cause__))
        give_up, pauses = time.monotonic() + _SETTLE, backoff(most=0.5)
        while True:
            try:
                async with self.transaction() as connection:
                    return await work(connection)
            except AppError as error:
                if error.code is not Code.UNAVAILABLE:
                    raise
                if time.monotonic() > give_up:
                    raise AppError(Code.OUTCOME_UNKNOWN) from error.__cause__
            await asyncio.sleep(next(pauses))

    async def is_up(self) -> bool:
        """Raises AppError UNAVAILABLE, also for a server that answers and cannot be written."""
        async with self.connection() as connection:
            if await connection.fetchval("SELECT current_setting('transaction_read_only')::boolean"):
                raise asyncpg.ReadOnlySQLTransactionError("the server takes no writes")
        return True

    async def has_schema(self, version: int) -> bool:
        """True if every migration up to `version` is applied. Raises AppError UNAVAILABLE, which says what is not."""
        async with self.connection() as connection:
            found = await connection.fetchval("SELECT max(version) FROM schema_migrations")
        if (found or 0) < version:
            raise AppError(Code.UNAVAILABLE, f"The schema has version {found}, and this release needs {version}")
        return True


def columns(rows: Collection[object], *names: str) -> list[list[Any]]:
    """The attributes of these names, one list for each: the arrays that a statement takes apart with `unnest`."""
    return [list(map(attrgetter(name), rows)) for name in names]


async def connect(url: str, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
    """Tries the hosts of the URL in their order, within `timeout` seconds for all."""
    limit = options.pop("timeout")
    return await first_of(each_host(url), partial(asyncpg.connect, timeout=limit, **options), limit, FAILURES)


@asynccontextmanager
async def open_database(url: str, name: str, statement_cache_size: int = 100) -> AsyncIterator[Database]:
    """The pool connects when the first connection is needed, so a process starts without its database."""
    pool = await asyncpg.create_pool(
        connect=lambda *_, **options: connect(url, **options),
        min_size=0,
        max_size=_MAX_CONNECTIONS,
        timeout=_ACQUIRE,
        statement_cache_size=statement_cache_size,
        reset=_keep_session,
        server_settings={"application_name": name},  # the role has the others: a pooler would refuse them
    )
    metrics.CONNECTIONS.labels("idle").set_function(pool.get_idle_size)
    metrics.CONNECTIONS.labels("busy").set_function(lambda: pool.get_size() - pool.get_idle_size())
    try:
        yield Database(pool)
    finally:
        try:
            async with asyncio.timeout(_CLOSE):
                await pool.close()
        except TimeoutError:
            pool.terminate()


async def purge(database: Database, statement: str) -> None:
    """Runs `statement`, which removes at most $1 rows that are old enough, until it finds no more."""
    removed = _PURGED_AT_ONCE
    while removed == _PURGED_AT_ONCE:
        async with database.connection() as connection:
            status = await connection.execute(statement, _PURGED_AT_ONCE)
        removed = int(status.split()[-1])  # "UPDATE 500"


async def _keep_session(_connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Replaces the default reset, a round trip that is not needed: no statement changes the session."""


async def _roll_back(connection: Connection) -> None:
    try:
        async with asyncio.timeout(_RELEASE):
            await connection.execute("ROLLBACK")
    except FAILURES:
        with suppress(asyncpg.InterfaceError):  # the connection is closed already
            connection.terminate()  # the server rolls back when it notices
