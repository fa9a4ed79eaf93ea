"""What an order leaves behind: bytes of WAL, and bytes on disk by table and index."""

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from tools.running import RunningStack

SECONDS = 10.0

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
    sizes = {
        f"{name} {row['name']}": row["size"]
        for name in ("products-db", "orders-db")
        for row in await _fetch(stack.url[name], SIZES)
    }
    [written] = await _fetch(stack.url["orders-db"], WRITTEN)
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


async def _fetch(url: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url, timeout=SECONDS, command_timeout=SECONDS)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close(timeout=SECONDS)
