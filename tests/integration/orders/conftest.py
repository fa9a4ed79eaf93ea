"""A product service that knows two products, and more than one process of the order service on the same data."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from orders.app import create_app
from orders.settings import Settings
from shared.db import Database, open_database
from tests.api import Api, connect, serve
from tests.integration.conftest import is_up
from tests.integration.upstream import FakeService, envelope, respond_with
from tests.waiting import eventually

PRICES = {7: "19.90", 8: "0.01"}


@pytest.fixture(autouse=True)
def prices(product_service: FakeService) -> dict[int, str]:
    """What each product costs now; a test may change it."""
    prices = dict(PRICES)

    async def respond(request: web.Request) -> web.StreamResponse:
        product_id = int(request.path.removeprefix("/products/"))
        if product_id not in prices:
            refusal = envelope(404, None, error={"code": "not_found", "message": "There is none"})
            return await respond_with(404, refusal)(request)
        product = {"id": product_id, "name": "Lamp", "price": prices[product_id], "qty": 0, "version": 1}
        return await respond_with(200, envelope(200, product))(request)

    product_service.respond = respond
    return prices


@pytest.fixture
async def orders_database(orders_database_url: str) -> AsyncIterator[Database]:
    async with open_database(orders_database_url, "test") as database:
        yield database


@asynccontextmanager
async def start_orders(settings: Settings) -> AsyncIterator[Api]:
    """One more order service."""
    async with serve(create_app(settings)) as url, connect(url) as api:
        await eventually(lambda: is_up(api))
        yield api
