"""Takes samples of a running stack: /proc, both databases, both Redis and the broker's management API."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError
from yarl import URL

from tools import usage
from tools.bench.samples import Kind, Sample
from tools.running import RunningStack
from tools.stack.errors import StackError
from tools.stack.http import call

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

# One call, and a whole sample.
CALL_SECONDS = 10.0
SAMPLE_SECONDS = 30.0
DATABASES = ("products-db", "orders-db")
REDISES = ("products-redis", "orders-redis")
OUTBOX = "outbox"
TABLES = ("orders", "order_history", "reservations", "stock_movements", "idempotency_keys", OUTBOX)

NEWEST_ORDER = "SELECT coalesce(max(id), 0) FROM orders"
OUTBOX_ROWS = "SELECT count(*) FROM outbox"
# The role is the service's own; the sampler's connection is not the service's.
CONNECTIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
"""
SIZES = """
SELECT relname AS name, pg_total_relation_size(relid) AS size, n_dead_tup AS dead, autovacuum_count AS autovacuums
FROM pg_stat_user_tables
WHERE relname = ANY ($1)
"""


class Sampler:
    def __init__(
        self,
        pids: Mapping[str, int],
        databases: Mapping[str, "Connection"],
        redises: Mapping[str, Redis],
        broker: URL,
        first_order: int,
    ) -> None:
        """`broker` is its management API's, with user and password; orders up to `first_order` are not counted."""
        self._pids = pids
        self._databases = databases
        self._redises = redises
        self._broker = broker
        self._first_order = first_order
        self._started = time.monotonic()

    async def take(self) -> Sample:
        """StackError if anything cannot be measured in time."""
        try:
            async with asyncio.timeout(SAMPLE_SECONDS):
                return await self._take()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, RedisError) as error:
            raise StackError(f"the system cannot be measured: {error!r}") from error

    async def _take(self) -> Sample:
        orders = await newest_order(self._databases["orders-db"]) - self._first_order
        used = usage.of_trees(self._pids)
        figures: dict[Kind, Mapping[str, float]] = {
            Kind.MEMORY: {name: part.memory for name, part in used.items()},
            Kind.OPEN_FILES: {name: part.open_files for name, part in used.items()},
            Kind.CONNECTIONS: await self._of_databases(CONNECTIONS),
            Kind.QUEUE: await self._queues(),
            Kind.OUTBOX_ROWS: await self._of_databases(OUTBOX_ROWS),
            Kind.CACHE: {name: (await redis.info("memory"))["used_memory"] for name, redis in self._redises.items()},
        }
        return Sample(time.monotonic() - self._started, orders, figures | await self._tables())

    async def _of_databases(self, query: str) -> dict[str, float]:
        return {name: await connection.fetchval(query) for name, connection in self._databases.items()}

    async def _tables(self) -> dict[Kind, Mapping[str, float]]:
        rows = {
            f"{database} {row['name']}": row
            for database, connection in self._databases.items()
            for row in await connection.fetch(SIZES, TABLES)
        }
        outboxes = {f"{database} {OUTBOX}": database for database in self._databases}
        return {
            Kind.OUTBOX_SIZE: {database: rows[name]["size"] for name, database in outboxes.items()},
            Kind.TABLE_SIZE: {name: row["size"] for name, row in rows.items() if name not in outboxes},
            Kind.DEAD_ROWS: {name: row["dead"] for name, row in rows.items()},
            Kind.AUTOVACUUMS: {name: row["autovacuums"] for name, row in rows.items()},
        }

    async def _queues(self) -> dict[str, float]:
        """As of the broker's last count, which it makes every five seconds."""
        answer = await call("GET", str(self._broker / "api" / "queues"))
        # A queue that has not been counted yet is new.
        return {queue["name"]: queue.get("messages", 0) for queue in answer.body}


@asynccontextmanager
async def opened(stack: RunningStack, management: str) -> AsyncIterator[Sampler]:
    """Counts orders from now on. `management` is the URL of the broker's API, which takes the broker's own user."""
    user = URL(stack.url["rabbitmq"])
    async with AsyncExitStack() as context:
        databases = {name: await context.enter_async_context(_database(stack.url[name])) for name in DATABASES}
        redises = {name: await context.enter_async_context(_redis(stack.url[name])) for name in REDISES}
        broker = URL(management).with_user(user.user).with_password(user.password)
        yield Sampler(stack.pids, databases, redises, broker, await newest_order(databases["orders-db"]))


async def newest_order(connection: "Connection") -> int:
    """Its id, which counts orders from any moment on: ids are given without gaps while nothing fails."""
    return int(await connection.fetchval(NEWEST_ORDER))


@asynccontextmanager
async def _database(url: str) -> AsyncIterator["Connection"]:
    connection = await asyncpg.connect(url, timeout=CALL_SECONDS, command_timeout=CALL_SECONDS)
    try:
        yield connection
    finally:
        await connection.close(timeout=CALL_SECONDS)


@asynccontextmanager
async def _redis(url: str) -> AsyncIterator[Redis]:
    redis = Redis.from_url(url, socket_timeout=CALL_SECONDS, socket_connect_timeout=CALL_SECONDS)
    try:
        yield redis
    finally:
        await redis.aclose()
