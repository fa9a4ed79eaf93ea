"""The statement that writes orders, under keys that several processes share."""

import asyncio
from decimal import Decimal

import asyncpg
import pytest

from orders import repository
from orders.domain import Draft
from shared.db import Database
from shared.errors import AppError
from shared.idempotency import Key
from tests.databases import fetch

ORDER_OF_KEYS = "ORDER BY idempotency_key NULLS FIRST, position"


def draft(key: str | None = None) -> Draft:
    return Draft(7, 1, Decimal(1), "a" * 32, f"00-{'a' * 32}-{'b' * 16}-01", Key(key, b"hash") if key else None)


async def place(database: Database, drafts: list[Draft]) -> list[int | None]:
    async with database.connection(10) as connection:
        return [order.id if order else None for order in await repository.place(connection, drafts)]


async def deadlocks(database: Database, rounds: int) -> int:
    """How often two batches with the same keys in opposite order end in one."""
    count = 0
    for number in range(rounds):
        drafts = [draft(f"{number}-{n}") for n in range(1000)]
        outcomes = await asyncio.gather(place(database, drafts), place(database, drafts[::-1]), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, AppError):
                assert isinstance(outcome.__cause__, asyncpg.DeadlockDetectedError)
                count += 1
        if count:
            break
    return count


async def test_a_batch_places_each_key_once_and_answers_in_order(
    orders_database: Database, orders_database_url: str
) -> None:
    drafts = [draft("b"), draft(), draft("a"), draft("b"), draft()]

    first, second = [await place(orders_database, drafts) for _ in range(2)]

    assert [order_id is None for order_id in first] == [False, False, False, True, False]
    assert [order_id is None for order_id in second] == [True, False, True, True, False]
    placed = [order_id for order_id in (*first, *second) if order_id]
    assert placed == sorted(placed)
    for table, column in (("orders", "id"), ("order_history", "order_id")):
        written = await fetch(orders_database_url, f"SELECT {column} FROM {table} ORDER BY 1")
        assert [order_id for (order_id,) in written] == placed
    announced = await fetch(orders_database_url, "SELECT (payload->>'orderId')::int FROM outbox ORDER BY id")
    assert sorted(order_id for (order_id,) in announced) == placed


async def test_keys_written_as_they_come_deadlock(orders_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the next test is about: it is there."""
    assert ORDER_OF_KEYS in repository.PLACE
    monkeypatch.setattr(repository, "PLACE", repository.PLACE.replace(ORDER_OF_KEYS, "ORDER BY position"))

    assert await deadlocks(orders_database, rounds=10) > 0


async def test_batches_that_share_keys_in_opposite_order_do_not_deadlock(
    orders_database: Database, orders_database_url: str
) -> None:
    assert await deadlocks(orders_database, rounds=3) == 0
    assert await fetch(orders_database_url, "SELECT count(*), count(DISTINCT idempotency_key) FROM orders") == [
        (3000, 3000)
    ]
