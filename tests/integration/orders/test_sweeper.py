import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime

import pytest

from orders import repository
from orders.settings import Settings
from orders.sweeper import Sweeper
from shared.db import Database
from shared.messaging.outbox import Relay
from shared.messaging.publisher import Publisher
from tests.broker import Vhost
from tests.databases import fetch
from tests.integration.orders.conftest import start_orders
from tests.waiting import eventually

STUCK = 60.0
# Of a pool.
CONNECTIONS = 8


class Broker:
    """Whether events can leave is the test's choice."""

    def __init__(self) -> None:
        self.up = True

    async def is_up(self) -> bool:
        return self.up


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def sweeper(orders_database: Database, broker: Broker) -> Sweeper:
    """Its relay does not run, so what it announces can be read from the outbox."""
    relay = Relay(orders_database, Publisher("amqp://127.0.0.1/", "test"), "/orders")
    return Sweeper(orders_database, relay, STUCK, broker.is_up)


async def order(url: str, status: str, age: float) -> int:
    """Its id; its trace id is made of that."""
    [(order_id,)] = await fetch(
        url,
        """
        INSERT INTO orders (product_id, quantity, unit_price, total_price, status, trace_id, created_at)
        VALUES (7, 3, 1, 3, $1, lpad(currval('orders_id_seq')::text, 32, 'a'), now() - $2 * interval '1 second')
        RETURNING id
        """,
        status,
        age,
    )
    return int(order_id)


async def cancelled(url: str, age: float) -> int:
    """Its id; the order itself is older."""
    order_id = await order(url, "cancelled", 1e6)
    change = "UPDATE orders SET updated_at = now() - $2 * interval '1 second' WHERE id = $1"
    await fetch(url, change, order_id, age)
    return order_id


async def announced(url: str) -> list[int]:
    return [order_id for (order_id,) in await fetch(url, "SELECT (payload->>'orderId')::int FROM outbox ORDER BY id")]


async def test_what_is_pending_for_long_is_announced_again_under_its_own_trace(
    sweeper: Sweeper, orders_database_url: str
) -> None:
    stuck = [await order(orders_database_url, "pending", age) for age in (STUCK, 1000 * STUCK)]
    for status, age in (("pending", STUCK - 30), ("done", 1e6), ("rejected", 1e6), ("cancelled", 1e6)):
        await order(orders_database_url, status, age)

    await sweeper.sweep()

    rows = await fetch(orders_database_url, "SELECT type, payload::text, traceparent FROM outbox ORDER BY id")
    assert rows == [
        (
            "order.created",
            f'{{"orderId" : {order_id}, "productId" : 7, "quantity" : 3}}',
            f"00-{order_id:a>32}-{rows[position][2].split('-')[2]}-01",
        )
        for position, order_id in enumerate(stuck)
    ]


async def test_the_next_sweep_does_not_announce_the_same_again(sweeper: Sweeper, orders_database_url: str) -> None:
    first = await order(orders_database_url, "pending", STUCK + 5)
    await sweeper.sweep()
    later = await order(orders_database_url, "pending", STUCK)

    await sweeper.sweep()

    assert await announced(orders_database_url) == [first, later]


async def test_nothing_is_announced_again_while_the_broker_is_down(
    sweeper: Sweeper, broker: Broker, orders_database_url: str
) -> None:
    stuck = await order(orders_database_url, "pending", STUCK)
    broker.up = False
    await sweeper.sweep()
    meanwhile = await announced(orders_database_url)

    broker.up = True
    await sweeper.sweep()

    assert (meanwhile, await announced(orders_database_url)) == ([], [stuck])


async def test_many_stuck_orders_are_all_announced_oldest_first_and_at_most_ten_thousand(
    sweeper: Sweeper, orders_database_url: str
) -> None:
    await fetch(
        orders_database_url,
        """
        INSERT INTO orders (product_id, quantity, unit_price, total_price, trace_id, created_at)
        SELECT 7, 1, 1, 1, repeat('a', 32), now() - interval '1 hour' FROM generate_series(1, 10500)
        """,
    )

    await sweeper.sweep()

    assert await announced(orders_database_url) == list(range(1, 10_001))


