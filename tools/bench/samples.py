"""Samples of what a running system holds: its processes, both databases, both Redis and the broker's queues."""

import asyncio
import time
from dataclasses import dataclass
from enum import StrEnum

from redis.asyncio import Redis
from redis.exceptions import RedisError
from yarl import URL

from ops.databases import session
from ops.errors import OpsError
from tools.bench import costs
from tools.running import RunningStack
from tools.stack.errors import StackError
from tools.stack.http import call

CALL_SECONDS = 10.0
SAMPLE_SECONDS = 30.0
TABLES = ("orders", "order_entries", "reservations", "stock_movements", "idempotency_keys", "outbox")

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


class Kind(StrEnum):
    MEMORY = "memory"
    """Resident bytes of a part's processes, shared pages counted once."""
    OPEN_FILES = "open files"
    CONNECTIONS = "connections"
    """From a service to its database."""
    QUEUE = "queue"
    """Messages, including those that a consumer holds."""
    OUTBOX_ROWS = "outbox rows"
    CACHE = "cache"
    """Bytes that the data take in Redis."""
    OUTBOX_SIZE = "outbox size"
    """Bytes on disk with indexes, as for every table."""
    TABLE_SIZE = "table size"
    DEAD_ROWS = "dead rows"
    AUTOVACUUMS = "autovacuums"


BYTES = frozenset({Kind.MEMORY, Kind.OUTBOX_SIZE, Kind.CACHE, Kind.TABLE_SIZE})
Figure = tuple[Kind, str]
"""What is measured, and the part of the system that it belongs to."""


@dataclass(frozen=True)
class Sample:
    seconds: float
    """Since the epoch."""
    newest_order: int
    """Ids are given without gaps while nothing fails, so differences count orders."""
    figures: dict[Figure, float]


async def take(stack: RunningStack) -> Sample:
    """Raises StackError if anything cannot be measured in time."""
    figures: dict[Figure, float] = {}
    try:
        async with asyncio.timeout(SAMPLE_SECONDS):
            for part, used in costs.usage(stack.pids).items():
                figures |= {(Kind.MEMORY, part): used.memory, (Kind.OPEN_FILES, part): used.open_files}
            await _add_database(stack, "products-db", figures)
            orders = await _add_database(stack, "orders-db", figures)
            for name in ("products-redis", "orders-redis"):
                async with Redis.from_url(stack.url[name], socket_timeout=CALL_SECONDS) as redis:
                    figures[Kind.CACHE, name] = (await redis.info("memory"))["used_memory"]
            user = URL(stack.url["rabbitmq"])
            api = URL(stack.broker_ui).with_user(user.user).with_password(user.password) / "api" / "queues"
            # The broker counts its messages every five seconds; a queue that has not been counted yet is new.
            for queue in (await call("GET", str(api))).body:
                figures[Kind.QUEUE, queue["name"]] = queue.get("messages", 0)
    except (OSError, OpsError, RedisError) as error:
        raise StackError(f"the system cannot be measured: {error!r}") from error
    return Sample(round(time.time(), 1), orders, figures)


async def _add_database(stack: RunningStack, name: str, figures: dict[Figure, float]) -> int:
    """Adds its figures and returns the newest id of its orders, 0 if it holds none."""
    async with session(stack.url[name], name) as database:
        [[figures[Kind.CONNECTIONS, name]]] = await database.fetch(CONNECTIONS)
        [[figures[Kind.OUTBOX_ROWS, name]]] = await database.fetch(OUTBOX_ROWS)
        for row in await database.fetch(SIZES, TABLES):
            table = f"{name} {row['name']}"
            size = (Kind.OUTBOX_SIZE, name) if row["name"] == "outbox" else (Kind.TABLE_SIZE, table)
            figures |= {size: row["size"], (Kind.DEAD_ROWS, table): row["dead"]}
            figures[Kind.AUTOVACUUMS, table] = row["autovacuums"]
        return int((await database.fetch(NEWEST_ORDER))[0][0]) if name == "orders-db" else 0
