from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from ops.databases import snapshot
from ops.errors import OpsError
from tests.databases import fetch
from tests.integration.ops.conftest import Ops
from tests.traces import TRACE_ID, traceparent

WAITING = "INSERT INTO outbox (type, payload, created_at) VALUES ($1, '{}', now() - interval '1 minute' * $2)"


async def test_what_waits_and_for_how_long(ops: Ops, products_url: str, orders_url: str) -> None:
    empty: dict[str, Any] = {"rows": 0, "oldestSeconds": None, "types": {}, "parked": 0}
    nothing = await ops("outbox")
    for event_type, minutes in (("order.created", 1), ("order.created", 3), ("order.cancelled", 2)):
        await fetch(orders_url, WAITING, event_type, minutes)
    await fetch(products_url, WAITING, "product.created", -1)

    answer = await ops("outbox")

    assert (nothing.document, nothing.ok) == ({"products": empty, "orders": empty}, True)
    products, orders = answer.document["products"], answer.document["orders"]
    assert (products["rows"], orders["rows"], answer.ok) == (1, 3, True)
    rows = {name: counted["rows"] for name, counted in orders["types"].items()}
    assert rows == {"order.created": 2, "order.cancelled": 1}
    assert products["oldestSeconds"] == 0
    assert 180 <= orders["oldestSeconds"] == orders["types"]["order.created"]["oldestSeconds"] < 210
    assert 120 <= orders["types"]["order.cancelled"]["oldestSeconds"] < 150


PARKED = """
INSERT INTO parked_events (id, type, payload, traceparent, created_at, attempts, last_error, parked_at)
VALUES ($1, 'order.gone', '{"orderId": 7}', $2, '2026-01-01', 2, 'UnroutableError: no queue takes it', '2026-01-02')
"""


async def test_parked_events_are_listed_shown_retried_and_dropped(
    ops: Ops, products_url: str, orders_url: str
) -> None:
    for url, numbers in ((orders_url, (4, 5, 6)), (products_url, (5,))):
        for number in numbers:
            await fetch(url, PARKED, number, traceparent())

    counted = await ops("outbox")
    listed = (await ops("outbox", "list", "--limit", "3")).document["parked"]
    shown = await ops("outbox", "show", "orders/6")
    wrong = ["5", "lamps/1", "orders/06", "orders/99", f"orders/{'9' * 5_000}", "products/4"]
    retried = await ops("outbox", "retry", "orders/4", "products/5", *wrong)
    dropped = await ops("outbox", "drop", "--all")

    assert [(name, found["parked"], found["rows"]) for name, found in counted.document.items()] == [
        ("products", 1, 0),
        ("orders", 3, 0),
    ]
    assert counted.text.endswith("\n4 more are parked: outbox list")
    assert [event["id"] for event in listed] == ["products/5", "orders/4", "orders/5"]
    assert shown.document == {
        "id": "orders/6",
        "type": "order.gone",
        "attempts": 2,
        "lastError": "UnroutableError: no queue takes it",
        "traceId": TRACE_ID,
        "createdAt": datetime(2026, 1, 1, tzinfo=UTC),
        "parkedAt": datetime(2026, 1, 2, tzinfo=UTC),
        "payload": '{"orderId": 7}',
    }
    assert (sorted(retried.document["retried"]), retried.ok) == (["orders/4", "products/5"], False)
    assert retried.document["unknown"] == wrong
    assert await fetch(orders_url, "SELECT id, type, attempts FROM outbox") == [(4, "order.gone", 2)]
    assert (dropped.document["dropped"], dropped.ok) == (["orders/5", "orders/6"], True)
    assert (await ops("outbox", "list")).text == "no parked events"
    with pytest.raises(OpsError, match="there is no parked event orders/6"):
        await ops("outbox", "show", "orders/6")


async def test_a_snapshot_cannot_write(orders_url: str) -> None:
    async with snapshot(orders_url, "orders-db") as database:
        with pytest.raises(OpsError, match=r"^orders-db: .*read-only transaction") as refusal:
            await database.fetch("DELETE FROM outbox")

    assert isinstance(refusal.value.__cause__, asyncpg.ReadOnlySQLTransactionError)
