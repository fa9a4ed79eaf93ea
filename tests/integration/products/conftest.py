"""More than one process of the product service, on the same data."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from products.app import create_app
from products.service import Stock
from products.settings import Settings
from shared.cache import Cache
from shared.db import Database
from shared.messaging.outbox import Relay
from shared.messaging.publisher import Publisher
from tests.api import Api, connect, serve
from tests.broker import Vhost
from tests.integration.conftest import is_up
from tests.waiting import eventually
from tools.stack.servers import Servers

StartProducts = Callable[[], AbstractAsyncContextManager[Api]]


@pytest.fixture
def stock(products_database: Database, cache: Cache) -> Stock:
    """Its relay does not run, so what it announces can be read from the outbox."""
    relay = Relay(products_database, Publisher("amqp://127.0.0.1/", "test"), "/products")
    return Stock(products_database, cache, relay)


@pytest.fixture
def start_products(servers: Servers, products_database_url: str, vhost: Vhost) -> StartProducts:
    """One more product service on the test's database."""
    settings = Settings.load(
        {"DATABASE_URL": products_database_url, "REDIS_URL": servers.products_redis.url, "AMQP_URL": vhost.url}
    )

    @asynccontextmanager
    async def start() -> AsyncIterator[Api]:
        async with serve(create_app(settings)) as url, connect(url) as api:
            await eventually(lambda: is_up(api))
            yield api

    return start
