"""What an order leaves behind: bytes of WAL, and bytes on disk by table and index."""

from collections.abc import Mapping
from dataclasses import dataclass

from ops.databases import session
from tools.running import RunningStack

# The two databases are on one server. What a session counts of records it may report seconds later.
WRITTEN = """
SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint AS wal_bytes, wal_records, wal_fpi AS full_pages,
       (SELECT count(*) FROM orders) AS orders
FROM pg_stat_wal
"""
SIZES = """
SELECT relname AS name, pg_relation_size(oid) AS size
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')
"""


@dataclass(frozen=True)
class Stored:
    """Only differences between two of them have a meaning, but for the sizes."""

    orders: int
    wal_bytes: int
    wal_records: int
    full_pages: int
    sizes: Mapping[str, int]


@dataclass(frozen=True)
class Storage:
    """By order. Copies of full pages, which the first change after a checkpoint writes, are among the bytes of WAL."""

    wal_bytes: float
    wal_records: float
    full_pages: float
    disk_bytes: float
    disk: dict[str, float]
    """Of each table and index that grew; an outbox grows until autovacuum comes."""


async def take(stack: RunningStack) -> Stored:
    sizes: dict[str, int] = {}
    for name in ("products-db", "orders-db"):
        async with session(stack.url[name], name) as database:
            sizes |= {f"{name} {row['name']}": row["size"] for row in await database.fetch(SIZES)}
    async with session(stack.url["orders-db"], "orders-db") as database:
        [written] = await database.fetch(WRITTEN)
    return Stored(**written, sizes=sizes)


def of_run(before: Stored, after: Stored) -> Storage:
    orders = max(1, after.orders - before.orders)
    grown = {name: size - before.sizes.get(name, 0) for name, size in after.sizes.items()}
    return Storage(
        (after.wal_bytes - before.wal_bytes) / orders,
        (after.wal_records - before.wal_records) / orders,
        (after.full_pages - before.full_pages) / orders,
        sum(grown.values()) / orders,
        {name: size / orders for name, size in sorted(grown.items()) if size > 0},
    )
