"""The two services with a product service of the test's choice, and more than one process of each on the same data."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest
from aiohttp import web

from orders.app import create_app as create_orders
from orders.settings import Settings as OrdersSettings
from products.app import create_app as create_products
from products.service import Stock
from products.settings import Settings as ProductsSettings
from shared.cache import Cache
from shared.db import Database, open_database
from shared.messaging.outbox import Relay
from shared.messaging.publisher import Publisher
from tests.api import Api
from tests.integration.conftest import running
from tests.integration.services.verdicts import PRODUCT_UID
from tests.integration.upstream import FakeService, envelope, respond_with

Start = Callable[[], AbstractAsyncContextManager[Api]]


@pytest.fixture(autouse=True)
def prices(product_service: FakeService) -> dict[int, str]:
    """The price of each product that the order service finds; a test may change it."""
    prices = {7: "19.90", 8: "0.01"}

    async def respond(request: web.Request) -> web.StreamResponse:
        selected = request.query.get("ids")
        ids = map(int, (selected or request.path.removeprefix("/products/")).split(","))
        found = [{"id": id_, "uid": PRODUCT_UID, "name": "Lamp", "price": prices[id_]} for id_ in ids if id_ in prices]
        if not found and not selected:
            refusal = envelope(404, None, error={"code": "not_found", "message": "There is no such product"})
            return await respond_with(404, refusal)(request)
        return await respond_with(200, envelope(200, found if selected else found[0]))(request)

    product_service.respond = respond
    return prices


@pytest.fixture
async def orders_database(orders_database_url: str) -> AsyncIterator[Database]:
    async with open_database(orders_database_url, "test") as database:
        yield database


@pytest.fixture
def stock(products_database: Database, cache: Cache) -> Stock:
    """Stock whose relay does not run, so that its announcements can be read from the outbox."""
    relay = Relay(products_database, Publisher("amqp://127.0.0.1/", "test"), "/products")
    return Stock(products_database, cache, relay)


@pytest.fixture
def start_orders(orders_settings: OrdersSettings) -> Start:
    """Starts one more order service on the test's database."""
    return lambda: running(create_orders(orders_settings))


@pytest.fixture
def start_products(products_settings: ProductsSettings) -> Start:
    """Starts one more product service on the test's database."""
    return lambda: running(create_products(products_settings))


@pytest.fixture
def never_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """An order service that starts now neither looks for changes by other processes nor for holds that are over."""
    monkeypatch.setattr("orders.app._POLL_SECONDS", 600.0)