async def test_a_cancellation_is_announced_again_at_doubling_ages_for_a_day(
    sweeper: Sweeper, orders_database_url: str
) -> None:
    """The first sweep takes what has come due within one interval, 15 s."""
    ages = (STUCK + 1, STUCK + 14, 2 * STUCK + 1, 4 * STUCK + 1, 1024 * STUCK + 1)
    due = [await cancelled(orders_database_url, age) for age in ages]
    for age in (0, STUCK - 10, STUCK + 20, 3 * STUCK, 2048 * STUCK + 1):
        await cancelled(orders_database_url, age)

    await sweeper.sweep()

    rows = await fetch(orders_database_url, "SELECT type, payload::text, traceparent FROM outbox ORDER BY id")
    assert rows == [
        (
            "order.cancelled",
            f'{{"orderId" : {order_id}, "productId" : 7, "quantity" : 3}}',
            f"00-{order_id:a>32}-{rows[position][2].split('-')[2]}-01",
        )
        for position, order_id in enumerate(due)
    ]


async def test_the_next_sweep_announces_no_cancellation_twice(sweeper: Sweeper, orders_database_url: str) -> None:
    first = await cancelled(orders_database_url, STUCK + 5)
    await sweeper.sweep()
    later = await cancelled(orders_database_url, STUCK)

    await sweeper.sweep()

    assert await announced(orders_database_url) == [first, later]


async def test_however_late_a_sweep_gets_a_connection_it_announces_what_came_due_since_the_last(
    sweeper: Sweeper, orders_database: Database, orders_database_url: str
) -> None:
    stuck = await order(orders_database_url, "pending", STUCK - 0.2)
    [(due, late)] = await fetch(orders_database_url, "SELECT now() + interval '0.3 s', now() + interval '0.8 s'")

    async def is_past(moment: datetime) -> bool:
        [(now,)] = await fetch(orders_database_url, "SELECT now()")
        return bool(now > moment)

    await sweeper.sweep()
    await eventually(lambda: is_past(due))
    async with AsyncExitStack() as others:
        for _ in range(CONNECTIONS):
            await others.enter_async_context(orders_database.connection())
        sweep = asyncio.create_task(sweeper.sweep())
        await eventually(lambda: is_past(late))
    await sweep

    assert await announced(orders_database_url) == [stuck]


async def test_cancellations_are_found_by_their_index(orders_database_url: str) -> None:
    await fetch(
        orders_database_url,
        """
        INSERT INTO orders (product_id, quantity, unit_price, total_price, trace_id, status, updated_at)
        SELECT 7, 1, 1, 1, repeat('a', 32), CASE n % 20 WHEN 0 THEN 'cancelled' ELSE 'done' END,
               now() - n * interval '1 second'
        FROM generate_series(1, 20000) AS n
        """,
    )
    await fetch(orders_database_url, "ANALYZE orders")
    statement = repository.LIST_CANCELLED
    for parameter, value in {"$1": "60", "$2": "15", "$3": "now()", "$4": "100"}.items():
        statement = statement.replace(parameter, value)
    plan = "\n".join(line for (line,) in await fetch(orders_database_url, f"EXPLAIN {statement}"))
    assert "orders_cancelled" in plan
    assert "Seq Scan on orders" not in plan


async def test_an_order_whose_event_was_lost_is_announced_by_the_service(
    orders_settings: Settings, orders_database_url: str, vhost: Vhost
) -> None:
    await vhost.declare()
    stuck = await order(orders_database_url, "pending", 3600)

    async with start_orders(replace(orders_settings, stuck_order_seconds=1.0)):

        async def it_is_published() -> bool:
            return await vhost.depth("products.orders") > 0

        await eventually(it_is_published)

    events = await vhost.take_events("products.orders")
    assert [(each["type"], each["data"]) for each in events] == [
        ("order.created", {"orderId": stuck, "productId": 7, "quantity": 3})
    ]
