import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime

import pytest
from prometheus_client import REGISTRY

from orders.app import create_app
from orders.settings import Settings
from orders.sweeper import Sweeper
from shared.db import Database
from shared.messaging.outbox import Relay
from shared.messaging.publisher import Publisher
from tests.broker import Vhost
from tests.databases import fetch
from tests.integration.conftest import running
from tests.waiting import eventually

STUCK = 60.0
# Of orders that an older release has placed.
NO_UIDS = {"orderUid": None, "productUid": None}
CONNECTIONS = 8  # of a pool


class Broker:
    """A test decides whether events can leave."""

    def __init__(self) -> None:
        self.up = True

    async def is_up(self) -> bool:
        return self.up


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def sweeper(orders_database: Database, broker: Broker) -> Sweeper:
    """A sweeper whose relay does not run, so that its announcements can be read from the outbox."""
    relay = Relay(orders_database, Publisher("amqp://127.0.0.1/", "test"), "/orders")
    return Sweeper(orders_database, relay, STUCK, broker.is_up)


async def order(url: str, status: str, age: float, *, held: bool = False) -> int:
    """Writes an order that was placed `age` seconds ago, or cancelled then; its trace id is made of its id.

    One that was `held` was placed two days before its end or its confirmation.
    """
    [(order_id,)] = await fetch(
        url,
        """
        INSERT INTO orders
            (id, product_id, quantity, unit_price, total_price, status, trace_id, created_at, updated_at, expires_at)
        SELECT id, 7, 3, 1, 3, $1, lpad(id::text, 32, 'a'),
               CASE WHEN $1 = 'cancelled' OR $3 THEN at - interval '2 days' ELSE at END, at, CASE WHEN $3 THEN at END
        FROM (SELECT nextval('orders_id_seq') AS id, now() - $2 * interval '1 second' AS at) AS placed
        RETURNING id
        """,
        status,
        age,
        held,
    )
    return int(order_id)


async def announced(url: str) -> list[int]:
    return [order_id for (order_id,) in await fetch(url, "SELECT (payload->>'orderId')::int FROM outbox ORDER BY id")]


async def test_what_is_stuck_is_announced_again_under_its_trace(sweeper: Sweeper, orders_database_url: str) -> None:
    """A cancellation is due for a day at growing ages; the first sweep takes what came due in one interval, 15 s.

    So are the end and the confirmation of a hold; an order that was done without one is not.
    """
    url = orders_database_url
    cancellations = (STUCK + 1, STUCK + 14, 8 * STUCK + 1, 64 * STUCK + 1, 512 * STUCK + 1)
    held: list[tuple[str, int]] = []
    due = [("order.created", await order(url, "pending", age)) for age in (STUCK, 1000 * STUCK)]
    due += [("order.cancelled", await order(url, "cancelled", age)) for age in cancellations]
    for kind, status in {"expired": "expired", "confirmed": "done", "cancelled": "cancelled"}.items():
        held += [(f"order.{kind}", await order(url, status, age, held=True)) for age in (STUCK + 1, 8 * STUCK + 1)]
        await order(url, status, STUCK + 20, held=True)
    for status, ages in {
        "pending": (STUCK - 30,),
        "done": (1e6,),
        "rejected": (1e6,),
        "cancelled": (0, STUCK - 10, STUCK + 20, 2 * STUCK + 1, 4096 * STUCK + 1),
    }.items():
        for age in ages:
            await order(url, status, age)

    await sweeper.sweep()

    rows = await fetch(url, "SELECT type, payload::text, traceparent FROM outbox ORDER BY id")
    data = {"productId": 7, "quantity": 3}
    assert [(kind, json.loads(data), traceparent.split("-")[1]) for kind, data, traceparent in rows] == [
        *((kind, {"orderId": n, **data} | NO_UIDS, f"{n:a>32}") for kind, n in due),
        *((kind, {"orderId": n, **data, "held": True}, f"{n:a>32}") for kind, n in held),
    ]


async def test_the_age_of_the_oldest_pending_order_is_measured_while_nothing_can_leave(
    sweeper: Sweeper, broker: Broker, orders_database_url: str
) -> None:
    broker.up = False
    ages = []
    for status in ("done", "pending"):
        await order(orders_database_url, status, 1000)
        await sweeper.sweep()
        ages.append(REGISTRY.get_sample_value("orders_pending_oldest_seconds"))

    assert ages == [0, pytest.approx(1000, abs=60)]
    assert await announced(orders_database_url) == []


async def test_a_sweep_announces_what_came_due_since_the_last(
    sweeper: Sweeper, broker: Broker, orders_database_url: str
) -> None:
    url = orders_database_url
    broker.up = False
    first = [await order(url, status, STUCK + 5) for status in ("pending", "cancelled")]
    await sweeper.sweep()
    meanwhile = await announced(url)
    broker.up = True
    await sweeper.sweep()
    later = [await order(url, status, STUCK) for status in ("pending", "cancelled")]
    await sweeper.sweep()

    assert (meanwhile, await announced(url)) == ([], [*first, *later])


async def test_the_ten_thousand_oldest_orders_are_announced(sweeper: Sweeper, orders_database_url: str) -> None:
    await fetch(
        orders_database_url,
        """
        INSERT INTO orders (product_id, quantity, unit_price, total_price, trace_id, created_at)
        SELECT 7, 1, 1, 1, repeat('a', 32), now() - interval '1 hour' FROM generate_series(1, 10500)
        """,
    )

    await sweeper.sweep()

    assert await announced(orders_database_url) == list(range(1, 10_001))


async def test_however_late_a_sweep_gets_a_connection_it_announces_what_came_due_since_the_last(
    sweeper: Sweeper, orders_database: Database, orders_database_url: str
) -> None:
    stuck = await order(orders_database_url, "pending", STUCK - 1)
    [(due,)] = await fetch(orders_database_url, "SELECT now() + interval '1 s'")

    async def is_past(moment: datetime) -> bool:
        [(now,)] = await fetch(orders_database_url, "SELECT now()")
        return bool(now > moment)

    await sweeper.sweep()
    await eventually(lambda: is_past(due))
    [(late,)] = await fetch(orders_database_url, "SELECT now() + interval '0.3 s'")
    async with AsyncExitStack() as others:
        for _ in range(CONNECTIONS):
            await others.enter_async_context(orders_database.connection())
        sweep = asyncio.create_task(sweeper.sweep())
        await eventually(lambda: is_past(late))
    await sweep

    assert await announced(orders_database_url) == [stuck]


async def test_an_order_whose_event_was_lost_is_announced_by_the_service(
    orders_settings: Settings, orders_database_url: str, vhost: Vhost
) -> None:
    await vhost.declare()
    stuck = await order(orders_database_url, "pending", 3600)

    async with running(create_app(replace(orders_settings, stuck_order_seconds=1.0))):
        await eventually(lambda: vhost.depth("products.orders"))

    events = await vhost.take_events("products.orders")
    found = [(each["type"], each["data"]) for each in events]
    assert found == [("order.created", {"orderId": stuck, "productId": 7, "quantity": 3} | NO_UIDS)]
