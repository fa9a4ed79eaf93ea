from typing import Any

import asyncpg
import pytest

from ops.databases import snapshot
from ops.errors import OpsError
from tests.databases import fetch
from tests.integration.ops.conftest import Ops

WAITING = "INSERT INTO outbox (type, payload, created_at) VALUES ($1, '{}', now() - interval '1 minute' * $2)"


async def test_what_waits_and_for_how_long(ops: Ops, products_url: str, orders_url: str) -> None:
    empty: dict[str, Any] = {"rows": 0, "oldestSeconds": None, "types": {}}
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


async def test_the_operators_program_cannot_write(orders_url: str) -> None:
    async with snapshot(orders_url, "orders-db") as database:
        with pytest.raises(OpsError, match=r"^orders-db: .*read-only transaction") as refusal:
            await database.fetch("DELETE FROM outbox")

    assert isinstance(refusal.value.__cause__, asyncpg.ReadOnlySQLTransactionError)
