"""What the database has done and could not tell: the cache must not show what was before."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

import asyncpg
import pytest

from orders.settings import Settings
from tests.api import Api
from tests.databases import fetch
from tests.integration.orders.conftest import start_orders
from tests.waiting import eventually
from tools.faults.proxy import Proxy

ORDER = {"productId": 7, "quantity": 2}
WAITING = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
async def database_link(orders_database_url: str) -> AsyncIterator[Proxy]:
    link = Proxy(urlsplit(orders_database_url).port or 0)
    await link.start()
    yield link
    await link.stop()


@pytest.fixture
async def api(
    orders_settings: Settings, orders_database_url: str, database_link: Proxy, orders_redis: object
) -> AsyncIterator[Api]:
    """Reaches its database over the link."""
    direct = urlsplit(orders_database_url)
    netloc = direct.netloc.replace(f":{direct.port}", f":{database_link.port}")
    settings = replace(orders_settings, database_url=direct._replace(netloc=netloc).geturl())
    async with start_orders(settings) as api:
        yield api


async def test_an_order_that_was_cancelled_unheard_of_is_listed_as_that(
    api: Api, database_link: Proxy, orders_database_url: str
) -> None:
    order = await api.post("/orders", ORDER)
    before = await api.get("/orders/product/7")

    async def waits_for_the_row() -> bool:
        return await fetch(orders_database_url, WAITING) != []

    connection = await asyncpg.connect(orders_database_url, timeout=5.0)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM orders WHERE id = $1 FOR UPDATE", order.data["id"])
            cancelling = asyncio.create_task(api.request("POST", f"/orders/{order.data['id']}/cancel"))
            await eventually(waits_for_the_row)
            database_link.mute()
        uncertain = await cancelling
    finally:
        await connection.close(timeout=5.0)
    database_link.heal()

    listed = await api.get("/orders/product/7")

    assert [order["status"] for order in before.data] == ["pending"]
    assert uncertain.status == 503
    assert [order["status"] for order in listed.data] == ["cancelled"]
