"""Both services in this process; the test delivers the events between them."""

from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
from redis.asyncio import Redis

from orders.app import create_app as create_orders
from orders.settings import Settings as OrdersSettings
from products.app import create_app as create_products
from products.settings import Settings as ProductsSettings
from shared.db import open_database
from shared.messaging import outbox
from shared.messaging.publisher import PublishError
from tests.api import connect, serve
from tests.broker import Vhost
from tests.databases import owner
from tests.integration.delivery.mail import Mail, Outbox
from tests.integration.delivery.shop import Shop


@pytest.fixture(autouse=True)
def looking_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order service sees at once that a hold is over."""
    monkeypatch.setattr("orders.app._POLL_SECONDS", 0.02)


@pytest.fixture(autouse=True)
def answering_by_the_outbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer of the product service is published at once, as if the broker did not take it."""

    async def publish(_: outbox.Relay, rows: list[asyncpg.Record]) -> list[tuple[list[asyncpg.Record], Exception]]:
        return [(rows, PublishError("not now"))]

    monkeypatch.setattr("shared.messaging.outbox.Relay._publish", publish)


@pytest.fixture
async def shop(
    products_settings: ProductsSettings,
    orders_settings: OrdersSettings,
    redis: Redis,
    orders_redis: Redis,
    vhost: Vhost,
) -> AsyncIterator[Shop]:
    await vhost.declare()
    async with (
        serve(create_products(products_settings)) as products_url,
        serve(create_orders(replace(orders_settings, products_url=products_url))) as orders_url,
        connect(products_url) as products_api,
        connect(orders_url) as orders_api,
        open_database(owner(products_settings.database_url), "test") as products_database,
        open_database(owner(orders_settings.database_url), "test") as orders_database,
        vhost.channel() as channel,
    ):
        products, orders = Outbox(products_database), Outbox(orders_database)
        await products.hold()
        await orders.hold()
        mail = Mail(channel, products_database, orders_database)
        yield Shop(products_api, orders_api, products, orders, mail)
